// Why a URL is, or is not, archived.
import type { ComponentChildren } from 'preact'
import { useState } from 'preact/hooks'
import { Part, Shown, useAsked } from './asked'
import { count, span } from './format'
import type { Host } from './model'

interface Why {
  url: string
  key: string
  state: string
  status?: number
  seed: boolean
  scope: { accept: boolean; rule: number; name?: string; why: string }
  rules: { rule: number; name: string; verdict: string; why: string; decides: boolean }[] | null
  robots: { from: string; allowed: boolean; line?: number; delay?: number }
  settings: Record<string, string>
  sheets: string[]
  pattern?: string
  pattern_budget?: number
  host?: Host
}

export function WhyURL({ at }: { at: string }) {
  const [text, setText] = useState('')
  const [url, setURL] = useState('')
  const asked = useAsked<Why>(url === '' ? null : `${at}why?url=${encodeURIComponent(url)}`, 3600)
  return (
    <Part id="why" title="Why a URL is, or is not, archived">
      <form class="search" onSubmit={(e) => { e.preventDefault(); setURL(text.trim()) }}>
        <label for="whyurl">URL</label> <input id="whyurl" type="text" inputMode="url" value={text} onInput={(e) => setText(e.currentTarget.value)} />{' '}
        <button type="submit" class="plain">Ask</button>
      </form>
      {url !== '' && <Shown asked={asked}>{(w) => <Answer why={w} />}</Shown>}
    </Part>
  )
}

function Answer({ why: w }: { why: Why }) {
  return (
    <div class="answer">
      <p><b>{w.state}</b>{w.status !== undefined && <> with status {w.status}</>}{w.seed && ', a seed'} <span class="fine">{w.url}</span></p>
      <dl class="facts">
        <Fact name="Scope"><b class={w.scope.accept ? 'good' : 'bad'}>{w.scope.accept ? 'wanted' : 'not wanted'}</b> {w.scope.why}
          {w.scope.rule > 0 && <span class="fine"> (rule {w.scope.rule}{w.scope.name && ' ' + w.scope.name})</span>}</Fact>
        <Fact name="robots.txt"><b class={w.robots.allowed ? 'good' : 'bad'}>{w.robots.allowed ? 'allowed' : 'forbidden'}</b> {w.robots.from}
          {w.robots.line ? `, line ${w.robots.line}` : ''}{w.robots.delay ? `, asks for ${span(w.robots.delay / 1e9)} between two requests` : ''}</Fact>
        {w.host && <Fact name="Host">{w.host.host}: {count(w.host.queued + w.host.waiting)} wait, {count(w.host.done)} done, {count(w.host.failed)} failed
          {w.host.held && <b class="watch"> held by a person</b>}{w.host.exhausted && <b class="watch"> over its budget</b>}</Fact>}
        {w.pattern && <Fact name="Series">{w.pattern}{w.pattern_budget ? `: of its like at most ${count(w.pattern_budget)} are queued` : ''}</Fact>}
      </dl>
      <details>
        <summary>Every rule, and the settings in force</summary>
        <ul class="rows">
          {(w.rules ?? []).map((r) => (
            <li key={r.rule}>{r.rule} <b>{r.name}</b>: {r.verdict} <span class="fine">{r.why}</span>{r.decides && <b class="good"> decides</b>}</li>
          ))}
        </ul>
        <p class="fine">{Object.entries(w.settings).map(([k, v]) => `${k} ${v}`).join(', ')}{w.sheets.length > 0 && '; sheets: ' + w.sheets.join(', ')}</p>
      </details>
    </div>
  )
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return <div class="fact"><dt>{name}</dt><dd>{children}</dd></div>
}
