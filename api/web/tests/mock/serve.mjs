// A county service that only pretends: `npm run mock`, then `npm run dev`. It serves dist/ too.
// POST /mock/unplug/DEVICE and /mock/plug/DEVICE cut a machine off and back; any login is good.
// @ts-check
import { existsSync, readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import { extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'

import * as fixtures from './fixtures.mjs'

const dist = fileURLToPath(new URL('../../dist', import.meta.url))
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
  "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
/** @type {Record<string, string>} */
const TYPES = {
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.html': 'text/html; charset=utf-8',
}

const unplugged = new Set()
/** @type {Set<import('node:http').ServerResponse>} */
const readers = new Set()

const tell = () => {
  for (const reader of readers)
    reader.write(`event: live\ndata: ${JSON.stringify(fixtures.snapshot(Date.now(), unplugged))}\n\n`)
}
setInterval(tell, 5_000)

const month = () => new Date(Date.now() + 8 * 3_600_000).toISOString().slice(0, 7)

/** @param {string} path @param {URLSearchParams} query */
function answer(path, query) {
  const now = Date.now()
  const period = query.get('period') ?? month()
  const page = (/** @type {unknown[]} */ items) => ({
    page: { offset: 0, limit: 100, total: items.length },
    items,
  })
  const [, id, what] = /^\/api\/v1\/indicators\/([^/]+)\/(explain|series)$/.exec(path) ?? []
  const about = fixtures.DEFINITIONS.find((definition) => definition.id === id)
  if (about && what === 'explain') return fixtures.explanation(fixtures.figure(about, period, now), now)
  if (about) return fixtures.series(about, now)
  const figures = () => fixtures.DEFINITIONS.map((definition) => fixtures.figure(definition, period, now))
  /** @type {Record<string, () => unknown>} */
  const routes = {
    '/api/v1/too-late': () => page(fixtures.TOO_LATE),
    '/api/v1/indicators': () => ({
      scope: figures()[0]?.scope,
      period: figures()[0]?.period,
      figures: figures(),
    }),
    '/api/v1/assets': () => page(fixtures.assets(now, unplugged)),
    '/api/v1/enterprises': () => page([fixtures.enterprise()]),
    '/api/v1/gateways': () => page([fixtures.gateway(now)]),
    '/api/v1/plans': () => ({ items: [fixtures.plan()] }),
    '/api/v1/definitions': () => ({ items: fixtures.DEFINITIONS }),
    '/api/v1/scopes': () => ({ items: [{ kind: 'county', id: 'ninghai', name_zh: '宁海县' }] }),
    '/api/v1/live': () => fixtures.snapshot(now, unplugged),
  }
  return routes[path]?.()
}

const server = createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://mock')
  const json = (/** @type {number} */ status, /** @type {unknown} */ body) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
  const [, order, device] = /^\/mock\/(unplug|plug)\/(.+)$/.exec(url.pathname) ?? []
  if (order && device) {
    if (order === 'unplug') unplugged.add(device)
    else unplugged.delete(device)
    tell()
    return json(200, [...unplugged])
  }
  if (url.pathname === '/api/v1/session') {
    const cookie = 'mock_session=1; HttpOnly; SameSite=Strict; Path=/'
    if (request.method === 'POST') response.setHeader('set-cookie', cookie)
    if (request.method === 'DELETE')
      return response.writeHead(204, { 'set-cookie': `${cookie}; Max-Age=0` }).end()
    const expires = new Date(Date.now() + 8 * 3_600_000).toISOString()
    if (request.method === 'POST' || request.headers.cookie?.includes('mock_session=1')) {
      return json(200, { username: 'demo', role: 'statistician', enterprise: null, expires_at: expires })
    }
    return json(401, {
      code: 'not-signed-in',
      title_zh: '尚未登录',
      title_en: 'Not signed in',
      next_step_zh: '请登录。',
      next_step_en: 'Sign in.',
      detail: '',
    })
  }
  if (url.pathname === '/api/v1/live/events') {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    readers.add(response)
    request.on('close', () => readers.delete(response))
    return tell()
  }
  if (url.pathname.startsWith('/api/')) {
    const body = answer(url.pathname, url.searchParams)
    return body === undefined ? json(404, {}) : json(200, body)
  }
  const wanted = join(dist, normalize(url.pathname))
  const file = existsSync(wanted) && statSync(wanted).isFile() ? wanted : join(dist, 'index.html')
  response.writeHead(200, {
    'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
    'content-security-policy': POLICY,
  })
  response.end(readFileSync(file))
})
server.listen(Number(process.env['PORT'] ?? 8000), '127.0.0.1', () => {
  const address = server.address()
  if (address && typeof address === 'object') console.log(`http://127.0.0.1:${address.port}`)
})
