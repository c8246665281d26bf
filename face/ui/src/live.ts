// What the server tells of the jobs, followed for as long as the page is open. A connection that is lost is shown and made again.
import { Refused, ask, headers, refusal } from './api'
import { Meter } from './meter'
import type { HistoryEvent, Job, Machine, Overview, Process, Session, Verdict } from './model'

export type Link =
  | { is: 'connecting' }
  | { is: 'live' }
  | { is: 'lost'; since: number; why: string }
  | { is: 'denied'; wrong: boolean } // a token is needed; the one that was given is wrong

export interface World {
  link: Link
  session: Session
  at: number // of the server, in ms, when it told last; 0 if it never did
  heard: number // the same moment by the clock of this page
  process?: Process
  machine?: Machine
  verdict?: Verdict
  jobs: Job[]
  events: HistoryEvent[]
  meter: Meter
}

const quietFor = 6000 // ms; the server says something every second
const pauses = [500, 1000, 2000, 4000] // ms before another attempt

// now is the time of the server in ms: this machine's clock may be wrong.
export const now = (w: World): number => (w.at === 0 ? Date.now() : w.at + (performance.now() - w.heard))

export class Live {
  world: World = {
    link: { is: 'connecting' }, session: { token: false, orders: false }, at: 0, heard: 0, jobs: [], events: [], meter: new Meter(),
  }
  private byName: Record<string, Job> = {}
  private stop = new AbortController()
  private wake: () => void = () => {}

  constructor(private changed: (w: World) => void) {}

  private set(part: Partial<World>): void {
    this.world = { ...this.world, ...part }
    this.changed(this.world)
  }

  // run follows the server until the page is closed, or end is called.
  async run(): Promise<void> {
    const { signal } = this.stop
    addEventListener('online', () => this.wake(), { signal })
    document.addEventListener('visibilitychange', () => this.wake(), { signal })
    for (let tries = 0; !signal.aborted; tries++) {
      const began = performance.now()
      try {
        await this.follow(signal)
      } catch (err) {
        if (signal.aborted) return
        if (err instanceof Refused && err.status === 401) return this.set({ link: { is: 'denied', wrong: headers({}).Authorization !== undefined } })
        this.lost(err instanceof Error ? err.message : String(err))
      }
      if (performance.now() - began > 5000) tries = 0
      await this.pause(pauses[Math.min(tries, pauses.length - 1)]!)
    }
  }

  end(): void {
    this.stop.abort()
    this.wake()
  }

  private lost(why: string): void {
    const was = this.world.link
    this.set({ link: { is: 'lost', since: was.is === 'lost' ? was.since : performance.now(), why } })
  }

  private pause(ms: number): Promise<void> {
    return new Promise((done) => {
      const timer = setTimeout(done, ms)
      this.wake = () => {
        clearTimeout(timer)
        done()
      }
    })
  }

  // follow reads one stream to its end, which is always an error.
  private async follow(stop: AbortSignal): Promise<never> {
    const quiet = new AbortController()
    const signal = AbortSignal.any([stop, quiet.signal])
    let timer = 0
    const patience = () => {
      clearTimeout(timer)
      timer = window.setTimeout(() => quiet.abort(new Error('the server has said nothing for some time')), quietFor)
    }
    patience()
    try {
      const [session, r] = await Promise.all([
        ask<Session>('session', signal),
        fetch('api/v1/overview', { headers: headers({ Accept: 'text/event-stream' }), signal, cache: 'no-store', credentials: 'omit' }),
      ])
      if (!r.ok || r.body === null) throw await refusal(r)
      this.byName = {}
      this.set({ session })
      await messages(r.body, (name, data) => {
        patience()
        try {
          this.take(name, data)
        } catch (err) {
          throw new Error(`what the server says is not understood: reload the page, it may be of another version; ${String(err)}`)
        }
      })
    } catch (err) {
      throw quiet.signal.aborted ? quiet.signal.reason : err
    } finally {
      clearTimeout(timer)
      quiet.abort()
    }
    throw new Error('the server ended the connection')
  }

  private take(name: string, data: string): void {
    if (name === 'trouble') return this.lost((JSON.parse(data) as { error: string }).error)
    if (name !== 'overview') return
    const o = JSON.parse(data) as Overview
    const at = Date.parse(o.at)
    const known: Record<string, Job> = {}
    for (const n of o.names) {
      const job = o.jobs[n] ?? this.byName[n]
      if (job) known[n] = job
    }
    this.byName = known
    const jobs = Object.values(known)
    this.world.meter.add(at, jobs)
    this.set({
      link: { is: 'live' }, at, heard: performance.now(), jobs,
      ...(o.process && { process: o.process }), ...(o.machine && { machine: o.machine }), ...(o.events && { events: o.events }),
      ...(o.verdict && { verdict: o.verdict }),
    })
  }
}

// messages reads server-sent events.
async function messages(body: ReadableStream<Uint8Array>, each: (name: string, data: string) => void): Promise<void> {
  const reader = body.getReader()
  const text = new TextDecoder()
  let rest = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    rest += text.decode(value, { stream: true })
    const parts = rest.split('\n\n')
    rest = parts.pop()!
    for (const part of parts) {
      let name = 'message'
      let data = ''
      for (const line of part.split('\n')) {
        if (line.startsWith('event: ')) name = line.slice(7)
        else if (line.startsWith('data: ')) data += line.slice(6)
      }
      if (data !== '') each(name, data)
    }
  }
}
