// The balance: what came in, and where every bit of it is.
import type { Job } from './model'
import { role, unit } from './flow'

// Share is a part of what came in.
export interface Share {
  name: string
  n: number
  looks: 'there' | 'waiting' | 'dead' | 'gone' | 'aside'
}

// Account is one law: in = the shares together.
export interface Account {
  title: string // "" where it is the job's only one
  total: number
  unit: string
  verb: string
  shares: Share[]
  note: string
}

export function accounts(j: Job): Account[] {
  if (j.balance.queues?.length) return queues(j)
  if (j.kind === 'crawl') {
    const total = j.taken ?? 0
    return [{ title: '', total, unit: unit(j, total), verb: 'found', note: '',
      shares: keep([['done with', total - j.backlog.rows, 'there'], ['waiting', j.backlog.rows, 'waiting']]) }]
  }
  if (role(j) === 'stream: api') return []
  return rows(j)
}

const keep = (all: [string, number, Share['looks']][]): Share[] =>
  all.filter(([, n]) => n !== 0).map(([name, n, looks]) => ({ name, n, looks }))

function rows(j: Job): Account[] {
  const b = j.balance
  const aside: [string, number, Share['looks']][] = [
    ['duplicate', b.duplicate, 'aside'], ['filtered', b.filtered, 'aside'], ['rejected', b.rejected, 'dead'],
  ]
  const note = missing(j)
  const flow = (s: (typeof b.sinks)[number]): [string, number, Share['looks']][] => [
    ['delivered', s.delivered, 'there'], ['waiting', s.pending, 'waiting'], ['dead letters', s.dead, 'dead'],
    ['discarded', s.discarded, 'aside'], ['expired', s.expired, 'gone'],
  ]
  const [only] = b.sinks
  if (b.sinks.length === 1 && only !== undefined && only.accepted === b.accepted) {
    return [{ title: '', total: b.read, unit: 'rows', verb: 'read', note, shares: keep([...flow(only), ...aside]) }]
  }
  const intake: Account = { title: '', total: b.read, unit: 'rows', verb: 'read', note, shares: keep([['taken in', b.accepted, 'there'], ...aside]) }
  return [intake, ...b.sinks.map((s): Account => ({
    title: s.sink, total: s.accepted, unit: 'rows', verb: 'for', note: '', shares: keep(flow(s)),
  }))]
}

// missing are gaps: what a source should have and did not give.
function missing(j: Job): string {
  const g = j.balance.gap_totals
  const parts: string[] = []
  const n = (x: number) => x.toLocaleString('en-GB')
  if (g.missing > 0) parts.push(`${n(g.missing)} missing at the source, asked for again`)
  if (g.filled > 0) parts.push(`${n(g.filled)} came later`)
  if (g.lost > 0) parts.push(`${n(g.lost)} lost`)
  return parts.join('; ')
}

function queues(j: Job): Account[] {
  const all = j.balance.queues ?? []
  return all.map((q) => ({
    title: all.length > 1 ? q.queue : '', total: q.put, unit: unit(j, q.put), verb: all.length > 1 ? 'in' : 'came', note: '',
    shares: keep([['done', q.done, 'there'], ['under way', q.leased, 'waiting'], ['waiting', q.ready + q.waiting, 'waiting'],
      ['dead letters', q.dead, 'dead'], ['dropped', q.dropped, 'aside']]),
  }))
}
