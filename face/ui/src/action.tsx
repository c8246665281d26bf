// Orders: each asks first, and says what will happen. Who may only look is told how it is done elsewhere.
import type { ComponentChildren } from 'preact'
import { useRef, useState } from 'preact/hooks'
import { order, said } from './api'
import { Failed, ordered } from './asked'
import { count, plural } from './format'
import { roleHint } from './head'
import type { World } from './live'
import type { Failure } from './model'

export interface Field {
  name: string
  label: string
  needed?: boolean
  type?: 'text' | 'datetime-local' | 'area' | 'tick'
  choices?: string[]
  value?: string // to begin with; of a tick 'true' is set
}

interface Props {
  world: World
  label: string
  title: string
  children: ComponentChildren // what will happen
  path: string
  command: string // the same in a terminal
  danger?: boolean
  fields?: Field[]
  body?: (given: Record<string, string>) => unknown
  done?: (text: string, given: Record<string, string>) => string // what a person is told of the text that answers
}

export function Action(now: Props) {
  // What the dialog says when it opens is what it orders, whatever becomes of the job meanwhile.
  const [begun, setBegun] = useState<Props>()
  const p = begun ?? now
  const dialog = useRef<HTMLDialogElement>(null)
  const [given, setGiven] = useState<Record<string, string>>({})
  const [busy, setBusy] = useState(false)
  const [failure, setFailure] = useState<Failure>()
  const [told, setTold] = useState('')
  const may = now.world.session.orders
  const begin = () => {
    setBegun(now)
    setFailure(undefined)
    setTold('')
    setGiven(Object.fromEntries((p.fields ?? []).map((f) => [f.name, f.value ?? f.choices?.[0] ?? ''])))
    dialog.current?.showModal()
  }
  const lacks = (p.fields ?? []).some((f) => f.needed && !given[f.name]?.trim())
  const go = async () => {
    setBusy(true)
    setFailure(undefined)
    try {
      const answer = await order<unknown>(p.path, p.body ? p.body(given) : {})
      dispatchEvent(new Event(ordered)) // what is shown asks anew
      const words = wordsOf(answer, (text) => (p.done ? p.done(text, given) : text))
      if (words === '') dialog.current?.close()
      else setTold(words)
    } catch (err) {
      setFailure(said(err))
    } finally {
      setBusy(false)
    }
  }
  return (
    <>
      <button type="button" class={now.danger ? 'plain danger' : 'plain'} onClick={begin}>{now.label}</button>
      <dialog ref={dialog} aria-label={p.title} onClose={() => setBegun(undefined)}>
        {begun && <><h2>{p.title}</h2>
        <div class="will">{p.children}</div>
        {may && told === '' && (p.fields ?? []).map((f) => (
          <FieldBox key={f.name} field={f} value={given[f.name] ?? ''} set={(v) => setGiven({ ...given, [f.name]: v })} />
        ))}
        {!may && <p class="may">{roleHint(p.world)}<br />In a terminal: <code>{p.command + where(p.world)}</code></p>}
        {failure && <Failed failure={failure} />}
        {told !== '' && <p role="status" class="told">{told}</p>}
        <div class="buttons">
          <button type="button" class="plain" onClick={() => dialog.current?.close()}>{told === '' ? 'Cancel' : 'Close'}</button>
          {told === '' && may && (
            <button type="button" class={p.danger ? 'danger' : ''} disabled={busy || lacks} onClick={() => void go()}>{busy ? 'Working…' : p.label}</button>
          )}
        </div></>}
      </dialog>
    </>
  )
}

// where is how a command finds this data directory, if it is not the one that it looks into.
function where(w: World): string {
  const place = w.process?.place
  return place?.explicit ? ` --data-dir '${place.dir.replaceAll("'", "'\\''")}'` : ''
}

function FieldBox({ field: f, value, set }: { field: Field; value: string; set: (v: string) => void }) {
  const typed = (e: { currentTarget: { value: string } }) => set(e.currentTarget.value)
  if (f.type === 'tick') {
    return (
      <label class="field tick">
        <input type="checkbox" checked={value === 'true'} onChange={(e) => set(String(e.currentTarget.checked))} /> <span>{f.label}</span>
      </label>
    )
  }
  return (
    <label class="field">
      <span>{f.label}</span>
      {f.choices ? <select value={value} onChange={typed}>{f.choices.map((c) => <option key={c} value={c}>{c}</option>)}</select>
        : f.type === 'area' ? <textarea rows={8} spellcheck={false} value={value} onInput={typed} />
          : f.type === 'datetime-local' ? <input type="datetime-local" step={1} value={value} onInput={typed} />
            : <input type="text" spellcheck={false} value={value} onInput={typed} />}
    </label>
  )
}

const many = (n: unknown, noun: string): string => `${count(Number(n))} ${plural(Number(n), noun)}`

// wordsOf is what an answer tells a person beyond that it is done.
function wordsOf(answer: unknown, done: (text: string) => string): string {
  if (typeof answer !== 'object' || answer === null) return ''
  if ('blocks' in answer && 'rows' in answer) return `Delivered again: ${many(answer.rows, 'row')} in ${many(answer.blocks, 'block')}.`
  if ('into' in answer) return `It is in ${String(answer.into)}. Here nothing changed.`
  if ('config' in answer) {
    const { text, config, runs, file } = answer as { text: string; config: string; runs: boolean; file?: string }
    if (file) return `${text}; it runs, and does so at each start by ${file}. A configuration file can have it below jobs: instead:\n\n${config}`
    return `${text}; ${runs ? 'it runs' : 'it is not started'}. So that it is there at the next start too, a configuration file needs below jobs:\n\n${config}`
  }
  if ('bad' in answer) return Array.isArray(answer.bad) && answer.bad.length > 0 ? 'Damaged: ' + answer.bad.join(', ') : 'Everything is whole.'
  if ('text' in answer) return answer.text === 'done' ? '' : done(String(answer.text))
  return ''
}
