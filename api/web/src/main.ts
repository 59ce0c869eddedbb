import 'element-plus/theme-chalk/base.css'
import 'element-plus/theme-chalk/el-button.css'
import './styles/base.css'

import { createApp } from 'vue'

import { onSignedOut } from './api/client'
import App from './App.vue'
import { router } from './router'
import { session } from './state/session'

onSignedOut(() => {
  const wasIn = session.value !== null && session.value !== undefined
  session.value = null
  if (wasIn) void router.push({ name: 'login', query: { next: router.currentRoute.value.fullPath } })
})

createApp(App).use(router).mount('#app')
