import { useState } from 'preact/hooks'
import { Part, Shown, useAsked } from './asked'
import { count, size } from './format'
import type { Job } from './model'

interface Host {
  host: string
  queued: number
  waiting: number
  done: number
  failed: number
  left: number
  bytes: number
  held: boolean
}

interface Report {
  hosts?: Host[]
  types?: { of: string; n: number }[]
  codes?: { of: string; n: number }[]
}

interface Why {
  [key: string]: unknown
}

// Crawl is what a crawl has: its hosts, what they answered, and why a URL is where it is.
export function Crawl({ job }: { job: Job }) {
  const at = `jobs/${encodeURIComponent(job.name)}/crawl/`
  const hosts = useAsked<Report>(at + 'reports/hosts?max=50', 5)
  const codes = useAsked<Report>(at + 'reports/responsecode?max=30', 10)
  const types = useAsked<Report>(at + 'reports/mimetype?max=30', 10)
  return (
    <>
      <Part id="hosts" title="Hosts">
        <Shown asked={hosts}>
          {(r) => (
            <div class="scroll" tabIndex={0} role="region" aria-label="Hosts">
              <table>
                <thead><tr><th>Host</th><th class="n">Queued</th><th class="n">Put off</th><th class="n">Done</th><th class="n">Failed</th><th class="n">Bytes</th></tr></thead>
                <tbody>
                  {(r.hosts ?? []).map((h) => (
                    <tr key={h.host}><td>{h.host}{h.held && ' (held)'}</td><td class="n">{count(h.queued)}</td><td class="n">{count(h.waiting)}</td>
                      <td class="n">{count(h.done)}</td><td class="n">{count(h.failed)}</td><td class="n">{size(h.bytes)}</td></tr>
                  ))}
                </tbody>
              </table>
            </div>
          )}
        </Shown>
      </Part>
      <Part id="answers" title="Answers and types">
        <Shown asked={codes}>{(r) => <Tallies all={r.codes ?? []} empty="Nothing was answered yet." />}</Shown>
        <Shown asked={types}>{(r) => <Tallies all={r.types ?? []} empty="" />}</Shown>
      </Part>
      <WhyURL at={at} />
    </>
  )
}

function Tallies({ all, empty }: { all: { of: string; n: number }[]; empty: string }) {
  if (all.length === 0) return <p class="empty">{empty}</p>
  return <ul class="shares">{all.map((t) => <li key={t.of}><b>{count(t.n)}</b> {t.of}</li>)}</ul>
}

function WhyURL({ at }: { at: string }) {
  const [text, setText] = useState('')
  const [url, setURL] = useState('')
  const asked = useAsked<Why>(url === '' ? null : `${at}why?url=${encodeURIComponent(url)}`, 3600)
  return (
    <Part id="why" title="Why a URL is, or is not, archived">
      <form class="search" onSubmit={(e) => { e.preventDefault(); setURL(text.trim()) }}>
        <label for="whyurl">URL</label> <input id="whyurl" type="text" inputMode="url" value={text} onInput={(e) => setText(e.currentTarget.value)} />{' '}
        <button type="submit" class="plain">Ask</button>
      </form>
      {url !== '' && <Shown asked={asked}>{(w) => <pre tabIndex={0} aria-label="Why">{JSON.stringify(w, null, 2)}</pre>}</Shown>}
    </Part>
  )
}
