// Is anything lost, down or late? The answers of one look, the worst first.
import { count, plural, span } from './format'
import type { Gate, Job } from './model'
import { now, type World } from './live'

export type Level = 'good' | 'watch' | 'bad'

export interface Finding {
  level: Level
  jobs: string[] // none: the whole data directory
  text: string
}

export interface Verdict {
  lost: Finding[]
  down: Finding[]
  late: Finding[]
  attention: Finding[] // what waits for a person
}

// lateAfter is how many seconds the oldest row may wait before anybody is told.
const lateAfter = 60

export const closed = (j: Job): Gate[] => j.gates.filter((g) => !g.open)

export function since(w: World, at: string): string {
  return span((now(w) - Date.parse(at)) / 1000)
}

export function judge(w: World): Verdict {
  const v: Verdict = { lost: [], down: [], late: [], attention: [] }
  for (const j of w.jobs) {
    lost(v, j)
    down(v, j, w)
    if (j.backlog.seconds > lateAfter) {
      v.late.push({ level: 'watch', jobs: [j.name], text: `${count(j.backlog.rows)} wait, the oldest for ${span(j.backlog.seconds)}` })
    }
    const dead = w.process?.dead_letters[j.name] ?? 0
    if (dead > 0) v.attention.push({ level: 'watch', jobs: [j.name], text: `${count(dead)} dead ${plural(dead, 'letter')} wait for a decision` })
    if (j.state === 'paused') v.attention.push({ level: 'watch', jobs: [j.name], text: `paused for ${since(w, j.since)}` })
    for (const q of j.quotas ?? []) {
      if (q.level !== 'fine') v.attention.push({ level: 'watch', jobs: [j.name], text: `at the ${q.level} mark of its limit on the disk` })
    }
  }
  for (const n of w.process?.notices ?? []) v.attention.push({ level: 'watch', jobs: [], text: n })
  return { lost: together(v.lost), down: together(v.down), late: together(v.late), attention: together(v.attention) }
}

// together makes one finding of what is the same in several jobs: one broker that is away is one thing.
function together(all: Finding[]): Finding[] {
  const out: Finding[] = []
  for (const f of all) {
    const same = out.find((o) => o.text === f.text)
    if (same) same.jobs.push(...f.jobs)
    else out.push(f)
  }
  return out
}

// worst orders jobs: those in trouble first, the rest as they come.
export function worst(jobs: Job[]): Job[] {
  const rank = (j: Job) => (closed(j).length > 0 || j.error || !['running', 'stopped'].includes(j.state) ? 0 : 1)
  return [...jobs].sort((a, b) => rank(a) - rank(b))
}

function lost(v: Verdict, j: Job): void {
  const bad = (text: string) => v.lost.push({ level: 'bad', jobs: [j.name], text })
  for (const b of j.balance.broken ?? []) bad('the books do not balance: ' + b)
  const n = j.balance.gap_totals.lost
  if (n > 0) bad(`${count(n)} ${plural(n, 'row')} lost to damage, a limit or overload`)
  for (const s of j.balance.sinks) if (s.expired > 0) bad(`${count(s.expired)} ${plural(s.expired, 'row')} expired before ${s.sink} got them`)
  if (j.damage) bad('damage was met: ' + j.damage.text)
}

function down(v: Verdict, j: Job, w: World): void {
  const bad = (text: string) => v.down.push({ level: 'bad', jobs: [j.name], text })
  if (j.state === 'restarting' || j.state === 'salvaging' || j.state === 'offline') bad(`${j.state} for ${since(w, j.since)}`)
  else if (j.error && j.state === 'starting') bad('does not start: ' + j.error)
  for (const g of closed(j)) bad(`${g.name} is away for ${since(w, g.since)}`)
}
