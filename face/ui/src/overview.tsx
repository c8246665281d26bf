// The front page: is anything lost, down or late; the balance; the flow of each job; what happened last.
import { BalanceOf } from './balance'
import { Events } from './events'
import { FlowPicture, Closed } from './picture'
import { Time } from './head'
import { role } from './flow'
import { count, jobHref, size, span } from './format'
import { accounts } from './books'
import { closed, worst } from './verdict'
import { now, type World } from './live'
import type { Finding, Job, Verdict } from './model'

export function OverviewPage({ world }: { world: World }) {
  if (world.jobs.length === 0) {
    return (
      <section class="empty">
        <h1>No jobs yet</h1>
        <p>A job is a piece of work with a name. Write one into the configuration, check it with <code>holdfast check -c FILE</code>, and
          start <code>holdfast run -c FILE</code>; or see all of them at work with <code>holdfast demo</code>.</p>
      </section>
    )
  }
  const v = world.verdict
  if (v === undefined) return null
  return (
    <>
      <Hero world={world} v={v} />
      <div class="columns">
        <section aria-labelledby="jobs" class="jobs">
          <h2 id="jobs">Jobs</h2>
          {worst(world.jobs).map((j) => <Card key={j.name} job={j} world={world} />)}
        </section>
        <div class="side">
          <section aria-labelledby="events">
            <h2 id="events">Last events</h2>
            <Events events={world.events} world={world} jobs />
          </section>
          <MachineBox world={world} />
        </div>
      </div>
    </>
  )
}

// Hero is the largest thing on the page: the verdict, and the balance that it rests on.
function Hero({ world, v }: { world: World; v: Verdict }) {
  const books = world.jobs.filter((j) => accounts(j).length > 0)
  return (
    <section class="hero" aria-labelledby="verdict">
      <h1 id="verdict">
        <span class={v.lost.length > 0 ? 'bad' : 'good'} data-verdict="lost">{v.loss}</span>{' '}
        <span class={v.down.length > 0 ? 'bad' : v.late.length + v.paused.length > 0 ? 'watch' : 'good'} data-verdict="rest">{v.flow}</span>
      </h1>
      <Findings bad={[...v.lost, ...v.down]} watch={v.late} />
      <Attention list={v.attention} />
      <h2 class="sub">The balance: all that came in, and where every bit of it is</h2>
      <ul class="books">
        {books.map((j) => (
          <li key={j.name}>
            <a class="name" href={jobHref(j.name)}>{j.name}</a>
            <BalanceOf job={j} />
          </li>
        ))}
      </ul>
    </section>
  )
}

function Findings({ bad, watch }: { bad: Finding[]; watch: Finding[] }) {
  const all = [...bad, ...watch]
  if (all.length === 0) return null
  return (
    <ul class="findings">
      {all.map((f, i) => (
        <li key={f.jobs.join() + f.text} class={i < bad.length ? 'bad' : 'watch'}>
          {f.jobs.map((name, i) => <span key={name}>{i > 0 && ', '}<a href={jobHref(name)}>{name}</a></span>)}{f.jobs.length > 0 && ': '}{f.text}{f.cause && <span class="fine">: {f.cause}</span>}
        </li>
      ))}
    </ul>
  )
}

// Attention stands in front of everything else that there is of the jobs: a phone shows it before one scrolls.
function Attention({ list }: { list: Finding[] }) {
  if (list.length === 0) return null
  return (
    <>
      <h2 class="sub" id="attention">Waits for a person</h2>
      <Findings bad={[]} watch={list} />
    </>
  )
}

export function StateTag({ job, world }: { job: Job; world: World }) {
  const looks = job.state === 'running' ? 'good' : job.state === 'paused' || job.state === 'starting' || job.state === 'stopped' ? 'watch' : 'bad'
  return (
    <span class={'tag ' + looks} title={'since ' + job.since}>
      {job.state} <span class="for">{span((now(world) - Date.parse(job.since)) / 1000)}</span>
    </span>
  )
}

function Card({ job, world }: { job: Job; world: World }) {
  return (
    <article class={'card' + (closed(job).length > 0 ? ' trouble' : '')} aria-label={job.name} data-job={job.name}>
      <header>
        <h3><a href={jobHref(job.name)}>{job.name}</a></h3>
        <span class="kind">{role(job)}</span>
        <span class="grow" />
        <StateTag job={job} world={world} />
      </header>
      {job.error && <p class="error">{job.error}</p>}
      {job.progress && <p>{job.progress.what}: {Math.round(job.progress.percent)} %</p>}
      <FlowPicture job={job} world={world} />
      <Closed job={job} world={world} />
    </article>
  )
}

function MachineBox({ world }: { world: World }) {
  const { machine: m, process: p } = world
  if (m === undefined || p === undefined) return null
  const used = m.disk_total > 0 ? (m.disk_total - m.disk_free) / m.disk_total : 0
  return (
    <section aria-labelledby="machine">
      <h2 id="machine">Machine</h2>
      <dl class="facts">
        <dt>Disk</dt>
        <dd>
          <meter min={0} max={1} high={0.9} value={used} aria-label="Part of the disk that is taken">{Math.round(used * 100)} %</meter>
          <div class={m.disk_short ? 'bad' : ''}>{size(m.disk_free)} free of {size(m.disk_total)}
            {m.disk_short ? ': short, sources wait' : ''}</div>
          <div class="fine">sources pause below {size(m.disk_soft)}, intake ends below {size(m.disk_hard)}</div>
        </dd>
        <dt>Memory</dt>
        <dd>{size(m.memory)}</dd>
        <dt>Process</dt>
        <dd>{p.pid} <span class="fine">holdfast {p.version}{p.since && <>, since <Time at={p.since} world={world} /></>}</span></dd>
        {(p.work ?? []).map((w) => (
          <div key={w.job + w.what} class="work">{w.job}: {w.what} {w.total > 0 && `${count((100 * w.done) / w.total)} %`}</div>
        ))}
      </dl>
    </section>
  )
}
