// How soon the overview is there, for who has never been here.
import { CONSOLE, TOKEN, browser, check, end, step } from './browser.mjs'

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

await end()
