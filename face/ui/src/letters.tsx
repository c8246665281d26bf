// The dead letters of a job, each with its content and cause, and what can be done with it: try it again, edit it, or let it go.
import { useRef, useState } from 'preact/hooks'
import { Action, type Field } from './action'
import { Raw, Refused } from './api'
import { Part, Shown, useAsked } from './asked'
import { role } from './flow'
import { count } from './format'
import { Time } from './head'
import { Pager, usePages } from './pager'
import type { World } from './live'
import type { Job, Letter } from './model'

const page = 20

// Letters are the dead letters of a job.
export function Letters({ job, world }: { job: Job; world: World }) {
  // While a dialog is open, its letter stays, whoever ends it meanwhile: see useAsked.
  const last = useRef(0)
  if (document.querySelector('dialog[open]') === null) last.current = world.process?.dead_letters[job.name] ?? 0
  const all = last.current
  const pages = usePages()
  const at = `jobs/${encodeURIComponent(job.name)}/dead`
  const asked = useAsked<{ dead: Letter[] }>(all > 0 ? `${at}?max=${page}&after=${pages.after || 0}` : null, 3)
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
              <Pager pages={pages} next={dead.length === page ? String(dead[page - 1]!.id) : ''} words={['Earlier ones', 'Further ones']} />
            </>
          )}
        </Shown>
      )}
    </Part>
  )
}

interface Box {
  letter: Letter
  at: string
  job: Job
  world: World
}

function LetterBox({ letter: l, at, job, world }: Box) {
  const [open, setOpen] = useState(false)
  return (
    <li>
      <details onToggle={(e) => setOpen(e.currentTarget.open)}>
        <summary>
          <b>{l.id}</b> <span class="kind">{l.stage} {l.from}{l.key && ', key ' + l.key}</span> <Time at={l.at} world={world} />
          <div>{l.reason}</div>
        </summary>
        {open && <Whole letter={l} at={at} job={job} world={world} />}
      </details>
    </li>
  )
}

// Whole shows the content, and what can be done. Rows can be edited; a file, or an item whose window may be sent already, can't.
function Whole({ letter, at, job, world }: Box) {
  const asked = useAsked<Letter>(`${at}/${letter.id}`, 60)
  const streamer = role(job) === 'stream: streamer'
  const place = `${at}/${letter.id}/`
  return (
    <>
      <Shown asked={asked}>{(l) => <pre tabIndex={0} aria-label="Content">{contentOf(l)}</pre>}</Shown>
      {streamer && <p class="fine">Its window may be sent already. Mend it in the data set and stream that again, or discard it.</p>}
      <div class="actions">
        {!streamer && (
          <Action world={world} label="Retry" title={`Try dead letter ${letter.id} again?`} path={place + 'retry'}
            command={`holdfast dead retry ${letter.id} --job ${job.name}`}>
            <p>It is tried once more as it is. If the reason is gone it goes on and is counted as delivered or taken in; else it stays a dead letter.</p>
          </Action>
        )}
        {!streamer && job.balance.sinks.length > 0 && asked.value !== undefined && <Edit letter={asked.value} place={place} job={job} world={world} />}
        <Action world={world} label="Discard" danger title={`Discard dead letter ${letter.id}?`} path={place + 'discard'}
          command={`holdfast dead discard ${letter.id} --job ${job.name} --reason TEXT`}
          fields={[{ name: 'reason', label: 'Reason, for the history', needed: true }]} body={(g) => ({ reason: g.reason })}>
          <p>Its content is given up for good. The books count it as discarded, and the history keeps the reason.</p>
        </Action>
      </div>
    </>
  )
}

