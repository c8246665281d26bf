// A list that is asked for a page at a time, each by where the one before it ended.
import { useState } from 'preact/hooks'

export interface Pages {
  after: string // the end of the page before; empty on the first one
  forward: (end: string) => void // end is that of the page that is shown
  back: () => void
  restart: () => void
}

export function usePages(): Pages {
  const [ends, set] = useState<string[]>([])
  return {
    after: ends[ends.length - 1] ?? '', forward: (end) => set([...ends, end]), back: () => set(ends.slice(0, -1)), restart: () => set([]),
  }
}

// Pager has the buttons below such a list; next is the end of the page that is shown, empty on the last one.
export function Pager({ pages, next, words: [back, forward] = ['Back', 'More'] }: { pages: Pages; next: string | undefined; words?: [string, string] }) {
  return (
    <div class="pager">
      {pages.after && <button type="button" class="plain" onClick={pages.back}>{back}</button>}
      {next && <button type="button" class="plain" onClick={() => pages.forward(next)}>{forward}</button>}
    </div>
  )
}
