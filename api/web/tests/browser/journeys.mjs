// The journeys that tests/web makes. They look and report; what is right is decided there.
// @ts-check
import { gzipSync } from 'node:zlib'

import { browse, DESKTOP, faults, PHONE, signIn, text } from './browser.mjs'
import { gatewayPage } from './gateway_page.mjs'

/** @typedef {import('./browser.mjs').Settings} Settings */
/** @typedef {(line: unknown) => void} Say */

const PAGES = ['/', '/assets', '/enterprises', '/plan', '/definitions']

/** Scroll to the chart, which is loaded when it comes near. @param {import('playwright-core').Page} page */
async function showChart(page) {
  await page.locator('.charts').scrollIntoViewIfNeeded()
  await page.waitForSelector('.chart svg')
}

/** A wrong password, then the right one; a link that was asked for is where one arrives. @param {Settings} settings */
function login(settings) {
  return browse(settings, DESKTOP, async (page) => {
    await page.goto(`${settings.base}/plan`)
    await page.waitForURL('**/login?next=/plan')
    await page.fill('#username', settings.username)
    await page.fill('#password', `${settings.password}-wrong`)
    await page.click('button[type=submit]')
    await page.waitForSelector('.trouble strong')
    const refusal = await text(page, '.trouble')
    await page.fill('#password', settings.password)
    await page.click('button[type=submit]')
    await page.waitForSelector('[data-part=plan]')
    const arrived = new URL(page.url()).pathname
    await page.click('.tool:last-of-type')
    await page.waitForURL('**/login')
    await page.goto(`${settings.base}/`)
    await page.waitForURL('**/login')
    return { refusal, arrived }
  })
}

/** What the overview says. @param {Settings} settings */
function overview(settings) {
  return browse(settings, DESKTOP, async (page) => {
    await signIn(page, settings)
    /** @type {Record<string, Record<string, string>>} */
    const figures = {}
    for (const card of await page.locator('[data-figure]').all()) {
      /** @type {Record<string, string>} */
      const parts = {}
      for (const part of await card.locator('[data-part]').all()) {
        parts[(await part.getAttribute('data-part')) ?? ''] = (await part.innerText())
          .replace(/\s+/g, ' ')
          .trim()
      }
      figures[(await card.getAttribute('data-figure')) ?? ''] = parts
    }
    await page.waitForSelector('[data-part=plan] [data-row]')
    const plan = await page.$$eval('[data-part=plan] [data-row]', (rows) =>
      rows.map((row) => ({
        id: row.getAttribute('data-row'),
        base: row.querySelector('[data-column=base]')?.textContent?.trim(),
        target: row.querySelector('[data-column=target]')?.textContent?.trim(),
      })),
    )
    await page.waitForSelector('[data-column=connection]')
    const machines = await page.$$eval('[data-column=connection]', (cells) =>
      cells.map((cell) => cell.querySelector('[data-connection]')?.getAttribute('data-connection')),
    )
    await showChart(page)
    const chart = await page.locator('.chart svg path').count()
    return { figures, plan, machines, chart, title: await page.title() }
  })
}

/** Opens a figure; counts its rows. `indicator` names it. @param {Settings} settings */
function explain(settings) {
  return browse(settings, DESKTOP, async (page) => {
    await signIn(page, settings)
    await page.click(`[data-figure=${settings['indicator']}] .headline`)
    await page.waitForSelector('[data-part=explanation]')
    const drawer = page.locator('[data-part=explanation]')
    const found = {
      sentence: await text(drawer, '[data-part=sentence]'),
      formula: await text(drawer, '[data-part=formula]'),
      numerator: await text(drawer, '[data-part=numerator]'),
      denominator: await text(drawer, '[data-part=denominator]'),
      definition: await text(drawer, '[data-part=definition]'),
      digest: await text(drawer, '[data-part=digest]'),
      rows: await drawer.locator('tr[data-row]').count(),
      counted: await drawer.locator('tr.counted-numerator').count(),
      excluded: await drawer.locator('tr.counted-excluded').count(),
    }
    const link = page.url()
    await page.keyboard.press('Escape')
    await page.waitForSelector('[data-part=explanation]', { state: 'detached' })
    const closed = page.url()
    await page.goto(link)
    await page.waitForSelector('[data-part=explanation]')
    const again = await text(page, '[data-part=explanation] [data-part=numerator]')
    return { ...found, link, closed, again }
  })
}

