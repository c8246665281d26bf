// The frame of every page: what is open, how the connection is, and the page itself.
import { useEffect, useRef, useState } from 'preact/hooks'
import { keepToken } from './api'
import { Live, type World } from './live'
import { Head, LinkBanner } from './head'
import { zone } from './format'
import { JobPage } from './job'
import { OverviewPage } from './overview'
import { SignIn } from './signin'
import { Tour } from './tour'
import { visible } from './visible'

// A link may bring the token behind its #, which is sent to nobody: it is taken, and does not stay in the address.
function takeToken(): void {
  const given = /^#token=(.+)$/.exec(location.hash)
  if (given === null) return
  keepToken(decoded(given[1]!), false)
  history.replaceState(null, '', location.pathname)
}

// decoded is what an address says; of one that is mangled, what it is.
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

takeToken()

function useHash(): string {
  const [hash, set] = useState(location.hash)
  useEffect(() => {
    const changed = () => set(location.hash)
    addEventListener('hashchange', changed)
    return () => removeEventListener('hashchange', changed)
  }, [])
  return hash
}

export function App() {
  const [round, again] = useState(0)
  const [world, setWorld] = useState<World>()
  const hash = useHash()
  const page = useRef<HTMLElement>(null)
  useEffect(() => {
    const live = new Live(setWorld)
    setWorld(live.world)
    void live.run()
    return () => live.end()
  }, [round])
  const job = /^#\/jobs\/(.+)$/.exec(hash)
  const name = job ? decoded(job[1]!) : undefined
  useEffect(() => {
    document.title = visible((name ? name + ' · ' : '') + 'Holdfast')
    window.scrollTo(0, 0)
  }, [name])
  if (world === undefined) return null
  const { link } = world
  if (link.is === 'denied') return <SignIn wrong={link.wrong} done={() => again(round + 1)} />
  return (
    <>
      <a class="skip" href="#page" onClick={(e) => { e.preventDefault(); page.current?.focus() }}>To the page</a>
      <Head world={world} signOut={() => again(round + 1)} />
      <LinkBanner world={world} />
      <main id="page" ref={page} tabIndex={-1} class={link.is === 'lost' ? 'stale' : ''}>
        {world.process?.tour && <Tour key={name} world={world} brief={name !== undefined} />}
        {world.at === 0 ? <p class="empty">{link.is === 'lost' ? 'Nothing is known yet.' : 'Asking how the jobs are…'}</p>
          : name !== undefined ? <JobPage world={world} name={name} /> : <OverviewPage world={world} />}
      </main>
      {world.at > 0 && <footer class="fine">Times are those of your zone, {zone()}; where one points at a time there is UTC.</footer>}
    </>
  )
}
