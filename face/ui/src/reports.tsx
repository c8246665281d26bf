// The reports of a stream: how a value was in each window and group, as a strip of heat, a chart of one group, and a table.
import { useState } from 'preact/hooks'
import { Part, Shown, useAsked } from './asked'
import { count, number } from './format'
import { Exactly } from './head'
import { Heat } from './heat'
import { Plot } from './plot'
import type { Window } from './windows'
import type { Job } from './model'

interface Table {
  table: string
  columns: string[]
  filters: string[]
}

export type Row = Record<string, string | number | boolean | null>

// shownWindows is how many windows are shown.
const shownWindows = 48

export function Reports({ job }: { job: Job }) {
  const at = `jobs/${encodeURIComponent(job.name)}/reports`
  const tables = useAsked<{ tables: Table[] }>(at, 60)
  const windows = useAsked<{ windows: Window[] }>(`windows?limit=${shownWindows}`, 10)
  const [chosen, choose] = useState('')
  const from = windows.value?.windows.map((w) => w.from ?? '').filter((f) => f !== '').sort()[0] ?? ''
  const known = windows.value !== undefined || windows.failure !== undefined
  return (
    <Part id="reports" title="Reports" side={tables.value && (
      <select aria-label="Report" value={chosen || tables.value.tables[0]?.table} onChange={(e) => choose(e.currentTarget.value)}>
        {tables.value.tables.map((t) => <option key={t.table} value={t.table}>{t.table}</option>)}
      </select>
    )}>
      {tables.failure?.kind === 'not found' ? <p class="empty">{tables.failure.error}. {tables.failure.hint}.</p> : <Shown asked={tables}>
        {({ tables: all }) => {
          const table = all.find((t) => t.table === chosen) ?? all[0]
          return table === undefined || !known ? <p class="empty">There are none.</p> : <Rows key={table.table} at={at} table={table} from={from} />
        }}
      </Shown>}
    </Part>
  )
}

// own are columns that every report has; the others are what was computed.
const own = new Set(['time', 'hour', 'complete', 'lost', 'revision'])

function Rows({ at, table, from }: { at: string; table: Table; from: string }) {
  const asked = useAsked<{ rows: Row[]; more: boolean }>(
    `${at}?table=${encodeURIComponent(table.table)}&limit=10000${from !== '' ? '&from=' + encodeURIComponent(from) : ''}`, 10)
  const group = table.filters.find((f) => f !== 'hour')
  return (
    <Shown asked={asked}>
      {({ rows, more }) => {
        const values = table.columns.filter((c) => !own.has(c) && !table.filters.includes(c) && rows.some((r) => typeof r[c] === 'number'))
        if (rows.length === 0) return <p class="empty">No window has a report yet. One is computed as soon as a window is stored.</p>
        return (
          <>
            {group !== undefined && values.length > 0
              ? <Picture rows={rows} group={group} values={values} />
              : <p class="fine">It has no number by group, so it is shown as a table alone.</p>}
            {more && <p class="fine">Not all rows are shown.</p>}
            <Newest rows={rows} table={table} />
          </>
        )
      }}
    </Shown>
  )
}

function Picture({ rows, group, values }: { rows: Row[]; group: string; values: string[] }) {
  const [value, setValue] = useState(values[0]!)
  const groups = [...new Set(rows.map((r) => String(r[group])))].sort()
  const [one, setOne] = useState(groups[0]!)
  const times = [...new Set(rows.map((r) => String(r.time)))].sort().slice(-shownWindows)
  const cells = new Map(rows.map((r) => [`${String(r.time)} ${String(r[group])}`, r[value]]))
  const at = (time: string, name: string) => {
    const v = cells.get(`${time} ${name}`)
    return typeof v === 'number' ? v : null
  }
  return (
    <>
      <div class="search">
        <label for="value">Value</label>
        <select id="value" value={value} onChange={(e) => setValue(e.currentTarget.value)}>{values.map((v) => <option key={v} value={v}>{v}</option>)}</select>
        <label for="group">{group}</label>
        <select id="group" value={one} onChange={(e) => setOne(e.currentTarget.value)}>{groups.map((g) => <option key={g} value={g}>{g}</option>)}</select>
      </div>
      <Heat what={value} rows={groups} columns={times} at={at} chosen={one} choose={setOne} />
      {times.length > 1 && (
        <Plot label={`${value} of ${one} in ${times.length} windows; the table below has the newest`} text={number} at={times.map((t) => Date.parse(t) / 1000)}
          lines={[{ name: `${value}, ${one}`, values: times.map((t) => at(t, one)) }]} />
      )}
    </>
  )
}

// Newest is the report of the newest window.
function Newest({ rows, table }: { rows: Row[]; table: Table }) {
  const time = rows[rows.length - 1]!.time
  const newest = rows.filter((r) => r.time === time)
  const columns = table.columns.filter((c) => c !== 'time')
  return (
    <details>
      <summary>The newest window as a table: {count(newest.length)} rows of <Exactly at={String(time)} /></summary>
      <div class="scroll tall" tabIndex={0} role="region" aria-label="Rows">
        <table>
          <thead><tr>{columns.map((c) => <th key={c}>{c === 'hour' ? 'hour (UTC)' : c}</th>)}</tr></thead>
          <tbody>
            {newest.slice(0, 200).map((r, i) => (
              <tr key={i}>{columns.map((c) => <td key={c} class={typeof r[c] === 'number' ? 'n' : ''}>{cell(r[c])}</td>)}</tr>
            ))}
          </tbody>
        </table>
      </div>
      {newest.length > 200 && <p class="fine">and {count(newest.length - 200)} more</p>}
    </details>
  )
}

const cell = (v: Row[string] | undefined): string => (v === null || v === undefined ? '–' : typeof v === 'number' ? number(v) : String(v))
