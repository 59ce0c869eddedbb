// Chromium for journeys: launched here with Debian's binary, every request and complaint recorded.
// @ts-check
import { AxeBuilder } from '@axe-core/playwright'
import { chromium } from 'playwright-core'

export const DESKTOP = { width: 1366, height: 768 }
export const PHONE = { width: 360, height: 740 }

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** @typedef {{ base: string, username: string, password: string, [more: string]: unknown }} Settings */

/**
 * Run `journey` in a fresh browser and give what it gives, with everything the browser complained of.
 * @template T
 * @param {Settings} settings
 * @param {{ width: number, height: number }} viewport
 * @param {(page: import('playwright-core').Page) => Promise<T>} journey
 */
export async function browse(settings, viewport, journey) {
  const browser = await chromium.launch({
    executablePath: process.env['PLANTPULSE_CHROMIUM'] ?? '/usr/bin/chromium',
    args: FLAGS,
  })
  try {
    const context = await browser.newContext({ viewport, locale: 'zh-CN', timezoneId: 'America/New_York' })
    const page = await context.newPage()
    page.setDefaultTimeout(20_000)
    /** @type {Set<string>} */
    const origins = new Set()
    /** @type {string[]} */
    const complaints = []
    page.on('request', (request) => {
      if (!request.url().startsWith('data:')) origins.add(new URL(request.url()).origin)
    })
    page.on('pageerror', (error) => complaints.push(String(error)))
    page.on('console', (message) => {
      // Asking who is signed in answers 401 to a stranger; Chromium reports every such answer.
      if (message.type() === 'error' && !message.text().includes('401')) complaints.push(message.text())
    })
    const result = await journey(page)
    return { ...result, origins: [...origins], complaints }
  } finally {
    await browser.close()
  }
}

/** Sign in by the form, and wait for the overview's figures. @param {import('playwright-core').Page} page @param {Settings} settings */
export async function signIn(page, settings) {
  await page.goto(`${settings.base}/login`)
  await page.fill('#username', settings.username)
  await page.fill('#password', settings.password)
  await page.click('button[type=submit]')
  await page.waitForSelector('[data-figure]')
}

/** Serious and critical findings of axe on the page as it stands. @param {import('playwright-core').Page} page */
export async function faults(page) {
  const { violations } = await new AxeBuilder({ page }).analyze()
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(' ')).join('; ')}`)
}

/** The text of an element with its white space folded. @param {import('playwright-core').Page | import('playwright-core').Locator} within @param {string} selector */
export async function text(within, selector) {
  return (await within.locator(selector).first().innerText()).replace(/\s+/g, ' ').trim()
}
