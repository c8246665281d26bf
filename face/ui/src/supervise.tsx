// What a supervise job has: its rules with what became of what they saw, its actions and why, silences, and what it would make of a line.
import { useState } from 'preact/hooks'
import { Action } from './action'
import { Part, Shown, useAsked, type Seen } from './asked'
import { count, span } from './format'
import { Time } from './head'
import { Replay } from './replay'
import { now, type World } from './live'
import type { Job } from './model'

interface Rule {
  name: string
  mode: string
  why?: string
  where: string
  trigger: string
  condition: string
  action: string
  matched: number
  became: Record<string, number>
  failed: number
  seen?: string
}

interface Call {
  id: string
  rule: string
  key?: string
  name: string
  run?: string[]
  systemctl?: string
  signal?: string
  unit?: string
  http?: { method: string }
  notify?: string
  holdfast?: string
  job?: string
}

// deed is what a call does, in a few words.
function deed(c: Call): string {
  if (c.run) return c.run.join(' ')
  if (c.systemctl) return `systemctl ${c.systemctl} ${c.unit ?? ''}`
  if (c.signal) return `signal ${c.signal} to ${c.unit ?? ''}`
  if (c.http) return 'HTTP ' + c.http.method
  if (c.notify) return 'tell ' + c.notify
  if (c.holdfast) return `${c.holdfast} ${c.job ?? ''}`
  return c.name
}

interface Act {
  number: number
  call: Call
  state: string
  queued: string
  reason: string
  seen: string
  led?: { time: string; text: string }[]
  note?: string
  last?: { begun: string; took: number; failed?: string; code?: number; output?: string }
  healed?: boolean
}

interface Silence {
  id: number
  rule?: string
  key?: string
  until: string
  reason: string
}

interface Opinion {
  rule: string
  matched: boolean
  why?: string
  outcome?: string
  reason?: string
  actions?: string[]
}

export function Supervise({ job, world }: { job: Job; world: World }) {
  const at = `jobs/${encodeURIComponent(job.name)}/supervise/`
  return (
    <>
      <Rules at={at} world={world} />
      <Acts at={at} world={world} />
      <Silences at={at} world={world} />
      <Explain at={at} />
      <Replay at={at} world={world} />
    </>
  )
}

function Rules({ at, world }: Seen) {
  const asked = useAsked<{ rules: Rule[] | null }>(at + 'rules', 5)
  return (
    <Part id="rules" title="Rules">
      <Shown asked={asked}>
        {({ rules }) => !rules?.length ? <p class="empty">There are none. Write one into the job's file of rules; docs/supervise-rules.md says how.</p> : (
          <ul class="letters">
            {rules.map((r) => (
              <li key={r.name}>
                <details>
                  <summary>
                    <b>{r.name}</b> <span class="kind">{r.mode !== 'live' && r.mode + ', '}{count(r.matched)} matched</span>{r.seen && <> <Time at={r.seen} world={world} /></>}
                    <div>
                      {Object.entries(r.became).filter(([, n]) => n > 0).map(([what, n]) => `${count(n)} ${what}`).join(', ') || 'nothing came of it yet'}
                      {r.failed > 0 && <b class="bad"> {count(r.failed)} failed</b>}
                    </div>
                  </summary>
                  {r.why && <p>{r.why}</p>}
                  <p>When {r.trigger}{r.condition && <>, and {r.condition}</>}: {r.action} <span class="fine">({r.where})</span></p>
                  <div class="actions"><SilenceIt at={at} world={world} rule={r.name} /></div>
                </details>
              </li>
            ))}
          </ul>
        )}
      </Shown>
    </Part>
  )
}

// hours are how long a silence may be asked to last.
const hours: Record<string, number> = { '1 hour': 1, '4 hours': 4, '12 hours': 12, '1 day': 24, '1 week': 168 }

function SilenceIt({ at, world, rule }: Seen & { rule: string }) {
  return (
    <Action world={world} label="Silence" title={rule === '' ? 'Silence all rules?' : `Silence ${rule}?`} path={at + 'silence'}
      command={`holdfast supervise silence ${rule} --for TIME --reason TEXT`}
      fields={[{ name: 'for', label: 'For how long', choices: Object.keys(hours) }, { name: 'reason', label: 'Reason', needed: true }]}
      body={(g) => ({ ...(rule !== '' && { rule }), reason: g.reason, until: new Date(now(world) + (hours[g.for ?? ''] ?? 1) * 3_600_000).toISOString() })}
      done={(number, g) => `Silence ${number}, of ${rule === '' ? 'all rules' : rule}, holds for ${g.for ?? ''}. It stands among the silences, where it can be ended.`}>
      <p>{rule === '' ? 'No rule' : 'It'} acts until then, and what it would have done is counted. At the end people are told what began meanwhile.</p>
    </Action>
  )
}

