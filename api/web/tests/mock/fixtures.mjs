// A small invented plant, in the county's shapes: for working on pages without a county service.
// @ts-check
import { readFileSync } from 'node:fs'

/** @typedef {import('../../src/api/schema').components['schemas']} Schemas */

const UTC8_MS = 8 * 3_600_000

/** @param {number} ms */
const iso = (ms) => new Date(ms).toISOString()
/** @param {number} ms */
const localDay = (ms) => iso(ms + UTC8_MS).slice(0, 10)

const ENTERPRISE = { id: '91330226MADEM0011J', name_zh: '宁海示例模塑有限公司(示例)' }

/** @type {[string, string, string, Schemas['Asset']['control'], Schemas['Asset']['evidence'], string | null, string][]} */
const MACHINES = [
  ['cnc-1', '立式加工中心 1', 'cnc', 'cnc', 'self-identified', 'cnc-cell/SN-CNC-0001', 'VMC-850'],
  ['cnc-2', '立式加工中心 2', 'cnc', 'cnc', 'self-identified', 'cnc-cell/SN-CNC-0002', 'VMC-850'],
  ['cnc-3', '车削中心', 'cnc', 'cnc', 'self-identified', 'cnc-3', 'TC-500'],
  ['robot-1', '六轴机器人', 'robot', 'robot', 'self-identified', 'robot-1', 'R6-900'],
  ['moulding-1', '注塑机 1', 'injection-moulding', 'plc', 'native', 'moulding-1', 'IM-1600'],
  ['moulding-2', '注塑机 2', 'injection-moulding', 'plc', 'native', 'moulding-2', 'IM-1600'],
  ['lathe-1', '普通车床', 'machine', 'manual', 'retrofit', 'meter-lathe', 'C6140'],
  ['edm-1', '电火花机床', 'machine', 'cnc', 'native', 'edm-1', 'EDM-450'],
  ['stamping-1', '冲床', 'machine', 'plc', 'native', 'stamping-1', 'JH21-80'],
  ['asm-1', '装配工位 1', 'machine', 'plc', 'self-identified', 'assembly/asm-1', 'AS-20'],
  ['asm-2', '装配工位 2', 'machine', 'plc', 'self-identified', 'assembly/asm-2', 'AS-20'],
  ['press-1', '手动压机', 'machine', 'manual', 'declared', null, 'Y41'],
]

const STATES = ['running', 'running', 'idle', 'running', 'running', 'fault', 'off', 'running']

/** @param {number} nowMs @param {ReadonlySet<string>} unplugged */
export function assets(nowMs, unplugged) {
  return [
    ...MACHINES.map(([id, name, kind, control, evidence, device, model], index) =>
      asset(id, 'asset', name, kind, control, evidence, device, model, index),
    ),
    asset(
      'meter-main',
      'meter',
      '总进线电表',
      'meter-electricity',
      null,
      'native',
      'meter-main',
      'SDM630',
      3,
    ),
    asset('meter-water', 'meter', '总水表', 'meter-water', null, 'native', 'meter-water', 'LXSY', 3),
  ]

  /**
   * @param {string} id @param {'asset' | 'meter'} kind @param {string} name @param {string} assetClass
   * @param {Schemas['Asset']['control']} control @param {Schemas['Asset']['evidence']} evidence
   * @param {string | null} device @param {string} model @param {number} index
   * @returns {Schemas['Asset']}
   */
  function asset(id, kind, name, assetClass, control, evidence, device, model, index) {
    const silent = device === null
    return {
      id: `${ENTERPRISE.id}/${id}`,
      kind,
      number: id.toUpperCase(),
      name_zh: name,
      asset_class: assetClass,
      control,
      in_scope: kind === 'asset',
      enterprise_id: ENTERPRISE.id,
      enterprise_zh: ENTERPRISE.name_zh,
      manufacturer: '示例',
      model,
      serial: `SN-${id.toUpperCase()}`,
      evidence,
      bindings:
        device === null
          ? []
          : [
              {
                gateway: 'gw-demo',
                device,
                role: 'state',
                valid_from: localDay(nowMs - 40 * 86_400_000),
                valid_to: null,
              },
            ],
      live: live(device, index, nowMs, unplugged),
      announced_class: null,
      announced: silent || evidence !== 'self-identified' ? '' : `示例 ${model} SN-${id.toUpperCase()}`,
      today_connected_s: silent ? null : 18_000 - index * 311,
      today_running_s: silent || kind === 'meter' ? null : 12_000 - index * 505,
      today_quantity: silent ? null : 41.25 + index * 13.7,
      unit: assetClass === 'meter-water' ? 'm³' : 'kWh',
    }
  }
}

