"""What the county's API answers: the shapes that the portal and other systems read.

Times are RFC 3339 in UTC, `[start, end)`. A figure that has no value says why in `status`; it is
never 0 or NaN. The portal's types are generated from the OpenAPI document made of these models.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.wire import DeviceClass, EvidenceName, StateName


class ApiModel(BaseModel):
    """Base of every answer: unknown fields are a mistake of ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(ApiModel):
    """Where in a long list an answer stands."""

    offset: int
    limit: int
    total: int


class Problem(ApiModel):
    """Every failure that a page can show: what happened, what to do, and the technical line."""

    code: str
    title_zh: str
    title_en: str
    next_step_zh: str
    next_step_en: str
    detail: str = ""


class Login(ApiModel):
    """What a person types to sign in."""

    username: str = Field(min_length=1, max_length=64)
    password: str = Field(min_length=1, max_length=256)


Role = Literal["administrator", "statistician", "viewer", "auditor", "township", "enterprise"]


class Session(ApiModel):
    """Who is signed in."""

    username: str
    role: Role
    enterprise: str | None = None
    """For the role enterprise: the only plant whose data it sees."""
    expires_at: datetime


ScopeKind = Literal["county", "zone", "area", "industry", "chain", "park", "ladder", "enterprise", "asset"]


class Scope(ApiModel):
    """What a figure is about."""

    kind: ScopeKind
    id: str
    name_zh: str


PeriodKind = Literal["day", "month", "quarter", "year", "cumulative"]


class Period(ApiModel):
    """A local (Asia/Shanghai) day, month, quarter or year: `2026-11-23`, `2026-11`, `2026-Q4`, `2026`; or from the
    start of a year (累计): `2026-01..2026-11`."""

    id: str
    kind: PeriodKind
    start: datetime
    end: datetime
    complete: bool
    """Whether the period is over."""


class Parameter(ApiModel):
    """A parameter of a definition, as used for this figure."""

    name: str
    value: float
    unit: str
    meaning_zh: str
    meaning_en: str


class Definition(ApiModel):
    """A versioned KPI formula. A version is never edited."""

    id: str
    version: int
    name_zh: str
    name_en: str
    formula_zh: str
    formula_en: str
    unit: str
    parameters: list[Parameter]
    source: str
    note_zh: str = ""
    method: str = ""
    """How it is computed; empty: by the method that bears its id."""
    measure: Literal["pooled", "mean", "time-weighted"] = "pooled"
    """Of a rate: all assets together, the mean of enterprises' rates, or by time."""
    options: dict[str, str] = Field(default_factory=dict)
    """What the method is told, such as the carrier that it counts."""
    in_force_from: date | None = None
    """The first local day of periods that are counted by this version; None: always."""


class Declared(ApiModel):
    """What the plan declares for an indicator: never reproduced, only set beside the evidence."""

    item_zh: str
    """What the plan calls it."""
    value: float
    unit: str
    year: int
    scope_zh: str
    note_zh: str


class AssetCounts(ApiModel):
    """How the assets in scope divide; `in_scope` is the sum of the other four."""

    in_scope: int
    shown: int
    """In the numerator."""
    unobserved: int
    """Bound to a device, not shown, observed for less than the share q; or of an unconfirmed register."""
    declared_unconnected: int
    """Listed by a confirmed register without a device."""
    shown_not: int
    """Observed long enough, and not shown."""


FigureStatus = Literal["ok", "provisional", "no-denominator", "no-data"]