// Edit tries another row in the place of a dead letter: a row that a sink refused by its columns, an item that was no row as JSON.
function Edit({ letter: l, place, job, world }: { letter: Letter; place: string; job: Job; world: World }) {
  const key = l.columns?.find((c) => c.key)?.name
  const columns = l.values === undefined ? null
    : Object.fromEntries(Object.entries(l.values as Record<string, unknown>).filter(([name]) => name !== key))
  const fields: Field[] = columns === null ? [{ name: 'row', label: 'The row: a JSON object with every column', type: 'area', needed: true, value: draft(l) }]
    : Object.entries(columns).map(([name, v]) => ({ name: 'column ' + name, label: name, value: cell(v) }))
  const body = (given: Record<string, string>): unknown => {
    if (columns === null) return new Raw(`{"row": ${parsed(given.row ?? '')}}`)
    const set = Object.entries(columns).map(([name, v]): [string, string, string] => [name, cell(v), given['column ' + name] ?? ''])
      .filter(([, was, is]) => was !== is)
    return { set: Object.fromEntries(set.map(([name, , is]) => [name, is])) }
  }
  return (
    <Action world={world} label="Edit and retry" title={`Edit dead letter ${l.id}, and try it?`} path={place + 'edit'} fields={fields} body={body}
      command={`holdfast dead edit ${l.id} --job ${job.name} ${columns === null ? '--row FILE' : '--set COLUMN=VALUE'}`}>
      {columns === null
        ? <>
          <p>The row that you write is taken in in its place, for every sink, once. Its key must be new. The history keeps what was changed.</p>
          {l.columns && <p class="fine">{l.columns.map((c) => `${c.name}: ${c.type}${c.key ? ', the key' : c.null ? ' or null' : ''}`).join('; ')}</p>}
        </>
        : <p>The edited row is delivered to {l.from} in its place, once; it is dead no more. Its key stays: other sinks have the row under it. The history
          keeps what was changed. Write null for no value.</p>}
    </Action>
  )
}

// verbatim keeps a number as it is written: what a person does not touch must come back to the letter.
const verbatim = (JSON as { rawJSON?: (text: string) => unknown }).rawJSON

// draft is the row that an item could have been: its columns, with what the item has under these names, and null for what a person must
// write. Where the columns are not known it is the item, and also in a browser that could not give its numbers back as they are.
function draft(l: Letter): string {
  if (!l.columns?.length || verbatim === undefined) return contentOf(l)
  const keep = function (this: unknown, _key: string, v: unknown, at?: { source?: string }): unknown {
    return typeof v === 'number' && at?.source !== undefined ? verbatim(at.source) : v
  }
  let item: Record<string, unknown> = {}
  try {
    const v: unknown = JSON.parse(contentOf(l), keep)
    if (typeof v === 'object' && v !== null && !Array.isArray(v)) item = v as Record<string, unknown>
  } catch {
    // it is no object
  }
  const known = new Map(Object.entries(item).map(([name, v]) => [name.toLowerCase(), v]))
  return JSON.stringify(Object.fromEntries(l.columns.map((c) => [c.name, known.get(c.name.toLowerCase()) ?? null])), null, 2)
}

const cell = (v: unknown): string => (typeof v === 'string' ? v : JSON.stringify(v))

// parsed is a text that is an object in JSON, as it was written.
function parsed(text: string): string {
  try {
    const v: unknown = JSON.parse(text)
    if (typeof v === 'object' && v !== null && !Array.isArray(v)) return text
  } catch {
    // it is told below
  }
  throw new Refused(400, { error: 'this is no object in JSON', hint: 'write {"column": value, ...} with every column' })
}

// contentOf is the item as text: the row, or what the source gave, to the letter. Bytes that are no UTF-8 have a mark in their place.
function contentOf(l: Letter): string {
  if (l.values !== undefined) return JSON.stringify(l.values, null, 2)
  if (l.raw === undefined) return 'Nothing of it was kept but the reason.'
  const bytes = Uint8Array.from(atob(l.raw), (c) => c.charCodeAt(0))
  return new TextDecoder().decode(bytes)
}
