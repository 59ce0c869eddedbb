import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vitest/config'

// The county's service, or the mock of tests/mock; only the development server uses it.
const county = process.env['PLANTPULSE_PORTAL_API'] ?? 'http://127.0.0.1:8000'

export default defineConfig({
  plugins: [vue()],
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