class Figure(ApiModel):
    """One KPI at one scope and period, with everything that its reader may ask of it."""

    definition: Definition
    scope: Scope
    period: Period
    status: FigureStatus
    value: float | None
    lower: float | None
    upper: float | None
    """None beside a value: no upper bound is known."""
    coverage: float | None
    """Share of the period and perimeter that evidence supports, 0 to 1."""
    numerator: float | None
    denominator: float | None
    unit: str
    revision: int
    computed_at: datetime
    digest: str
    """SHA-256 over the inputs: the same inputs give the same digest."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """A digest of each kind of input: definition, register, evidence, day states."""
    as_of: datetime | None = None
    """What was known then; None: now."""
    declared: Declared | None = None
    time_weighted: float | None = None
    time_weighted_lower: float | None = None
    time_weighted_upper: float | None = None
    mean_of_enterprises: float | None = None
    counts: AssetCounts | None = None
    by_evidence: dict[EvidenceName, int] = Field(default_factory=dict)


class IndicatorList(ApiModel):
    """All figures of one scope and period."""

    scope: Scope
    period: Period
    figures: list[Figure]


class EvidenceRow(ApiModel):
    """One asset or meter behind a figure, and what shows it."""

    id: str
    number: str
    name_zh: str
    enterprise_id: str
    enterprise_zh: str
    counted: Literal["numerator", "denominator-only", "unobserved", "excluded"]
    reason_zh: str
    reason_en: str
    evidence: EvidenceName | None
    gateway: str | None
    device: str | None
    observed_s: float
    connected_s: float
    first_proof_at: datetime | None
    last_proof_at: datetime | None
    quantity: float | None
    quantity_estimated: float | None
    """Part of a meter's quantity whose place in time is estimated; the reason says why."""
    unit: str
    gaps: list[tuple[datetime, datetime]]
    """Times of the period that nobody watched, longest first, at most 20."""


class Explanation(ApiModel):
    """A figure opened down to the machines, the evidence, the formula and the gaps behind it."""

    figure: Figure
    sentence_zh: str
    sentence_en: str
    formula_with_numbers: str
    rows: list[EvidenceRow]
    """Assets, meters or processes of the perimeter, a page of them; those of all pages re-add to the figure exactly."""
    page: Page
    by_counted: dict[str, int]
    """How many rows of the whole perimeter count how."""
    enterprises: int
    """How many enterprises the rows of the whole perimeter belong to."""


class Cause(ApiModel):
    """One cause of a change of a rate, and what it did. Shares are 0 to 1 and add up to the change."""

    cause: str
    zh: str
    en: str
    machines: int
    numerator: float
    denominator: float
    value: float | None
    lower: float | None
    upper: float | None


class MovedMachine(ApiModel):
    """A machine that moved a figure, and how."""

    id: str
    number: str
    name_zh: str
    enterprise_id: str
    cause: str


class IndustryEffect(ApiModel):
    """What one industry did to the change of energy, in the figure's unit (LMDI-I, additive)."""

    industry_id: str
    name_zh: str
    change: float
    activity: float
    structure: float
    intensity: float


class FigureChange(ApiModel):
    """Why a figure changed: between two periods, or between two times at which it was known."""

    before: Figure
    after: Figure
    change: float | None
    causes: list[Cause]
    """Of a rate: machine by machine, without a residual."""
    machines: list[MovedMachine]
    """At most 200 of the machines that moved it."""
    machines_total: int
    within: float | None = None
    """Of a rate: what happened within enterprises; `within` and `mix` add up to the change."""
    mix: float | None = None
    """Of a rate: what the enterprises' weights did."""
    industries: list[IndustryEffect] = Field(default_factory=list)
    """Of metered energy: by industry, where output or value added of both periods is reported."""
    undecomposed: list[str] = Field(default_factory=list)
    """Industries with energy whose activity nobody reported: they are left out of the decomposition."""
    note_zh: str = ""
    note_en: str = ""


ChangeReason = Literal["late-data", "register", "definition", "time"]


class RevisedFigure(ApiModel):
    """How a figure of a set differs from the one that was published before it, and why."""

    value_before: float | None
    value_after: float | None
    difference: float | None
    reasons: list[ChangeReason]
    """Late data, register (台账, 申报), definition (口径), or that the period had gone on."""
    causes: list[Cause] = Field(default_factory=list)
    machines: list[MovedMachine] = Field(default_factory=list)
    machines_total: int = 0


