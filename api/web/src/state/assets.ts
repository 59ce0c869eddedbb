// The register's assets and meters of a scope, with the live stream beside them.
import { computed, onScopeDispose, ref, watch } from 'vue'
import type { Ref } from 'vue'

import { answered, client } from '../api/client'
import type { Connection } from '../api/types'
import { useLoad } from './load'
import { byAsset, liveOf, useLive } from './live'

/** Rows of a page; a county's list is turned over, never cut. */
export const LIMIT = 100
/** Today's times and quantities change by the minute; presence comes by the stream. */
const REFRESH_MS = 60_000
/** Where not all machines are on the page, the county counts them. */
const RECOUNT_MS = 10_000

export function useAssets(scope: Ref<string | undefined>) {
  const enterprise = computed(() =>
    scope.value?.startsWith('enterprise:') ? scope.value.slice('enterprise:'.length) : undefined,
  )
  const page = ref(1)
  watch(enterprise, () => {
    page.value = 1
  })
  const { data, problem, reload } = useLoad(
    (signal) =>
      answered(
        client.GET('/api/v1/assets', {
          params: {
            query: { enterprise: enterprise.value, offset: (page.value - 1) * LIMIT, limit: LIMIT },
          },
          signal,
        }),
      ),
    [enterprise, page],
  )
  const turned = computed(() => (data.value?.page.total ?? 0) > LIMIT)
  let waited = 0
  const timer = setInterval(() => {
    waited += RECOUNT_MS
    if (!turned.value && waited < REFRESH_MS) return
    waited = 0
    void reload()
  }, RECOUNT_MS)
  onScopeDispose(() => clearInterval(timer))

  const live = useLive()
  const machines = computed(() => data.value?.items.filter((asset) => asset.kind === 'asset') ?? [])
  const byId = computed(() => byAsset(live.snapshot.value?.devices ?? []))
  const counted = () => {
    const found: Partial<Record<Connection, number>> = {}
    for (const asset of machines.value) {
      const { connection } = liveOf(asset, byId.value)
      found[connection] = (found[connection] ?? 0) + 1
    }
    return found
  }
  return {
    machines,
    meters: computed(() => data.value?.items.filter((asset) => asset.kind === 'meter') ?? []),
    byId,
    /** Of all pages. */
    connections: computed(() => (turned.value ? (data.value?.connections ?? {}) : counted())),
    total: computed(() => data.value?.page.total ?? null),
    page,
    live,
    problem,
    reload,
  }
}
