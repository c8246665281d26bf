// Questions and orders to the server. The token, where one is set, is sent with each; it is kept for the tab, or, if the person
// wants that, on this device. It is never part of an address.
import type { Failure } from './model'

const key = 'holdfast-token'

export const token = (): string => sessionStorage.getItem(key) ?? localStorage.getItem(key) ?? ''

export function keepToken(text: string, onDevice: boolean): void {
  forgetToken()
  ;(onDevice ? localStorage : sessionStorage).setItem(key, text)
}

export function forgetToken(): void {
  sessionStorage.removeItem(key)
  localStorage.removeItem(key)
}

// Refused is an answer that is an error.
export class Refused extends Error {
  constructor(readonly status: number, readonly failure: Failure) {
    super(failure.error)
  }
}

export const headers = (more: Record<string, string>): Record<string, string> =>
  token() === '' ? more : { ...more, Authorization: 'Bearer ' + token() }

// refusal reads what an answer that is no good says.
export async function refusal(r: Response): Promise<Refused> {
  try {
    const f: unknown = await r.json()
    if (typeof f === 'object' && f !== null && 'error' in f) return new Refused(r.status, f as Failure)
  } catch {
    // it is not one of ours: a proxy's page
  }
  return new Refused(r.status, { error: `the server answered ${r.status} ${r.statusText}` })
}

async function send(method: string, path: string, body?: string, signal?: AbortSignal): Promise<unknown> {
  const r = await fetch('api/v1/' + path, {
    method, signal: signal ?? null, cache: 'no-store', redirect: 'error', credentials: 'omit',
    headers: headers({ Accept: 'application/json', ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) }),
    body: body ?? null,
  })
  if (!r.ok) throw await refusal(r)
  return JSON.parse(await r.text(), exact)
}

// exact keeps a whole number that JavaScript has no number for as its text: a key of 19 digits must not be shown, or sent back, as
// another one.
function exact(this: unknown, _key: string, value: unknown, context?: { source?: string }): unknown {
  return typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value) && context?.source !== undefined
    ? context.source : value
}

export const ask = async <T>(path: string, signal?: AbortSignal): Promise<T> => (await send('GET', path, undefined, signal)) as T

// Raw is a body that is JSON already.
export class Raw {
  constructor(readonly text: string) {}
}

export const order = async <T>(path: string, body?: unknown): Promise<T> =>
  (await send('POST', path, body instanceof Raw ? body.text : JSON.stringify(body ?? {}))) as T

// said is an error in words for a person, with what to do about it.
export function said(err: unknown): Failure {
  if (err instanceof Refused) return err.failure
  if (err instanceof Error && err.name === 'TypeError') return { error: 'the server does not answer' }
  return { error: String(err) }
}