/** @param {string | null} device @param {number} index @param {number} nowMs @param {ReadonlySet<string>} unplugged @returns {Schemas['DeviceLive']} */
function live(device, index, nowMs, unplugged) {
  if (device === null) return { connection: 'never-seen', state: 'unknown', since: null, last_proof_at: null }
  const connected = !unplugged.has(device)
  return {
    connection: connected ? 'connected' : 'not-connected',
    state: /** @type {Schemas['DeviceLive']['state']} */ (
      connected ? STATES[index % STATES.length] : 'unknown'
    ),
    since: iso(nowMs - 600_000),
    last_proof_at: iso(nowMs - (connected ? 1_000 : 9_000)),
  }
}

/** @param {number} nowMs @param {ReadonlySet<string>} unplugged @returns {Schemas['LiveSnapshot']} */
export function snapshot(nowMs, unplugged) {
  return {
    at: iso(nowMs),
    devices: assets(nowMs, unplugged).flatMap((asset) =>
      asset.bindings.map((binding) => ({
        gateway: binding.gateway,
        device: binding.device,
        asset_id: asset.id,
        live: asset.live,
      })),
    ),
  }
}

/** @type {Schemas['TooLateEntry'][]} */
export const TOO_LATE = [
  {
    position: 4711,
    gateway: 'gw-demo',
    device: 'cnc-1',
    day: '2025-09-30',
    asset_id: 'a1',
    name_zh: '加工中心',
    rows: 12,
    connected_s: 7200,
    quantity: 3.25,
    unit: 'kWh',
  },
]

/** @param {string} id @param {string} zh @param {string} en @param {string} unit @param {string} formula @returns {Schemas['Definition']} */
const definition = (id, zh, en, unit, formula) => ({
  id,
  version: 1,
  name_zh: zh,
  name_en: en,
  formula_zh: formula,
  formula_en: formula,
  method: '',
  measure: 'pooled',
  unit,
  parameters:
    id === 'networking-rate'
      ? [
          { name: 'look_back', value: 30, unit: 'd', meaning_zh: '回溯天数', meaning_en: 'days looked back' },
          { name: 'q', value: 0.9, unit: '1', meaning_zh: '观测份额', meaning_en: 'share observed' },
        ]
      : [],
  source: 'PlantPulse',
  note_zh: '',
})

export const DEFINITIONS = [
  definition(
    'networking-rate',
    '工业设备联网率',
    'Equipment networking rate',
    '%',
    '已联网设备数 ÷ 纳入统计的设备数',
  ),
  definition('cnc-rate', '装备数控化率', 'CNC rate', '%', '数控装备数 ÷ 纳入统计的设备数'),
  definition(
    'energy-intensity-level',
    '万元增加值能耗',
    'Energy per value added',
    'tce/万元',
    '综合能源消费量 ÷ 工业增加值',
  ),
  definition('metered-energy', '计量用电量', 'Metered energy', 'kWh', '总进线电表读数差'),
]

/** @param {string} id @param {number} nowMs @returns {Schemas['Period']} */
function period(id, nowMs) {
  const day = id.length === 10
  const start = Date.parse(`${day ? id : `${id}-01`}T00:00:00+08:00`)
  const [year = 0, month = 1] = id.split('-').map(Number)
  const end = day ? start + 86_400_000 : Date.parse(iso(Date.UTC(year, month, 1) - UTC8_MS))
  return { id, kind: day ? 'day' : 'month', start: iso(start), end: iso(end), complete: end <= nowMs }
}

