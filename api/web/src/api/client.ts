import createClient from 'openapi-fetch'

import type { paths } from './schema'
import type { Problem } from './types'

/** A failure that a page can show: the county's own words where it gave some. */
export class ProblemError extends Error {
  constructor(
    readonly problem: Problem,
    readonly status: number,
  ) {
    super(`${problem.code}: ${problem.title_en}`)
    this.name = 'ProblemError'
  }
}

export const client = createClient<paths>({ credentials: 'same-origin' })

interface Answer<T> {
  data?: T
  error?: unknown
  response: Response
}

let signedOut: () => void = () => undefined

/** Called once per answer 401: the session is over, whatever page is open. */
export function onSignedOut(listener: () => void): void {
  signedOut = listener
}

/** The data of an answer. Throws ProblemError for everything else, a dead network included. */
export async function answered<T>(request: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>
  try {
    answer = await request
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw new ProblemError(unreachable(String(error)), 0)
  }
  if (answer.response.ok) return answer.data as T
  if (answer.response.status === 401) signedOut()
  throw new ProblemError(problemOf(answer.error, answer.response), answer.response.status)
}

function isProblem(body: unknown): body is Problem {
  return typeof body === 'object' && body !== null && 'title_zh' in body && 'next_step_zh' in body
}

function problemOf(body: unknown, response: Response): Problem {
  if (isProblem(body)) return body
  const detail = `${response.status} ${response.statusText} ${new URL(response.url).pathname}`
  if (response.status >= 500) {
    return {
      code: 'service_failed',
      title_zh: '县级服务出错，未能给出数据',
      title_en: 'The county service failed to answer',
      next_step_zh: '请稍后重试；若持续出现，请把下面的技术信息告知管理员。',
      next_step_en: 'Try again shortly; if it persists, tell the administrator the technical line below.',
      detail,
    }
  }
  return {
    code: 'refused',
    title_zh: '请求未被接受',
    title_en: 'The request was refused',
    next_step_zh: '请返回总览重新选择；若持续出现，请把下面的技术信息告知管理员。',
    next_step_en:
      'Return to the overview and choose again; if it persists, tell the administrator the line below.',
    detail,
  }
}

function unreachable(detail: string): Problem {
  return {
    code: 'unreachable',
    title_zh: '连接不到县级服务',
    title_en: 'The county service cannot be reached',
    next_step_zh: '请检查本机网络；网络正常时请联系管理员查看服务是否在运行。',
    next_step_en:
      'Check this computer’s network; if it works, ask the administrator whether the service runs.',
    detail,
  }
}
