// What stands above all of a job, and how jobs are ordered. Whether anything is lost, down or late is the server's word: model.Verdict.
import { span } from './format'
import type { Gate, Job } from './model'
import { now, type World } from './live'

export const closed = (j: Job): Gate[] => j.gates.filter((g) => !g.open)

export function since(w: World, at: string): string {
  return span((now(w) - Date.parse(at)) / 1000)
}

// worst orders jobs: those in trouble first, the rest as they come.
export function worst(jobs: Job[]): Job[] {
  const rank = (j: Job) => (closed(j).length > 0 || j.error || !['running', 'stopped'].includes(j.state) ? 0 : 1)
  return [...jobs].sort((a, b) => rank(a) - rank(b))
}
