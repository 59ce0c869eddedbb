// Every message key is used, every key used exists, both languages have the same keys, and no
// Chinese text stands in a component. Exit code 1 with a line per finding.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const src = new URL('../src', import.meta.url).pathname

/** @param {string} folder @returns {string[]} */
function files(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? files(join(folder, entry.name)) : [join(folder, entry.name)],
  )
}

/** @param {string} name */
function keysOf(name) {
  const text = readFileSync(join(src, 'i18n', name), 'utf8')
  return new Set([...text.matchAll(/^ {2}'([\w.-]+)':/gm)].map((match) => match[1] ?? ''))
}

const zh = keysOf('zh.ts')
const en = keysOf('en.ts')
const findings = []
for (const key of zh) if (!en.has(key)) findings.push(`en.ts lacks '${key}'`)
for (const key of en) if (!zh.has(key)) findings.push(`zh.ts lacks '${key}'`)

const used = new Set()
const prefixes = new Set()
for (const path of files(src)) {
  if (path.includes('/i18n/') || path.endsWith('schema.ts')) continue
  const text = readFileSync(path, 'utf8')
  for (const match of text.matchAll(/['"`]([a-z]\w*(?:\.[\w-]+)+)['"`]/g))
    if (zh.has(match[1] ?? '')) used.add(match[1])
  for (const match of text.matchAll(/`([a-z]\w*(?:\.\w+)*\.)\$\{/g)) prefixes.add(match[1] ?? '')
  for (const match of text.matchAll(/\bt\(\s*'([^']+)'/g))
    if (!zh.has(match[1] ?? '')) findings.push(`${path}: no message '${match[1]}'`)
  if (path.endsWith('.vue') && /[\u4e00-\u9fff]/.test(text))
    findings.push(`${path}: Chinese text outside i18n/zh.ts`)
}
for (const key of zh) {
  if (!used.has(key) && ![...prefixes].some((prefix) => key.startsWith(prefix)))
    findings.push(`unused message '${key}'`)
}

for (const finding of findings) console.error(finding)
process.exit(findings.length > 0 ? 1 : 0)
