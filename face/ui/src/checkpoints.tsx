import { Action } from './action'
import { Part, Shown, useAsked } from './asked'
import { size } from './format'
import { Time } from './head'
import type { World } from './live'
import type { Checkpoint, Job } from './model'

// Checkpoints are the states of a job that one can go back to.
export function Checkpoints({ job, world }: { job: Job; world: World }) {
  const asked = useAsked<{ checkpoints: Checkpoint[] }>(`checkpoints?job=${encodeURIComponent(job.name)}`, 10)
  const at = (c: Checkpoint) => `jobs/${encodeURIComponent(job.name)}/checkpoints/${encodeURIComponent(c.name)}/`
  return (
    <Part id="checkpoints" title="Checkpoints">
      <Shown asked={asked}>
        {({ checkpoints }) => checkpoints.length === 0
          ? <p class="empty">None yet. They are made at every interval of <code>checkpoints:</code> in the configuration, and by hand.</p> : (
            <ul class="rows">
              {checkpoints.map((c) => (
                <li key={c.name}>
                  <b>{c.name}</b> <Time at={c.created} world={world} /> <span class="fine">{size(c.bytes)}{c.pinned && ', made by hand'}
                    {c.verified && <>, found whole <Time at={c.verified} world={world} /></>}</span>
                  {c.error && <div class="error">can't be used: {c.error}</div>}
                  <span class="actions">
                    <Action world={world} label="Verify" title={`Verify ${c.name}?`} path={at(c) + 'verify'}
                      command={`holdfast checkpoint verify ${job.name} ${c.name}`}>
                      <p>All of its files are read and compared with their checksums. That may take some time; nothing is changed.</p>
                    </Action>
                    <Action world={world} label="Restore" danger title={`Put ${job.name} back to ${c.name}?`} path={at(c) + 'restore'}
                      command={`holdfast checkpoint restore ${job.name} ${c.name}`}>
                      <p>The job stops, its store is replaced by the one of <Time at={c.created} world={world} />, and it goes on from there. What it did
                        since is compared with what its sinks have, and not done twice. The store of now is kept in <code>quarantine</code>.</p>
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
