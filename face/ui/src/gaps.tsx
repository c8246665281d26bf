import { useState } from 'preact/hooks'
import { Action } from './action'
import { Part, Shown, useAsked } from './asked'
import { count } from './format'
import { Time } from './head'
import { Pager, usePages } from './pager'
import type { World } from './live'
import type { Gap, GapTotals, Job } from './model'

// rowsOf is how many rows are lost: of most jobs, those that expired are among those that gaps lost.
const rowsOf = (l: { lost: number; expired?: Record<string, number> }): number =>
  Math.max(l.lost, Object.values(l.expired ?? {}).reduce((a, b) => a + b, 0))

// Gaps are what a source should have and did not give.
export function Gaps({ job, world }: { job: Job; world: World }) {
  const [all, setAll] = useState(false)
  const pages = usePages()
  const g = job.balance.gap_totals
  const known = job.acknowledged
  const loss = { lost: g.lost, expired: Object.fromEntries(job.balance.sinks.filter((s) => s.expired > 0).map((s) => [s.sink, s.expired])) }
  const unknown = rowsOf(loss) - (known ? rowsOf(known) : 0)
  const some = g.open + g.settled > 0
  const asked = useAsked<{ gaps: Gap[]; totals: GapTotals; next?: string }>(
    some ? `jobs/${encodeURIComponent(job.name)}/gaps?max=25&all=${all}&after=${encodeURIComponent(pages.after)}` : null, 10)
  return (
    <Part id="gaps" title={`Gaps: ${count(g.open)} open`} side={some && (
      <label class="tick"><input type="checkbox" checked={all} onChange={(e) => { setAll(e.currentTarget.checked); pages.restart() }} /> also settled
        ones</label>
    )}>
      <p class="fine">{count(g.missing)} missing and asked for again, {count(g.filled)} came later, {count(g.absent)} the source does not
        have, {count(g.lost)} lost.{known && unknown === 0 && g.lost > 0 && <> That is acknowledged since <Time at={known.at} world={world} />.</>}</p>
      {unknown > 0 && (
        <p class="actions">
          <Action world={world} label="Acknowledge" title={`Acknowledge what ${job.name} has lost?`} command={`holdfast acknowledge ${job.name}`}
            path={`jobs/${encodeURIComponent(job.name)}/acknowledge`} body={() => loss}>
            <p>{unknown === 1 ? 'One row is' : `${count(unknown)} rows are`} lost for good. It stays in the books and in the history, and is no news
              from then on: the next loss will stand out.</p>
          </Action>
        </p>
      )}
      {some && (
        <Shown asked={asked}>
          {({ gaps, next }) => (
            <>
              <div class="scroll stack" tabIndex={0} role="region" aria-label="Gaps">
                <table>
                  <thead><tr><th>State</th><th>Cause</th><th>From</th><th>To</th><th class="n">Missing</th><th class="n">Looks</th><th>Next look</th></tr></thead>
                  <tbody>
                    {gaps.map((x) => (
                      <tr key={x.source + x.from + x.found}>
                        <td>{x.state}</td><td>{x.cause}{x.note && ': ' + x.note}</td><td data-label="from">{x.from}</td><td data-label="to">{x.to}</td>
                        <td class="n" data-label="missing">{count(x.missing)}</td><td class="n" data-label="looks">{x.looks}</td>
                        <td data-label="next look">{x.next && Date.parse(x.next) > 0 && <Time at={x.next} world={world} />}</td>
                      </tr>
                    ))}
                    {gaps.length === 0 && <tr><td colSpan={7} class="empty">No open ones.</td></tr>}
                  </tbody>
                </table>
              </div>
              <Pager pages={pages} next={next} />
            </>
          )}
        </Shown>
      )}
    </Part>
  )
}
