// Numbers as the county prints them: units stand in heads, rates have one decimal, unknown has words.
import type { Figure } from '../api/types'

const grouped = new Map<number, Intl.NumberFormat>()

/** A number with thousands separators and exactly `digits` decimals. */
export function fixed(value: number, digits: number): string {
  let format = grouped.get(digits)
  if (!format) {
    format = new Intl.NumberFormat('zh-CN', { minimumFractionDigits: digits, maximumFractionDigits: digits })
    grouped.set(digits, format)
  }
  // -0.0 is a rounding left-over that nobody wants to read.
  return format.format(Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value)
}

/** A share of 0 to 1 as per cent with one decimal, without the sign: `91.7`. */
export function percent(share: number): string {
  return fixed(share * 100, 1)
}

/** The difference of two shares in percentage points, signed: `+37.7`. */
export function percentagePoints(share: number, other: number): string {
  const points = (share - other) * 100
  const text = fixed(Math.abs(points), 1)
  if (text === '0.0') return text
  return points > 0 ? `+${text}` : `−${text}`
}

/** A quantity with three or four significant digits, never in exponent form. */
export function amount(value: number): string {
  const size = Math.abs(value)
  if (size === 0) return '0'
  if (size >= 1000) return fixed(value, 0)
  if (size >= 100) return fixed(value, 1)
  if (size >= 1) return fixed(value, 2)
  return fixed(value, Math.min(8, 2 - Math.floor(Math.log10(size))))
}

/** Seconds as hours: one decimal, two below one hour so that a few minutes are not nothing. */
export function hours(seconds: number): string {
  if (seconds === 0) return '0'
  return fixed(seconds / 3600, seconds < 3600 ? 2 : 1)
}

/** A counted quantity: meters count thousandths, so there is nothing to say beyond three decimals. */
export function counted(value: number): string {
  return Math.abs(value) >= 1 ? amount(value) : String(Number(value.toFixed(3)))
}

/** Whether a figure is a rate: its value is a share of 0 to 1, shown in per cent. */
export function isRate(figure: Pick<Figure, 'unit'>): boolean {
  return figure.unit === '%'
}

/** A value of a figure in the figure's own unit (shown beside it, not in the text). */
export function figureNumber(figure: Pick<Figure, 'unit'>, value: number): string {
  return isRate(figure) ? percent(value) : amount(value)
}
