// What the rules would have done on what was: they are tried on the past before they are trusted with the future.
import { useState } from 'preact/hooks'
import { Part, Shown, useAsked } from './asked'
import { count, plural, span } from './format'
import { Time } from './head'
import type { Seen } from './asked'

interface Would {
  time: string
  rule: string
  key?: string
  outcome: string
  reason?: string
  actions?: string[]
  seen: string
}

interface Tried {
  from?: string
  to?: string
  lines: number
  looks: number
  took: number // ns
  rules: { name: string; matched: number; became: Record<string, number> }[] | null
  notes?: string[]
  would: Would[]
  more: number
}

const spans: Record<string, string> = { 'the last hour': '1h', 'the last day': '24h', 'the last week': '7d' }

export function Replay({ at, world }: Seen) {
  const [since, setSince] = useState('the last hour')
  const [all, setAll] = useState(false)
  const [asked, ask] = useState('')
  const [turn, next] = useState(0)
  const tried = useAsked<Tried>(asked === '' ? null : `${asked}#${turn}`, 0)
  return (
    <Part id="replay" title="Replay: what the rules would have done">
      <form class="search" onSubmit={(e) => { e.preventDefault(); next(turn + 1); ask(`${at}replay?since=${spans[since]}&all=${all}`) }}>
        <label for="since">On</label>
        <select id="since" value={since} onChange={(e) => setSince(e.currentTarget.value)}>
          {Object.keys(spans).map((s) => <option key={s} value={s}>{s}</option>)}
        </select>
        <label class="tick"><input type="checkbox" checked={all} onChange={(e) => setAll(e.currentTarget.checked)} /> also what would not have been done</label>
        <button type="submit" class="plain">Replay</button>
      </form>
      <p class="fine">Journals, logs and metrics of that time are read, by the rules as their file has them now. Nothing is done, and nothing is kept.</p>
      {asked !== '' && <Shown asked={tried}>{(t) => <Outcome tried={t} world={world} />}</Shown>}
    </Part>
  )
}

function Outcome({ tried: t, world }: { tried: Tried; world: Seen['world'] }) {
  return (
    <>
      <p><b>{count(t.lines)}</b> {plural(t.lines, 'line')} and <b>{count(t.looks)}</b> {plural(t.looks, 'look')} were read
        {t.from && t.to && <>, from <Time at={t.from} world={world} /> to <Time at={t.to} world={world} /></>}, in {t.took < 1e9 ? 'less than a second' : span(t.took / 1e9)}.</p>
      <ul class="shares">
        {(t.rules ?? []).map((r) => (
          <li key={r.name}><b>{r.name}</b>: {count(r.matched)} matched{Object.entries(r.became).filter(([, n]) => n > 0).map(([what, n]) => `, ${count(n)} ${what}`).join('')}</li>
        ))}
      </ul>
      {(t.notes ?? []).map((n) => <p key={n} class="watch">{n}</p>)}
      {t.would.length === 0 && <p class="empty">Nothing would have been done.</p>}
      {t.more > 0 && <p class="fine">{count(t.more)} earlier ones are not shown.</p>}
      <ul class="rows long">
        {[...t.would].reverse().map((w, i) => (
          <li key={i}><Time at={w.time} world={world} /> <b>{w.rule}</b> {w.key} <span class={w.outcome === 'acted' ? 'good' : 'kind'}>{w.outcome}</span> {w.reason}
            {(w.actions ?? []).map((a) => <div key={a}><code>{a}</code></div>)}
            <div class="fine">{w.seen}</div></li>
        ))}
      </ul>
    </>
  )
}