class FigureEvent(ApiModel):
    """What became of a set of figures."""

    kind: Literal["published", "withdrawn"]
    at: datetime
    actor: str
    note: str
    revision: int


class FigureSetSummary(ApiModel):
    """A set of figures of one period: a draft, until an event publishes it."""

    id: int
    period: str
    as_of: datetime
    made_at: datetime
    actor: str
    note: str
    digest: str
    """SHA-256 over its figures' digests: the same inputs give the same set."""
    compared_with: int | None
    state: Literal["draft", "published", "superseded", "withdrawn"]
    figures: int
    changed: int
    """How many of its figures differ from those published before."""
    events: list[FigureEvent]


class FigureSetList(ApiModel):
    """Sets of figures, the newest first."""

    page: Page
    items: list[FigureSetSummary]


class SetFigure(ApiModel):
    """A figure of a set, as it was computed, and what changed against the one published before."""

    figure: Figure
    revised: RevisedFigure | None


class FigureSet(ApiModel):
    """A set with its figures of one scope."""

    summary: FigureSetSummary
    scope: str
    figures: list[SetFigure]


class Published(ApiModel):
    """Figures of one scope and period as they were published at a time; none where none were."""

    period: str
    scope: str
    as_of: datetime
    set_id: int | None
    revision: int | None
    published_at: datetime | None
    note: str
    figures: list[SetFigure]


class TooLateEntry(ApiModel):
    """Records of one device and local day that came when the day was final: listed, and not counted."""

    position: int
    """Place in the journal."""
    gateway: str
    device: str
    day: date
    asset_id: str | None
    name_zh: str
    rows: int
    connected_s: float
    """What they would have added to the day."""
    quantity: float
    unit: str


class TooLateList(ApiModel):
    """What came too late, the newest first."""

    page: Page
    items: list[TooLateEntry]


class Enterprise(ApiModel):
    """An enterprise of the register."""

    id: str
    credit_code: str
    name_zh: str
    industry_id: str | None
    industry_zh: str | None
    zone_id: str | None
    zone_zh: str | None
    register_confirmed: bool
    assets: int
    networking_rate: float | None
    cnc_rate: float | None


Connection = Literal["connected", "not-connected", "gateway-silent", "never-seen"]


class DeviceLive(ApiModel):
    """How a device is now, as its gateway judges it. Volatile; never used for a figure."""

    connection: Connection
    state: StateName
    since: datetime | None
    last_proof_at: datetime | None


class Binding(ApiModel):
    """Which device shows an asset or meter, and since which local day."""

    gateway: str
    device: str
    role: Literal["state", "quantity"]
    valid_from: date
    valid_to: date | None


class Asset(ApiModel):
    """A production machine of the register, or a meter (`kind`)."""

    id: str
    kind: Literal["asset", "meter"]
    number: str
    name_zh: str
    asset_class: str
    control: Literal["cnc", "plc", "robot", "manual", "none"] | None
    """How an asset is controlled; cnc, plc and robot count as numerically controlled."""
    in_scope: bool
    enterprise_id: str
    enterprise_zh: str
    manufacturer: str
    model: str
    serial: str
    evidence: EvidenceName
    bindings: list[Binding]
    live: DeviceLive
    announced_class: DeviceClass | None
    announced: str
    """Manufacturer, model and serial as the device announced them."""
    today_connected_s: float | None
    today_running_s: float | None
    today_quantity: float | None
    unit: str


class Gateway(ApiModel):
    """A gateway, and how it is."""

    id: str
    site_zh: str
    enterprise_id: str
    last_seen_at: datetime | None
    silent: bool
    backlog_batches: int
    oldest_unsent_s: int
    shed: dict[str, int]
    devices: int
    batches_journalled: int
    conflicts: int
    refused_rows: int
    credential: Literal["none", "valid", "revoked"]
    hardware: str
    """What the hardware that may send now called itself when it enrolled; empty: it never said."""
    replaced_at: datetime | None
    """When this hardware took over from another one that may still send what it recorded before."""
    refused_after_hand_over: int
    """Rows of replaced hardware that were not taken since the service started."""
    alarm_zh: str
    alarm_en: str