/**
 * Waits until the machine `machine` shows connected, says `{"ready": true}`, and waits until it shows
 * `becomes`; gives the seconds between, and whether it showed `never` on the way.
 * @param {Settings} settings @param {Say} say
 */
function change(settings, say) {
  return browse(settings, DESKTOP, async (page) => {
    await signIn(page, settings)
    const row = page.locator('tr[data-row]', { hasText: String(settings['machine']) })
    await row.locator('[data-connection=connected]').waitFor()
    await row.evaluate(
      (element, unwanted) => {
        new MutationObserver(() => {
          if (element.querySelector(`[data-connection=${unwanted}]`)) document.body.dataset['passed'] = 'yes'
        }).observe(element, { subtree: true, childList: true, attributes: true })
      },
      String(settings['never'] ?? 'nothing'),
    )
    say({ ready: true })
    const since = performance.now()
    await row.locator(`[data-connection=${settings['becomes']}]`).waitFor({ timeout: 40_000 })
    const seconds = (performance.now() - since) / 1000
    return {
      seconds,
      words: await text(row, '[data-column=connection]'),
      feed: await text(page, '[data-part=feed]'),
      passed: await page.evaluate(() => document.body.dataset['passed'] === 'yes'),
    }
  })
}

/** Every page by axe: signed out, wide and narrow, the drawer open. @param {Settings} settings */
function accessible(settings) {
  return browse(settings, DESKTOP, async (page) => {
    /** @type {Record<string, string[]>} */
    const found = {}
    await page.goto(`${settings.base}/login`)
    await page.waitForSelector('#username')
    found['/login'] = await faults(page)
    await signIn(page, settings)
    for (const path of PAGES) {
      await page.goto(settings.base + path)
      await page.waitForSelector('main table, main dl')
      if (path === '/') await showChart(page)
      found[path] = await faults(page)
    }
    await page.goto(`${settings.base}/?explain=networking-rate`)
    await page.waitForSelector('[data-part=explanation]')
    await page.waitForTimeout(500) // the drawer slides in; axe must not measure it half transparent
    found['drawer'] = await faults(page)
    return { found }
  })
}

/** How wide each page is on a telephone. @param {Settings} settings */
function narrow(settings) {
  return browse(settings, PHONE, async (page) => {
    await signIn(page, settings)
    /** @type {Record<string, number>} */
    const widths = {}
    for (const path of [...PAGES, '/?explain=networking-rate']) {
      await page.goto(settings.base + path)
      await page.waitForSelector(path.includes('explain') ? '[data-part=explanation]' : 'main table, main dl')
      widths[path] = await page.evaluate(() => document.documentElement.scrollWidth)
    }
    return { widths, viewport: PHONE.width }
  })
}

/** Signs in, opens and closes a figure, and changes the page with keys alone. @param {Settings} settings */
function keyboard(settings) {
  return browse(settings, DESKTOP, async (page) => {
    await page.goto(`${settings.base}/login`)
    await page.waitForSelector('#username')
    await page.focus('#username')
    await page.keyboard.type(settings.username)
    await page.keyboard.press('Tab')
    await page.keyboard.type(settings.password)
    await page.keyboard.press('Enter')
    await page.waitForSelector('[data-figure]')
    const focused = () => page.evaluate(() => document.activeElement?.className ?? '')
    let presses = 0
    while (!(await focused()).includes('headline') && presses++ < 40) await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await page.waitForSelector('[data-part=explanation]')
    await page.keyboard.press('Escape')
    await page.waitForSelector('[data-part=explanation]', { state: 'detached' })
    return { presses, back: await focused() }
  })
}

