// A strip of heat: groups by windows, the colour says how much. It is drawn, and told in words where one points or moves by keys.
import { useEffect, useRef, useState } from 'preact/hooks'
import { number } from './format'
import { Exactly } from './head'

interface Props {
  what: string
  rows: string[]
  columns: string[] // times
  at: (column: string, row: string) => number | null
  chosen: string // a row
  choose: (row: string) => void
}

const line = 14 // CSS pixels

export function Heat({ what, rows, columns, at, chosen, choose }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const [cell, setCell] = useState<[number, number]>() // that one points at
  const [stop, setStop] = useState<number>() // the column that keys lead to; none is the newest
  const all = rows.flatMap((r) => columns.map((c) => at(c, r))).filter((v) => v !== null)
  const least = Math.min(...all)
  const most = Math.max(...all)
  useEffect(() => {
    const c = canvas.current
    if (c === null) return
    const paint = () => draw(c, { rows, columns, chosen, stop, value: (i, j) => at(columns[i]!, rows[j]!), part: (v) => (most > least ? (v - least) / (most - least) : 0.5) })
    paint()
    const resized = new ResizeObserver(paint)
    resized.observe(c)
    return () => resized.disconnect()
  }, [what, chosen, stop, columns.join(), JSON.stringify(all), document.documentElement.dataset.theme])
  const place = (e: MouseEvent): [number, number] => {
    const box = canvas.current!.getBoundingClientRect()
    const j = Math.min(rows.length - 1, Math.max(0, Math.floor((e.clientY - box.top) / line)))
    return [Math.min(columns.length - 1, Math.max(0, Math.floor(((e.clientX - box.left) / box.width) * columns.length))), j]
  }
  const keys = (e: KeyboardEvent) => {
    const up = { ArrowUp: -1, ArrowDown: 1 }[e.key]
    const right = { ArrowLeft: -1, ArrowRight: 1 }[e.key]
    if (up !== undefined) choose(rows[(rows.indexOf(chosen) + up + rows.length) % rows.length]!)
    else if (right !== undefined) setStop(Math.min(columns.length - 1, Math.max(0, (stop ?? columns.length - 1) + right)))
    else return
    setCell(undefined)
    e.preventDefault()
  }
  const shown: [number, number] = cell ?? [stop ?? columns.length - 1, rows.indexOf(chosen)]
  const [i, j] = [Math.min(shown[0], columns.length - 1), Math.min(shown[1], rows.length - 1)]
  const v = i >= 0 && j >= 0 ? at(columns[i]!, rows[j]!) : null
  return (
    <div class="heat">
      <div class="heatrows">
        <div class="heatnames" aria-hidden="true">
          {rows.map((r) => <div key={r} class={r === chosen ? 'chosen' : ''}>{r}</div>)}
        </div>
        <canvas ref={canvas} tabIndex={0} role="img" style={{ height: `${rows.length * line}px` }} onKeyDown={keys}
          aria-label={`${what} of ${rows.length} groups in ${columns.length} windows, from ${number(least)} to ${number(most)}; arrow keys choose a group and a window`}
          onMouseMove={(e) => setCell(place(e))} onMouseLeave={() => setCell(undefined)} onClick={(e) => choose(rows[place(e)[1]]!)} />
      </div>
      <p class="fine" role="status">
        {i >= 0 && j >= 0 && <><b>{rows[j]}</b> <Exactly at={columns[i]!} />: <b>{v === null ? 'nothing' : number(v)}</b>; </>}
        <span class="scale" aria-hidden="true" /> {number(least)} to {number(most)}, <span class="hole" aria-hidden="true" /> no report
      </p>
    </div>
  )
}

interface Drawn {
  rows: string[]
  columns: string[]
  chosen: string
  stop: number | undefined
  value: (i: number, j: number) => number | null
  part: (v: number) => number
}

function draw(c: HTMLCanvasElement, d: Drawn): void {
  const sharp = devicePixelRatio
  const width = c.clientWidth
  c.width = Math.round(width * sharp)
  c.height = Math.round(d.rows.length * line * sharp)
  const g = c.getContext('2d')
  if (g === null) return
  g.scale(sharp, sharp)
  const style = getComputedStyle(c)
  const wide = width / d.columns.length
  for (let j = 0; j < d.rows.length; j++) {
    for (let i = 0; i < d.columns.length; i++) {
      const v = d.value(i, j)
      g.fillStyle = v === null ? style.borderTopColor : heat(d.part(v))
      g.fillRect(i * wide, j * line, Math.max(1, wide - 1), line - 1)
    }
    if (d.rows[j] === d.chosen) {
      g.strokeStyle = style.color
      g.lineWidth = 2
      g.strokeRect(1, j * line, width - 2, line - 1)
      if (d.stop !== undefined) g.strokeRect(d.stop * wide, j * line, wide, line - 1)
    }
  }
}

// heat goes from cold to hot by colours that differ in lightness too: cividis, in five steps.
function heat(part: number): string {
  const steps = [[0, 45, 110], [75, 85, 110], [125, 124, 120], [190, 172, 100], [253, 231, 76]]
  const at = Math.min(1, Math.max(0, part)) * (steps.length - 1)
  const i = Math.min(steps.length - 2, Math.floor(at))
  const mix = (k: number) => Math.round(steps[i]![k]! + (at - i) * (steps[i + 1]![k]! - steps[i]![k]!))
  return `rgb(${mix(0)}, ${mix(1)}, ${mix(2)})`
}
