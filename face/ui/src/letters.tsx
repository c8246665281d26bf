import { useState } from 'preact/hooks'
import { Action } from './action'
import { Part, Shown, useAsked } from './asked'
import { count } from './format'
import { Time } from './head'
import type { World } from './live'
import type { Job, Letter } from './model'

// Letters are the dead letters of a job, each with its content and cause.
export function Letters({ job, world }: { job: Job; world: World }) {
  const all = world.process?.dead_letters[job.name] ?? 0
  const [pages, setPages] = useState([0])
  const at = `jobs/${encodeURIComponent(job.name)}/dead`
  const after = pages[pages.length - 1]!
  const asked = useAsked<{ dead: Letter[] }>(all > 0 ? `${at}?max=20&after=${after}` : null, 10)
  return (
    <Part id="dead" title={`Dead letters: ${count(all)}`}>
      {all === 0 ? <p class="empty">None. What can't go on would wait here for a decision, with its content and the reason.</p> : (
        <Shown asked={asked}>
          {({ dead }) => (
            <>
              <ul class="letters">
                {dead.map((l) => <LetterBox key={l.id} letter={l} at={at} job={job} world={world} />)}
                {dead.length === 0 && <li class="empty">No further ones.</li>}
              </ul>
              <div class="pager">
                {pages.length > 1 && <button type="button" class="plain" onClick={() => setPages(pages.slice(0, -1))}>Earlier ones</button>}
                {dead.length === 20 && <button type="button" class="plain" onClick={() => setPages([...pages, dead[19]!.id])}>Further ones</button>}
              </div>
            </>
          )}
        </Shown>
      )}
    </Part>
  )
}

function LetterBox({ letter: l, at, job, world }: { letter: Letter; at: string; job: Job; world: World }) {
  const [open, setOpen] = useState(false)
  return (
    <li>
      <details onToggle={(e) => setOpen(e.currentTarget.open)}>
        <summary>
          <b>{l.id}</b> <span class="kind">{l.stage} {l.from}{l.key && ', key ' + l.key}</span> <Time at={l.at} world={world} />
          <div>{l.reason}</div>
        </summary>
        {open && <Content at={`${at}/${l.id}`} />}
        <div class="actions">
          <Action world={world} label="Retry" title={`Try dead letter ${l.id} again?`} path={`${at}/${l.id}/retry`}
            command={`holdfast dead retry ${l.id} --job ${job.name}`}>
            <p>It is tried once more as it is. If the reason is gone it goes on and is counted as delivered or taken in; else it stays a dead letter.</p>
          </Action>
          <Action world={world} label="Discard" danger title={`Discard dead letter ${l.id}?`} path={`${at}/${l.id}/discard`}
            command={`holdfast dead discard ${l.id} --job ${job.name} --reason TEXT`}
            fields={[{ name: 'reason', label: 'Reason, for the history', needed: true }]} body={(g) => ({ reason: g.reason })}>
            <p>Its content is given up for good. The books count it as discarded, and the history keeps the reason.</p>
          </Action>
        </div>
      </details>
    </li>
  )
}

function Content({ at }: { at: string }) {
  const asked = useAsked<Letter>(at, 60)
  return <Shown asked={asked}>{(l) => <pre tabIndex={0} aria-label="Content">{contentOf(l)}</pre>}</Shown>
}

// contentOf is the item as text: the row, or the bytes as the source gave them.
function contentOf(l: Letter): string {
  if (l.values !== undefined) return JSON.stringify(l.values, null, 2)
  if (l.raw === undefined) return 'Nothing of it was kept but the reason.'
  const bytes = Uint8Array.from(atob(l.raw), (c) => c.charCodeAt(0))
  const text = new TextDecoder().decode(bytes)
  try {
    return JSON.stringify(JSON.parse(text), null, 2)
  } catch {
    return text
  }
}
