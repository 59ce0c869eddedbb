import { describe, expect, it } from 'vitest'

import { declaredValue, part, periodText, scaleEnd, withUnit } from '../../src/format/figures'

const declared = {
  item_zh: '工业设备联网率',
  value: 54,
  unit: '%',
  year: 2020,
  scope_zh: '重点工业企业',
  note_zh: '',
}

describe('figures', () => {
  it('brings the declared per cent to the measure of the rate', () => {
    expect(declaredValue({ unit: '%', declared })).toBeCloseTo(0.54)
    expect(declaredValue({ unit: '%', declared: null })).toBeNull()
  })

  it('draws every rate on the scale from 0 to 100 %', () => {
    expect(scaleEnd({ unit: '%', value: 0.2, upper: 0.3, declared })).toBe(1)
  })

  it('draws an amount on a scale that holds value, bound and some room', () => {
    expect(scaleEnd({ unit: 'tce/万元', value: 0.0839, upper: null, declared: null })).toBeGreaterThan(0.0839)
    expect(scaleEnd({ unit: 'kWh', value: 31_420, upper: 31_980, declared: null })).toBe(40_000)
    expect(scaleEnd({ unit: 'kWh', value: null, upper: null, declared: null })).toBe(1)
  })

  it('has no text for what is not known', () => {
    expect(withUnit({ unit: '%' }, null)).toBeNull()
    expect(part(null)).toBeNull()
    expect(withUnit({ unit: '%' }, 0.5)).toBe('50.0 %')
  })

  it('prints counts without decimals and amounts with theirs', () => {
    expect(part(11)).toBe('11')
    expect(part(3.861)).toBe('3.861')
  })

  it('names periods in Chinese', () => {
    expect(periodText({ id: '2026-11-03', kind: 'day' }, 'zh')).toBe('2026年11月3日')
    expect(periodText({ id: '2026-11', kind: 'month' }, 'zh')).toBe('2026年11月')
    expect(periodText({ id: '2026-Q4', kind: 'quarter' }, 'zh')).toBe('2026年第4季度')
    expect(periodText({ id: '2026', kind: 'year' }, 'zh')).toBe('2026年')
    expect(periodText({ id: '2026-Q4', kind: 'quarter' }, 'en')).toBe('2026-Q4')
  })
})
