import { Time } from './head'
import { jobHref } from './format'
import type { HistoryEvent } from './model'
import type { World } from './live'

interface Group {
  first: HistoryEvent
  last: HistoryEvent
  n: number
}

// grouped puts events of one job and kind that came behind each other into one line: a storm must not hide the rest.
function grouped(events: HistoryEvent[]): Group[] {
  const out: Group[] = []
  for (let i = events.length - 1; i >= 0; i--) {
    const e = events[i]!
    const g = out[out.length - 1]
    if (g !== undefined && g.first.job === e.job && g.first.kind === e.kind && e.kind !== 'gate.closed' && e.kind !== 'gate.opened') {
      g.n++
      g.first = e
    } else out.push({ first: e, last: e, n: 1 })
  }
  return out
}

// Events lists what happened, the newest first.
export function Events({ events, world, jobs }: { events: HistoryEvent[]; world: World; jobs?: boolean }) {
  if (events.length === 0) return <p class="empty">Nothing has happened yet. What changes in the life of a job is told here.</p>
  return (
    <ol class="events">
      {grouped(events).map(({ last: e, n }) => (
        <li key={e.job + e.id} class={e.warn ? 'watch' : ''}>
          <Time at={e.at} world={world} />{' '}
          {jobs && <a href={jobHref(e.job)}>{e.job}</a>} <span class="kind">{e.kind}</span>
          <div class="text">{e.text}{n > 1 && <span class="fine"> and {n - 1} more like it</span>}</div>
        </li>
      ))}
    </ol>
  )
}
