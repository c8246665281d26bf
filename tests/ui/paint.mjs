// How soon the overview is there, for who has never been here, and that much at once does not make it stutter.
import { CONSOLE, TOKEN, browser, check, end, signedIn, step, world } from './browser.mjs'

await step('the overview is there within a second', async () => {
  const times = []
  for (let i = 0; i < 3 && !(times.at(-1) < 1000); i++) { // another try where the machine is busy
    const context = await browser.newContext()
    const page = await context.newPage()
    await page.addInitScript(() => {
      new MutationObserver((_, observer) => {
        if (document.querySelector('.hero') === null) return
        observer.disconnect()
        requestAnimationFrame(() => setTimeout(() => { window.painted = performance.now() })) // behind the frame
      }).observe(document, { childList: true, subtree: true })
    })
    await page.goto(CONSOLE + '/#token=' + encodeURIComponent(TOKEN))
    await page.waitForFunction(() => window.painted !== undefined)
    times.push(await page.evaluate(() => window.painted))
    await context.close()
  }
  console.log(`the overview was there after ${times.map(Math.round).join(', ')} ms`)
  check(times.at(-1) < 1000, `it took ${times} ms`)
})

// stutter is what a page does not answer in, within some seconds of a thousand events each: the longest such time, and all of it, in ms.
const stutter = async (path) => {
  const page = await signedIn(path)
  await page.waitForTimeout(1500) // it is drawn
  await (await page.context().newCDPSession(page)).send('Emulation.setCPUThrottlingRate', { rate: Number(process.env.SLOW ?? 4) }) // a phone
  await page.evaluate(() => {
    window.long = [] // what takes more than 50 ms
    new PerformanceObserver((list) => window.long.push(...list.getEntries().map((e) => e.duration))).observe({ type: 'longtask' })
  })
  for (let i = 0; i < 4; i++) {
    await Promise.all([world('storm'), world('publish'), page.waitForTimeout(1000)])
  }
  const long = await page.evaluate(() => window.long)
  await page.context().close()
  return { worst: Math.max(0, ...long), all: long.reduce((a, b) => a + b, 0) }
}

await step('a thousand events a second do not make it stutter', async () => {
  for (const path of ['', '#/jobs/watch']) {
    let s = { worst: Infinity, all: Infinity }
    for (let i = 0; i < 3 && !(s.worst < 150 && s.all < 400); i++) { // another try where the machine is busy
      const tried = await stutter(path)
      if (tried.worst < s.worst) s = tried
    }
    console.log(`${path || 'the overview'} did not answer for ${Math.round(s.worst)} ms at most, ${Math.round(s.all)} ms of 4 s in all`)
    check(s.worst < 150 && s.all < 400, `${path || 'the overview'} did not answer for ${s.worst} ms, and ${s.all} ms in all`)
  }
  const rules = await fetch(CONSOLE + '/api/v1/jobs/watch/supervise/rules', { headers: { Authorization: 'Bearer ' + TOKEN } }).then((r) => r.json())
  const matched = rules.rules.find((r) => r.name === 'trouble').matched
  check(matched >= 6000, `the rules saw ${matched} lines: that was no storm`)
})

await end()
