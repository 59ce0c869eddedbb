// Times arrive in UTC and are shown in the county's time, whatever the computer's zone is.
const ZONE = 'Asia/Shanghai'

const parts = new Intl.DateTimeFormat('en-CA', {
  timeZone: ZONE,
  year: 'numeric',
  month: '2-digit',
  day: '2-digit',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
})

interface Local {
  date: string
  time: string
}

function local(at: string | number | Date): Local {
  const found: Record<string, string> = {}
  for (const part of parts.formatToParts(new Date(at))) found[part.type] = part.value
  return {
    date: `${found['year']}-${found['month']}-${found['day']}`,
    time: `${found['hour']}:${found['minute']}:${found['second']}`,
  }
}

/** `2026-11-23 14:05:09` */
export function dateTime(at: string | number | Date): string {
  const { date, time } = local(at)
  return `${date} ${time}`
}

/** `2026-11-23 14:05` */
export function dateMinute(at: string | number | Date): string {
  return dateTime(at).slice(0, 16)
}

/** `14:05:09` */
export function clock(at: string | number | Date): string {
  return local(at).time
}

/** `2026-11-23` in the county's time. */
export function localDate(at: string | number | Date): string {
  return local(at).date
}

/** `2026-11` in the county's time, moved by `months`. */
export function monthId(at: string | number | Date, months = 0): string {
  const [year, month] = localDate(at).split('-').map(Number) as [number, number, number]
  const index = year * 12 + (month - 1) + months
  return `${Math.floor(index / 12)}-${String((index % 12) + 1).padStart(2, '0')}`
}

/** How long ago, in the unit a reader would choose; `null` in the future by more than a second. */
export function ago(at: string, nowMs: number): { count: number; unit: 's' | 'min' | 'h' | 'd' } | null {
  const seconds = Math.floor((nowMs - Date.parse(at)) / 1000)
  if (seconds < -1) return null
  if (seconds < 60) return { count: Math.max(0, seconds), unit: 's' }
  if (seconds < 3600) return { count: Math.floor(seconds / 60), unit: 'min' }
  if (seconds < 86_400) return { count: Math.floor(seconds / 3600), unit: 'h' }
  return { count: Math.floor(seconds / 86_400), unit: 'd' }
}
