import { useState } from 'preact/hooks'
import { Part, Shown, useAsked } from './asked'
import { size, span } from './format'
import { Time } from './head'
import { Pager, usePages } from './pager'
import type { World } from './live'
import type { Job } from './model'

interface Step {
  at: string
  what: string
  where?: string
  seconds?: number
  text?: string
  times?: number
}

interface File {
  id: number
  path: string
  size: number
  found: string
  state: string
  since: string
  why?: string
  to?: { destination: string; path?: string; at?: string; recorded: boolean }[]
  sha256?: string
  steps?: Step[]
}

const states = ['every state', 'preparing', 'shipping', 'finishing', 'done', 'known', 'gone', 'dead', 'discarded']

// Files are those that a transfer knows, the newest first, each with every step of its way. One searches by a part of the path, by state and
// by time; what the ledger has of it stands with each.
export function Files({ job, world }: { job: Job; world: World }) {
  const [text, setText] = useState('')
  const [state, setState] = useState('')
  const [since, setSince] = useState('')
  const pages = usePages()
  const at = `jobs/${encodeURIComponent(job.name)}/files`
  const asked = useAsked<{ files: File[]; next?: string }>(`${at}?limit=20&text=${encodeURIComponent(text)}&state=${encodeURIComponent(state)}&since=${
    since === '' ? '' : encodeURIComponent(new Date(since).toISOString())}&after=${encodeURIComponent(pages.after)}`, 5)
  const again = <T,>(set: (v: T) => void) => (v: T) => { set(v); pages.restart() }
  return (
    <Part id="files" title="Files and ledger">
      <div class="search">
        <label for="filetext">Search</label>
        <input id="filetext" type="search" placeholder="a part of the path" value={text} onInput={(e) => again(setText)(e.currentTarget.value)} />
        <select aria-label="State" value={state} onChange={(e) => again(setState)(e.currentTarget.value)}>
          {states.map((s, i) => <option key={s} value={i === 0 ? '' : s}>{s}</option>)}
        </select>
        <label>since <input type="datetime-local" value={since} onInput={(e) => again(setSince)(e.currentTarget.value)} /></label>
      </div>
      <Shown asked={asked}>
        {({ files, next }) => (
          <>
            {files.length === 0 && <p class="empty">{text + state + since === '' ? 'No file has been found yet.' : 'No file here fits that.'}</p>}
            <ul class="letters">{files.map((f) => <FileBox key={f.id} file={f} at={at} world={world} />)}</ul>
            <Pager pages={pages} next={next} />
          </>
        )}
      </Shown>
    </Part>
  )
}

function FileBox({ file: f, at, world }: { file: File; at: string; world: World }) {
  const [open, setOpen] = useState(false)
  return (
    <li>
      <details onToggle={(e) => setOpen(e.currentTarget.open)}>
        <summary><b>{f.path}</b> <span class="kind">{f.state}, {size(f.size)}</span> <Time at={f.since} world={world} />{f.why && <div>{f.why}</div>}</summary>
        {open && <Steps at={`${at}/${f.id}`} world={world} />}
      </details>
    </li>
  )
}

function Steps({ at, world }: { at: string; world: World }) {
  const asked = useAsked<File>(at, 10)
  return (
    <Shown asked={asked}>
      {(f) => (
        <ol class="steps">
          {f.sha256 && <li class="fine">SHA-256 {f.sha256}</li>}
          {(f.to ?? []).map((d) => (
            <li key={d.destination} class="fine">{d.at ? 'is' : 'is to come'} at {d.destination}{d.path && ' as ' + d.path}, {d.recorded ? 'and in the ledger' : 'not in the ledger yet'}</li>
          ))}
          {(f.steps ?? []).map((s, i) => (
            <li key={i}><Time at={s.at} world={world} /> <b>{s.what}</b> {s.where} {s.seconds ? <span class="fine">{s.seconds < 1 ? '<1 s' : span(s.seconds)}</span> : ''}
              {s.times ? <span class="fine"> {s.times} times</span> : ''} {s.text}</li>
          ))}
        </ol>
      )}
    </Shown>
  )
}
