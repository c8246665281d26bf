// What is asked for while a page shows it, again and again, and how it is shown that it is not there yet or can't be had.
import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { ask, said } from './api'
import type { World } from './live'
import type { Failure } from './model'

// ordered is the event behind every order that was taken.
export const ordered = 'holdfast-ordered'

export interface Asked<T> {
  value?: T
  failure?: Failure
}

// useAsked asks for a path of the API now, behind each order, and every so many seconds while the page is seen; once where that is 0. null asks
// nothing.
export function useAsked<T>(path: string | null, every = 5): Asked<T> {
  const [state, set] = useState<{ path: string | null; value?: T; failure?: Failure }>({ path: null })
  useEffect(() => {
    if (path === null) return
    const stop = new AbortController()
    const once = async () => {
      try {
        const value = await ask<T>(path, stop.signal)
        set({ path, value })
      } catch (err) {
        if (!stop.signal.aborted) set((was) => ({ ...(was.path === path && was.value !== undefined && { value: was.value }), path, failure: said(err) }))
      }
    }
    void once()
    if (every === 0) return () => stop.abort()
    // While a dialog is open, what it is about stays: an answer would take away what a person is about to decide, and what was typed.
    const timer = setInterval(() => { if (!document.hidden && document.querySelector('dialog[open]') === null) void once() }, every * 1000)
    addEventListener(ordered, once, { signal: stop.signal })
    return () => {
      stop.abort()
      clearInterval(timer)
    }
  }, [path, every])
  const mine = state.path === path
  return { ...(mine && state.value !== undefined && { value: state.value }), ...(mine && state.failure && { failure: state.failure }) }
}

// Shown is a part of a page that was asked for.
export function Shown<T>({ asked, children }: { asked: Asked<T>; children: (value: T) => ComponentChildren }) {
  return (
    <>
      {asked.failure && <Failed failure={asked.failure} />}
      {asked.value !== undefined ? children(asked.value) : !asked.failure && <p class="empty" data-loading>Asking…</p>}
    </>
  )
}

export function Failed({ failure }: { failure: Failure }) {
  return <p class="error" role="alert">{failure.error}{failure.hint && <>. <b>{failure.hint}</b></>}</p>
}

// Part is a section of a page with a heading.
export function Part({ id, title, children, side }: { id: string; title: string; children: ComponentChildren; side?: ComponentChildren }) {
  return (
    <section class="part" aria-labelledby={id}>
      <div class="parthead"><h2 id={id}>{title}</h2>{side}</div>
      {children}
    </section>
  )
}

// Seen is what a part of a job's page asks for, and in which world.
export interface Seen {
  at: string // of the API, with a slash behind it
  world: World
}
