"""A scenario: one YAML file that says what a simulated plant is, what its register holds, what it reported.

The same file drives the simulated machines, the gateway's configuration, the register that the county
imports and the rates that the chain must then show: `expected_networking` and `expected_cnc` are worked
out here from the register alone, by hand-sized functions that share nothing with the county's core.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from simulators.physics import TRAITS, Machine, Pattern, PlantMeter

BUILT_IN: Final = Path(__file__).parent / "scenarios"
DEFAULT: Final = "ninghai-demo"

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
DeviceClass = Literal["cnc", "robot", "injection-moulding", "machine", "meter-electricity", "meter-water"]
Evidence = Literal["self-identified", "native", "retrofit"]
Protocol = Literal["opcua", "modbus", "mqtt"]
NUMERICALLY_CONTROLLED: Final = ("cnc", "plc", "robot")


class ScenarioError(Exception):
    """A scenario that cannot be used: every fault with its key, value and what is permitted, in Chinese and English."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Counters(_Strict):
    """What a machine's counters show when the scenario begins."""

    energy_kwh: Annotated[float, Field(ge=0)] = 0.0
    parts: Annotated[int, Field(ge=0)] = 0
    water_m3: Annotated[float, Field(ge=0)] = 0.0


class MachineSpec(_Strict):
    """One simulated machine or meter, and what its connection will say of it."""

    id: Id
    kind: str
    manufacturer: str
    model: str
    serial: str
    product_uri: str = ""
    device: str
    """The gateway's id of it: the entry's id, or `entry/name` where the entry yields several."""
    device_class: DeviceClass
    evidence: Evidence
    counts: Literal["electricity", "water", ""] = "electricity"
    """Carrier of the counter that it serves; blank: it serves none."""
    counts_parts: bool = True
    says_state: bool = True
    """Whether a state can be known of it, said by itself or inferred from its power."""
    total_of: tuple[Id, ...] = ()
    """A main meter: the machines whose energy it contains, beside its own load."""
    start: Counters = Counters()

    @model_validator(mode="after")
    def _known_kind(self) -> Self:
        if self.kind not in TRAITS:
            known = ", ".join(TRAITS)
            raise ValueError(f"没有种类 {self.kind!r}；可用：{known} / no kind {self.kind!r}; one of {known}")
        return self


class OpcuaLink(_Strict):
    """One OPC UA server and the machines on it: one entry of the gateway."""

    entry: Id
    profile: str
    machines: Annotated[tuple[Id, ...], Field(min_length=1)]


class ModbusUnit(_Strict):
    """One unit id on the Modbus host: one entry of the gateway."""

    entry: Id
    unit: Annotated[int, Field(ge=1, le=247)]
    machine: Id
    map: str
    """Name of the simulator's register map."""
    profile: str


class MqttTopic(_Strict):
    """One machine that publishes JSON on a topic: one entry of the gateway."""

    entry: Id
    machine: Id
    topic: str
    profile: str


class SparkplugLink(_Strict):
    """One Sparkplug edge node and its devices: one entry of the gateway."""

    entry: Id
    group: str
    node: str
    machines: Annotated[tuple[Id, ...], Field(min_length=1)]
    profile: str


class Links(_Strict):
    """How the machines are connected."""

    opcua: tuple[OpcuaLink, ...] = ()
    modbus: tuple[ModbusUnit, ...] = ()
    mqtt: tuple[MqttTopic, ...] = ()
    sparkplug: tuple[SparkplugLink, ...] = ()


class AssetSpec(_Strict):
    """A production machine of the register. `shown_by`: the machine whose device speaks for it."""

    number: Id
    name_zh: str
    asset_class: str
    control: Literal["cnc", "plc", "robot", "manual", "none"]
    in_scope: bool = True
    scope_reason: str = ""
    shown_by: Id | None = None
    manufacturer: str = ""
    model: str = ""
    serial: str = ""


class MeterSpec(_Strict):
    """A meter of the register, and its place in the tree."""

    number: Id
    name_zh: str
    carrier: Literal["electricity", "water", "gas"]
    role: Literal["import", "export", "generation", "sub"]
    parent: Id | None = None
    shown_by: Id | None = None


class EnterpriseSpec(_Strict):
    """The enterprise whose plant it is."""

    credit_code: Annotated[str, Field(pattern=r"^[0-9A-HJ-NPQRTUWXY]{18}$")]
    name_zh: str
    industry_id: str
    zone_id: str
    register_confirmed: bool = True


class SiteSpec(_Strict):
    """The place where the machines stand."""

    id: Id
    name_zh: str


class ReportSpec(_Strict):
    """What the enterprise reports for each month, in 万元 (CNY 10,000)."""

    value_added_wan: Annotated[float, Field(gt=0)]
    output_wan: Annotated[float, Field(gt=0)]


class Hours(_Strict):
    """When the plant works: in the history that is sent first, and from today on."""

    history: Pattern = "two-shifts"
    live: Pattern = "always"


