// What a person does with the console.
import {
  CONSOLE, DIR, HOSTILE, READ_TOKEN, TOKEN, accessible, check, complaints, end, fits, foreign, gate, harmless, legible, open, ordered, part, signedIn,
  step, text, told, world,
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
    await legible(page, `${what}, ${width} wide`)
  }
}

await step('every page can be used by everybody, on a phone too', async () => {
  const page = await signedIn()
  for (const job of jobs) await page.waitForSelector(`[data-job="${job}"]`)
  await accessible(page, 'the overview')
  await fitsEverywhere(page, 'the overview')
  await harmless(page, 'the overview')
  await page.setViewportSize({ width: 390, height: 844 })
  const asks = await page.locator('#attention').evaluate((e) => e.getBoundingClientRect().top + scrollY)
  check(asks < 844, `what waits for a person is ${Math.round(asks)} pixels down on a phone`)
  for (const job of jobs) {
    await seen(page, job)
    if (job === 'spots') await part(page, 'gaps').locator('td').nth(6).waitFor()
    await accessible(page, job)
    await fitsEverywhere(page, job)
    await harmless(page, job)
  }
  await page.context().close()
})

await step('the dark theme has contrast too', async () => { // all else is as in the light
  const page = await signedIn('', { colorScheme: 'dark' })
  await accessible(page, 'the overview', ['color-contrast'])
  for (const job of ['spots', 'store', 'pages', 'watch', 'frames']) {
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
  const way = page.locator('[data-job="send"] .out .way') // what a streamer has for the broker
  check(/rows\/s/.test(await way.locator('.rate').innerText()), 'the arrow to the broker has no rate')
  check(/wait/.test(await way.locator('.waiting').innerText()), 'the arrow to the broker does not say what waits')
  const shares = await page.locator('.books > li', { hasText: 'send' }).locator('.shares').first().innerText()
  check(!shares.includes('taken in') && /delivered|waiting/.test(shares), `where the rows of the streamer are: ${shares}`)
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
  await world('slow')
  await page.waitForFunction(() => /[2-9] queued/.test(document.querySelector('[data-job="watch"] [data-place="actions"]')?.textContent ?? ''))
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
  await dialog.waitFor({ state: 'detached' })
  await page.getByRole('button', { name: 'Pause' }).click()
  const order = async (what) => {
    const r = await page.request.post(`${CONSOLE}/api/v1/jobs/serve/${what}`, { headers: { Authorization: 'Bearer ' + TOKEN } })
    check(r.ok(), `${what}: ${r.status()} ${await r.text()}`)
  }
  await order('pause') // somebody else does
  await page.waitForSelector('.tag:has-text("paused")')
  check(/^Pause serve/.test(await dialog.innerText()), 'an open dialog became another one: ' + await dialog.innerText())
  await dialog.getByRole('button', { name: 'Pause' }).click()
  await dialog.waitFor({ state: 'detached' })
  await page.getByRole('button', { name: 'Resume' }).waitFor()
  await order('resume')
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

await step('a paused job shows where things come from and go to, and where they are', async () => {
  const page = await signedIn()
  const paused = ['send', 'pages', 'frames', 'spots', 'watch', 'store']
  const order = (job, what) => page.request.post(`${CONSOLE}/api/v1/jobs/${job}/${what}`, { headers: { Authorization: 'Bearer ' + TOKEN } })
  const drawn = (job) => page.locator(`[data-job="${job}"] [data-place]:not(.need)`).evaluateAll((all) => all.map((p) => p.dataset.place).join(', '))
  for (const job of paused) {
    await page.waitForSelector(`[data-job="${job}"] [data-gate]`)
    const before = await drawn(job)
    await order(job, 'pause')
    await page.waitForSelector(`[data-job="${job}"] .tag:has-text("paused")`)
    check((await drawn(job)) === before, `${job} is drawn as ${await drawn(job)}, before the pause as ${before}`)
  }
  const books = await page.locator('.books > li', { hasText: 'send' }).locator('.shares').first().innerText()
  check(/delivered|waiting/.test(books), `where the rows of the streamer are: ${books}`)
  await seen(page, 'serve')
  check((await page.locator('.hero').count()) === 0, 'there is a box for the balance of a job that has none')
  for (const job of paused) await order(job, 'resume')
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

const letters = (page, n) => page.waitForFunction((n) => document.querySelector('#dead').textContent === 'Dead letters: ' + n, n)

await step('an item that is no row is edited: it becomes one, for every sink', async () => {
  const page = await signedIn('#/jobs/hostile')
  await letters(page, 2)
  const box = page.locator('.letters > li', { hasNotText: 'picky' })
  await box.locator('summary').click()
  await page.waitForFunction((hostile) => document.querySelector('.letters pre')?.textContent.includes(hostile), HOSTILE)
  await harmless(page, 'a dead letter')
  await accessible(page, 'a dead letter')
  await box.getByRole('button', { name: 'Edit and retry' }).click()
  const drafted = await page.locator('dialog[open]').getByLabel('The row').inputValue()
  check(drafted.includes('9007199254740993'), `a number that nobody touched became another one: ${drafted}`)
  await page.keyboard.press('Escape')
  const dialog = await ordered(page, 'Edit and retry', box, { 'The row': 'no JSON' })
  await dialog.locator('[role=alert]').waitFor()
  check((await dialog.locator('.will').innerText()).includes('level: float64'), 'the columns are not told')
  await dialog.getByLabel('The row').fill(JSON.stringify({ id: 'mended ' + HOSTILE, level: 2, big: 5 }))
  await accessible(page, 'the editor of a row')
  await dialog.locator('.buttons').getByRole('button', { name: 'Edit and retry' }).click()
  await letters(page, 1)
  await part(page, 'history').getByText('dead.edited').waitFor()
  await harmless(page, 'an edited row in the history')
  await page.context().close()
})

await step('a row that a sink refused is tried again, and edited: it is delivered once', async () => {
  const page = await signedIn('#/jobs/hostile')
  await letters(page, 1)
  const box = page.locator('.letters > li', { hasText: 'picky' })
  await box.locator('summary').click()
  await box.locator('pre').getByText('unlucky').waitFor()
  await ordered(page, 'Retry', box) // it is refused once more
  const again = page.locator('.letters > li', { hasText: 'picky' })
  await page.waitForTimeout(300)
  await letters(page, 1)
  if (!(await again.locator('details').evaluate((d) => d.open))) await again.locator('summary').click()
  await again.locator('pre').getByText('unlucky').waitFor()
  await again.getByRole('button', { name: 'Edit and retry' }).click()
  check((await page.locator('dialog[open]').getByLabel('id', { exact: true }).count()) === 0, 'the key can be edited')
  await page.keyboard.press('Escape')
  await ordered(page, 'Edit and retry', again, { level: '12' })
  await letters(page, 0)
  for (let i = 0; i < 50 && !(await world('picked')).includes(':12'); i++) await page.waitForTimeout(100)
  const got = (await world('picked')).split('unlucky').length - 1
  check(got === 1, `the edited row came ${got} times`)
  await page.context().close()
})

await step('a dead letter is discarded with a reason', async () => {
  await world('spoil')
  const page = await signedIn('#/jobs/hostile')
  await letters(page, 1)
  await page.locator('.letters summary').first().click()
  await page.getByRole('button', { name: 'Discard' }).click()
  const dialog = page.locator('dialog[open]')
  const sure = dialog.getByRole('button', { name: 'Discard' })
  check(await sure.isDisabled(), 'it can be discarded without a reason')
  await dialog.getByRole('textbox').fill('seen in a test')
  // The list is as if somebody else had discarded it: the dialog stays, with what was typed.
  await page.route(/[/]dead[?]/, (r) => r.fulfill({ json: { dead: [] } }))
  await page.waitForTimeout(4000)
  check((await dialog.getByRole('textbox').inputValue()) === 'seen in a test', 'a dialog went away under the hand')
  await page.unroute(/[/]dead[?]/)
  await sure.click()
  await letters(page, 0)
  await page.context().close()
})

await step('a gate is opened by hand, where the other side asked for an hour', async () => {
  await world('shop/busy')
  await world('publish')
  const page = await signedIn('#/jobs/spots')
  await page.locator('.reason').getByText('shop').waitFor()
  await world('shop/free')
  const dialog = await ordered(page, 'Open by hand', page.locator('.reason'), { Reason: 'they said that it is up ' + HOSTILE })
  await dialog.waitFor({ state: 'detached' })
  await page.waitForSelector('[data-place="shop"] [data-gate="open"]')
  const history = part(page, 'history')
  await history.getByText('gate.forced').first().waitFor()
  check((await history.innerText()).includes('they said that it is up ' + HOSTILE), 'the history does not say why')
  await harmless(page, 'a reason that is markup')
  await page.context().close()
})

await step('rows are delivered again, which changes nothing', async () => {
  const page = await signedIn('#/jobs/hostile')
  await ordered(page, 'Replay', page, { Sink: 'local' })
  await told(page, /Delivered again: [0-9,]+ rows? in [0-9]+ block/)
  await ordered(page, 'Backfill')
  await told(page, /gaps are asked for now/)
  await seen(page, 'store') // rows without a key
  check((await page.locator('.actions').getByRole('button', { name: 'Replay' }).count()) === 0, 'it is offered where it is refused')
  const refused = await page.request.post(CONSOLE + '/api/v1/jobs/store/spool/replay', { headers: { Authorization: 'Bearer ' + TOKEN },
    data: { sink: 'database' } })
  check(refused.status() === 409, `rows without a key are replayed: ${refused.status()}`)
  await page.context().close()
})

await step('a checkpoint is verified, restored into another place, and gone back to', async () => {
  const page = await signedIn('#/jobs/serve')
  const made = part(page, 'checkpoints')
  await made.getByText('by-hand', { exact: true }).waitFor()
  await made.getByText('not verified since').waitFor()
  await ordered(page, 'Verify', made)
  await told(page, 'Everything is whole.')
  await made.getByText('found whole').waitFor()
  await ordered(page, 'Restore into…', made, { 'Data directory': DIR + '/elsewhere' })
  await told(page, 'Here nothing changed')
  const dialog = await ordered(page, 'Restore into…', made, { 'Data directory': DIR + '/elsewhere' })
  await dialog.locator('[role=alert]').waitFor() // it is there already
  await page.keyboard.press('Escape')
  await ordered(page, 'Restore', made)
  await dialog.waitFor({ state: 'detached' })
  await page.waitForSelector('.tag:has-text("running")')
  await page.context().close()
})

await step('a crawl shows its hosts, why a URL is where it is, and begins others', async () => {
  const page = await signedIn('#/jobs/pages')
  await part(page, 'hosts').getByText('127.0.0.1').first().waitFor()
  await part(page, 'answers').getByText('404').first().waitFor()
  await page.locator('#whyurl').fill(new URL(await world('site')).origin + '/two')
  await page.keyboard.press('Enter')
  await part(page, 'why').getByText('wanted').first().waitFor()
  await ordered(page, 'Checkpoint', page, { 'Name (empty: the time)': 'half-way' })
  const fresh = part(page, 'newcrawl')
  await fresh.getByRole('button', { name: 'From a checkpoint' }).waitFor()
  await ordered(page, 'From a checkpoint', fresh, { 'Name of the new crawl': 'again', Checkpoint: 'half-way' })
  await told(page, /it runs/)
  await ordered(page, 'From a recover journal', fresh, { 'Name of the new crawl': 'told', Journals: DIR + '/data/logs/pages/frontier.recover.gz.half-way' })
  await told(page, /the journals told/)
  await accessible(page, 'a crawl')
  await harmless(page, 'a crawl')
  for (const job of ['again', 'told']) {
    await seen(page, job)
    await page.waitForSelector('.tag:has-text("running")')
    await page.waitForFunction(() => parseInt(document.querySelector('.figure').textContent, 10) > 2)
  }
  await page.context().close()
})

await step('older windows are paged to, by time too', async () => {
  const page = await signedIn('', { timezoneId: 'UTC' })
  // The day has fewer windows than a page: the server is asked for smaller ones.
  await page.route(/\/windows\?/, (r) => r.continue({ url: r.request().url().replace('limit=96', 'limit=5') }))
  await page.goto(`${CONSOLE}/#/jobs/store`)
  const first = () => page.locator('.grid li').first().getAttribute('title') // begins with its time
  await page.waitForFunction(() => document.querySelectorAll('.grid li').length === 5)
  const newest = await first()
  await page.getByRole('button', { name: 'Older' }).click()
  await page.waitForFunction((newest) => document.querySelector('.grid li')?.title !== newest, newest)
  const older = await first()
  check(older < newest, `${older} is not older than ${newest}`)
  await page.getByRole('button', { name: 'Newer' }).click()
  await page.waitForFunction((older) => document.querySelector('.grid li')?.title > older, older)
  await page.getByLabel('before').fill('2023-09-19T03:00')
  await page.waitForFunction(() => document.querySelector('.grid li')?.title.startsWith('2023-09-19 02:00:00 UTC'))
  check((await page.locator('.grid li').count()) === 3, 'not the three windows before three')
  await accessible(page, 'the windows of a time')
  await page.context().close()
})

await step('the reports of a stream are a strip of heat, a chart and a table', async () => {
  const page = await signedIn('#/jobs/report')
  const reports = part(page, 'reports')
  await reports.locator('canvas').nth(1).waitFor() // the strip, and the chart
  await reports.getByLabel('state', { exact: true }).selectOption('Utah')
  await reports.getByText('The newest window as a table').click()
  await reports.locator('td', { hasText: 'Utah' }).first().waitFor()
  const shownTime = () => reports.locator('.heat time').getAttribute('datetime')
  const newest = await shownTime()
  await reports.locator('.heat canvas').focus()
  await page.keyboard.press('ArrowLeft')
  await page.waitForFunction((newest) => document.querySelector('.heat time').dateTime < newest, newest)
  await page.keyboard.press('ArrowRight')
  check((await shownTime()) >= newest, 'keys do not lead back to the newest window')
  const colours = await reports.locator('.heat canvas').evaluate((c) => {
    const g = c.getContext('2d').getImageData(0, 0, c.width, c.height).data
    const all = new Set()
    for (let i = 0; i < g.length; i += 4) all.add(g[i] + ',' + g[i + 1] + ',' + g[i + 2])
    return all.size
  })
  check(colours > 3, `the strip has ${colours} colours`)
  await reports.locator('td', { hasText: HOSTILE }).first().waitFor()
  await reports.locator('.heatnames').getByText(HOSTILE).waitFor()
  await harmless(page, 'a group that is markup')
  await accessible(page, 'the reports')
  await page.emulateMedia({ colorScheme: 'dark' })
  await accessible(page, 'the reports in the dark', ['color-contrast'])
  await fitsEverywhere(page, 'the reports')
  await page.context().close()
})

await step('files have names from outside, and a history', async () => {
  const page = await signedIn('#/jobs/frames')
  await page.getByText(HOSTILE).first().click()
  await page.waitForFunction(() => [...document.querySelectorAll('.steps b')].some((b) => b.textContent === 'shipped'))
  await harmless(page, 'a file name')
  await page.getByText('and in the ledger').first().waitFor()
  await page.getByRole('searchbox').fill('two')
  await page.waitForFunction(() => document.querySelectorAll('.letters > li').length === 1)
  await page.getByLabel('State').selectOption('dead')
  await page.getByText('No file here fits that.').waitFor()
  await page.context().close()
})

await step('a rule acts, says why, and is silenced', async () => {
  const page = await signedIn('#/jobs/watch')
  await page.getByText('trouble', { exact: true }).waitFor()
  await world('log')
  const acts = part(page, 'acts')
  await acts.locator('li', { hasText: '/bin/echo here' }).first().locator('summary').click()
  await page.waitForFunction((hostile) => document.querySelector('details[open] pre')?.textContent.includes(hostile), HOSTILE)
  await harmless(page, 'a line of a log')
  await accessible(page, 'an action')
  await page.locator('#line').fill('trouble there')
  await page.keyboard.press('Enter')
  await page.getByText('would match').waitFor()
  const silences = part(page, 'silences')
  await silences.getByRole('button', { name: 'Silence' }).click()
  const dialog = page.locator('dialog[open]')
  await dialog.getByRole('textbox').fill('it is known')
  await page.clock.install({ time: Date.now() - 7_200_000 }) // a phone whose clock is two hours behind
  await dialog.getByRole('button', { name: 'Silence' }).click()
  await told(page, /^Silence \d+, of all rules, holds for 1 hour\./)
  await silences.getByText('it is known').waitFor()
  const lasts = Date.parse(await silences.locator('time').getAttribute('datetime')) - Date.now()
  check(Math.abs(lasts - 3_600_000) < 60_000, `an hour of silence is ${Math.round(lasts / 60_000)} minutes`)
  await ordered(page, 'End', silences)
  await silences.getByText('every rule may act').waitFor()
  await page.context().close()
})

await step('rules are replayed on what was, and nothing is done', async () => {
  const page = await signedIn('#/jobs/watch')
  const replay = part(page, 'replay')
  await replay.getByRole('button', { name: 'Replay' }).click()
  await replay.getByText('/bin/echo').first().waitFor()
  await harmless(page, 'a replayed line')
  await accessible(page, 'a replay')
  await page.context().close()
})

await step('an action of which nobody knows is repeated, or given up', async () => {
  const page = await signedIn('#/jobs/watch')
  const acts = part(page, 'acts')
  const unknown = acts.locator('li', { has: page.locator('summary .bad', { hasText: 'unknown' }) })
  await unknown.nth(1).waitFor() // both were under way when all was killed
  await world('fast')
  for (const button of ['Repeat', 'Abandon']) {
    const one = unknown.first()
    await one.locator('summary').click()
    await ordered(page, button, one)
    await page.locator('dialog[open]').waitFor({ state: 'detached' }).catch(() => page.keyboard.press('Escape'))
    await page.waitForFunction((left) => document.querySelectorAll('#acts ~ * summary .bad, .letters summary .bad').length <= left, button === 'Repeat' ? 1 : 0)
  }
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
  await page.getByText(/points as a table/).click()
  await part(page, 'timeline').locator('tbody tr').first().waitFor()
  await accessible(page, 'a time line')
  await fitsEverywhere(page, 'a time line')
  const year = page.getByRole('button', { name: 'year' })
  await year.click()
  check((await year.getAttribute('aria-pressed')) === 'true', 'a year is not shown')
  check(await page.getByRole('button', { name: 'now', exact: true }).isDisabled(), 'it does not follow the time')
  await page.locator('.charts').focus()
  await page.keyboard.press('ArrowLeft')
  await page.waitForFunction(() => !document.querySelector('.ranges button:last-child').disabled)
  await page.getByRole('button', { name: 'now', exact: true }).click()
  await page.getByRole('button', { name: 'hour' }).click()
  await page.locator('.charts').focus()
  for (let i = 0; i < 8; i++) await page.keyboard.press('ArrowLeft') // where nothing was recorded yet
  await page.getByText('Nothing was recorded in this time').waitFor()
  for (let i = 0; i < 12; i++) await page.keyboard.press('ArrowRight') // and back
  await page.waitForFunction(() => document.querySelectorAll('.charts canvas').length === 3 && document.querySelector('.ranges button:last-child').disabled)
  await page.context().close()
})

await step('times are in the viewer\'s zone, and in UTC where one points', async () => {
  const page = await signedIn('', { timezoneId: 'Australia/Adelaide' })
  const time = page.locator('.events time').first()
  const at = new Date(await time.getAttribute('datetime'))
  const shown = await time.innerText()
  const there = new Intl.DateTimeFormat('en-GB', { timeZone: 'Australia/Adelaide', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }).format(at)
  check(shown.includes(there), `${shown} is not ${there} of ${at.toISOString()}`)
  check((await time.getAttribute('title')).includes(at.toISOString().slice(0, 19).replace('T', ' ') + ' UTC'), 'no UTC')
  await page.locator('footer').getByText('Australia/Adelaide').waitFor()
  await seen(page, 'store') // whose windows begin on the hour, of UTC
  const window = part(page, 'windows').locator('li').first()
  check(/:30$/.test(await window.locator('b').innerText()), `a window begins at ${await window.locator('b').innerText()}`)
  check(/:00:00 UTC to .*:00:00 UTC$/.test(await window.getAttribute('title')), 'a window has no UTC')
  for (const at of [page.locator('.heat time'), page.locator('summary time')]) {
    check(/:30:00$/.test(await at.innerText()), `a report is of ${await at.innerText()}`)
    check(/:00:00 UTC$/.test(await at.getAttribute('title')), 'a report has no UTC')
  }
  await part(page, 'reports').locator('.charts .u-over').hover()
  const legend = part(page, 'reports').locator('.u-legend .u-value').first()
  check(/:30:00$/.test(await legend.innerText()), `a point of the chart is of ${await legend.innerText()}`)
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

await step('the tour breaks things, and they heal', async () => {
  const [at, secret] = (await world('tour')).split(' ')
  const page = await open('/#token=' + encodeURIComponent(secret), {}, at)
  await page.waitForSelector('.hero')
  const tour = page.locator('.tour')
  const turn = async (outage, end) => {
    await tour.getByRole('button', { name: outage }).click()
    await tour.getByRole('button', { name: end ? 'End it' : 'Begin it' }).click()
    await tour.getByRole('button', { name: end ? 'Begin it' : 'End it' }).waitFor()
  }
  await tour.getByRole('button', { name: 'The feed is gone' }).waitFor()
  await accessible(page, 'the tour')
  await fitsEverywhere(page, 'the tour')
  await gate(page, 'spots', 'wsprnet', 'open')
  await gate(page, 'spots', 'local', 'open')
  await gate(page, 'frames', 'local', 'open')
  const outages = [['The archive is unmounted', 'frames', 'local'], ['The broker is away', 'weather-streamer', 'broker'],
    ['The databases are locked', 'spots', 'local'], ['The feed is gone', 'spots', 'wsprnet']]
  for (const [outage, job, place] of outages) {
    await turn(outage, false)
    if (place === 'local') await gate(page, job, place, 'closed')
  }
  for (const [, job, place] of outages) await gate(page, job, place, 'closed')
  await page.waitForFunction(() => document.querySelector('.tour [data-on]').textContent.split(';').length === 4)
  for (const [outage] of outages) await turn(outage, true)
  for (const [, job, place] of outages) await gate(page, job, place, 'open')
  await turn('The disk is full', false)
  await page.getByText('short, sources wait').waitFor()
  await turn('The disk is full', true)
  await page.waitForFunction(() => !document.body.textContent.includes('short, sources wait'))
  const pid = () => page.locator('#machine ~ dl dd').nth(2).innerText()
  const began = await pid()
  await page.evaluate(() => { window.same = true })
  await tour.getByRole('button', { name: 'Holdfast crashes' }).click()
  await ordered(page, 'Crash it', tour)
  await page.waitForSelector('[data-link="lost"]')
  await page.waitForSelector('[data-link="live"]')
  await page.waitForFunction((began) => document.querySelectorAll('#machine ~ dl dd')[2]?.innerText !== began, began)
  check(await page.evaluate(() => window.same), 'the page was loaded anew')
  check(/Nothing is lost/.test(await text(page, '[data-verdict="lost"]')), 'something is lost: ' + await text(page, '.hero'))
  check((await page.request.get(at + '/api/v1/audit', { headers: { Authorization: 'Bearer ' + secret } }).then((r) => r.json())).balanced, 'the books do not balance')
  await page.context().close()
  await world('tour/end')
})

await step('nobody else was asked, and nothing was forbidden', () => {
  check(foreign.length === 0, 'asked: ' + foreign.join(', '))
  check(complaints.length === 0, complaints.join('\n'))
})

await end()
