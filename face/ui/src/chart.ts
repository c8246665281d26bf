// The charts of a time line, drawn by uPlot, one below the other with one time.
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { count, exactly, span } from './format'
import { visible } from './visible'

export interface Point {
  at: number
  seconds: number
  read: number
  lines: { name: string; done: number; rows: number; bytes: number; lag: number }[]
}

export interface Outage {
  what: string
  from: string
  to?: string
  cause?: string
}

export interface Timeline {
  from: string
  to: string
  step: number
  points: Point[]
  outages: Outage[]
}

type Column = (number | null)[]

interface Drawn {
  title: string
  names: string[]
  columns: Column[]
  text: (v: number) => string
}

// drawn are the charts of a time line: what moved a second, what waited, and how long.
export function drawn(t: Timeline, itemName: string): { at: number[]; charts: Drawn[] } {
  const at: number[] = []
  const points: (Point | null)[] = []
  for (const p of t.points) {
    const last = at[at.length - 1]
    if (last !== undefined && p.at - last > t.step * 1.5) { // nobody looked: no line across
      at.push(last + t.step)
      points.push(null)
    }
    at.push(p.at)
    points.push(p.seconds > 0 ? p : null)
  }
  const names = [...new Set(t.points.flatMap((p) => p.lines.map((l) => l.name)))].sort()
  const column = (f: (p: Point) => number | null): Column => points.map((p) => (p === null ? null : f(p)))
  const line = (p: Point, name: string) => p.lines.find((l) => l.name === name)
  const of = (what: 'rows' | 'lag') => names.map((n) => column((p) => line(p, n)?.[what] ?? null))
  const perSecond = (v: number) => (v === 0 ? '0' : v < 1 ? String(Number(v.toPrecision(2))) : v < 10 ? v.toFixed(1) : count(v)) + '/s'
  return {
    at,
    charts: [
      { title: `${itemName} a second`, names: ['in', ...names], text: perSecond,
        columns: [column((p) => p.read / p.seconds), ...names.map((n) => column((p) => (line(p, n)?.done ?? 0) / p.seconds))] },
      { title: `${itemName} that waited, at most`, names, columns: of('rows'), text: count },
      { title: 'longest wait', names, columns: of('lag'), text: span },
    ].filter((c) => c.names.length > 0),
  }
}

// shade is the colour that a name of the style sheet has in this theme.
function shade(host: HTMLElement, name: string): string {
  const probe = document.createElement('span')
  probe.style.color = `var(${name})`
  host.append(probe)
  const colour = getComputedStyle(probe).color
  probe.remove()
  return colour
}

const colours = ['--link', '--good', '--watch', '--bad', '--soft']

interface Extra {
  height: number
  range?: [number, number] // of time, in seconds
  whole?: boolean // values are whole numbers
  fill?: boolean // below the first line
  free?: boolean // the scale need not begin at 0
  cursor?: uPlot.Cursor
  hooks?: uPlot.Hooks.Arrays
}

// chart makes one chart as wide as host.
function chart(host: HTMLElement, c: Drawn, at: number[], o: Extra): uPlot {
  const ink = shade(host, '--soft')
  const edge = shade(host, '--edge')
  const [from, to] = o.range ?? [at[0]!, at[at.length - 1]!]
  return new uPlot({
    width: Math.max(260, host.clientWidth), height: o.height, title: c.title,
    cursor: { drag: { x: false, y: false, setScale: false }, ...o.cursor },
    scales: { x: { min: from, max: to, auto: false }, y: o.free ? {} : { range: (_u, _min, max) => [0, max > 0 ? max * 1.1 : 1] } },
    axes: [
      { stroke: ink, grid: { stroke: edge, width: 1 }, ticks: { stroke: edge }, values: times(to - from) },
      { stroke: ink, grid: { stroke: edge, width: 1 }, ticks: { stroke: edge }, size: 78, ...(o.whole && { incrs: steps }), values: (_u, vs) => vs.map((v) => c.text(v)) },
    ],
    series: [
      { label: 'time', value: (_u, v) => (v === null ? '–' : exactly(new Date(v * 1000))) },
      ...c.names.map((name, n): uPlot.Series => ({
        label: visible(name), stroke: shade(host, colours[n % colours.length]!), width: 1.6, points: { size: 4 },
        ...(o.fill && n === 0 && { fill: fade(shade(host, colours[0]!)) }),
        value: (_u, v) => (v === null ? '–' : c.text(v)),
      })),
    ],
    ...(o.hooks && { hooks: o.hooks }),
  }, [at, ...c.columns] as uPlot.AlignedData, host)
}

// fitted keeps charts as wide as host, and returns what takes them away.
function fitted(host: HTMLElement, all: uPlot[]): () => void {
  const resized = new ResizeObserver(() => {
    for (const u of all) u.setSize({ width: Math.max(260, host.clientWidth), height: u.height })
  })
  resized.observe(host)
  return () => {
    resized.disconnect()
    for (const u of all) u.destroy()
  }
}

// plot puts one chart into host and returns what takes it away.
export const plot = (host: HTMLElement, c: Drawn, at: number[], counts: boolean): (() => void) =>
  fitted(host, [chart(host, c, at, { height: 200, whole: counts, free: !counts })])

// draw puts the charts of a time line into host and returns what takes them away. picked is called with a time that was dragged over.
export function draw(host: HTMLElement, t: Timeline, itemName: string, picked: (from: number, to: number) => void): () => void {
  const { at, charts } = drawn(t, itemName)
  const bad = shade(host, '--bad-fill')
  const group = uPlot.sync('timeline')
  const hooks: uPlot.Hooks.Arrays = {
    drawClear: [(u) => outages(u, t, bad)],
    setSelect: [(u) => {
      if (u.select.width < 4) return
      picked(u.posToVal(u.select.left, 'x'), u.posToVal(u.select.left + u.select.width, 'x'))
      u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
    }],
  }
  return fitted(host, charts.map((c, i) => chart(host, c, at, { height: i === 0 ? 180 : 130, whole: i > 0, fill: i > 0, hooks,
    range: [Date.parse(t.from) / 1000, Date.parse(t.to) / 1000],
    cursor: { sync: { key: group.key }, drag: { x: true, y: false, setScale: false } } })))
}

// steps are whole: a half of what waits is nothing.
const steps = [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9].flatMap((n) => [n, 2 * n, 5 * n])

const fade = (rgb: string): string => rgb.replace(/^rgb\((.*)\)$/, 'rgba($1, 0.15)')

// outages are shaded behind the lines.
function outages(u: uPlot, t: Timeline, colour: string): void {
  const { ctx, bbox } = u
  ctx.save()
  ctx.fillStyle = fade(colour)
  for (const o of t.outages) {
    const left = Math.max(bbox.left, u.valToPos(Date.parse(o.from) / 1000, 'x', true))
    const right = Math.min(bbox.left + bbox.width, u.valToPos(o.to ? Date.parse(o.to) / 1000 : Date.parse(t.to) / 1000, 'x', true))
    if (right > bbox.left) ctx.fillRect(left, bbox.top, Math.max(2, right - left), bbox.height)
  }
  ctx.restore()
}

// times writes the axis of time as fits the span.
function times(seconds: number): uPlot.Axis.Values {
  const f = new Intl.DateTimeFormat(undefined, seconds <= 2 * 86400 ? { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }
    : { month: 'short', day: 'numeric' })
  return (_u, vs) => vs.map((v) => f.format(new Date(v * 1000)))
}
