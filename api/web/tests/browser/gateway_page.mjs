// The journey through a gateway's own page, which is served by the gateway and shares nothing with the portal.
// @ts-check
import { browse, DESKTOP, faults, PHONE, text } from './browser.mjs'

/** @typedef {import('./browser.mjs').Settings} Settings */

/** How far the page is wider than its window, px. @param {import('playwright-core').Page} page */
function overflow(page) {
  return page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
}

/**
 * Signs in, looks at every page in both languages, and waits for a value to change by itself.
 * `device` and `tag` name the value; `folder`, where given, gets pictures.
 * @param {Settings} settings
 */
export async function gatewayPage(settings) {
  /** @type {Record<string, object>} */
  const seen = {}
  for (const [size, viewport] of Object.entries({ phone: PHONE, laptop: DESKTOP })) {
    seen[size] = await browse(settings, viewport, async (page) => {
      await page.goto(`${settings.base}/`)
      await page.fill('#password', 'not-the-password')
      await page.click('main button')
      const refusal = await text(page, '[role=alert]')
      await page.fill('#password', settings.password)
      await page.click('main button')
      /** @type {Record<string, object>} */
      const views = {}
      for (const language of ['zh', 'en']) {
        for (const [name, path] of Object.entries({
          overview: '/',
          device: `/devices/${settings['device']}`,
          sent: '/sent',
        })) {
          await page.goto(`${settings.base}${path}?lang=${language}`)
          if (settings['folder']) {
            await page.screenshot({
              path: `${settings['folder']}/${name}-${size}-${language}.png`,
              fullPage: true,
            })
          }
          views[`${name}-${language}`] = {
            lang: await page.getAttribute('html', 'lang'),
            text: await text(page, 'main'),
            overflow: await overflow(page),
            // one structure for both languages and sizes: axe looks at it where it is tightest
            faults: size === 'phone' && language === 'zh' ? await faults(page) : [],
          }
        }
      }
      await page.goto(`${settings.base}/devices/${settings['device']}`)
      const cell = `[data-tag=${settings['tag']}] td >> nth=0`
      const first = await page.innerText(cell)
      await page.evaluate(() => Object.assign(window, { untouched: true }))
      await page.waitForFunction(
        ([tag, before]) => document.querySelector(`[data-tag=${tag}] td`)?.textContent?.trim() !== before,
        [String(settings['tag']), first.trim()],
      )
      const untouched = await page.evaluate(() => 'untouched' in window)
      await page.goto(`${settings.base}/`)
      await page.click('#retry-all')
      await page.waitForURL('**/?retried=*')
      return { refusal, views, untouched, retried: await text(page, 'main .notice') }
    })
  }
  return seen
}
