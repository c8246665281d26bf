// The answers of the API, as far as the console reads them; openapi.json describes them all.

export interface Gate {
  name: string
  open: boolean
  since: string
  kind?: string
  cause?: string
  hint?: string
  next?: string
  tells?: boolean // nothing waits for it, and no person can open it
}

export interface Intake {
  read: number
  accepted: number
  duplicate: number
  filtered: number
  rejected: number
}

export interface SinkBooks {
  sink: string
  accepted: number
  delivered: number
  pending: number
  dead: number
  discarded: number
  expired: number
  pending_bytes: number
  oldest?: string
}

export interface QueueBooks {
  queue: string
  put: number
  ready: number
  leased: number
  waiting: number
  done: number
  dead: number
  dropped: number
}

export interface GapTotals {
  open: number
  missing: number
  filled: number
  absent: number
  lost: number
  settled: number
}

export interface Books extends Intake {
  sinks: SinkBooks[]
  queues?: QueueBooks[]
  gap_totals: GapTotals
  broken?: string[]
}

export interface Quota {
  sink?: string
  used: number
  policy: string
  level: 'fine' | 'soft' | 'hard'
  soft: number
  hard: number
}

export interface HistoryEvent {
  id: number
  at: string
  job: string
  kind: string
  text: string
  warn?: boolean
}

export type State = 'starting' | 'running' | 'paused' | 'restarting' | 'salvaging' | 'offline' | 'stopped'

export interface Job {
  name: string
  kind: string
  role?: 'streamer' | 'ingester' | 'processor' | 'api' // of a part of a stream
  state: State
  since: string
  error?: string
  restarts: number
  gates: Gate[]
  backlog: { rows: number; bytes: number; oldest?: string; seconds: number }
  lag: Record<string, number>
  rates?: { read: number; delivered: Record<string, number> }
  spool: { blocks: number; rows: number; bytes: number }
  balance: Books
  notes?: [string, string][]
  quotas?: Quota[]
  promises?: Record<string, string>
  needs?: string[] // the gates of its last run, while it does not run
  damage?: HistoryEvent
  acknowledged?: { at: string; lost: number; expired?: Record<string, number> }
  taken?: number
  bytes?: Record<string, number>
  replays?: boolean // its rows can be delivered again
  progress?: { what: string; percent: number; left: number }
}

export interface Work {
  job: string
  what: string
  done: number
  total: number
  left: number
}

export interface Process {
  place: { dir: string; explicit: boolean; default?: string; why?: string }
  running: boolean
  pid?: number
  since?: string
  version: string
  tour?: boolean // outages can be switched on
  notices?: string[]
  work?: Work[]
  dead_letters: Record<string, number>
  stayed?: Record<string, { file: string; reason: string }[]>
}

export interface Machine {
  disk_free: number
  disk_total: number
  disk_soft: number
  disk_hard: number
  disk_short: boolean
  memory: number
}

export interface Finding {
  jobs: string[] // none: the whole data directory
  text: string
  cause?: string
}

// Verdict says whether anything is lost, down or late, in two sentences and one by one.
export interface Verdict {
  loss: string
  flow: string
  lost: Finding[]
  down: Finding[]
  late: Finding[]
  attention: Finding[] // what waits for a person
  paused: string[] // jobs
}

// Overview is what the server sends: at first everything, then what has changed.
export interface Overview {
  at: string
  names: string[]
  process?: Process
  machine?: Machine
  verdict?: Verdict
  jobs: Record<string, Job>
  events?: HistoryEvent[]
}

export interface Failure {
  error: string
  hint?: string
  kind?: string
}

export interface Session {
  token: boolean
  orders: boolean
}

export interface Gap {
  source: string
  from: number
  to: number
  missing: number
  filled: number
  absent: number
  cause: string
  state: string
  note?: string
  found: string
  looks: number
  next?: string
}

export interface Letter {
  id: number
  at: string
  stage: string
  from: string
  key?: string
  reason: string
  raw?: string
  values?: unknown
  columns?: { name: string; type: string; key?: boolean; null?: boolean }[]
}

export interface Checkpoint {
  job: string
  name: string
  created: string
  pinned: boolean
  bytes: number
  held: number // that nothing else holds
  error?: string
  verified?: string
  facts?: Record<string, number> // what the job had then
}

export interface SinkSample {
  sink: string
  delivered: number
  lag: number
  rows: number
  bytes: number
}

export interface Sample {
  at: number
  read: number
  sinks: SinkSample[]
}

// Host is what a crawl has of a host.
export interface Host {
  host: string
  queued: number
  waiting: number
  done: number
  failed: number
  left: number
  bytes: number
  due?: string // when it may be asked again
  held: boolean
  exhausted: boolean
}
