// What the page says of a figure, decided once: scale, texts, periods.
import type { Figure, Period } from '../api/types'
import { figureNumber, isRate } from './numbers'

/** The three figures at the top of the overview, in this order. */
export const RATES = ['networking-rate', 'cnc-rate'] as const
export const INTENSITY = 'energy-intensity-level'

/** A declared value in the same measure as the figure's: the plan prints per cent, the API shares. */
export function declaredValue(figure: Pick<Figure, 'declared' | 'unit'>): number | null {
  const declared = figure.declared
  if (!declared) return null
  return isRate(figure) && declared.unit === '%' ? declared.value / 100 : declared.value
}

/** The right end of a figure's scale: 1 for a rate, else a round number that holds everything shown. */
export function scaleEnd(figure: Pick<Figure, 'unit' | 'value' | 'upper' | 'declared'>): number {
  if (isRate(figure)) return 1
  const most = Math.max(figure.value ?? 0, figure.upper ?? 0, declaredValue(figure) ?? 0)
  if (most <= 0) return 1
  const open = figure.upper === null ? 1.6 : 1.25
  const size = 10 ** Math.floor(Math.log10(most * open))
  const step = [1, 2, 2.5, 4, 5, 10].find((candidate) => candidate * size >= most * open) ?? 10
  return step * size
}

/** The value with its unit as one text, or null where there is none. */
export function withUnit(figure: Pick<Figure, 'unit'>, value: number | null): string | null {
  if (value === null) return null
  const unit = figure.unit === '' ? '' : ` ${figure.unit}`
  return `${figureNumber(figure, value)}${unit}`
}

/** A numerator or denominator: a count without decimals, an amount with what it needs. */
export function part(value: number | null): string | null {
  if (value === null) return null
  return Number.isInteger(value)
    ? value.toLocaleString('zh-CN')
    : value.toLocaleString('zh-CN', { maximumFractionDigits: 3 })
}

/** How a period is written: `2026年11月`, `2026年11月23日`, `2026年第4季度`, `2026年`. */
export function periodText(period: Pick<Period, 'id' | 'kind'>, locale: 'zh' | 'en'): string {
  if (locale === 'en') return period.id
  const [year = '', rest = '', day = ''] = period.id.split('-')
  if (period.kind === 'year') return `${year}年`
  if (period.kind === 'quarter') return `${year}年第${rest.replace('Q', '')}季度`
  if (period.kind === 'month') return `${year}年${Number(rest)}月`
  return `${year}年${Number(rest)}月${Number(day)}日`
}
