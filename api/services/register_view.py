"""The register as figures and pages read it: what is believed now, in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import Connection, Engine, select

from api.clock import Clock
from api.register import models as m
from api.register.counters import read_counter

_CHECK_S: Final = 0.5
_MAX_KNOWN: Final = 4
F = TypeVar("F", "AssetFact", "MeterFact")
Control = Literal["cnc", "plc", "robot", "manual", "none"]


@dataclass(frozen=True, slots=True)
class EnterpriseFact:
    """An enterprise."""

    credit_code: str
    name_zh: str
    industry_id: str | None
    zone_id: str | None
    confirmed: bool


@dataclass(frozen=True, slots=True)
class ObjectFact:
    """What assets and meters have in common. Days are local, `valid_to` included, None: no end."""

    object_id: int
    credit_code: str
    number: str
    name_zh: str
    site_id: str | None
    manufacturer: str
    model: str
    serial: str
    valid_from: int
    valid_to: int | None

    def valid_on(self, day: int) -> bool:
        """Whether the fact holds on a local day."""
        return self.valid_from <= day and (self.valid_to is None or day <= self.valid_to)


@dataclass(frozen=True, slots=True)
class AssetFact(ObjectFact):
    """A production machine."""

    asset_class: str
    control: Control
    in_scope: bool
    scope_reason: str
    original_value_wan: float | None
    declared_networked: bool | None

    @property
    def id(self) -> str:
        """The id that pages and scripts use."""
        return f"a{self.object_id}"


@dataclass(frozen=True, slots=True)
class MeterFact(ObjectFact):
    """A meter."""

    carrier: str
    unit: str
    meter_role: Literal["import", "export", "generation", "sub"]
    parent_id: int | None

    @property
    def id(self) -> str:
        """The id that pages and scripts use."""
        return f"m{self.object_id}"


@dataclass(frozen=True, slots=True)
class BindingFact:
    """Which device speaks for an object, from and to which local day (included)."""

    object_id: int
    gateway: str
    device: str
    role: Literal["state", "quantity"]
    valid_from: int
    valid_to: int | None

    def valid_on(self, day: int) -> bool:
        """Whether the binding holds on a local day."""
        return self.valid_from <= day and (self.valid_to is None or day <= self.valid_to)


@dataclass(frozen=True, slots=True)
class SiteFact:
    """A place of an enterprise."""

    site_id: str
    credit_code: str
    name_zh: str


@dataclass(frozen=True, slots=True)
class ReportFact:
    """What an enterprise reported for a month, 万元."""

    value_added_wan: float | None
    output_wan: float | None


@dataclass(frozen=True, slots=True)
class MembershipFact:
    """That an enterprise belongs to a chain or park, from and to which local day (included)."""

    credit_code: str
    kind: Literal["chain", "park"]
    group_id: str
    valid_from: int
    valid_to: int | None

    def valid_on(self, day: int) -> bool:
        """Whether it belongs to it on a local day."""
        return self.valid_from <= day and (self.valid_to is None or day <= self.valid_to)


@dataclass(frozen=True, slots=True)
class ProcessFact:
    """A process of an enterprise's list."""

    credit_code: str
    number: str
    name_zh: str
    key_process: bool
    controlled: bool | None


@dataclass(frozen=True, slots=True)
class StatisticFact:
    """An official figure of the county for a year."""

    value: float
    source: str


@dataclass(frozen=True, slots=True)
class RegisterView:
    """The whole register at one version, as believed now or at one time of the past."""

    version: int
    enterprises: dict[str, EnterpriseFact]
    sites: dict[str, SiteFact]
    assets: list[AssetFact]
    meters: list[MeterFact]
    bindings: dict[int, list[BindingFact]]
    """By object, oldest first."""
    gateways: dict[str, str]
    """Site by gateway."""
    reports: dict[tuple[str, str], ReportFact]
    """By (credit code, month)."""
    devices: dict[tuple[str, str], list[BindingFact]]
    """Bindings by (gateway, device)."""
    groups: dict[tuple[str, str], str]
    """Names of chains and parks, by (kind, id)."""
    memberships: list[MembershipFact]
    processes: list[ProcessFact]
    statistics: dict[tuple[str, int], StatisticFact]
    """By (indicator, year)."""
    object_by_id: dict[str, AssetFact | MeterFact]
    """Assets and meters by the id that pages use."""
    gateways_of: dict[str, frozenset[str]]
    """Gateways whose devices any asset or meter of an enterprise is, or was, bound to, by credit code."""

    def objects(self) -> list[AssetFact | MeterFact]:
        """Assets, then meters."""
        return [*self.assets, *self.meters]

    def gateway_enterprise(self, gateway: str) -> str | None:
        """The enterprise where a gateway stands."""
        site = self.sites.get(self.gateways.get(gateway, ""))
        return None if site is None else site.credit_code