/** Bytes of the first view, compressed, without what is loaded after it. @param {Settings} settings */
function weight(settings) {
  return browse(settings, DESKTOP, async (page) => {
    /** @type {Promise<{ name: string, bytes: number }>[]} */
    const bodies = []
    let counting = true
    page.on('response', (response) => {
      if (!counting || new URL(response.url()).pathname.startsWith('/api/')) return
      bodies.push(
        response.body().then(
          (body) => ({ name: new URL(response.url()).pathname, bytes: gzipSync(body, { level: 6 }).length }),
          () => ({ name: response.url(), bytes: 0 }),
        ),
      )
    })
    await page.goto(`${settings.base}/login`)
    await page.waitForSelector('#username')
    await page.fill('#username', settings.username)
    await page.fill('#password', settings.password)
    await page.click('button[type=submit]')
    await page.waitForSelector('[data-figure]')
    await page.waitForSelector('[data-column=connection]')
    await showChart(page)
    counting = false
    const all = await Promise.all(bodies)
    const isChart = (/** @type {{ name: string }} */ { name }) =>
      name.includes('SeriesPanel') || name.includes('charts')
    const sum = (/** @type {{ bytes: number }[]} */ some) =>
      some.reduce((total, { bytes }) => total + bytes, 0)
    return { before_charts: sum(all.filter((one) => !isChart(one))), charts: sum(all.filter(isChart)) }
  })
}

/** Times in ms: the overview at a fourfold CPU slow-down, and page changes without one. @param {Settings} settings */
function pace(settings) {
  return browse(settings, DESKTOP, async (page) => {
    await signIn(page, settings)
    await page.addInitScript(() => {
      const watch = new MutationObserver(() => {
        if (!document.querySelector('[data-figure]') || !document.querySelector('[data-column=connection]'))
          return
        watch.disconnect()
        // Painted, and the page takes keys and clicks again.
        requestAnimationFrame(() => setTimeout(() => performance.mark('usable')))
      })
      watch.observe(document, { childList: true, subtree: true })
    })
    const devtools = await page.context().newCDPSession(page)
    await devtools.send('Emulation.setCPUThrottlingRate', { rate: 4 })
    await page.goto(`${settings.base}/`)
    await page.waitForFunction(() => performance.getEntriesByName('usable').length > 0)
    const usable = await page.evaluate(() => performance.getEntriesByName('usable')[0]?.startTime ?? 0)
    await devtools.send('Emulation.setCPUThrottlingRate', { rate: 1 })
    await showChart(page)
    /** @type {Record<string, number>} */
    const changes = {}
    for (const round of [1, 2]) {
      for (const path of [...PAGES.slice(1), '/']) {
        changes[`${path} ${round}`] = await page.evaluate(async (target) => {
          const from = performance.now()
          document.querySelector(/** @type {`a`} */ (`.menu a[href="${target}"]`))?.click()
          const arrived = () =>
            location.pathname === target &&
            document.querySelector('main table, main dl') !== null &&
            !document.querySelector('main .leaving')
          while (!arrived()) await new Promise(requestAnimationFrame)
          return performance.now() - from
        }, path)
      }
    }
    return { usable, changes }
  })
}

/** A picture of the overview into `file`. @param {Settings} settings */
function picture(settings) {
  return browse(settings, { width: 1366, height: 960 }, async (page) => {
    await signIn(page, settings)
    await page.waitForSelector('[data-connection=connected]')
    await showChart(page)
    await page.evaluate(() => scrollTo(0, 0))
    await page.screenshot({ path: String(settings['file']) })
    return {}
  })
}

/** @type {Record<string, (settings: Settings, say: Say) => Promise<object>>} */
export const journeys = {
  login,
  overview,
  explain,
  change,
  accessible,
  narrow,
  keyboard,
  weight,
  pace,
  picture,
  gatewayPage,
}
