// Rates, from the counters that the server sends: over the last seconds, so that the picture moves when something happens.
import type { Job } from './model'

const span = 10_000 // ms

interface Reading {
  at: number
  of: Map<string, number>
}

// Meter keeps the readings of the last seconds.
export class Meter {
  private seen: Reading[] = []

  add(at: number, jobs: Job[]): void {
    const of = new Map<string, number>()
    for (const j of jobs) for (const [name, n] of counters(j)) of.set(j.name + '/' + name, n)
    // A server whose clock went back, or another one: what was is of no use.
    if (this.seen.length > 0 && at <= this.seen[this.seen.length - 1]!.at) this.seen = []
    this.seen.push({ at, of })
    while (this.seen.length > 2 && at - this.seen[1]!.at >= span) this.seen.shift()
  }

  // rate is how many a second there were of a counter; until there are two readings the server's own, over a minute.
  rate(job: Job, counter: string): number | undefined {
    const key = job.name + '/' + counter
    const last = this.seen[this.seen.length - 1]
    const first = this.seen.find((r) => r.of.has(key))
    const from = first?.of.get(key)
    const to = last?.of.get(key)
    if (first === undefined || last === undefined || from === undefined || to === undefined || last.at - first.at < 2000) {
      return served(job, counter)
    }
    return Math.max(0, to - from) / ((last.at - first.at) / 1000) // a store that went back has counted back
  }
}

function served(job: Job, counter: string): number | undefined {
  if (counter === 'read') return job.balance.queues?.length || job.taken ? undefined : job.rates?.read
  const [what, name] = counter.split(':')
  return what === 'delivered' || what === 'done' ? job.rates?.delivered[name!] : undefined
}

function* counters(j: Job): Generator<[string, number]> {
  yield ['read', j.balance.read]
  for (const s of j.balance.sinks) yield ['delivered:' + s.sink, s.delivered]
  for (const q of j.balance.queues ?? []) {
    yield ['done:' + q.queue, q.done]
    yield ['put:' + q.queue, q.put]
  }
  if (j.taken !== undefined) {
    yield ['taken', j.taken]
    yield ['over', j.taken - j.backlog.rows]
  }
  for (const [name, n] of Object.entries(j.bytes ?? {})) yield ['bytes:' + name, n]
}
