import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { effectScope } from 'vue'

import type { Asset, DeviceLive, LiveDevice, LiveSnapshot } from '../../src/api/types'
import { byAsset, feedState, liveOf, useLive } from '../../src/state/live'

const live = (connection: DeviceLive['connection']): DeviceLive => ({
  connection,
  state: 'unknown',
  since: null,
  last_proof_at: null,
})

const bound = (device: string, role: 'state' | 'quantity') => ({
  gateway: 'gw',
  device,
  role,
  valid_from: '2026-11-01',
  valid_to: null,
})

const asset = (bindings: Asset['bindings']) =>
  ({ id: 'a', bindings, live: live('never-seen') }) as unknown as Asset

const said = (device: string, connection: DeviceLive['connection']): LiveDevice => ({
  gateway: 'gw',
  device,
  asset_id: 'a',
  live: live(connection),
})

describe('presence of an asset', () => {
  it('is that of the device which gives its states, not of its meter', () => {
    const devices = byAsset([said('meter', 'connected'), said('plc', 'not-connected')])
    expect(liveOf(asset([bound('meter', 'quantity'), bound('plc', 'state')]), devices).connection).toBe(
      'not-connected',
    )
  })

  it('is what the register answered as long as the stream said nothing', () => {
    expect(liveOf(asset([bound('plc', 'state')]), new Map()).connection).toBe('never-seen')
  })

  it('leaves devices without an asset aside', () => {
    expect(byAsset([{ ...said('plc', 'connected'), asset_id: null }]).size).toBe(0)
  })
})

describe('the feed', () => {
  it('is opening, then live, and stale after 30 s without a word', () => {
    expect(feedState(0, null, 29_000)).toBe('opening')
    expect(feedState(0, 40_000, 60_000)).toBe('live')
    expect(feedState(0, 40_000, 70_001)).toBe('stale')
    expect(feedState(0, null, 30_001)).toBe('stale')
  })
})

class FakeSource extends EventTarget {
  static readonly CLOSED = 2
  static opened: FakeSource[] = []
  readyState = 0
  closed = false

  constructor(readonly url: string) {
    super()
    FakeSource.opened.push(this)
  }

  say(snapshot: LiveSnapshot): void {
    this.dispatchEvent(new MessageEvent('live', { data: JSON.stringify(snapshot) }))
  }

  fail(): void {
    this.readyState = FakeSource.CLOSED
    this.dispatchEvent(new Event('error'))
  }

  close(): void {
    this.closed = true
  }
}

describe('the event stream', () => {
  beforeEach(() => {
    vi.useFakeTimers()
    FakeSource.opened = []
    vi.stubGlobal('EventSource', FakeSource)
  })

  afterEach(() => {
    vi.useRealTimers()
    vi.unstubAllGlobals()
  })

  it('is one for all readers and closed with the last of them', () => {
    const first = effectScope()
    const second = effectScope()
    first.run(useLive)
    second.run(useLive)
    expect(FakeSource.opened).toHaveLength(1)
    first.stop()
    expect(FakeSource.opened[0]?.closed).toBe(false)
    second.stop()
    expect(FakeSource.opened[0]?.closed).toBe(true)
  })

  it('is opened again after a refusal, waiting longer each time, and at once after a good word', () => {
    const scope = effectScope()
    const feed = scope.run(useLive)
    FakeSource.opened[0]?.fail()
    vi.advanceTimersByTime(999)
    expect(FakeSource.opened).toHaveLength(1)
    vi.advanceTimersByTime(1)
    expect(FakeSource.opened).toHaveLength(2)
    FakeSource.opened[1]?.fail()
    vi.advanceTimersByTime(1_999)
    expect(FakeSource.opened).toHaveLength(2)
    vi.advanceTimersByTime(1)
    expect(FakeSource.opened).toHaveLength(3)
    FakeSource.opened[2]?.say({ at: '2026-11-23T12:00:00Z', devices: [said('plc', 'connected')] })
    expect(feed?.snapshot.value?.devices).toHaveLength(1)
    FakeSource.opened[2]?.fail()
    vi.advanceTimersByTime(1_000)
    expect(FakeSource.opened).toHaveLength(4)
    scope.stop()
  })
})
