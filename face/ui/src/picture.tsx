// The picture of a job's flow, in boxes and arrows of text, so that it can be read aloud, selected, and put under one another.
import { Action } from './action'
import { Time } from './head'
import { count, rate, size, span } from './format'
import { flow, type Arrow, type Place } from './flow'
import { closed, since } from './verdict'
import type { Gate, Job } from './model'
import type { World } from './live'

export function FlowPicture({ job, world }: { job: Job; world: World }) {
  const f = flow(job, world.meter)
  return (
    <div class="flowbox"><div class="flow">
      {f.ins.length > 0 && <div class="places">{f.ins.map((p) => <PlaceBox key={p.title} place={p} world={world} />)}</div>}
      {f.ins.length > 0 && <Way arrow={f.into} stopped={f.ins.every((p) => p.gate?.open === false)} />}
      <div class="places">
        <PlaceBox place={f.keep} world={world} />
        {f.inside.map((g) => <Need key={g.name} gate={g} world={world} />)}
      </div>
      {f.outs.length > 0 && (
        <div class="outs">
          {f.outs.map(({ place, arrow }) => (
            <div class="out" key={place.title}>
              <Way arrow={arrow} stopped={place.gate?.open === false} />
              <PlaceBox place={place} world={world} />
            </div>
          ))}
        </div>
      )}
    </div></div>
  )
}

function PlaceBox({ place: p, world }: { place: Place; world: World }) {
  const shut = p.gate?.open === false
  return (
    <div class={'place' + (shut ? ' shut' : '')} data-place={p.title}>
      <div class="what">{p.what}</div>
      <div class="title">{p.title}</div>
      {p.lines.map((l) => <div class="fine" key={l}>{l}</div>)}
      {p.gate && (
        <div class={'gate ' + (shut ? 'bad' : 'good')} data-gate={shut ? 'closed' : 'open'}>
          {shut ? 'closed' : 'open'} {since(world, p.gate.since)}
        </div>
      )}
    </div>
  )
}

// Need is a gate of what the work in the middle depends on.
function Need({ gate: g, world }: { gate: Gate; world: World }) {
  return (
    <div class={'place need' + (g.open ? '' : ' shut')} data-place={g.name}>
      <span class={'gate ' + (g.open ? 'good' : 'bad')} data-gate={g.open ? 'open' : 'closed'}>
        {g.name}: {g.open ? 'open' : 'closed'} {since(world, g.since)}
      </span>
    </div>
  )
}

// Way is an arrow with what moves on it, and what waits before it.
function Way({ arrow: a, stopped }: { arrow: Arrow; stopped: boolean }) {
  const moves = (a.rate ?? 0) > 0
  const waits = a.waiting !== undefined && a.waiting.rows > 0
  return (
    <div class={'way' + (stopped ? ' stopped' : moves ? ' moves' : '')}>
      <div class="rate">{a.rate === undefined ? '' : a.bytes ? size(a.rate) + '/s' : rate(a.rate, a.unit)}</div>
      <div class="line" aria-hidden="true" />
      <div class={'waiting' + (waits ? '' : ' none')}>
        {waits ? `${count(a.waiting!.rows)} wait${a.waiting!.seconds >= 1 ? ', ' + span(a.waiting!.seconds) : ''}`
          : a.waiting !== undefined ? 'nothing waits' : ''}
      </div>
    </div>
  )
}

// Closed says of each closed gate why, since when, and what a person can do.
export function Closed({ job, world }: { job: Job; world: World }) {
  return (
    <>
      {closed(job).map((g) => <Reason key={g.name} gate={g} job={job} world={world} />)}
    </>
  )
}

function Reason({ gate: g, job, world }: { gate: Gate; job: Job; world: World }) {
  const at = `jobs/${encodeURIComponent(job.name)}/`
  const tried = g.cause !== undefined && g.cause !== ''
  return (
    <div class="reason">
      <p><b>{g.name}</b> {tried ? 'is away' : 'has not been tried'} since <Time at={g.since} world={world} /> ({since(world, g.since)}){tried && ': ' + g.cause}</p>
      {g.hint && <p class="hint">{g.hint}</p>}
      {job.state === 'running' && (
        <div class="actions">
          <Action world={world} label="Try now" title={`Try ${g.name} now?`} path={at + 'resume'} command={`holdfast resume ${job.name}`}>
            <p>Everything that {job.name} waits for is tried now, and not when the next try is due. A gate opens if its try succeeds; nothing else changes.</p>
          </Action>
          {!g.tells && <Action world={world} label="Open by hand" danger title={`Open the gate of ${g.name}?`} path={`${at}gates/${encodeURIComponent(g.name)}/open`}
            command={`holdfast gate open ${job.name} ${g.name} --reason TEXT`} body={(given) => ({ reason: given.reason })}
            fields={[{ name: 'reason', label: 'Reason, for the history', needed: true }]}>
            <p>Work goes on at once, without a try, also where {g.name} asked for time. Nothing can be lost or done twice by it: if the work meets the
              same again, the gate closes again.</p>
          </Action>}
        </div>
      )}
      <p class="fine">{job.balance.sinks.some((s) => s.sink === g.name)
        ? 'What came in waits in the spool, and is delivered as soon as a try succeeds.' : 'Work goes on by itself as soon as a try succeeds.'}</p>
    </div>
  )
}
