// How the scripts beside look at the console, in Chromium. A script prints a line for each step: "passed NAME" or "failed NAME: why".
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export const { CHROMIUM, MODULES, CONSOLE, WORLD, TOKEN, READ_TOKEN, HOSTILE, DIR } = process.env
const require = createRequire(join(MODULES, 'x.js'))
const { chromium } = require('playwright-core')
const axe = readFileSync(join(MODULES, 'axe-core', 'axe.min.js'), 'utf8')

const patience = 15000
export const world = async (what) => {
  const r = await fetch(WORLD + '/' + what)
  if (!r.ok) throw new Error(what + ': ' + r.status)
  return r.text()
}
export const check = (good, what) => {
  if (!good) throw new Error(what)
}

let failures = 0
export async function step(name, f) {
  if (!name.includes(process.env.STEP ?? '')) return // STEP='a rule' go test ... does one alone
  const began = performance.now()
  try {
    await f()
    console.log(`${name}: ${Math.round(performance.now() - began)} ms`)
    console.log('passed ' + name)
  } catch (err) {
    failures++
    console.log(`failed ${name}: ${String(err.stack ?? err).replaceAll('\n', '\\n')}`)
  }
}

export const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })
export const foreign = [] // requests to another host
export const complaints = [] // of pages: errors, and what the policy forbade

// open opens a page of its own, as nobody who was here before.
export async function open(path, options = {}, at = CONSOLE) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: 'reduce', ...options })
  context.setDefaultTimeout(patience)
  const page = await context.newPage()
  const host = new URL(at).host
  page.on('request', (r) => {
    if (new URL(r.url()).host !== host) foreign.push(r.url())
  })
  page.on('console', (m) => {
    // A server that is away, or refuses, is told by the browser too; that is what is tried here.
    if (m.type() === 'error' && !/ERR_|Failed to load resource/.test(m.text())) complaints.push(m.text())
  })
  page.on('pageerror', (err) => complaints.push(String(err)))
  page.on('dialog', (d) => {
    complaints.push('a dialog: ' + d.message())
    void d.dismiss()
  })
  await page.goto(at + path)
  return page
}

export const signedIn = async (path = '', options = {}) => {
  const page = await open('/#token=' + encodeURIComponent(TOKEN), options)
  await page.waitForSelector('.hero')
  if (path !== '') await page.goto(CONSOLE + '/' + path)
  return page
}

const everything = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']

// accessible asks axe whether a page can be used by everybody: WCAG 2.2, A and AA.
export async function accessible(page, what, rules = everything) {
  // By the debugger, which no policy of the page is about.
  const session = await page.context().newCDPSession(page)
  await session.send('Runtime.evaluate', { expression: axe })
  const { result } = await session.send('Runtime.evaluate', {
    awaitPromise: true, returnByValue: true,
    expression: `axe.run({ runOnly: ${JSON.stringify(rules)} }).then((r) => r.violations.map(
      (v) => v.id + ': ' + v.nodes.slice(0, 4).map((n) => n.target.join(' ') + ' ' + n.failureSummary).join(' | ')))`,
  })
  check(Array.isArray(result.value), `${what}: axe did not run`)
  check(result.value.length === 0, `${what}: ${result.value.join('\n')}`)
}

export const fits = async (page, what) => {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
  check(wide <= 0, `${what}: ${wide} pixels wider than the window`)
}

// legible looks for a word in a table that is broken for want of room.
export const legible = async (page, what) => {
  const broken = await page.evaluate(() => [...document.querySelectorAll('.part th, .part td')].filter((cell) => cell.offsetWidth > 1).flatMap((cell) => {
    const all = document.createRange()
    const words = []
    for (const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT); texts.nextNode();) {
      for (const { 0: word, index } of texts.currentNode.data.matchAll(/\S{2,20}/g)) {
        all.setStart(texts.currentNode, index)
        all.setEnd(texts.currentNode, index + word.length)
        if (new Set([...all.getClientRects()].map((r) => Math.round(r.top))).size > 1) words.push(word)
      }
    }
    return words
  }))
  check(broken.length === 0, `${what}: words are broken: ${broken.slice(0, 8).join(', ')}`)
}

// harmless looks for markup that came from outside.
export const harmless = async (page, what) => {
  const bad = await page.evaluate(() => window.pwned !== undefined || document.querySelector('img, script:not([src]), iframe') !== null)
  check(!bad, `${what}: something from outside became markup`)
  const acts = await page.evaluate(() => {
    const shown = [document.title, document.body.textContent, ...[...document.querySelectorAll('[title], [aria-label]')].map((e) => e.title + e.ariaLabel)]
    return /[^\n]{0,20}[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/.exec(shown.join(' '))?.[0]
  })
  check(acts === undefined, `${what}: a character that acts on others is not written out: ${JSON.stringify(acts)}`)
}

// ordered gives an order: it opens the dialog of a button, fills in what is asked for, and says yes.
export async function ordered(page, button, within = page, fill = {}) {
  await within.getByRole('button', { name: button, exact: true }).first().click()
  const dialog = page.locator('dialog[open]')
  await dialog.waitFor()
  check((await dialog.locator('.will').innerText()).length > 40, `${button} does not say what will happen`)
  for (const [label, value] of Object.entries(fill)) {
    const field = dialog.getByLabel(label)
    if ((await field.evaluate((e) => e.tagName)) === 'SELECT') await field.selectOption(value)
    else await field.fill(value)
  }
  await dialog.locator('.buttons').getByRole('button', { name: button, exact: true }).click()
  return dialog
}

// told waits for what an order answers, and closes its dialog.
export async function told(page, words) {
  const dialog = page.locator('dialog[open]')
  await dialog.getByText(words).waitFor()
  await dialog.getByRole('button', { name: 'Close' }).click()
  await dialog.waitFor({ state: 'detached' })
}

export const part = (page, id) => page.locator('.part', { has: page.locator('#' + id) })

export const text = (page, selector) => page.locator(selector).first().innerText()
export const gate = (page, job, place, state) => page.waitForSelector(`[data-job="${job}"] [data-place="${place}"] [data-gate="${state}"]`)

// end closes the browser; what failed is the exit code.
export async function end() {
  await browser.close()
  process.exitCode = failures > 0 ? 1 : 0
}
