// The county's live presence: one event stream for the whole page, opened by the first reader and
// closed by the last.
import { computed, onScopeDispose, readonly, ref, shallowRef } from 'vue'

import type { Asset, DeviceLive, LiveDevice, LiveSnapshot } from '../api/types'
import { now } from './now'

/** The county sends at least every 5 s; after this long without a word the page says so. */
export const STALE_AFTER_MS = 30_000
const RETRY_FIRST_MS = 1_000
const RETRY_MOST_MS = 15_000
const ADDRESS = '/api/v1/live/events'

const snapshot = shallowRef<LiveSnapshot | null>(null)
const heardAtMs = ref<number | null>(null)
const openedAtMs = ref<number | null>(null)

let source: EventSource | null = null
let retry: ReturnType<typeof setTimeout> | undefined
let delayMs = RETRY_FIRST_MS
let readers = 0

function open(): void {
  source = new EventSource(ADDRESS)
  source.addEventListener('live', (event: MessageEvent<string>) => {
    snapshot.value = JSON.parse(event.data) as LiveSnapshot
    heardAtMs.value = Date.now()
    delayMs = RETRY_FIRST_MS
  })
  source.addEventListener('error', () => {
    // The browser retries a broken stream itself, but gives up for good on any other answer.
    if (source?.readyState !== EventSource.CLOSED) return
    source = null
    clearTimeout(retry)
    retry = setTimeout(open, delayMs)
    delayMs = Math.min(delayMs * 2, RETRY_MOST_MS)
  })
}

function shut(): void {
  clearTimeout(retry)
  source?.close()
  source = null
  snapshot.value = null
  heardAtMs.value = null
  delayMs = RETRY_FIRST_MS
}

export type Feed = 'opening' | 'live' | 'stale'

/** The state of the feed by what was heard last; times in ms. */
export function feedState(openedMs: number | null, heardMs: number | null, nowMs: number): Feed {
  const last = heardMs ?? openedMs
  if (last !== null && nowMs - last > STALE_AFTER_MS) return 'stale'
  return heardMs === null ? 'opening' : 'live'
}

/** Follow the live presence while the calling component lives. */
export function useLive() {
  if (readers++ === 0) {
    openedAtMs.value = Date.now()
    open()
  }
  onScopeDispose(() => {
    if (--readers === 0) shut()
  })
  const feed = computed(() => feedState(openedAtMs.value, heardAtMs.value, now.value))
  return { snapshot: readonly(snapshot), heardAtMs: readonly(heardAtMs), feed }
}

/**
 * How an asset is now: what the stream last said of the device that gives its states, else of any
 * device bound to it, else what the register's answer said.
 */
export function liveOf(asset: Asset, devices: ReadonlyMap<string, readonly LiveDevice[]>): DeviceLive {
  const own = devices.get(asset.id)
  if (!own || own.length === 0) return asset.live
  const state = asset.bindings.find((binding) => binding.role === 'state')
  const chosen = own.find((device) => device.gateway === state?.gateway && device.device === state.device)
  return (chosen ?? own[0])?.live ?? asset.live
}

/** The devices of a snapshot by the asset they are bound to. */
export function byAsset(devices: readonly LiveDevice[]): Map<string, LiveDevice[]> {
  const found = new Map<string, LiveDevice[]>()
  for (const device of devices) {
    if (device.asset_id === null) continue
    const own = found.get(device.asset_id)
    if (own) own.push(device)
    else found.set(device.asset_id, [device])
  }
  return found
}
