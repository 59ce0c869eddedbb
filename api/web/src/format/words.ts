// Words for the register's codes. A code that we have no word for is shown as it is.
import type { Asset } from '../api/types'
import { t } from '../i18n'
import type { MessageKey } from '../i18n'
import { zh } from '../i18n/zh'

function word(key: string, otherwise: string): string {
  return key in zh ? t(key as MessageKey) : otherwise
}

export function classText(code: string): string {
  return word(`class.${code}`, code)
}

export function controlText(control: Asset['control']): string {
  return control === null ? t('machine.unknown') : word(`control.${control}`, control)
}

export function roleText(role: string): string {
  return word(`role.${role}`, role)
}

/** A unit as it is printed: `m³` for `m3`, nothing for a plain number. */
export function unitText(unit: string): string {
  if (unit === '1') return ''
  return unit === 'm3' ? 'm³' : word(`unit.${unit}`, unit)
}
