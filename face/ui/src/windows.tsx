import { useState } from 'preact/hooks'
import { Part, Shown, useAsked } from './asked'
import { count, minute, utc } from './format'
import { Pager, usePages } from './pager'
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

// before is what the field of a time holds as the server is asked for it: no bound while it holds none.
function before(local: string): string {
  const at = local === '' ? NaN : Date.parse(local)
  return Number.isNaN(at) ? '' : '&to=' + encodeURIComponent(new Date(at).toISOString())
}

// Windows is the grid of a stream's windows: what is complete, and which batches are missing.
export function Windows({ job }: { job: Job }) {
  const pages = usePages()
  const [until, setUntil] = useState('')
  const asked = useAsked<{ windows: Window[]; next?: string }>(
    `windows?job=${encodeURIComponent(job.name)}&limit=96${before(until)}${pages.after && '&after=' + pages.after}`, 5)
  return (
    <Part id="windows" title="Windows, the newest first" side={(
      <label class="tick">before <input type="datetime-local" value={until} onChange={(e) => { setUntil(e.currentTarget.value); pages.restart() }} /></label>
    )}>
      <Shown asked={asked}>
        {({ windows, next }) => (
          <>
            {windows.length === 0 && <p class="empty">{until || pages.after ? 'There is no older window.' : 'No window has come yet.'}</p>}
            <ul class="grid" tabIndex={0} aria-label="Windows">
              {windows.map((w) => (
                <li key={w.epoch + w.number} class={looks[w.state] ?? ''} title={w.from && `${utc(new Date(w.from))} to ${w.to ? utc(new Date(w.to)) : ''}`}>
                  <b>{w.from ? minute(new Date(w.from)) : w.window}</b>
                  <span>{w.state}</span>
                  <span class="fine">{count(w.rows)} rows</span>
                  {w.missing.length > 0 && <span class="bad">missing {w.missing.slice(0, 8).join(', ')}{w.missing.length > 8 && ' …'}</span>}
                  {w.because && <span class="bad">{w.because}</span>}
                </li>
              ))}
            </ul>
            <Pager pages={pages} next={next} words={['Newer', 'Older']} />
          </>
        )}
      </Shown>
    </Part>
  )
}
