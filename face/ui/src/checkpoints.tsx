import { Action } from './action'
import { Part, Shown, useAsked } from './asked'
import { count, size } from './format'
import { Time } from './head'
import type { World } from './live'
import type { Checkpoint, Job } from './model'

// useCheckpoints asks for the checkpoints of a job.
export const useCheckpoints = (job: Job) => useAsked<{ checkpoints: Checkpoint[] }>(`checkpoints?job=${encodeURIComponent(job.name)}`, 10)

// Checkpoints are the states of a job that one can go back to, the newest first.
export function Checkpoints({ job, world }: { job: Job; world: World }) {
  const asked = useCheckpoints(job)
  return (
    <Part id="checkpoints" title="Checkpoints">
      <Shown asked={asked}>
        {({ checkpoints }) => checkpoints.length === 0
          ? <p class="empty">None yet. They are made at every interval of <code>checkpoints:</code> in the configuration, and by hand.</p>
          : <ul class="rows long">{[...checkpoints].reverse().map((c) => <One key={c.name} checkpoint={c} job={job} world={world} />)}</ul>}
      </Shown>
    </Part>
  )
}

function One({ checkpoint: c, job, world }: { checkpoint: Checkpoint; job: Job; world: World }) {
  const at = `jobs/${encodeURIComponent(job.name)}/checkpoints/${encodeURIComponent(c.name)}/`
  return (
    <li>
      <b>{c.name}</b> <Time at={c.created} world={world} /> <Validity checkpoint={c} world={world} />
      <div class="fine">{size(c.bytes)}, {size(c.held)} of it held by checkpoints alone{c.pinned && ', made by hand'}
        {Object.entries(c.facts ?? {}).map(([what, n]) => `; ${count(n)} ${what}`).join('')}</div>
      {c.error && <div class="error">can't be used: {c.error}</div>}
      <span class="actions">
        <Action world={world} label="Verify" title={`Verify ${c.name}?`} path={at + 'verify'} command={`holdfast checkpoint verify ${job.name} ${c.name}`}>
          <p>All of its files are read and compared with their checksums. That may take some time; nothing is changed.</p>
        </Action>
        <Action world={world} label="Restore" danger title={`Put ${job.name} back to ${c.name}?`} path={at + 'restore'}
          command={`holdfast checkpoint restore ${job.name} ${c.name}`}>
          <p>The job stops, its store is replaced by the one of <Time at={c.created} world={world} />, and it goes on from there. What it did
            since is compared with what its sinks have, and not done twice. The store of now is kept in <code>quarantine</code>.</p>
        </Action>
        <Action world={world} label="Restore into…" title={`Make a copy of ${job.name} as it was at ${c.name}?`} path={at + 'restore'}
          command={`holdfast checkpoint restore ${job.name} ${c.name} --into DIR`} body={(g) => ({ dir: g.dir?.trim() })}
          fields={[{ name: 'dir', label: 'Data directory, an absolute path on the machine of Holdfast', needed: true }]}>
          <p>The job is made in another data directory, which is made if need be. Here it goes on and does not notice. Start it there with <code>holdfast
            run -c FILE --data-dir DIR</code>, but not to the same sinks or sites as this one.</p>
        </Action>
      </span>
    </li>
  )
}

// Validity says whether a checkpoint can be used, for all that is known.
function Validity({ checkpoint: c, world }: { checkpoint: Checkpoint; world: World }) {
  if (c.error) return <span class="bad">invalid</span>
  if (c.verified) return <span class="good">found whole <Time at={c.verified} world={world} /></span>
  return <span class="fine">whole when it was made; not verified since</span>
}
