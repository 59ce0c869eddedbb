import { createRouter, createWebHistory } from 'vue-router'
import type { RouteLocationNormalizedLoaded } from 'vue-router'

import { t } from './i18n'
import type { MessageKey } from './i18n'
import OverviewPage from './pages/OverviewPage.vue'
import { currentSession } from './state/session'

declare module 'vue-router' {
  interface RouteMeta {
    title?: MessageKey
    /** Shown without the frame of menu and head, and without a login. */
    bare?: boolean
  }
}

export const router = createRouter({
  history: createWebHistory(),
  routes: [
    { path: '/', name: 'overview', component: OverviewPage, meta: { title: 'overview.title' } },
    {
      path: '/assets',
      name: 'assets',
      component: () => import('./pages/AssetsPage.vue'),
      meta: { title: 'assets.title' },
    },
    {
      path: '/enterprises',
      name: 'enterprises',
      component: () => import('./pages/EnterprisesPage.vue'),
      meta: { title: 'enterprises.title' },
    },
    {
      path: '/plan',
      name: 'plan',
      component: () => import('./pages/PlanPage.vue'),
      meta: { title: 'plan.title' },
    },
    {
      path: '/definitions',
      name: 'definitions',
      component: () => import('./pages/DefinitionsPage.vue'),
      meta: { title: 'definitions.title' },
    },
    {
      path: '/login',
      name: 'login',
      component: () => import('./pages/LoginPage.vue'),
      meta: { title: 'login.title', bare: true },
    },
    {
      path: '/:rest(.*)*',
      name: 'not-found',
      component: () => import('./pages/NotFoundPage.vue'),
      meta: { title: 'page.notFound' },
    },
  ],
  scrollBehavior(to, from, saved) {
    if (saved) return saved
    if (to.hash) return { el: to.hash }
    return to.name === from.name ? false : { top: 0 }
  },
})

router.beforeEach(async (to) => {
  if (to.meta.bare) return true
  try {
    if (await currentSession()) return true
  } catch {
    return true // The county cannot be reached: the page itself says so, with the next step.
  }
  return { name: 'login', query: to.fullPath === '/' ? {} : { next: to.fullPath } }
})

router.afterEach((to, from) => {
  // A keyboard or screen reader continues at the new page's start.
  if (from.name !== undefined && to.name !== from.name)
    document.getElementById('main')?.focus({ preventScroll: true })
})

/** The title of a page in the reader's language. */
export function titleOf(route: Pick<RouteLocationNormalizedLoaded, 'meta'>): string {
  return route.meta.title ? t(route.meta.title) : ''
}
