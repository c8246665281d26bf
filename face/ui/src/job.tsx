import { BalanceOf } from './balance'
import { Events } from './events'
import { role } from './flow'
import { StateTag } from './overview'
import { Closed, FlowPicture } from './picture'
import type { World } from './live'

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
  return (
    <>
      <p class="crumbs"><a href="#/">All jobs</a></p>
      <div class="title"><h1>{job.name}</h1><span class="kind">{role(job)}</span><span class="grow" /><StateTag job={job} world={world} /></div>
      <section class="hero"><BalanceOf job={job} /></section>
      <FlowPicture job={job} world={world} />
      <Closed job={job} world={world} />
      <h2>Events</h2>
      <Events events={world.events.filter((e) => e.job === name)} world={world} />
    </>
  )
}
