import { describe, expect, it, vi } from 'vitest'

import { answered, onSignedOut, ProblemError } from '../../src/api/client'

const response = (status: number) =>
  ({ ok: status < 400, status, statusText: '', url: 'http://county/api/v1/indicators' }) as Response

describe('an answer of the county', () => {
  it('gives its data', async () => {
    await expect(answered(Promise.resolve({ data: 7, response: response(200) }))).resolves.toBe(7)
  })

  it('gives the county’s own words where it refuses', async () => {
    const problem = {
      code: 'forbidden',
      title_zh: '没有权限查看此内容',
      title_en: 'You may not see this',
      next_step_zh: '请联系管理员。',
      next_step_en: 'Ask the administrator.',
      detail: '',
    }
    const failure = answered(Promise.resolve({ error: problem, response: response(403) }))
    await expect(failure).rejects.toMatchObject({ problem, status: 403 })
  })

  it('has words of its own for a proxy’s error page and for a dead network', async () => {
    const failed = answered(Promise.resolve({ error: '<html>', response: response(502) }))
    await expect(failed).rejects.toMatchObject({ problem: { code: 'service_failed' } })
    const dead = answered(Promise.reject(new TypeError('fetch failed')))
    await expect(dead).rejects.toBeInstanceOf(ProblemError)
    await expect(dead).rejects.toMatchObject({ problem: { code: 'unreachable' } })
  })

  it('tells the page when the session is over', async () => {
    const over = vi.fn()
    onSignedOut(over)
    await expect(answered(Promise.resolve({ error: {}, response: response(401) }))).rejects.toBeInstanceOf(
      ProblemError,
    )
    expect(over).toHaveBeenCalledOnce()
  })
})
