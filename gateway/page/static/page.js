// Refreshes the middle of the page every two seconds while it is looked at. Without this script the page
// works all the same and is as old as its last loading.
'use strict'

const PERIOD_MS = 2000
const TIMEOUT_MS = 8000
const main = document.getElementById('main')
const stale = document.getElementById('stale')
const address = main.dataset.refresh
let shown = ''

async function refresh() {
  try {
    const answer = await fetch(address, {
      headers: { Accept: 'application/json' },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    if (answer.status === 401) {
      location.reload() // signed out: the server leads to its login
      return
    }
    if (!answer.ok) throw new Error(String(answer.status))
    const { html } = await answer.json()
    stale.hidden = true
    if (html !== shown) show(html)
  } catch {
    stale.hidden = false
  }
}

/** Put in new content, and leave focus and scrolled tables where they were. */
function show(html) {
  shown = html
  const focus = document.activeElement?.id
  const scrolled = [...main.querySelectorAll('.wide')].map((box) => [box.scrollLeft, box.scrollTop])
  main.innerHTML = html
  main.querySelectorAll('.wide').forEach((box, index) => {
    ;[box.scrollLeft, box.scrollTop] = scrolled[index] ?? [0, 0]
  })
  if (focus) document.getElementById(focus)?.focus({ preventScroll: true })
}

async function follow() {
  if (!document.hidden && !window.getSelection()?.toString()) await refresh()
  setTimeout(follow, PERIOD_MS)
}

if (address) setTimeout(follow, PERIOD_MS)