class RegisterReader:
    """Reads the register again when it has changed; also when another process changed it."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._view: RegisterView | None = None
        self._checked_s = -_CHECK_S
        self._known: OrderedDict[int, RegisterView] = OrderedDict()

    def as_known(self, at_ns: int) -> RegisterView:
        """The register as it was believed at a time, ns UTC."""
        with self._lock:
            found = self._known.get(at_ns)
            if found is None:
                with self._engine.connect() as connection:
                    found = self._known[at_ns] = _load(connection, -1, at_ns)
                while len(self._known) > _MAX_KNOWN:
                    self._known.popitem(last=False)
            self._known.move_to_end(at_ns)
            return found

    def view(self) -> RegisterView:
        """The register as it is believed now (at most half a second ago)."""
        with self._lock:
            now_s = self._clock.monotonic_s()
            if self._view is None or now_s - self._checked_s >= _CHECK_S:
                with self._engine.connect() as connection:
                    version = read_counter(connection, "register")
                    if self._view is None or self._view.version != version:
                        self._view = _load(connection, version)
                self._checked_s = now_s
            return self._view


def _load(connection: Connection, version: int, known_ns: int | None = None) -> RegisterView:
    """What is believed: `known_ns` None: now."""

    def believed(model: type[m.Recorded]) -> list[Mapping[str, Any]]:
        table = model.__table__  # type: ignore[attr-defined]
        to = table.c.recorded_to_ns
        held = to.is_(None)
        if known_ns is not None:
            held = (table.c.recorded_from_ns <= known_ns) & (to.is_(None) | (to > known_ns))
        rows = connection.execute(select(table).where(held).order_by(table.c.row_id))
        return [dict(row) for row in rows.mappings()]

    o = m.RegisterObject
    names = {i: (code, number) for i, code, number in connection.execute(select(o.id, o.credit_code, o.number))}

    def objects(model: type[m.Recorded], kind: type[F]) -> list[F]:
        own = {f.name for f in fields(kind)}
        return [
            kind(
                **{k: v for k, v in row.items() if k in own},
                credit_code=names[row["object_id"]][0],
                number=names[row["object_id"]][1],
                valid_from=row["valid_from_day"],
                valid_to=row["valid_to_day"],
            )
            for row in believed(model)
        ]

    bindings: dict[int, list[BindingFact]] = {}
    devices: dict[tuple[str, str], list[BindingFact]] = {}
    for row in sorted(believed(m.Binding), key=lambda r: (r["valid_from_day"], r["row_id"])):
        fact = BindingFact(
            row["object_id"],
            row["gateway"],
            row["device"],
            row["role"],
            row["valid_from_day"],
            row["valid_to_day"],
        )
        bindings.setdefault(fact.object_id, []).append(fact)
        devices.setdefault((fact.gateway, fact.device), []).append(fact)
    speaking: dict[str, set[str]] = {}
    for (gateway, _), bound in devices.items():
        for binding in bound:
            speaking.setdefault(names[binding.object_id][0], set()).add(gateway)
    assets, meters = objects(m.Asset, AssetFact), objects(m.Meter, MeterFact)
    return RegisterView(
        version=version,
        enterprises={
            r["credit_code"]: EnterpriseFact(
                r["credit_code"], r["name_zh"], r["industry_id"], r["zone_id"], r["register_confirmed"]
            )
            for r in believed(m.Enterprise)
        },
        sites={r["site_id"]: SiteFact(r["site_id"], r["credit_code"], r["name_zh"]) for r in believed(m.Site)},
        assets=assets,
        meters=meters,
        bindings=bindings,
        gateways={r["gateway"]: r["site_id"] for r in believed(m.Gateway)},
        reports={
            (r["credit_code"], r["month"]): ReportFact(r["value_added_wan"], r["output_wan"])
            for r in believed(m.Report)
        },
        devices=devices,
        groups={(r["kind"], r["group_id"]): r["name_zh"] for r in believed(m.ScopeGroup)},
        memberships=[
            MembershipFact(r["credit_code"], r["kind"], r["group_id"], r["valid_from_day"], r["valid_to_day"])
            for r in believed(m.Membership)
        ],
        processes=[
            ProcessFact(r["credit_code"], r["process_number"], r["name_zh"], r["key_process"], r["controlled"])
            for r in believed(m.Process)
        ],
        gateways_of={code: frozenset(found) for code, found in speaking.items()},
        object_by_id={**{a.id: a for a in assets}, **{one.id: one for one in meters}},
        statistics={(r["indicator"], r["year"]): StatisticFact(r["value"], r["source"]) for r in believed(m.Statistic)},
    )
