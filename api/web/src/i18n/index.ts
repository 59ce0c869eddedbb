import { computed, readonly, ref } from 'vue'

import { en } from './en'
import { zh } from './zh'

export type MessageKey = keyof typeof zh
export type Locale = 'zh' | 'en'

const tables: Record<Locale, Record<MessageKey, string>> = { zh, en }
const KEPT_AS = 'plantpulse.locale'

function kept(): Locale {
  try {
    return localStorage.getItem(KEPT_AS) === 'en' ? 'en' : 'zh'
  } catch {
    return 'zh' // storage may be forbidden by policy
  }
}

const chosen = ref<Locale>(kept())

export const locale = readonly(chosen)

export function setLocale(next: Locale): void {
  chosen.value = next
  try {
    localStorage.setItem(KEPT_AS, next)
  } catch {
    // Not kept; the choice holds for this page.
  }
}

/** The message in the reader's language; `{name}` is replaced by `values.name`. */
export function t(key: MessageKey, values: Record<string, string | number> = {}): string {
  return tables[chosen.value][key].replace(/\{(\w+)\}/g, (whole, name: string) =>
    String(values[name] ?? whole),
  )
}

/** A field that the county gives in both languages: `pick(row, 'reason')` reads `reason_zh` or `reason_en`. */
export function pick<N extends string>(from: Record<`${N}_zh` | `${N}_en`, string>, name: N): string {
  return chosen.value === 'zh' ? from[`${name}_zh`] : from[`${name}_en`] || from[`${name}_zh`]
}

/** The language of the page, as the browser and Element Plus are told it. */
export const htmlLang = computed(() => (chosen.value === 'zh' ? 'zh-CN' : 'en'))
