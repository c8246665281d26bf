// How the frontier of a crawl grew: what was known, what of it was done with, and what waited.
import { Part, Shown, useAsked } from './asked'
import { Plot } from './plot'
import { count, span } from './format'
import { now, type World } from './live'
import type { Timeline } from './chart'
import type { Job } from './model'

const day = 86400

export function Growth({ job, world }: { job: Job; world: World }) {
  const to = Math.ceil(now(world) / 60_000) * 60
  const since = Math.floor(Date.parse(job.since) / 1000)
  // From when it began, as far as that is kept: a crawl runs for hours, or for months.
  const width = [3600, 6 * 3600, day, 7 * day, 31 * day].find((w) => to - since < w) ?? 366 * day
  const asked = useAsked<Timeline>(`jobs/${encodeURIComponent(job.name)}/timeline?from=${to - width}&to=${to}&points=300`, 60)
  return (
    <Part id="growth" title={`Growth of the frontier, the last ${span(width)}`}>
      <Shown asked={asked}>
        {(t) => {
          const drawn = grown(t, job.taken ?? 0)
          return drawn.at.length < 2 ? <p class="empty">A point is written every minute; there will be a line soon.</p>
            : <Plot label={`Frontier: ${count(job.taken ?? 0)} URLs are known now, ${count(job.backlog.rows)} of them wait`} at={drawn.at} text={count} counts
              lines={[{ name: 'known', values: drawn.known }, { name: 'done with', values: drawn.done }, { name: 'waiting', values: drawn.waiting }]} />
        }}
      </Shown>
    </Part>
  )
}

// grown goes back from what is known now: points tell how much came in each, and the most that waited.
export function grown(t: Timeline, known: number): { at: number[]; known: number[]; done: number[]; waiting: number[] } {
  const out = { at: [] as number[], known: [] as number[], done: [] as number[], waiting: [] as number[] }
  for (const p of [...t.points].reverse()) {
    const waiting = Math.min(known, Math.max(0, ...p.lines.map((l) => l.rows)))
    out.at.unshift(p.at)
    out.known.unshift(known)
    out.waiting.unshift(waiting)
    out.done.unshift(known - waiting)
    known = Math.max(0, known - p.read)
  }
  return out
}
