// What a person does with the console.
import {
  CONSOLE, HOSTILE, READ_TOKEN, accessible, check, complaints, end, everything, fits, foreign, gate, harmless, open, signedIn, step, text, world,
} from './browser.mjs'

await step('signing in', async () => {
  const page = await open('/')
  await page.waitForSelector('#token')
  await accessible(page, 'the sign-in page')
  await page.fill('#token', 'a guess')
  await page.keyboard.press('Enter')
  await page.waitForSelector('[role=alert]')
  await page.fill('#token', READ_TOKEN)
  await page.keyboard.press('Enter')
  await page.waitForSelector('.hero')
  check((await text(page, '.role')) === 'read-only', 'the read token may order')
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.waitForSelector('#token')
  await page.reload()
  await page.waitForSelector('#token')
  await page.context().close()
})

await step('a link brings the token and does not show it', async () => {
  const page = await signedIn()
  check(!page.url().includes('token'), 'the token stays in the address')
  check((await text(page, '.role')) === 'may order', 'the token may not order')
  await page.context().close()
})

const jobs = ['frames', 'hostile', 'pages', 'report', 'send', 'serve', 'spots', 'store']

// In the dark only the colours differ.
for (const [colorScheme, rules] of [['light', everything], ['dark', ['color-contrast']]]) {
  await step('every page can be used by everybody, ' + colorScheme, async () => {
    const page = await signedIn('', { colorScheme })
    for (const job of jobs) await page.waitForSelector(`[data-job="${job}"]`)
    await accessible(page, 'the overview', rules)
    await harmless(page, 'the overview')
    for (const job of jobs) {
      await page.goto(`${CONSOLE}/#/jobs/${job}`)
      await page.waitForSelector('main h1')
      await page.waitForFunction((name) => document.querySelector('main h1').textContent === name, job)
      await page.waitForFunction(() => document.querySelector('[data-loading]') === null)
      await accessible(page, job, rules)
      await harmless(page, job)
    }
    await page.context().close()
  })
}

for (const [what, width] of [['a phone', 390], ['200 % zoom', 640]]) {
  await step('the pages fit ' + what, async () => {
    const page = await signedIn('', { viewport: { width, height: 800 } })
    await fits(page, 'the overview')
    for (const job of jobs) {
      await page.goto(`${CONSOLE}/#/jobs/${job}`)
      await page.waitForFunction((name) => document.querySelector('main h1').textContent === name, job)
      await page.waitForFunction(() => document.querySelector('[data-loading]') === null)
      await fits(page, job)
    }
    await page.context().close()
  })
}

await step('rates are those of the counters', async () => {
  const page = await signedIn()
  await world('publish')
  await page.waitForFunction(() => {
    const rate = document.querySelector('[data-job="spots"] .way .rate')?.textContent ?? ''
    return parseFloat(rate.replaceAll(',', '')) > 80 // 50 a second by themselves, and 1000 at once
  })
  await page.context().close()
})

await step('an outage is shown, and so is its end', async () => {
  const page = await signedIn()
  await gate(page, 'spots', 'shop', 'open')
  await world('shop/close')
  await world('publish')
  await gate(page, 'spots', 'shop', 'closed')
  await gate(page, 'spots', 'local', 'open')
  check(/refused/.test(await text(page, '[data-job="spots"] .reason')), 'the cause is not told')
  await page.waitForFunction(() => /[\d,]+ wait/.test(document.querySelector('[data-job="spots"] .way .waiting:not(.none)')?.textContent ?? ''))
  check(/down/.test(await text(page, '[data-verdict="rest"]')), 'the verdict does not say that something is down')
  check(/Nothing is lost/.test(await text(page, '[data-verdict="lost"]')), 'the verdict says that something is lost')
  const first = await page.locator('[data-job]').first().getAttribute('data-job')
  check(first === 'spots', `the job in trouble is not the first, ${first} is: ${await text(page, '.findings')}`)
  await accessible(page, 'the overview in an outage')
  await world('shop/rant')
  await world('shop/open')
  await page.waitForFunction((hostile) => document.querySelector('[data-job="spots"] .reason')?.textContent.includes(hostile), HOSTILE)
  await harmless(page, 'a cause that is markup')
  await world('shop/calm')
  await gate(page, 'spots', 'shop', 'open')
  await page.waitForFunction(() => !/down/.test(document.querySelector('[data-verdict="rest"]').textContent))
  await page.waitForFunction(() => [...document.querySelectorAll('.events .kind')].some((k) => k.textContent === 'gate.opened'))
  await page.context().close()
})

await step('a lost connection is shown, and heals by itself', async () => {
  const page = await signedIn()
  await page.evaluate(() => { window.same = true })
  await world('kill')
  await page.waitForSelector('.banner')
  await page.waitForSelector('[data-link="lost"]')
  await accessible(page, 'the overview without a connection')
  await world('start')
  await page.waitForSelector('[data-link="live"]')
  check((await page.locator('.banner').count()) === 0, 'the banner stays')
  check(await page.evaluate(() => window.same), 'the page was loaded anew')
  await page.context().close()
})

await step('times are in the viewer\'s zone, and in UTC where one points', async () => {
  const page = await signedIn('', { timezoneId: 'Asia/Kolkata' })
  const time = page.locator('.events time').first()
  const at = new Date(await time.getAttribute('datetime'))
  const shown = await time.innerText()
  const there = new Intl.DateTimeFormat('en-GB', { timeZone: 'Asia/Kolkata', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }).format(at)
  check(shown.includes(there), `${shown} is not ${there} of ${at.toISOString()}`)
  check((await time.getAttribute('title')).includes(at.toISOString().slice(0, 19).replace('T', ' ') + ' UTC'), 'no UTC')
  await page.context().close()
})

await step('the theme can be chosen, and stays', async () => {
  const page = await signedIn('', { colorScheme: 'light' })
  const dark = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
  const before = await dark()
  await page.selectOption('.theme select', 'dark')
  const after = await dark()
  check(before !== after, 'nothing changed')
  await page.reload()
  await page.waitForSelector('.hero')
  check((await dark()) === after, 'it did not stay')
  await page.context().close()
})

await step('a keyboard is enough', async () => {
  const page = await signedIn()
  await page.keyboard.press('Tab')
  check((await page.evaluate(() => document.activeElement.className)) === 'skip', 'the first stop is not the link to the page')
  await page.keyboard.press('Enter')
  check((await page.evaluate(() => document.activeElement.id)) === 'page', 'the link does not lead to the page')
  await page.keyboard.press('Tab')
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle)
  check(outline !== 'none', 'one does not see where one is')
  await page.context().close()
})

await step('nobody else was asked, and nothing was forbidden', () => {
  check(foreign.length === 0, 'asked: ' + foreign.join(', '))
  check(complaints.length === 0, complaints.join('\n'))
})

await end()
