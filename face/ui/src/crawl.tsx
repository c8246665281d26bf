// What a crawl has: its hosts and queues, what they answered, how its frontier grew, and how another crawl is begun with what it knows.
import { Action } from './action'
import { Part, Shown, useAsked } from './asked'
import { useCheckpoints } from './checkpoints'
import { count, size } from './format'
import { Growth } from './growth'
import { Time } from './head'
import { WhyURL } from './why'
import { Pager, usePages } from './pager'
import type { World } from './live'
import type { Host, Job } from './model'

interface Tally {
  of: string
  n: number
}

interface Report {
  hosts?: Host[]
  types?: Tally[]
  codes?: Tally[]
  frontier?: { hosts: number; held_hosts: number; exhausted_hosts: number; in_flight: { url: string }[]; largest: Host[] }
  next?: string
}

// Crawl is all of it.
export function Crawl({ job, world }: { job: Job; world: World }) {
  const at = `jobs/${encodeURIComponent(job.name)}/crawl/`
  return (
    <>
      <Growth job={job} world={world} />
      <Frontier at={at} job={job} world={world} />
      <Hosts at={at} />
      <Answers at={at} />
      <WhyURL at={at} />
      <NewCrawl job={job} world={world} />
    </>
  )
}

// Frontier are the queues with most in them, and what is asked for now.
function Frontier({ at, job, world }: { at: string; job: Job; world: World }) {
  const asked = useAsked<Report>(at + 'reports/frontier', 3)
  return (
    <Part id="queues" title="Queues, the longest first">
      <Shown asked={asked}>
        {({ frontier: f }) => f === undefined || f.largest.length === 0 ? <p class="empty">Nothing waits to be fetched.</p> : (
          <>
            <p class="fine">{count(f.in_flight.length)} in flight{f.held_hosts > 0 && <>; {count(f.held_hosts)} hosts held</>}
              {f.exhausted_hosts > 0 && <>; {count(f.exhausted_hosts)} over their budget</>}</p>
            <div class="scroll" tabIndex={0} role="region" aria-label="Queues">
              <table>
                <thead><tr><th>Queue</th><th class="n">URLs</th><th>Asked again</th><th><span class="unseen">Orders</span></th></tr></thead>
                <tbody>
                  {f.largest.map((h) => (
                    <tr key={h.host}>
                      <td>{h.host}{h.held && <b class="watch"> held</b>}{h.exhausted && <b class="watch"> over its budget</b>}</td>
                      <td class="n">{count(h.queued + h.waiting)}</td>
                      <td>{h.due ? <Time at={h.due} world={world} /> : 'now'}</td>
                      <td><Hold host={h} at={at} job={job} world={world} /></td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          </>
        )}
      </Shown>
    </Part>
  )
}

function Hold({ host: h, at, job, world }: { host: Host; at: string; job: Job; world: World }) {
  const what = h.held ? 'unhold' : 'hold'
  return (
    <Action world={world} label={h.held ? 'Let go on' : 'Hold'} title={h.held ? `Let ${h.host} go on?` : `Ask ${h.host} no more?`} path={at + what}
      command={`holdfast crawl ${what} ${job.name} ${h.host}`} body={() => ({ host: h.host })}>
      <p>{h.held ? 'It is asked again from now on.' : 'It is not asked until somebody lets it go on; its URLs wait. The other hosts do not notice.'}</p>
    </Action>
  )
}

function Hosts({ at }: { at: string }) {
  const pages = usePages()
  const asked = useAsked<Report>(`${at}reports/hosts?max=20&after=${encodeURIComponent(pages.after)}`, 5)
  return (
    <Part id="hosts" title="Hosts">
      <Shown asked={asked}>
        {(r) => (
          <>
            <div class="scroll stack" tabIndex={0} role="region" aria-label="Hosts and their URLs">
              <table>
                <thead><tr><th>Host</th><th class="n">Queued</th><th class="n">Put off</th><th class="n">Done</th><th class="n">Failed</th><th class="n">Bytes</th></tr></thead>
                <tbody>
                  {(r.hosts ?? []).map((h) => (
                    <tr key={h.host}><td>{h.host}</td><td class="n" data-label="queued">{count(h.queued)}</td>
                      <td class="n" data-label="put off">{count(h.waiting)}</td><td class="n" data-label="done">{count(h.done)}</td>
                      <td class="n" data-label="failed">{count(h.failed)}</td><td class="n" data-label="bytes">{size(h.bytes)}</td></tr>
                  ))}
                  {(r.hosts ?? []).length === 0 && <tr><td colSpan={6} class="empty">None is known yet.</td></tr>}
                </tbody>
              </table>
            </div>
            <Pager pages={pages} next={r.next} />
          </>
        )}
      </Shown>
    </Part>
  )
}

// ours are the statuses that no server gave, in Heritrix's numbers.
const ours: Record<string, string> = {
  '-1': 'no such name', '-2': 'no connection', '-3': 'the connection broke', '-4': 'no answer in time', '-5': 'it went wrong',
  '-7': 'no URL that can be fetched', '-61': 'robots.txt not to be had', '-5000': 'an address that is not to be asked',
  '-6000': 'deleted by a person', '-9998': 'robots.txt forbids it',
}

// looks of a status code: an archive keeps all answers, but those from 400 on are of interest.
const codeLooks = (code: string): string => (Number(code) < 0 || code >= '5' ? 'gone' : code >= '4' ? 'waiting' : code >= '3' ? 'aside' : 'there')

function Answers({ at }: { at: string }) {
  const codes = useAsked<Report>(at + 'reports/responsecode?max=30', 5)
  const types = useAsked<Report>(at + 'reports/mimetype?max=30', 10)
  return (
    <Part id="answers" title="Answers, and what kind they were">
      <div class="tallies">
        <Shown asked={codes}>{(r) => <Tallies all={r.codes ?? []} looks={codeLooks} what="Status" empty="Nothing was answered yet." />}</Shown>
        <Shown asked={types}>{(r) => <Tallies all={r.types ?? []} looks={() => 'there'} what="MIME type" empty="" />}</Shown>
      </div>
    </Part>
  )
}

function Tallies({ all, looks, what, empty }: { all: Tally[]; looks: (of: string) => string; what: string; empty: string }) {
  if (all.length === 0) return <p class="empty">{empty}</p>
  const most = Math.max(...all.map((t) => t.n))
  return (
    <table class="tally">
      <thead><tr><th>{what}</th><th class="n">URLs</th><th><span class="unseen">Part</span></th></tr></thead>
      <tbody>
        {all.map((t) => (
          <tr key={t.of}><td>{t.of}{ours[t.of] && <div class="fine">{ours[t.of]}</div>}</td><td class="n">{count(t.n)}</td>
            <td><div class={'part-bar ' + looks(t.of)} style={{ width: `${Math.max(2, (100 * t.n) / most)}%` }} /></td></tr>
        ))}
      </tbody>
    </table>
  )
}

// NewCrawl begins another crawl with what this one knew at a checkpoint, or with what recover journals tell.
function NewCrawl({ job, world }: { job: Job; world: World }) {
  const asked = useCheckpoints(job)
  return (
    <Part id="newcrawl" title="New crawl">
      <p class="fine">Another crawl of the same configuration, with WARC files and logs of its own. This one goes on and does not notice.</p>
      <Shown asked={asked}>
        {({ checkpoints }) => {
          const good = [...checkpoints].reverse().filter((c) => !c.error).map((c) => c.name)
          return (
            <div class="actions">
              {good.length > 0 && (
                <Action world={world} label="From a checkpoint" title="Begin a crawl from a checkpoint?" path="crawls"
                  command={`holdfast crawl begin NAME --like ${job.name} --checkpoint CHECKPOINT`}
                  fields={[{ name: 'name', label: 'Name of the new crawl', needed: true }, { name: 'checkpoint', label: 'Checkpoint', choices: good }]}
                  body={(g) => ({ name: g.name?.trim(), like: job.name, checkpoint: g.checkpoint })}>
                  <p>It knows every URL that was known then, goes on with those that waited, and has the WARC files of that time under a second name.
                    What was fetched then is not fetched again.</p>
                </Action>
              )}
              <Action world={world} label="From a recover journal" title="Begin a crawl from recover journals?" path="crawls"
                command={`holdfast crawl begin NAME --like ${job.name} --journal FILE`}
                fields={[{ name: 'name', label: 'Name of the new crawl', needed: true },
                  { name: 'files', label: 'Journals (frontier.recover.gz), an absolute path a line, the oldest first', type: 'area', needed: true },
                  { name: 'retry', label: 'Fetch again what failed there', type: 'tick' }]}
                body={(g) => ({ name: g.name?.trim(), like: job.name, retry_failed: g.retry === 'true',
                  files: (g.files ?? '').split('\n').map((f) => f.trim()).filter((f) => f !== '') })}>
                <p>Journals of Holdfast or of Heritrix are read on the machine of Holdfast: what ended there is known, what waited there is queued, as far
                  as the scope wants it.</p>
              </Action>
            </div>
          )
        }}
      </Shown>
      {asked.value?.checkpoints.length === 0 && <p class="fine">A checkpoint to begin from is made above.</p>}
    </Part>
  )
}
