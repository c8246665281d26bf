// The picture of a job: where things come from, where they are kept, and where they go. It is made of what every job tells: its
// gates, and what it delivers to. A gate that nothing is delivered through stands where things come in.
import { count, plural, size } from './format'
import type { Gate, Job } from './model'
import type { Meter } from './meter'

// Place is a box of the picture.
export interface Place {
  title: string
  what: string // in a word: source, spool, sink
  lines: string[]
  gate?: Gate
}

// Arrow is the way to a place, or from it.
export interface Arrow {
  rate?: number
  unit: string
  bytes?: boolean // the rate is bytes
  waiting?: { rows: number; seconds: number }
}

export interface Flow {
  ins: Place[]
  into: Arrow
  keep: Place
  inside: Gate[] // what the work in between depends on
  outs: { place: Place; arrow: Arrow }[]
}

// inner are gates of what the work itself needs, which nothing comes from or goes to.
const inner = new Set(['disk', 'ledger'])

// unit is what a job counts, for so many of them.
export const unit = (j: Job, n = 2): string =>
  plural(n, j.kind === 'transfer' ? 'file' : j.kind === 'crawl' ? 'URL' : j.kind === 'supervise' ? 'action' : 'row')

// role is the kind of a job, of a part of a stream also which.
export const role = (j: Job): string => (j.role === undefined ? j.kind : `${j.kind}: ${j.role}`)

export function flow(j: Job, m: Meter): Flow {
  const names = new Set([...j.balance.sinks.map((s) => s.sink), ...Object.keys(j.promises ?? {}), ...Object.keys(j.bytes ?? {})])
  const gate = (name: string) => j.gates.find((g) => g.name === name)
  const needs = j.gates.length > 0 ? j.gates.map((g) => g.name) : (j.needs ?? [])
  const ins = needs.filter((name) => !names.has(name) && !inner.has(name)).map((name) => entrance(name, gate(name), j))
  const outs = [...names].map((name) => ({ place: exit(name, gate(name), j), arrow: delivery(name, j, m) }))
  if (outs.length === 0) {
    const address = j.notes?.find(([name]) => name === 'address')
    if (address) outs.push({ place: { title: address[1], what: 'answers at', lines: [] }, arrow: { unit: '' } })
  }
  if (j.kind === 'supervise') outs.push(acts(j, m))
  return { ins, into: intake(j, m), keep: middle(j), inside: j.gates.filter((g) => inner.has(g.name)), outs }
}

// acts is where a supervise job leads to.
function acts(j: Job, m: Meter): Flow['outs'][number] {
  const q = j.balance.queues?.[0]
  const arrow: Arrow = { unit: unit(j) }
  if (q) {
    arrow.rate = m.rate(j, 'done:' + q.queue)
    arrow.waiting = { rows: q.ready + q.leased + q.waiting, seconds: j.backlog.seconds }
  }
  return { place: { title: 'actions', what: 'what is done', lines: noted(j, 'actions') }, arrow }
}

function entrance(name: string, g: Gate | undefined, j: Job): Place {
  const lines: string[] = []
  const last = j.notes?.find(([name]) => name === 'last answer of the source')
  if (last && j.balance.sinks.length > 0) lines.push('last answer ' + last[1])
  return { title: name, what: 'source', lines, ...(g && { gate: g }) }
}

function exit(name: string, g: Gate | undefined, j: Job): Place {
  const lines: string[] = []
  const promise = j.promises?.[name]
  if (promise) lines.push(promise)
  const got = j.bytes?.[name]
  if (got !== undefined) lines.push(size(got) + ' in all')
  const quota = j.quotas?.find((q) => q.sink === name && q.level !== 'fine')
  if (quota) lines.push(`${quota.level} limit: ${size(quota.used)} wait`)
  return { title: name, what: j.kind === 'transfer' ? 'destination' : j.kind === 'crawl' ? 'archive' : 'sink', lines, ...(g && { gate: g }) }
}

function intake(j: Job, m: Meter): Arrow {
  if (j.taken !== undefined) return { rate: m.rate(j, 'taken'), unit: unit(j) }
  const first = j.balance.queues?.[0]
  if (first) return { rate: m.rate(j, 'put:' + first.queue), unit: unit(j) }
  return role(j) === 'stream: api' ? { unit: '' } : { rate: m.rate(j, 'read'), unit: unit(j) }
}

function delivery(name: string, j: Job, m: Meter): Arrow {
  const sink = j.balance.sinks.find((s) => s.sink === name)
  if (sink) return { rate: m.rate(j, 'delivered:' + name), unit: 'rows', waiting: { rows: sink.pending, seconds: j.lag[name] ?? 0 } }
  const queue = j.balance.queues?.find((q) => q.queue === 'ship-' + name)
  if (queue) {
    return { rate: m.rate(j, 'done:' + queue.queue), unit: unit(j),
      waiting: { rows: queue.ready + queue.leased + queue.waiting, seconds: j.backlog.seconds } }
  }
  if (j.bytes?.[name] !== undefined) return { rate: m.rate(j, 'bytes:' + name), unit: '', bytes: true, waiting: { rows: j.backlog.rows, seconds: 0 } }
  return { unit: '' }
}

// middle is what stands between coming and going.
function middle(j: Job): Place {
  const lines: string[] = []
  for (const q of j.balance.queues ?? []) {
    if (!q.queue.startsWith('ship-')) lines.push(`${q.queue}: ${count(q.leased)} at work, ${count(q.ready + q.waiting)} waiting`)
  }
  if (j.spool.blocks > 0) lines.push(`${count(j.spool.rows)} ${plural(j.spool.rows, 'row')} kept`, size(j.spool.bytes))
  switch (role(j)) {
    case 'crawl':
      return { title: 'frontier', what: 'queues of hosts', lines: [`${count(j.backlog.rows)} ${plural(j.backlog.rows, 'URL')} waiting`, ...noted(j, 'hosts', 'host')] }
    case 'transfer':
      return { title: 'workers', what: 'check, pack, claim', lines }
    case 'supervise':
      return { title: 'rules', what: 'decide', lines: noted(j, 'silences', 'silence') }
    case 'stream: streamer':
      return { title: 'windows', what: 'cut, kept, sent again', lines: noted(j, 'windows') }
    case 'stream: api':
      return { title: 'reports', what: 'read and served', lines: [] }
    default:
      return { title: 'spool', what: 'every row, synced', lines: lines.length > 0 ? lines : ['empty'] }
  }
}

// noted is what a job notes under a name; a noun behind it is that of a number.
function noted(j: Job, name: string, noun = ''): string[] {
  const note = j.notes?.find(([n]) => n === name)
  return note ? [note[1] + (noun && ' ' + plural(Number(note[1]), noun))] : []
}
