// The head of every page, and the banner of a lost connection.
import { useEffect, useState } from 'preact/hooks'
import { forgetToken } from './api'
import { exactly, moment, span, utc } from './format'
import { now, type World } from './live'

// Time is a moment in the viewer's zone, and in UTC for who points at it.
export function Time({ at, world }: { at: string; world: World }) {
  const t = new Date(at)
  return <time dateTime={at} title={`${exactly(t)}\n${utc(t)}`}>{moment(t, new Date(now(world)))}</time>
}

// Exactly is Time with its day, for what may be of any.
export function Exactly({ at }: { at: string }) {
  const t = new Date(at)
  return <time dateTime={at} title={utc(t)}>{exactly(t)}</time>
}

const themes = ['auto', 'light', 'dark'] as const
type Theme = (typeof themes)[number]
const themeKey = 'holdfast-theme'

function applyTheme(t: Theme): void {
  document.documentElement.dataset.theme = t
}

function storedTheme(): Theme {
  const t = localStorage.getItem(themeKey)
  return themes.find((known) => known === t) ?? 'auto'
}

applyTheme(storedTheme())

function ThemeChoice() {
  const [theme, set] = useState(storedTheme)
  const choose = (value: string) => {
    const t = themes.find((known) => known === value) ?? 'auto'
    localStorage.setItem(themeKey, t)
    applyTheme(t)
    set(t)
  }
  return (
    <label class="theme">
      <span>Theme</span>
      <select value={theme} onChange={(e) => choose(e.currentTarget.value)}>
        {themes.map((t) => <option key={t} value={t}>{t}</option>)}
      </select>
    </label>
  )
}

export function Head({ world, signOut }: { world: World; signOut: () => void }) {
  const { link, session, process } = world
  return (
    <header class="head">
      <a class="brand" href="#/">Holdfast</a>
      {process && <span class="where" title={process.place.dir}>{process.place.dir}</span>}
      <span class="grow" />
      <span class={'link ' + link.is} data-link={link.is}>
        {link.is === 'live' ? 'live' : link.is === 'lost' ? 'not connected' : 'connecting'}
      </span>
      {world.at > 0 && <span class="role" title={roleHint(world)}>{session.orders ? 'may order' : 'read-only'}</span>}
      <ThemeChoice />
      {session.token && <button type="button" class="plain" onClick={() => { forgetToken(); signOut() }}>Sign out</button>}
    </header>
  )
}

// roleHint says why a person may do what they may.
export function roleHint({ session }: World): string {
  if (session.orders) return 'Your token may also give orders.'
  return session.token ? 'The read_token may only ask. Sign in with the token to give orders.'
    : 'No token is set, so this address only answers questions. Set token: in the configuration to give orders here, or use the commands.'
}

export function LinkBanner({ world }: { world: World }) {
  const { link } = world
  const [, tick] = useState(0)
  useEffect(() => {
    if (link.is !== 'lost') return
    const timer = setInterval(() => tick((n) => n + 1), 1000)
    return () => clearInterval(timer)
  }, [link.is])
  return (
    <div role="status" class="bannerplace">
      {link.is === 'lost' && (
        <p class="banner">
          <strong>The connection is lost.</strong> {world.at > 0 && <>What you see is {span((performance.now() - world.heard) / 1000)} old. </>}
          It is made again by itself as soon as Holdfast answers. <span class="why">({link.why})</span>
        </p>
      )}
    </div>
  )
}
