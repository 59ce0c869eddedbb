import { readonly, ref } from 'vue'

const ticking = ref(Date.now())
setInterval(() => {
  ticking.value = Date.now()
}, 1000)

/** The computer's time in ms, once a second: what "3 s ago" is counted from. */
export const now = readonly(ticking)
