// How numbers and times are written.

const whole = new Intl.NumberFormat('en-GB')

export const count = (n: number): string => whole.format(Math.round(n))

// rate is how many there are in a second, or in a minute where that reads better.
export function rate(perSecond: number, unit: string): string {
  if (perSecond > 0 && perSecond < 0.1) return `${(perSecond * 60).toFixed(perSecond * 60 < 1 ? 2 : 1)} ${unit}/min`
  return `${perSecond === 0 ? '0' : perSecond < 10 ? perSecond.toFixed(1) : count(perSecond)} ${unit}/s`
}

export function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  let i = 0
  while (bytes >= 1024 && i < units.length - 1) {
    bytes /= 1024
    i++
  }
  return (i === 0 || bytes >= 100 ? Math.round(bytes) : bytes.toFixed(1)) + ' ' + units[i]
}

// span is a length of time, in two units at most.
export function span(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds))
  if (s < 60) return `${s} s`
  if (s < 3600) return two(Math.floor(s / 60), 'min', s < 600 ? s % 60 : 0, 's')
  if (s < 86400) return two(Math.floor(s / 3600), 'h', Math.floor((s % 3600) / 60), 'min')
  return two(Math.floor(s / 86400), 'd', Math.floor((s % 86400) / 3600), 'h')
}

const two = (a: number, unit: string, b: number, small: string) => (b > 0 ? `${a} ${unit} ${b} ${small}` : `${a} ${unit}`)

export const plural = (n: number, noun: string): string => (n === 1 ? noun : noun + 's')

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' })
const day = new Intl.DateTimeFormat(undefined, {
  month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', hourCycle: 'h23',
})
const long = new Intl.DateTimeFormat(undefined, {
  year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23',
})

// moment is a time in the viewer's zone: of today the clock alone.
export function moment(at: Date, now: Date): string {
  const today = at.toDateString() === now.toDateString()
  return today ? clock.format(at) : day.format(at)
}

export const exactly = (at: Date): string => long.format(at)

// minute is a time of data, which may be of any day.
export const minute = (at: Date): string => (at.getSeconds() === 0 ? day : long).format(at)

export const zone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone

export const utc = (at: Date): string => at.toISOString().replace('T', ' ').replace(/\.\d+Z$/, '') + ' UTC'

// number is a measured value, with as many digits as say something.
export const number = (v: number): string => (Number.isInteger(v) ? count(v) : v.toFixed(Math.abs(v) < 10 ? 2 : 1))

// jobHref is the address of the page of a job.
export const jobHref = (name: string): string => '#/jobs/' + encodeURIComponent(name)
