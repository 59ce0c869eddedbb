import { describe, expect, it } from 'vitest'

import { ago, dateTime, localDate, monthId } from '../../src/format/time'

describe('time', () => {
  it('is the county’s, whatever the zone of the computer', () => {
    expect(dateTime('2026-11-23T16:00:00Z')).toBe('2026-11-24 00:00:00')
    expect(localDate('2026-11-23T15:59:59Z')).toBe('2026-11-23')
  })

  it('counts months across the turn of a year, by the local day', () => {
    expect(monthId('2025-12-31T16:00:00Z')).toBe('2026-01')
    expect(monthId('2025-12-31T16:00:00Z', -1)).toBe('2025-12')
    expect(monthId('2026-03-10T00:00:00Z', -15)).toBe('2024-12')
  })

  it('says how long ago in the unit a reader would choose', () => {
    const now = Date.parse('2026-11-23T12:00:00Z')
    expect(ago('2026-11-23T11:59:57Z', now)).toEqual({ count: 3, unit: 's' })
    expect(ago('2026-11-23T11:58:30Z', now)).toEqual({ count: 1, unit: 'min' })
    expect(ago('2026-11-23T01:00:00Z', now)).toEqual({ count: 11, unit: 'h' })
    expect(ago('2026-11-20T11:00:00Z', now)).toEqual({ count: 3, unit: 'd' })
    expect(ago('2026-11-23T12:00:00.700Z', now)).toEqual({ count: 0, unit: 's' })
    expect(ago('2026-11-23T13:00:00Z', now)).toBeNull()
  })
})
