import { Part, Shown, useAsked } from './asked'
import { count, utc } from './format'
import type { Job } from './model'

export interface Window {
  epoch: string
  number: number
  window: string
  from?: string
  to?: string
  state: string
  batches: number
  missing: number[]
  rows: number
  missing_rows: number
  because?: string
}

const looks: Record<string, string> = { open: 'watch', complete: 'watch', lost: 'bad', stored: 'good', told: 'good' }

// Windows is the grid of a stream's windows: what is complete, and which batches are missing.
export function Windows({ job }: { job: Job }) {
  const asked = useAsked<{ windows: Window[] }>(`windows?job=${encodeURIComponent(job.name)}&limit=96`, 5)
  return (
    <Part id="windows" title="Windows, the newest first">
      <Shown asked={asked}>
        {({ windows }) => (
          <>
            {windows.length === 0 && <p class="empty">No window has come yet.</p>}
            <ul class="grid" tabIndex={0} aria-label="Windows">
              {windows.map((w) => (
                <li key={w.epoch + w.number} class={looks[w.state] ?? ''} title={w.from && `${utc(new Date(w.from))} to ${w.to ? utc(new Date(w.to)) : ''}`}>
                  <b>{w.from ? w.from.slice(5, 13).replace('T', ' ') + ' h' : w.window}</b>
                  <span>{w.state}</span>
                  <span class="fine">{count(w.rows)} rows</span>
                  {w.missing.length > 0 && <span class="bad">missing {w.missing.slice(0, 8).join(', ')}{w.missing.length > 8 && ' …'}</span>}
                  {w.because && <span class="bad">{w.because}</span>}
                </li>
              ))}
            </ul>
          </>
        )}
      </Shown>
    </Part>
  )
}
