import { onScopeDispose, ref, shallowRef, watch } from 'vue'
import type { WatchSource } from 'vue'

import { ProblemError } from '../api/client'

/** Skeletons appear only when an answer takes longer than this. */
const SLOW_MS = 300

/**
 * Load `fetch(signal)` now, again whenever `sources` change, and on `reload()`. While a newer answer
 * is on its way the old one stays (`stale`); an answer that was overtaken is dropped.
 */
export function useLoad<T>(fetch: (signal: AbortSignal) => Promise<T>, sources: WatchSource[] = []) {
  const data = shallowRef<T | null>(null)
  const problem = shallowRef<ProblemError | null>(null)
  const busy = ref(false)
  const slow = ref(false)
  let current: AbortController | null = null

  async function reload(): Promise<void> {
    current?.abort()
    const own = new AbortController()
    current = own
    busy.value = true
    const timer = setTimeout(() => {
      slow.value = busy.value
    }, SLOW_MS)
    try {
      const answer = await fetch(own.signal)
      if (own !== current) return
      data.value = answer
      problem.value = null
    } catch (error) {
      if (own !== current || own.signal.aborted) return
      if (!(error instanceof ProblemError)) throw error
      problem.value = error
    } finally {
      clearTimeout(timer)
      if (own === current) {
        busy.value = false
        slow.value = false
      }
    }
  }

  if (sources.length > 0) watch(sources, () => void reload())
  void reload()
  onScopeDispose(() => current?.abort())
  return { data, problem, busy, slow, reload }
}
