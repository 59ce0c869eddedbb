import { describe, expect, it } from 'vitest'
import { effectScope, nextTick, ref } from 'vue'

import { ProblemError } from '../../src/api/client'
import { useLoad } from '../../src/state/load'

describe('loading', () => {
  it('shows the answer to the last question, even when an earlier one comes later', async () => {
    const asked = ref('old')
    const answers = new Map<string, (value: string) => void>()
    const scope = effectScope()
    const load = scope.run(() =>
      useLoad(() => new Promise<string>((resolve) => answers.set(asked.value, resolve)), [asked]),
    )
    asked.value = 'new'
    await nextTick()
    answers.get('new')?.('new answer')
    await new Promise(process.nextTick)
    answers.get('old')?.('old answer')
    await new Promise(process.nextTick)
    expect(load?.data.value).toBe('new answer')
    expect(load?.busy.value).toBe(false)
    scope.stop()
  })

  it('keeps the old answer beside a new failure', async () => {
    const problem = { code: 'x', title_zh: '', title_en: '', next_step_zh: '', next_step_en: '', detail: '' }
    let fail = false
    const scope = effectScope()
    const load = scope.run(() =>
      useLoad(() => (fail ? Promise.reject(new ProblemError(problem, 503)) : Promise.resolve(1))),
    )
    await new Promise(process.nextTick)
    fail = true
    await load?.reload()
    expect(load?.data.value).toBe(1)
    expect(load?.problem.value?.status).toBe(503)
    scope.stop()
  })
})