class LiveDevice(ApiModel):
    """Presence of one device, with the asset or meter it is bound to."""

    gateway: str
    device: str
    asset_id: str | None
    live: DeviceLive


class LiveSnapshot(ApiModel):
    """Presence of everything the reader may see. `/api/v1/live/events` sends the same as
    server-sent events named `live` on every change, at least every 5 s."""

    at: datetime
    devices: list[LiveDevice]


class PlanIndicator(ApiModel):
    """A row of the plan's indicator table, as printed, with what could be read as numbers."""

    id: str
    area_zh: str
    indicator_zh: str
    indicator_en: str
    unit_zh: str
    base_year: int | None
    base_text: str
    base_value: float | None
    target_year: int | None
    target_text: str
    target_value: float | None
    target_comparator: str
    growth_text: str
    direction: Literal["up", "down"]
    kind: str
    source: str
    note: str
    note_zh: str
    """What is odd about the row as printed; empty where nothing is."""


class Plan(ApiModel):
    """A development plan: a folder of tables, loaded as data."""

    id: str
    name_zh: str
    name_en: str
    issued: str
    years: str
    indicators: list[PlanIndicator]
    baselines: list[Declared]


class TargetProgress(ApiModel):
    """Where an indicator of the plan stands on its path. Values in the indicator's own unit."""

    indicator: PlanIndicator
    method: Literal["linear", "compound", "yearly", "none"]
    year: int | None
    """Year of the last official value."""
    value: float | None
    source: str
    required: float | None
    """Where the path stands in that year."""
    completion: float | None
    """Progress made over progress due, 1: exactly on the path."""
    status: str
    """已完成, 正常, 偏慢, 滞后, 倒退, 无法判断 or 无目标."""
    projected: float | None
    """Of the target year, with the interval that holds four times in five; None: fewer than three values."""
    projected_lower: float | None
    projected_upper: float | None
    chance: float | None
    """Chance of being at or above the target in its year."""


class PlanProgress(ApiModel):
    """Every indicator of a plan against its target."""

    plan_id: str
    items: list[TargetProgress]


class Health(ApiModel):
    """Whether the service is alive and ready, and the state of what stands behind it."""

    alive: bool
    ready: bool
    version: str
    checks: dict[str, str]


class Alive(ApiModel):
    """The service answers."""

    alive: Literal[True] = True
    version: str


class EnterpriseList(ApiModel):
    """Enterprises, in pages of at most 200."""

    page: Page
    items: list[Enterprise]


class AssetList(ApiModel):
    """Assets and meters, in pages of at most 500."""

    page: Page
    items: list[Asset]
    connections: dict[Connection, int]
    """How many machines of all pages are connected now, and how many are not, by their state device."""


class GatewayList(ApiModel):
    """Gateways the reader may see, in pages of at most 500."""

    page: Page
    items: list[Gateway]


class PlanList(ApiModel):
    """All plans, the newest first."""

    items: list[Plan]


class ScopeList(ApiModel):
    """What the reader may ask figures about: the county and its parts, then enterprises."""

    page: Page
    items: list[Scope]


class DefinitionList(ApiModel):
    """All definitions, every version."""

    items: list[Definition]


class SeriesPoint(ApiModel):
    """One period of a series; the whole figure is at `/api/v1/indicators` with the same period."""

    period: Period
    status: FigureStatus
    value: float | None
    lower: float | None
    upper: float | None
    coverage: float | None


class Series(ApiModel):
    """One figure over several periods of one kind, oldest first."""

    definition: Definition
    scope: Scope
    unit: str
    points: list[SeriesPoint]