class Scenario(_Strict):
    """A plant, its register and its monthly report."""

    scenario: Id
    title_zh: str
    title_en: str
    seed: int
    gateway: Id
    window_s: Literal[10, 15, 20, 30, 60] = 60
    hours: Hours = Hours()
    enterprise: EnterpriseSpec
    site: SiteSpec
    machines: Annotated[tuple[MachineSpec, ...], Field(min_length=1)]
    links: Links
    assets: tuple[AssetSpec, ...]
    meters: tuple[MeterSpec, ...] = ()
    monthly_report: ReportSpec

    @model_validator(mode="after")
    def _refers_to_what_exists(self) -> Self:
        known = {m.id for m in self.machines}
        linked = [machine for _, machine in self.connections()]
        shown = [a.shown_by for a in self.assets if a.shown_by] + [m.shown_by for m in self.meters if m.shown_by]
        members = [i for m in self.machines for i in m.total_of]
        unique: tuple[tuple[str, list[Any]], ...] = (
            ("machines.id", [m.id for m in self.machines]),
            ("machines.device", [m.device for m in self.machines]),
            ("links", linked),
            ("shown_by", shown),
            ("links.modbus.unit", [u.unit for u in self.links.modbus]),
            ("assets.number", [a.number for a in self.assets]),
            ("meters.number", [m.number for m in self.meters]),
        )
        for what, ids in unique:
            twice = sorted({str(i) for i in ids if ids.count(i) > 1})
            if twice:
                raise ValueError(f"{what}：{twice} 出现两次 / {what}: {twice} stand twice")
        for name in (*linked, *shown, *members):
            if name not in known:
                raise ValueError(f"没有机器 {name!r} / no machine {name!r} in machines")
        loose = sorted(known - set(linked))
        if loose:
            raise ValueError(f"机器 {loose} 没有连接，请写在 links 中 / machines {loose} have no connection in links")
        for machine in self.machines:
            if any(self.machine(i).total_of for i in machine.total_of):
                raise ValueError(f"{machine.id}: 总表不能包含总表 / a main meter cannot contain a main meter")
        parents = {m.number for m in self.meters}
        for meter in self.meters:
            if (meter.role == "sub") != (meter.parent is not None) or (meter.parent and meter.parent not in parents):
                raise ValueError(f"{meter.number}: 只有分表有上级表 / a sub-meter, and only it, names its parent meter")
        return self

    def machine(self, machine_id: str) -> MachineSpec:
        """The machine of that id. Raises KeyError."""
        for machine in self.machines:
            if machine.id == machine_id:
                return machine
        raise KeyError(machine_id)

    def connections(self) -> Iterator[tuple[Protocol, str]]:
        """Every connected machine with the protocol that reaches it, in the file's order."""
        for server in self.links.opcua:
            for machine in server.machines:
                yield "opcua", machine
        for unit in self.links.modbus:
            yield "modbus", unit.machine
        for topic in self.links.mqtt:
            yield "mqtt", topic.machine
        for node in self.links.sparkplug:
            for machine in node.machines:
                yield "mqtt", machine

    def protocol_of_device(self) -> dict[str, Protocol]:
        """The protocol of every gateway device id."""
        return {self.machine(machine).device: protocol for protocol, machine in self.connections()}

    def device_of_machine(self) -> dict[str, str]:
        """The gateway's device id of every machine id."""
        return {m.id: m.device for m in self.machines}

    def build_machines(self, *, origin_s: float, always_from_s: float) -> dict[str, Machine]:
        """The machines, by id, with counters at their starting values on `origin_s`'s local day.

        From the local day of `always_from_s` on, the scenario's live hours hold.
        """
        built: dict[str, Machine] = {}
        for spec in sorted(self.machines, key=lambda m: bool(m.total_of)):
            given: dict[str, Any] = {
                "seed": self.seed,
                "origin_s": origin_s,
                "pattern": self.hours.history,
                "always_from_s": always_from_s if self.hours.live == "always" else None,
                "start_energy_kwh": spec.start.energy_kwh,
                "start_parts": spec.start.parts,
                "start_water_m3": spec.start.water_m3,
                "manufacturer": spec.manufacturer,
                "model": spec.model,
                "serial": spec.serial,
                "product_uri": spec.product_uri,
            }
            if spec.total_of:
                built[spec.id] = PlantMeter(spec.id, [built[i] for i in spec.total_of], kind=spec.kind, **given)
            else:
                built[spec.id] = Machine(spec.id, spec.kind, **given)
        return {m.id: built[m.id] for m in self.machines}


class Expected(NamedTuple):
    """A rate that the register implies once every connected machine has answered."""

    numerator: int
    denominator: int

    @property
    def rate(self) -> Fraction:
        """The rate itself, exactly."""
        return Fraction(self.numerator, self.denominator)


def expected_networking(scenario: Scenario) -> Expected:
    """In-scope assets that a machine speaks for, over all in-scope assets."""
    in_scope = [a for a in scenario.assets if a.in_scope]
    return Expected(sum(a.shown_by is not None for a in in_scope), len(in_scope))


def expected_cnc(scenario: Scenario) -> Expected:
    """In-scope assets with numerical or programmable control by the register, over all in-scope assets."""
    in_scope = [a for a in scenario.assets if a.in_scope]
    return Expected(sum(a.control in NUMERICALLY_CONTROLLED for a in in_scope), len(in_scope))


def load(name_or_path: str | Path = DEFAULT) -> Scenario:
    """A scenario by the name of a built-in one, or from a file. Raises ScenarioError."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = BUILT_IN / f"{name_or_path}.yaml"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in BUILT_IN.glob("*.yaml")))
        raise ScenarioError(
            f"{path}: 无法读取场景；内置场景：{known} / cannot read the scenario; built in: {known}"
        ) from error
    except yaml.YAMLError as error:
        raise ScenarioError(f"{path}: 不是有效的 YAML / not valid YAML: {error}") from error
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        faults = [
            f"{path}: {'.'.join(map(str, fault['loc']))} = {str(fault['input'])[:80]!r}: {fault['msg']}"
            if fault["loc"]
            else f"{path}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise ScenarioError("场景有错误 / the scenario has faults:\n" + "\n".join(faults)) from error