function Acts({ at, world }: Seen) {
  const asked = useAsked<{ actions: Act[] | null }>(at + 'actions?max=25', 5)
  return (
    <Part id="acts" title="Actions, the newest first">
      <Shown asked={asked}>
        {({ actions }) => !actions?.length ? <p class="empty">None yet.</p> : (
          <ul class="letters">{actions.map((a) => <ActBox key={a.call.id} act={a} at={at} world={world} />)}</ul>
        )}
      </Shown>
    </Part>
  )
}

function ActBox({ act: a, at, world }: Seen & { act: Act }) {
  const bad = a.state === 'failed' || a.state === 'unknown'
  return (
    <li>
      <details>
        <summary>
          <b>{a.number}</b> {deed(a.call)} <span class={bad ? 'bad' : 'kind'}>{a.state}</span> <Time at={a.queued} world={world} />
          {a.healed !== undefined && <span class={a.healed ? 'good' : 'bad'}>{a.healed ? ' it helped' : ' it did not help'}</span>}
          <div>{a.call.rule}{a.call.key && ' ' + a.call.key}: {a.reason || a.seen}</div>
        </summary>
        {a.note && <p>{a.note}</p>}
        {a.last && <p class="fine">began <Time at={a.last.begun} world={world} />, took {span(a.last.took / 1e9)}{a.last.failed && ': ' + a.last.failed}</p>}
        <pre tabIndex={0} aria-label="What led to it, and what it said">
          {[...(a.led ?? []).map((l) => l.time + '  ' + l.text), a.seen, a.last?.output ?? ''].filter((t) => t !== '').join('\n')}
        </pre>
        {a.state === 'unknown' && (
          <div class="actions">
            <Action world={world} label="Repeat" title="Do it again?" path={at + 'repeat'} command={`holdfast supervise repeat ${a.call.id}`}
              body={() => ({ action: a.call.id })}>
              <p>Holdfast ended while it was under way, so nobody knows whether it was done. It is done now, perhaps for the second time.</p>
            </Action>
            <Action world={world} label="Abandon" danger title="Give it up?" path={at + 'abandon'} command={`holdfast supervise abandon ${a.call.id}`}
              body={() => ({ action: a.call.id })}>
              <p>It is not done again, and counts as given up.</p>
            </Action>
          </div>
        )}
      </details>
    </li>
  )
}

function Silences({ at, world }: Seen) {
  const asked = useAsked<{ silences: Silence[] | null }>(at + 'silences', 10)
  return (
    <Part id="silences" title="Silences" side={<SilenceIt at={at} world={world} rule="" />}>
      <Shown asked={asked}>
        {({ silences }) => !silences?.length ? <p class="empty">None: every rule may act.</p> : (
          <ul class="rows">
            {silences.map((s) => (
              <li key={s.id}>
                <b>{s.rule || 'all rules'}</b> {s.key} until <Time at={s.until} world={world} /> <span class="fine">{s.reason}</span>
                <span class="actions">
                  <Action world={world} label="End" title="End the silence?" path={at + 'unsilence'} command={`holdfast supervise unsilence ${s.id}`}
                    body={() => ({ silence: s.id })}>
                    <p>The rules may act again at once, and people are told what began while it held.</p>
                  </Action>
                </span>
              </li>
            ))}
          </ul>
        )}
      </Shown>
    </Part>
  )
}

function Explain({ at }: { at: string }) {
  const [text, setText] = useState('')
  const [line, setLine] = useState('')
  const asked = useAsked<{ rules: Opinion[] | null }>(line === '' ? null : `${at}explain?line=${encodeURIComponent(line)}`, 3600)
  return (
    <Part id="explain" title="What would become of a line">
      <form class="search" onSubmit={(e) => { e.preventDefault(); setLine(text) }}>
        <label for="line">Line</label> <input id="line" type="text" value={text} onInput={(e) => setText(e.currentTarget.value)} />{' '}
        <button type="submit" class="plain">Explain</button>
      </form>
      <p class="fine">Nothing is done by asking.</p>
      {line !== '' && (
        <Shown asked={asked}>
          {({ rules }) => (
            <ul class="rows">
              {(rules ?? []).map((o) => (
                <li key={o.rule}><b>{o.rule}</b> {o.matched ? <>would match: {o.outcome} {o.reason} {o.actions?.join(', ')}</> : <span class="fine">no: {o.why}</span>}</li>
              ))}
              {!rules?.length && <li class="empty">No rule is about it.</li>}
            </ul>
          )}
        </Shown>
      )}
    </Part>
  )
}
