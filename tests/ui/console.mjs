// What a person does with the console.
import {
  CONSOLE, HOSTILE, READ_TOKEN, accessible, check, complaints, end, fits, foreign, gate, harmless, open, signedIn, step, text, world,
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

const jobs = ['frames', 'hostile', 'pages', 'report', 'send', 'serve', 'spots', 'store', 'watch']

// seen opens the page of a job and waits until everything on it is there.
const seen = async (page, job) => {
  await page.goto(`${CONSOLE}/#/jobs/${job}`)
  await page.waitForFunction((name) => document.querySelector('main h1').textContent === name, job)
  await page.waitForFunction(() => document.querySelector('[data-loading]') === null)
}

// fitsEverywhere tries a page on a phone, and at 200 % zoom.
const fitsEverywhere = async (page, what) => {
  for (const width of [390, 640, 1280]) {
    await page.setViewportSize({ width, height: 900 })
    await fits(page, `${what}, ${width} wide`)
  }
}

await step('every page can be used by everybody, on a phone too', async () => {
  const page = await signedIn()
  for (const job of jobs) await page.waitForSelector(`[data-job="${job}"]`)
  await accessible(page, 'the overview')
  await fitsEverywhere(page, 'the overview')
  await harmless(page, 'the overview')
  for (const job of jobs) {
    await seen(page, job)
    await accessible(page, job)
    await fitsEverywhere(page, job)
    await harmless(page, job)
  }
  await page.context().close()
})

await step('the dark theme has contrast too', async () => { // all else is as in the light
  const page = await signedIn('', { colorScheme: 'dark' })
  await accessible(page, 'the overview', ['color-contrast'])
  for (const job of ['spots', 'store', 'pages']) {
    await seen(page, job)
    await accessible(page, job, ['color-contrast'])
  }
  await page.context().close()
})

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

await step('an order asks first, and says what will happen', async () => {
  const page = await signedIn('#/jobs/serve')
  const dialog = page.locator('dialog[open]')
  await page.getByRole('button', { name: 'Pause' }).click()
  check(/restarts of Holdfast included/.test(await dialog.innerText()), 'it does not say what will happen')
  await accessible(page, 'a confirmation')
  await page.keyboard.press('Escape')
  await dialog.waitFor({ state: 'detached' })
  check(/running/.test(await text(page, '.tag')), 'who said no was not heard')
  await page.getByRole('button', { name: 'Pause' }).click()
  await dialog.getByRole('button', { name: 'Pause' }).click()
  await page.waitForSelector('.tag:has-text("paused")')
  await page.getByRole('button', { name: 'Resume' }).click()
  await dialog.getByRole('button', { name: 'Resume' }).click()
  await page.waitForSelector('.tag:has-text("running")')
  await page.getByRole('button', { name: 'Checkpoint' }).click()
  await dialog.getByRole('textbox').fill('by hand')
  await dialog.getByRole('button', { name: 'Checkpoint' }).click()
  await dialog.locator('[role=alert]').waitFor() // a name has no spaces
  await dialog.getByRole('textbox').fill('by-hand')
  await dialog.getByRole('button', { name: 'Checkpoint' }).click()
  await page.waitForSelector('#checkpoints')
  await page.getByText('by-hand', { exact: true }).waitFor()
  await page.context().close()
})

await step('who may only look is told how it is done elsewhere', async () => {
  const page = await open('/#token=' + encodeURIComponent(READ_TOKEN))
  await page.waitForSelector('.hero')
  await page.goto(CONSOLE + '/#/jobs/frames')
  await page.getByRole('button', { name: 'Pause' }).click()
  const dialog = page.locator('dialog[open]')
  check((await dialog.innerText()).includes('holdfast pause frames'), 'the command is not told')
  check((await dialog.getByRole('button', { name: 'Pause' }).count()) === 0, 'it can be ordered')
  const status = await page.evaluate(async (t) => (await fetch('api/v1/jobs/frames/pause', { method: 'POST',
    headers: { Authorization: 'Bearer ' + t } })).status, READ_TOKEN)
  check(status === 403, `the server answers ${status}`)
  await page.context().close()
})

await step('a dead letter shows its content, and is discarded with a reason', async () => {
  const page = await signedIn('#/jobs/hostile')
  await page.locator('.letters summary').first().click()
  await page.waitForFunction((hostile) => document.querySelector('.letters pre')?.textContent.includes(hostile), HOSTILE)
  await harmless(page, 'a dead letter')
  await accessible(page, 'a dead letter')
  await page.getByRole('button', { name: 'Discard' }).click()
  const dialog = page.locator('dialog[open]')
  const sure = dialog.getByRole('button', { name: 'Discard' })
  check(await sure.isDisabled(), 'it can be discarded without a reason')
  await dialog.getByRole('textbox').fill('seen in a test')
  await sure.click()
  await page.waitForFunction(() => document.querySelector('#dead').textContent === 'Dead letters: 0')
  await page.context().close()
})

await step('files have names from outside, and a history', async () => {
  const page = await signedIn('#/jobs/frames')
  await page.getByText(HOSTILE).first().click()
  await page.waitForFunction(() => [...document.querySelectorAll('.steps b')].some((b) => b.textContent === 'shipped'))
  await harmless(page, 'a file name')
  await page.getByRole('searchbox').fill('two')
  await page.waitForFunction(() => document.querySelectorAll('.letters > li').length === 1)
  await page.context().close()
})

await step('a rule acts, says why, and is silenced', async () => {
  const page = await signedIn('#/jobs/watch')
  await page.getByText('trouble', { exact: true }).waitFor()
  await world('log')
  const acts = page.locator('.part', { has: page.locator('#acts') })
  await acts.locator('summary').first().click()
  await page.waitForFunction((hostile) => document.querySelector('details[open] pre')?.textContent.includes(hostile), HOSTILE)
  await harmless(page, 'a line of a log')
  await accessible(page, 'an action')
  await page.locator('#line').fill('trouble there')
  await page.keyboard.press('Enter')
  await page.getByText('would match').waitFor()
  const silences = page.locator('.part', { has: page.locator('#silences') })
  await silences.getByRole('button', { name: 'Silence' }).click()
  const dialog = page.locator('dialog[open]')
  await dialog.getByRole('textbox').fill('it is known')
  await dialog.getByRole('button', { name: 'Silence' }).click()
  await silences.getByText('it is known').waitFor()
  await page.context().close()
})

await step('the time line is kept over a restart, with its outages', async () => {
  const page = await signedIn('#/jobs/spots')
  await world('stop')
  await world('start')
  await page.waitForSelector('[data-link="live"]')
  await page.reload()
  await page.waitForFunction(() => document.querySelectorAll('.charts canvas').length === 3)
  await page.waitForFunction(() => /shop/.test(document.querySelector('.outages')?.textContent ?? ''))
  await accessible(page, 'a time line')
  const year = page.getByRole('button', { name: 'year' })
  await year.click()
  check((await year.getAttribute('aria-pressed')) === 'true', 'a year is not shown')
  check(await page.getByRole('button', { name: 'now' }).isDisabled(), 'it does not follow the time')
  await page.locator('.charts').focus()
  await page.keyboard.press('ArrowLeft')
  await page.waitForFunction(() => !document.querySelector('.ranges button:last-child').disabled)
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
