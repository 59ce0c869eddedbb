// The county's shapes by their own names; schema.ts is generated from ../openapi.json.
import type { components } from './schema'

type Schemas = components['schemas']

export type Asset = Schemas['Asset']
export type AssetCounts = Schemas['AssetCounts']
export type Declared = Schemas['Declared']
export type Definition = Schemas['Definition']
export type DeviceLive = Schemas['DeviceLive']
export type Enterprise = Schemas['Enterprise']
export type EvidenceRow = Schemas['EvidenceRow']
export type Explanation = Schemas['Explanation']
export type Figure = Schemas['Figure']
export type Gateway = Schemas['Gateway']
export type IndicatorList = Schemas['IndicatorList']
export type LiveDevice = Schemas['LiveDevice']
export type LiveSnapshot = Schemas['LiveSnapshot']
export type Period = Schemas['Period']
export type Plan = Schemas['Plan']
export type PlanIndicator = Schemas['PlanIndicator']
export type Problem = Schemas['Problem']
export type Series = Schemas['Series']
export type Session = Schemas['Session']

export type Connection = DeviceLive['connection']
export type MachineState = DeviceLive['state']
export type Evidence = Asset['evidence']
export type Counted = EvidenceRow['counted']
