// src/api/schema.ts is what `npm run types` makes of ../openapi.json today.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'plantpulse-schema-'))
try {
  const made = join(folder, 'schema.ts')
  execFileSync('npx', ['--no-install', 'openapi-typescript', '../openapi.json', '--output', made], {
    cwd: root,
    stdio: 'ignore',
  })
  if (readFileSync(made, 'utf8') !== readFileSync(join(root, 'src/api/schema.ts'), 'utf8')) {
    console.error('src/api/schema.ts differs from ../openapi.json: run npm run types')
    process.exitCode = 1
  }
} finally {
  rmSync(folder, { recursive: true })
}
