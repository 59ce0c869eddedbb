import { ref } from 'vue'

import { answered, client, ProblemError } from '../api/client'
import type { Session } from '../api/types'

/** Who is signed in: `undefined` until asked, `null` when nobody. */
export const session = ref<Session | null | undefined>(undefined)

/** Ask the county once who is signed in. Throws ProblemError when it cannot be reached. */
export async function currentSession(): Promise<Session | null> {
  if (session.value !== undefined) return session.value
  try {
    session.value = await answered(client.GET('/api/v1/session'))
  } catch (error) {
    if (error instanceof ProblemError && error.status === 401) session.value = null
    else throw error
  }
  return session.value ?? null
}

export async function signIn(username: string, password: string): Promise<void> {
  session.value = await answered(client.POST('/api/v1/session', { body: { username, password } }))
}

export async function signOut(): Promise<void> {
  try {
    await answered(client.DELETE('/api/v1/session'))
  } finally {
    session.value = null
  }
}
