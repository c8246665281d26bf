// Orders: each asks first, and says what will happen. Who may only look is told how it is done elsewhere.
import type { ComponentChildren } from 'preact'
import { useRef, useState } from 'preact/hooks'
import { order, said } from './api'
import { Failed, ordered } from './asked'
import { roleHint } from './head'
import type { World } from './live'
import type { Failure } from './model'

export interface Field {
  name: string
  label: string
  needed?: boolean
  type?: 'text' | 'datetime-local'
  choices?: string[]
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
}

export function Action(p: Props) {
  const dialog = useRef<HTMLDialogElement>(null)
  const [given, setGiven] = useState<Record<string, string>>({})
  const [busy, setBusy] = useState(false)
  const [failure, setFailure] = useState<Failure>()
  const [told, setTold] = useState('')
  const [open, setOpen] = useState(false)
  const may = p.world.session.orders
  const begin = () => {
    setOpen(true)
    setFailure(undefined)
    setTold('')
    setGiven(Object.fromEntries((p.fields ?? []).map((f) => [f.name, f.choices?.[0] ?? ''])))
    dialog.current?.showModal()
  }
  const lacks = (p.fields ?? []).some((f) => f.needed && !given[f.name]?.trim())
  const go = async () => {
    setBusy(true)
    setFailure(undefined)
    try {
      const answer = await order<unknown>(p.path, p.body ? p.body(given) : {})
      dispatchEvent(new Event(ordered)) // what is shown asks anew
      const words = wordsOf(answer)
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
      <button type="button" class={p.danger ? 'plain danger' : 'plain'} onClick={begin}>{p.label}</button>
      <dialog ref={dialog} aria-label={p.title} onClose={() => setOpen(false)}>
        {open && <><h2>{p.title}</h2>
        <div class="will">{p.children}</div>
        {may && told === '' && (p.fields ?? []).map((f) => (
          <label class="field" key={f.name}>
            <span>{f.label}</span>
            {f.choices
              ? <select value={given[f.name] ?? ''} onChange={(e) => setGiven({ ...given, [f.name]: e.currentTarget.value })}>
                {f.choices.map((c) => <option key={c} value={c}>{c}</option>)}
              </select>
              : f.type === 'datetime-local'
                ? <input type="datetime-local" step={1} value={given[f.name] ?? ''} onInput={(e) => setGiven({ ...given, [f.name]: e.currentTarget.value })} />
                : <input type="text" value={given[f.name] ?? ''} onInput={(e) => setGiven({ ...given, [f.name]: e.currentTarget.value })} />}
          </label>
        ))}
        {!may && <p class="may">{roleHint(p.world)}<br />In a terminal: <code>{p.command}</code></p>}
        {failure && <Failed failure={failure} />}
        {told !== '' && <p role="status">{told}</p>}
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

// wordsOf is what an answer tells a person beyond that it is done.
function wordsOf(answer: unknown): string {
  if (typeof answer !== 'object' || answer === null) return ''
  if ('text' in answer) return answer.text === 'done' ? '' : String(answer.text)
  if ('blocks' in answer && 'rows' in answer) return `${String(answer.rows)} rows in ${String(answer.blocks)} blocks are delivered again.`
  if ('bad' in answer) return Array.isArray(answer.bad) && answer.bad.length > 0 ? 'Damaged: ' + answer.bad.join(', ') : 'Everything is whole.'
  return ''
}
