import { describe, expect, it } from 'vitest'

import {
  amount,
  counted,
  figureNumber,
  fixed,
  hours,
  percent,
  percentagePoints,
} from '../../src/format/numbers'

describe('numbers', () => {
  it('shows a rate in per cent with one decimal', () => {
    expect(percent(11 / 12)).toBe('91.7')
    expect(percent(1)).toBe('100.0')
    expect(percent(0)).toBe('0.0')
  })

  it('shows a difference of rates in signed percentage points', () => {
    expect(percentagePoints(0.917, 0.54)).toBe('+37.7')
    expect(percentagePoints(0.5, 0.54)).toBe('−4.0')
    expect(percentagePoints(0.5400001, 0.54)).toBe('0.0')
  })

  it('keeps significant digits of small amounts and none too many of large ones', () => {
    expect(amount(0.083934)).toBe('0.0839')
    expect(amount(3.8612)).toBe('3.86')
    expect(amount(123.456)).toBe('123.5')
    expect(amount(31_420.5)).toBe('31,421')
    expect(amount(0)).toBe('0')
    expect(amount(0.0000123)).toBe('0.0000123')
  })

  it('never prints a negative zero', () => {
    expect(fixed(-0.04, 1)).toBe('0.0')
  })

  it('takes a value of unit % as a share, any other as it is', () => {
    expect(figureNumber({ unit: '%' }, 0.54)).toBe('54.0')
    expect(figureNumber({ unit: 'tce/万元' }, 0.54)).toBe('0.540')
  })

  it('shows seconds as hours', () => {
    expect(hours(5400)).toBe('1.5')
    expect(hours(60)).toBe('0.02')
    expect(hours(0)).toBe('0')
  })

  it('shows a counted quantity to the thousandth at most', () => {
    expect(counted(0.003)).toBe('0.003')
    expect(counted(0)).toBe('0')
    expect(counted(41.25)).toBe('41.25')
  })
})
