// A chart of a few lines over time. What draws it is fetched by who looks at one.
import { useEffect, useRef } from 'preact/hooks'

export interface PlotLine {
  name: string
  values: (number | null)[]
}

interface Props {
  label: string // what it shows, for who does not see it
  at: number[] // in seconds
  lines: PlotLine[]
  text: (v: number) => string
  counts?: boolean // from 0 on, and whole
}

export function Plot({ label, at, lines, text, counts }: Props) {
  const host = useRef<HTMLDivElement>(null)
  useEffect(() => {
    let gone = false
    let clear = () => {}
    const into = host.current
    if (into === null) return
    void import('./chart').then(({ plot }) => {
      if (!gone) clear = plot(into, { title: '', names: lines.map((l) => l.name), columns: lines.map((l) => l.values), text }, at, counts === true)
    })
    return () => {
      gone = true
      clear()
    }
  }, [JSON.stringify(at), JSON.stringify(lines), document.documentElement.dataset.theme])
  return <div class="charts" ref={host} role="img" aria-label={label} />
}
