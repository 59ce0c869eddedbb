// The register's assets and meters of a scope, with the live stream beside them.
import { computed, onScopeDispose } from 'vue'
import type { Ref } from 'vue'

import { answered, client } from '../api/client'
import { useLoad } from './load'
import { byAsset, useLive } from './live'

/** The most that one answer carries; longer lists are on the page of the assets. */
const MOST = 500
/** Today's times and quantities change by the minute; presence comes by the stream. */
const REFRESH_MS = 60_000

export function useAssets(scope: Ref<string | undefined>) {
  const enterprise = computed(() =>
    scope.value?.startsWith('enterprise:') ? scope.value.slice('enterprise:'.length) : undefined,
  )
  const { data, problem, reload } = useLoad(
    (signal) =>
      answered(
        client.GET('/api/v1/assets', {
          params: { query: { enterprise: enterprise.value, limit: MOST } },
          signal,
        }),
      ),
    [enterprise],
  )
  const timer = setInterval(() => void reload(), REFRESH_MS)
  onScopeDispose(() => clearInterval(timer))

  const live = useLive()
  return {
    machines: computed(() => data.value?.items.filter((asset) => asset.kind === 'asset') ?? []),
    meters: computed(() => data.value?.items.filter((asset) => asset.kind === 'meter') ?? []),
    byId: computed(() => byAsset(live.snapshot.value?.devices ?? [])),
    total: computed(() => data.value?.page.total ?? null),
    shown: computed(() => data.value?.items.length ?? 0),
    live,
    problem,
    reload,
  }
}
