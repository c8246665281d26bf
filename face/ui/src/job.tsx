// The page of one job: what the overview shows of it, its time line, and what it has.
import { JobActions } from './actions'
import { Part, Shown, useAsked } from './asked'
import { BalanceOf } from './balance'
import { accounts } from './books'
import { Checkpoints } from './checkpoints'
import { Events } from './events'
import { Gaps } from './gaps'
import { Letters } from './letters'
import { role } from './flow'
import { size } from './format'
import { StateTag } from './overview'
import { Closed, FlowPicture } from './picture'
import { Files } from './files'
import { Reports } from './reports'
import { Windows } from './windows'
import { Crawl } from './crawl'
import { Supervise } from './supervise'
import { TimelineOf } from './timeline'
import { closed } from './verdict'
import type { World } from './live'
import type { HistoryEvent, Job } from './model'

export function JobPage({ world, name }: { world: World; name: string }) {
  const job = world.jobs.find((j) => j.name === name)
  if (job === undefined) {
    return (
      <section class="empty">
        <h1>There is no job {name}</h1>
        <p>It may have been taken out of the configuration. <a href="#/">All jobs</a></p>
      </section>
    )
  }
  return <Page key={name} job={job} world={world} />
}

function Page({ job, world }: { job: Job; world: World }) {
  const what = role(job)
  const rows = job.balance.sinks.length > 0
  return (
    <>
      <p class="crumbs"><a href="#/">All jobs</a></p>
      <div class="title"><h1>{job.name}</h1><span class="kind">{what}</span><span class="grow" /><StateTag job={job} world={world} /></div>
      {job.error && <p class="error">{job.error}</p>}
      {world.machine?.disk_short && <p class="error">The disk is short ({size(world.machine.disk_free)} free): sources that can wait do, and go on by
        themselves as soon as there is room.</p>}
      <JobActions job={job} world={world} />
      {(accounts(job).length > 0 || closed(job).length > 0) && (
        <section class="hero" aria-label="Balance"><BalanceOf job={job} /><Closed job={job} world={world} /></section>
      )}
      <section class="part" aria-label="Flow"><FlowPicture job={job} world={world} /></section>
      <TimelineOf job={job} world={world} />
      <div class="two">
        {what === 'transfer' && <Files job={job} world={world} />}
        {what === 'crawl' && <Crawl job={job} world={world} />}
        {what === 'supervise' && <Supervise job={job} world={world} />}
        {job.role !== undefined && job.role !== 'streamer' && <Reports job={job} />}
        {what === 'stream: ingester' && <Windows job={job} />}
        {(rows || what === 'transfer' || what === 'stream: streamer') && <Letters job={job} world={world} />}
        {rows && <Gaps job={job} world={world} />}
        <Checkpoints job={job} world={world} />
        <Facts job={job} />
        <History job={job} world={world} />
      </div>
    </>
  )
}

function Facts({ job }: { job: Job }) {
  if (!job.notes?.length) return null
  return (
    <Part id="facts" title="What it says of itself">
      <dl class="facts">{job.notes.map(([k, v]) => <div class="fact" key={k + v}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>
    </Part>
  )
}

function History({ job, world }: { job: Job; world: World }) {
  const asked = useAsked<{ items: HistoryEvent[] }>(`events?job=${encodeURIComponent(job.name)}&max=60`, 5)
  return <Part id="history" title="History"><Shown asked={asked}>{({ items }) => <Events events={items} world={world} />}</Shown></Part>
}