/** @param {Schemas['Definition']} about @param {string} periodId @param {number} nowMs @returns {Schemas['Figure']} */
export function figure(about, periodId, nowMs) {
  const asked = period(periodId, nowMs)
  /** @type {Schemas['Figure']} */
  const base = {
    definition: about,
    scope: { kind: 'county', id: 'ninghai', name_zh: '宁海县' },
    period: asked,
    status: asked.complete ? 'ok' : 'provisional',
    value: null,
    lower: null,
    upper: null,
    coverage: null,
    numerator: null,
    denominator: null,
    unit: about.unit,
    revision: 1,
    computed_at: iso(nowMs - 20_000),
    digest: '5f3c1e0d9a7b4c2e8f6a1b3d5c7e9f0a2b4c6d8e0f1a3b5c7d9e1f2a4b6c8d0e',
    declared: null,
    time_weighted: null,
    mean_of_enterprises: null,
    counts: null,
    by_evidence: {},
  }
  const note = '计算公式未公布;规划无 2025 年目标'
  if (about.id === 'networking-rate') {
    return {
      ...base,
      value: 10 / 12,
      lower: 10 / 12,
      upper: 11 / 12,
      coverage: 0.982,
      numerator: 10,
      denominator: 12,
      time_weighted: 0.764,
      declared: {
        item_zh: '工业设备联网率',
        value: 54,
        unit: '%',
        year: 2020,
        scope_zh: '重点工业企业',
        note_zh: note,
      },
      counts: { in_scope: 12, shown: 10, unobserved: 1, declared_unconnected: 1, shown_not: 0 },
      by_evidence: { 'self-identified': 6, native: 4 },
    }
  }
  if (about.id === 'cnc-rate') {
    return {
      ...base,
      value: 10 / 12,
      lower: 10 / 12,
      upper: 10 / 12,
      coverage: 1,
      numerator: 10,
      denominator: 12,
      declared: {
        item_zh: '装备数控化率',
        value: 72,
        unit: '%',
        year: 2020,
        scope_zh: '县内重点工业企业',
        note_zh: note,
      },
      counts: { in_scope: 12, shown: 10, unobserved: 0, declared_unconnected: 0, shown_not: 2 },
    }
  }
  if (about.id === 'metered-energy') {
    return { ...base, value: 31_420.5, lower: 31_420.5, upper: 31_980, coverage: 0.991, numerator: 31_420.5 }
  }
  if (!asked.complete) return { ...base, status: 'no-denominator', coverage: 0.991 }
  return {
    ...base,
    value: 0.0839,
    lower: 0.0839,
    upper: null,
    coverage: 0.991,
    numerator: 3.861,
    denominator: 46,
  }
}

/** @param {Schemas['Figure']} of @param {number} nowMs @returns {Schemas['Explanation']} */
export function explanation(of, nowMs) {
  return {
    figure: of,
    sentence_zh: '纳入统计的 12 台设备中,10 台在近 30 日内有联网证据;1 台观测不足;1 台台账声明未联网。',
    sentence_en: 'Of 12 machines in scope, 10 were shown connected within 30 days.',
    formula_with_numbers: '10 ÷ 12 = 83.3 %;区间 [10 ÷ 12, (10 + 1) ÷ 12] = [83.3 %, 91.7 %]',
    rows: MACHINES.map(([id, name, , , evidence, device], index) => ({
      id: `${ENTERPRISE.id}/${id}`,
      number: id.toUpperCase(),
      name_zh: name,
      enterprise_id: ENTERPRISE.id,
      enterprise_zh: ENTERPRISE.name_zh,
      counted: device === null ? 'denominator-only' : index === 6 ? 'unobserved' : 'numerator',
      reason_zh: device === null ? '台账声明未联网' : index === 6 ? '观测不足 90 %' : '统计期内有联网证据',
      reason_en: device === null ? 'declared unconnected' : 'shown connected',
      evidence,
      gateway: device === null ? null : 'gw-demo',
      device,
      observed_s: device === null ? 0 : 1_900_000,
      connected_s: device === null ? 0 : 1_420_000,
      first_proof_at: device === null ? null : iso(nowMs - 20 * 86_400_000),
      last_proof_at: device === null ? null : iso(nowMs - 3_000),
      quantity: null,
      quantity_estimated: null,
      unit: '',
      gaps: device === null ? [] : [[iso(nowMs - 90_000_000), iso(nowMs - 86_000_000)]],
    })),
    page: { offset: 0, limit: 100, total: MACHINES.length },
    by_counted: { numerator: 10, 'denominator-only': 1, unobserved: 1, excluded: 0 },
    enterprises: 1,
  }
}

