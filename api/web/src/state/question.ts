// What is being asked, kept in the address so that any screen can be sent as a link.
import { computed } from 'vue'
import { useRoute, useRouter } from 'vue-router'

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

export function useQuestion() {
  const route = useRoute()
  const router = useRouter()

  function change(changes: Record<string, string | undefined>): void {
    const query = Object.entries({ ...route.query, ...changes }).filter(([, value]) => value !== undefined)
    void router.push({ query: Object.fromEntries(query) })
  }

  return {
    scope: computed(() => text(route.query['scope'])),
    period: computed(() => text(route.query['period'])),
    explained: computed(() => text(route.query['explain'])),
    explainedPeriod: computed(() => text(route.query['explain-period'])),
    change,
  }
}
