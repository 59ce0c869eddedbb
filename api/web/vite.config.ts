import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

import vue from '@vitejs/plugin-vue'
import type { Plugin } from 'vite'
import { defineConfig } from 'vitest/config'

// The county's service, or the mock of tests/mock; only the development server uses it.
const county = process.env['PLANTPULSE_PORTAL_API'] ?? 'http://127.0.0.1:8000'

// The county's service sends these as they are: nothing is compressed while a reader waits.
const compressed = (folder: string): Plugin => ({
  name: 'compressed-copies',
  apply: 'build',
  closeBundle() {
    for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
      if (!/\.(js|css|html|svg)$/.test(name)) continue
      const path = join(folder, name)
      writeFileSync(`${path}.gz`, gzipSync(readFileSync(path), { level: 9 }))
    }
  },
})

export default defineConfig({
  plugins: [vue(), compressed(fileURLToPath(new URL('dist', import.meta.url)))],
  build: {
    // Chromium-based browsers of office machines lag years behind.
    target: ['chrome87', 'edge88', 'firefox78', 'safari14'],
    modulePreload: { polyfill: false },
    // A data: address would need a hole in the content security policy.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 700,
  },
  server: { host: '127.0.0.1', proxy: { '/api': county, '/healthz': county, '/openapi.json': county } },
  test: { environment: 'happy-dom', include: ['tests/unit/**/*.test.ts'] },
})
