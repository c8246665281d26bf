import { Action } from './action'
import type { World } from './live'
import type { Job } from './model'

// JobActions are the orders that every job takes.
export function JobActions({ job, world }: { job: Job; world: World }) {
  const at = `jobs/${encodeURIComponent(job.name)}/`
  const twice = Object.entries(job.promises ?? {}).filter(([, promise]) => promise === 'at least once').map(([name]) => name)
  return (
    <div class="actions">
      {job.state === 'paused'
        ? (
          <Action world={world} label="Resume" title={`Let ${job.name} go on?`} path={at + 'resume'} command={`holdfast resume ${job.name}`}>
            <p>It goes on where it was, and tries at once whatever it waits for.</p>
          </Action>
        ) : (
          <Action world={world} label="Pause" danger title={`Pause ${job.name}?`} path={at + 'pause'} command={`holdfast pause ${job.name}`}>
            <p>It takes nothing in and delivers nothing until somebody resumes it, restarts of Holdfast included. What it has stays where it is.
              A source that can't wait loses meanwhile what is not heard.</p>
          </Action>
        )}
      <Action world={world} label="Checkpoint" title={`Make a checkpoint of ${job.name}?`} path={at + 'checkpoints'}
        command={`holdfast checkpoint create ${job.name}`} fields={[{ name: 'name', label: 'Name (empty: the time)' }]}
        body={(g) => (g.name?.trim() ? { name: g.name.trim() } : {})}>
        <p>The job's store is kept as it is now, to go back to. The job works on meanwhile. A checkpoint made by hand stays until it is removed by
          hand.</p>
      </Action>
      {(job.kind === 'collect' || job.kind === 'transfer') && job.state === 'running' && (
        <Action world={world} label="Backfill" title="Ask for everything that is missing now?" path={at + 'backfill'} command={`holdfast backfill ${job.name}`}>
          <p>{job.kind === 'transfer' ? 'The source is looked through now for files that were missed.'
            : 'Every open gap is asked for now, and not when its next look is due.'} What is here already is not taken in twice.</p>
        </Action>
      )}
      {job.replays && job.spool.blocks > 0 && (
        <Action world={world} label="Replay" danger title={`Deliver again what ${job.name} has kept?`} path={at + 'spool/replay'}
          command={`holdfast spool replay --job ${job.name} --sink SINK --from TIME --to TIME`}
          fields={[{ name: 'sink', label: 'Sink', choices: job.balance.sinks.map((s) => s.sink) },
            { name: 'from', label: 'Rows from (your time; empty: all)', type: 'datetime-local' },
            { name: 'to', label: 'Rows before (your time; empty: all)', type: 'datetime-local' }]}
          body={(g) => ({ sink: g.sink, ...(g.from && { from: new Date(g.from).toISOString() }), ...(g.to && { to: new Date(g.to).toISOString() }) })}>
          <p>Blocks that are still kept and have rows of that time are delivered to that sink once more. A sink that promises exactly once has no
            row twice after it.{twice.length > 0 && <> <b>{twice.join(', ')}</b> promises at least once, and may.</>}</p>
        </Action>
      )}
    </div>
  )
}