/** @param {Schemas['Definition']} about @param {number} nowMs @returns {Schemas['Series']} */
export function series(about, nowMs) {
  return {
    definition: about,
    scope: { kind: 'county', id: 'ninghai', name_zh: '宁海县' },
    unit: about.unit,
    points: Array.from({ length: 30 }, (_, index) => {
      const of = figure(about, localDay(nowMs - (29 - index) * 86_400_000), nowMs)
      const dip = index === 11 ? null : 1 - ((index * 7) % 5) / 40
      const scaled = (/** @type {number | null} */ value) =>
        value === null || dip === null ? null : value * dip
      return {
        period: of.period,
        status: dip === null ? 'no-data' : of.status,
        value: scaled(of.value),
        lower: scaled(of.lower),
        upper: scaled(of.upper),
        coverage: of.coverage,
      }
    }),
  }
}

/** The plan's own table, read from the project's data: the mock invents no plan. @returns {Schemas['Plan']} */
export function plan() {
  const text = readFileSync(
    new URL('../../../plans/ninghai-14-5/indicators-2021-2025.csv', import.meta.url),
    'utf8',
  )
  const [head = [], ...rows] = csv(text)
  const at = (/** @type {string[]} */ row, /** @type {string} */ name) => row[head.indexOf(name)] ?? ''
  const number = (/** @type {string} */ cell) => (cell === '' ? null : Number(cell))
  return {
    id: 'ninghai-14-5',
    name_zh: '宁海县“十四五”制造业高质量发展规划',
    name_en: 'Ninghai County, 14th five-year plan for manufacturing',
    issued: '2021-07',
    years: '2021–2025',
    baselines: [],
    indicators: rows.map((row) => ({
      id: at(row, 'id'),
      area_zh: at(row, 'area_zh'),
      indicator_zh: at(row, 'indicator_zh'),
      indicator_en: at(row, 'indicator_en'),
      unit_zh: at(row, 'unit_zh'),
      base_year: number(at(row, 'base_year')),
      base_text: at(row, 'base_text'),
      base_value: number(at(row, 'base_num')),
      target_year: number(at(row, 'target_year')),
      target_text: at(row, 'target_text'),
      target_value: number(at(row, 'target_num')),
      target_comparator: at(row, 'target_cmp'),
      growth_text: at(row, 'growth_text'),
      direction: at(row, 'direction') === 'down' ? 'down' : 'up',
      kind: at(row, 'kind'),
      source: at(row, 'source'),
      note: at(row, 'note'),
      note_zh: at(row, 'note'),
    })),
  }
}

/** @param {string} text @returns {string[][]} */
function csv(text) {
  return text
    .trim()
    .split('\n')
    .map((line) =>
      [...line.matchAll(/("(?:[^"]|"")*"|[^,]*)(?:,|$)/g)]
        .slice(0, -1)
        .map(([, cell = '']) => (cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell)),
    )
}

/** @param {number} nowMs @returns {Schemas['Gateway']} */
export function gateway(nowMs) {
  return {
    id: 'gw-demo',
    site_zh: '一号厂房(示例)',
    enterprise_id: ENTERPRISE.id,
    last_seen_at: iso(nowMs - 2_000),
    silent: false,
    backlog_batches: 0,
    oldest_unsent_s: 0,
    shed: {},
    devices: 13,
    batches_journalled: 1_204,
    conflicts: 0,
    refused_rows: 0,
    credential: 'valid',
    hardware: '',
    replaced_at: null,
    refused_after_hand_over: 0,
    alarm_zh: '',
    alarm_en: '',
  }
}

/** @returns {Schemas['Enterprise']} */
export function enterprise() {
  return {
    id: ENTERPRISE.id,
    credit_code: ENTERPRISE.id,
    name_zh: ENTERPRISE.name_zh,
    industry_id: 'auto-moulds',
    industry_zh: '汽车制造及模具',
    zone_id: 'nhedz-core',
    zone_zh: '核心片区',
    register_confirmed: true,
    assets: 12,
    networking_rate: 10 / 12,
    cnc_rate: 10 / 12,
  }
}
