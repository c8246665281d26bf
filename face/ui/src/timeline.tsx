// The time line of a job: rates, backlog and lag with outages shaded, from an hour to a year.
import { useEffect, useRef, useState } from 'preact/hooks'
import { Part, Shown, useAsked } from './asked'
import { Time } from './head'
import { count, span } from './format'
import { unit } from './flow'
import { now, type World } from './live'
import type { Outage, Point, Timeline } from './chart'
import type { Job } from './model'

const spans: [string, number][] = [['hour', 3600], ['6 h', 6 * 3600], ['day', 86400], ['week', 7 * 86400], ['month', 30 * 86400], ['year', 365 * 86400]]

interface Range {
  span: number // seconds
  to: number | null // in seconds; null follows the time
}

export function TimelineOf({ job, world }: { job: Job; world: World }) {
  const [range, setRange] = useState<Range>({ span: 3600, to: null })
  // What follows the time is asked for anew as it goes on; the address changes with it, in steps, so that it is asked for once each.
  const step = Math.max(10, Math.round(range.span / 360))
  const to = range.to ?? Math.ceil(now(world) / 1000 / step) * step
  const from = Math.round(to - range.span)
  const asked = useAsked<Timeline>(`jobs/${encodeURIComponent(job.name)}/timeline?from=${from}&to=${Math.round(to)}&points=1500`, 60)
  const last = useRef<Timeline | undefined>(undefined)
  if (asked.value) last.current = asked.value // what was drawn stays until the next is there
  const shown = asked.value ?? last.current
  const move = (part: number) => {
    const moved = to + part * range.span
    setRange({ ...range, to: moved >= now(world) / 1000 ? null : moved })
  }
  const keys = (e: KeyboardEvent) => {
    if (e.key === 'ArrowLeft') move(-0.25)
    else if (e.key === 'ArrowRight') move(0.25)
    else if (e.key === '+') setRange({ ...range, span: Math.max(600, range.span / 2) })
    else if (e.key === '-') setRange({ ...range, span: Math.min(366 * 86400, range.span * 2) })
    else return
    e.preventDefault()
  }
  return (
    <Part id="timeline" title="Time line" side={(
      <div class="ranges" role="group" aria-label="Time shown">
        {spans.map(([name, s]) => (
          <button type="button" key={name} class="plain" aria-pressed={range.span === s} onClick={() => setRange({ span: s, to: range.to })}>{name}</button>
        ))}
        <button type="button" class="plain" aria-label="Earlier" onClick={() => move(-0.5)}>◀</button>
        <button type="button" class="plain" aria-label="Later" disabled={range.to === null} onClick={() => move(0.5)}>▶</button>
        <button type="button" class="plain" disabled={range.to === null} onClick={() => setRange({ ...range, to: null })}>now</button>
      </div>
    )}>
      <Shown asked={shown ? { ...asked, value: shown } : asked}>
        {(t) => (
          <>
            <Charts timeline={t} items={unit(job)} world={world} picked={(a, b) => setRange({ span: Math.max(60, b - a), to: b })} keys={keys} />
            <OutageList outages={t.outages} world={world} />
          </>
        )}
      </Shown>
    </Part>
  )
}

function Charts({ timeline, items, world, picked, keys }: {
  timeline: Timeline; items: string; world: World; picked: (from: number, to: number) => void; keys: (e: KeyboardEvent) => void
}) {
  const host = useRef<HTMLDivElement>(null)
  useEffect(() => {
    if (host.current === null || timeline.points.length === 0) return
    let gone = false
    let clear = () => {}
    const into = host.current
    void import('./chart').then(({ draw }) => { // fetched by who looks at it
      if (!gone) clear = draw(into, timeline, items, picked)
    })
    return () => {
      gone = true
      clear()
    }
  }, [timeline, document.documentElement.dataset.theme])
  const none = timeline.points.length === 0
  return (
    <>
      {/* It stays where it is empty: the keys that led here lead back. */}
      <div class="charts" ref={host} tabIndex={0} role="group" onKeyDown={keys}
        aria-label={`Charts of ${timeline.points.length} points of ${span(timeline.step)} each; outages are listed below`} />
      {none && <p class="empty">Nothing was recorded in this time. A point is written every minute while the job's store is open.</p>}
      {!none && <p class="fine">Drag over a chart with a mouse to look closer; arrow keys move, + and − change how much is shown. A point
        spans {span(timeline.step)}.</p>}
      {!none && <Points timeline={timeline} items={items} world={world} />}
    </>
  )
}

// tabled is how many points are written out.
const tabled = 60

// Points are what the charts show in numbers, for who has no pointer to lay on them.
function Points({ timeline: t, items, world }: { timeline: Timeline; items: string; world: World }) {
  const [open, setOpen] = useState(false)
  const shown = t.points.slice(-tabled).reverse()
  const names = [...new Set(shown.flatMap((p) => p.lines.map((l) => l.name)))].sort()
  const perSecond = (n: number, p: Point) => (p.seconds > 0 ? (n / p.seconds < 10 ? (n / p.seconds).toFixed(1) : count(n / p.seconds)) : '–')
  return (
    <details onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary>{t.points.length > tabled ? `The newest ${tabled} points` : 'The points'} as a table</summary>
      {open && (
        <div class="scroll tall" tabIndex={0} role="region" aria-label="Points">
          <table>
            <thead><tr><th>Time</th><th class="n">{items} in a second</th>{names.map((n) => [
              <th key={n} class="n">{n} a second</th>, <th key={n + ' waited'} class="n">waited</th>, <th key={n + ' wait'} class="n">longest wait</th>])}</tr></thead>
            <tbody>
              {shown.map((p) => (
                <tr key={p.at}>
                  <td><Time at={new Date(p.at * 1000).toISOString()} world={world} /></td><td class="n">{perSecond(p.read, p)}</td>
                  {names.map((n) => {
                    const l = p.lines.find((l) => l.name === n)
                    return l === undefined ? [<td key={n} />, <td key={n + ' waited'} />, <td key={n + ' wait'} />]
                      : [<td key={n} class="n">{perSecond(l.done, p)}</td>, <td key={n + ' waited'} class="n">{count(l.rows)}</td>,
                        <td key={n + ' wait'} class="n">{span(l.lag)}</td>]
                  })}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </details>
  )
}

function OutageList({ outages, world }: { outages: Outage[]; world: World }) {
  if (outages.length === 0) return <p class="empty">No outage in this time.</p>
  const shown = outages.slice(-50).reverse()
  return (
    <details class="outages" open={outages.length <= 6}>
      <summary>{outages.length} {outages.length === 1 ? 'outage' : 'outages'} in this time, shaded above</summary>
      <ul>
        {shown.map((o) => (
          <li key={o.what + o.from}>
            <b>{o.what}</b> <Time at={o.from} world={world} /> {o.to ? <>for {span((Date.parse(o.to) - Date.parse(o.from)) / 1000)}</> : <b class="bad">lasts</b>}
            {o.cause && <div class="fine">{o.cause}</div>}
          </li>
        ))}
      </ul>
      {outages.length > shown.length && <p class="fine">and {outages.length - shown.length} earlier ones</p>}
    </details>
  )
}
