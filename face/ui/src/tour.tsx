// The guided strip of the tour: outages to switch on, and what to look at then.
import { useState } from 'preact/hooks'
import { Action } from './action'
import { order, said } from './api'
import { Failed, Shown, ordered, useAsked } from './asked'
import { roleHint } from './head'
import { jobHref } from './format'
import { since } from './verdict'
import type { World } from './live'
import type { Failure } from './model'

interface Switch {
  name: string
  title: string
  text: string
  look: string
  jobs: string[]
  on: boolean
  since?: string
  moment?: boolean
}

const key = 'holdfast-tour'

// Tour is unfolded on the overview until somebody folds it; on the page of a job it is there in a line.
export function Tour({ world, brief }: { world: World; brief: boolean }) {
  const [open, setOpen] = useState(!brief && localStorage.getItem(key) !== 'closed')
  const asked = useAsked<{ switches: Switch[] }>('tour', 3)
  const fold = (to: boolean) => {
    if (!brief) localStorage.setItem(key, to ? 'open' : 'closed')
    setOpen(to)
  }
  const on = (asked.value?.switches ?? []).filter((s) => s.on)
  return (
    <section class="tour" aria-labelledby="tour">
      <div class="parthead">
        <h2 id="tour">The tour: break something, and see it heal</h2>
        {on.length > 0 && <span class="bad" data-on>{on.map((s) => s.title).join('; ')}</span>}
        <span class="grow" />
        <button type="button" class="plain" aria-expanded={open} onClick={() => fold(!open)}>{open ? 'Fold' : 'Unfold'}</button>
      </div>
      {open && (
        <>
          {!world.session.orders && <p class="may">{roleHint(world)} The address that the tour printed has the token.</p>}
          <Shown asked={asked}>{({ switches }) => <Steps switches={switches} world={world} />}</Shown>
        </>
      )}
    </section>
  )
}

function Steps({ switches, world }: { switches: Switch[]; world: World }) {
  const [shown, show] = useState('')
  const s = switches.find((o) => o.name === shown) ?? switches.find((o) => o.on) ?? switches[0]
  if (s === undefined) return null
  return (
    <>
      <div class="ranges" role="group" aria-label="Outages">
        {switches.map((o) => (
          <button type="button" key={o.name} class={o.on ? 'plain danger' : 'plain'} aria-pressed={o === s} onClick={() => show(o.name)}>{o.on && '● '}{o.title}</button>
        ))}
      </div>
      <div class="step">
        <p>{s.text} {s.on && s.since && <b class="bad">For {since(world, s.since)} now.</b>}</p>
        <p><b>Look at</b> {s.jobs.length > 0 ? s.jobs.map((j, i) => <span key={j}>{i > 0 && ', '}<a href={jobHref(j)}>{j}</a></span>) : 'all of it'}. {s.look}</p>
        {world.session.orders && (s.moment ? (
          <Action world={world} label="Crash it" danger title="Let Holdfast crash?" path={'tour/' + s.name} command="kill -9 PID" body={() => ({ on: true })}>
            <p>{s.text} This page is told nothing: it finds out.</p>
          </Action>
        ) : <Turn key={s.name} of={s} />)}
      </div>
    </>
  )
}

// Turn asks nobody: whoever is on a tour came for that, and the same button ends it.
function Turn({ of: s }: { of: Switch }) {
  const [busy, setBusy] = useState(false)
  const [failure, setFailure] = useState<Failure>()
  const turn = async () => {
    setBusy(true)
    setFailure(undefined)
    try {
      await order('tour/' + s.name, { on: !s.on })
      dispatchEvent(new Event(ordered))
    } catch (err) {
      setFailure(said(err))
    } finally {
      setBusy(false)
    }
  }
  return (
    <>
      <button type="button" class={s.on ? '' : 'danger'} disabled={busy} onClick={() => void turn()}>{s.on ? 'End it' : 'Begin it'}</button>
      {failure && <Failed failure={failure} />}
    </>
  )
}
