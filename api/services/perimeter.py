"""The register as the arrays that `metrics` computes with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from api.register.announcements import Announced, Announcements
from api.services.register_view import AssetFact, BindingFact, MeterFact, ObjectFact, RegisterView
from api.services.sources import Known, Sources
from gateway.wire import EvidenceName
from metrics.change import UNKNOWN_WEIGHT
from metrics.energy import UNKNOWN_RATE, MeterRole, Meters
from metrics.rates import Assets, Control
from metrics.record import Evidence
from metrics.rollup import NO_END, Bindings, Series

EVIDENCE: Final[tuple[EvidenceName, ...]] = ("self-identified", "native", "retrofit", "declared")
"""Evidence classes in the order of metrics.record.Evidence, strongest first."""
assert tuple(e.value for e in Evidence) == EVIDENCE

_FEN_PER_WAN: Final = 1_000_000

_CONTROL: Final = {
    "cnc": Control.CNC,
    "plc": Control.PLC,
    "robot": Control.ROBOT,
    "manual": Control.MANUAL,
    "none": Control.NONE,
}
_ROLE: Final = {
    "import": MeterRole.IMPORT,
    "export": MeterRole.EXPORT,
    "generation": MeterRole.GENERATION,
    "sub": MeterRole.SUB,
}


@dataclass(frozen=True, slots=True)
class AssetPerimeter:
    """Assets of the register on one day. `facts` and the arrays of `assets` have one row per asset."""

    facts: list[AssetFact]
    assets: Assets
    bindings: Bindings
    codes: list[str]
    """Credit codes, in the order of `assets.enterprise`."""
    claimed: NDArray[np.int64]
    """(a,) 1: the enterprise says that it is networked, 0: that it is not, -1: nothing is said."""
    row_of: dict[int, int]
    """Row by object."""
    register_of: dict[str, str]
    """Digest of what the register says of each enterprise's assets and their bindings."""
    evidence_of: dict[str, str]
    """Digest of the evidence classes of each enterprise's assets."""
    gateways_of: dict[str, frozenset[str]]
    """Gateways whose devices any of an enterprise's assets is, or was, bound to."""
    bound: str
    """Changes when bindings or the number of assets do: whatever else the register says, and devices announce, what
    the assets showed is the same."""

    def assets_at(self, rows: NDArray[np.int64]) -> Assets:
        """Some of the assets, by their rows; of all of them nothing is copied."""
        return self.assets if len(rows) == len(self.assets) else self.assets.take(rows)

    def rows(self, codes: frozenset[str], object_id: int | None) -> NDArray[np.int64]:
        """Rows of the assets of some enterprises, or of one asset, ascending."""
        if object_id is not None:
            return np.array([self.row_of[object_id]] if object_id in self.row_of else [], np.int64)
        inside = np.array([code in codes for code in self.codes], np.bool_)
        return np.flatnonzero(inside[self.assets.enterprise]) if len(self.facts) else np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class MeterPerimeter:
    """Meters of one carrier on one day. `meters.plant` counts enterprises. (An asset's own counter is one too.)"""

    facts: Sequence[MeterFact | AssetFact]
    meters: Meters
    bindings: Bindings
    codes: list[str]
    """Credit codes, in the order of `meters.plant`."""
    register_of: dict[str, str]
    gateways_of: dict[str, frozenset[str]]
    bound: str
    """As of AssetPerimeter."""
    key: tuple[Hashable, ...]
    """The same for the same meters of the same register."""


def evidence_of(announced: Announcements | Announced, bindings: Iterable[BindingFact]) -> EvidenceName:
    """The strongest evidence that any of some devices announced; `declared` without a device.

    A device that has not announced itself counts as `retrofit`, the weakest class that an answer can prove.
    """
    found = [announced.latest(b.gateway, b.device) for b in bindings]
    classes = ["retrofit" if said is None else said.evidence for said in found]
    return min(classes, key=EVIDENCE.index, default="declared")


def _bindings(known: Known, owned: Sequence[list[BindingFact]], roles: tuple[str, ...]) -> Bindings:
    rows = [
        (
            i,
            known.days.number(b.gateway, b.device),
            Series.STATE if b.role == "state" else Series.QUANTITY,
            b.valid_from,
            NO_END if b.valid_to is None else b.valid_to + 1,
        )
        for i, bindings in enumerate(owned)
        for b in bindings
        if b.role in roles
    ]
    table = np.array(rows, np.int64).reshape(-1, 5)
    return Bindings(*(np.ascontiguousarray(table[:, i]) for i in range(5)))


def bound_of(bindings: Bindings, objects: int) -> str:
    """A digest of which device shows which of so many objects, and when."""
    whole = hashlib.sha256(f"{objects} {len(bindings)}\n".encode())
    for field in fields(bindings):
        whole.update(getattr(bindings, field.name).tobytes())
    return whole.hexdigest()


def asset_perimeter(sources: Sources, known: Known, day: int) -> AssetPerimeter:
    """All assets that the register lists on a local day. Days on which it lists the same share one perimeter."""
    held = _mask(sources, known, "assets", known.view.assets, day)
    return sources.memory.once("perimeter", ("assets", known.key, held), lambda: _assets(known, held))


def meter_perimeter(sources: Sources, known: Known, day: int, carrier: str) -> MeterPerimeter:
    """All meters of a carrier that the register lists on a local day."""
    held = _mask(sources, known, "meters", known.view.meters, day)
    key = (carrier, known.key, held)
    return sources.memory.once("perimeter", key, lambda: _meters(known, held, carrier, key))


def _mask(sources: Sources, known: Known, kind: str, facts: Sequence[ObjectFact], day: int) -> bytes:
    """A bit for each of some facts: whether it holds on a local day."""

    def make() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        until = [NO_END if fact.valid_to is None else fact.valid_to for fact in facts]
        return np.array([fact.valid_from for fact in facts], np.int64), np.array(until, np.int64)

    valid_from, valid_to = sources.memory.once("rates", ("valid", kind, known.key), make)
    return np.packbits((valid_from <= day) & (day <= valid_to)).tobytes()


F = TypeVar("F", bound=ObjectFact)


def _held(facts: Sequence[F], mask: bytes, view: RegisterView) -> list[F]:
    bits = np.unpackbits(np.frombuffer(mask, np.uint8), count=len(facts)).tolist()
    return [fact for fact, holds in zip(facts, bits, strict=True) if holds and fact.credit_code in view.enterprises]


def _assets(known: Known, held: bytes) -> AssetPerimeter:
    view = known.view
    facts = _held(view.assets, held, view)
    codes = list(view.enterprises)
    index = {code: i for i, code in enumerate(codes)}
    owned = [view.bindings.get(a.object_id, []) for a in facts]
    evidence = [EVIDENCE.index(evidence_of(known.announced, b)) for b in owned]
    assets = Assets(
        in_scope=np.array([a.in_scope for a in facts], np.bool_),
        enterprise=np.array([index[a.credit_code] for a in facts], np.int64),
        confirmed=np.array([view.enterprises[a.credit_code].confirmed for a in facts], np.bool_),
        control=np.array([_CONTROL[a.control] for a in facts], np.int64),
        evidence=np.array(evidence, np.int64),
        value=np.array([UNKNOWN_WEIGHT if a.original_value_wan is None else _fen(a) for a in facts], np.int64),
    )
    said = _Said(view)
    shown = _Said(view)
    for fact, bindings, kind in zip(facts, owned, evidence, strict=True):
        own = [fact.id, fact.in_scope, fact.control, fact.original_value_wan, fact.declared_networked]
        said.add(fact.credit_code, [*own, fact.valid_from], bindings)
        shown.add(fact.credit_code, [fact.id, kind], ())
    showing = _bindings(known, owned, ("state", "quantity"))
    return AssetPerimeter(
        facts,
        assets,
        showing,
        codes,
        np.array([-1 if a.declared_networked is None else int(a.declared_networked) for a in facts], np.int64),
        {fact.object_id: i for i, fact in enumerate(facts)},
        said.digests(),
        shown.digests(),
        said.gateways(),
        bound_of(showing, len(facts)),
    )


def _fen(fact: AssetFact) -> int:
    return round((fact.original_value_wan or 0.0) * _FEN_PER_WAN)


def _meters(known: Known, held: bytes, carrier: str, key: tuple[Hashable, ...]) -> MeterPerimeter:
    view = known.view
    facts = [meter for meter in _held(view.meters, held, view) if meter.carrier == carrier]
    row = {m.object_id: i for i, m in enumerate(facts)}
    codes = list(view.enterprises)
    index = {code: i for i, code in enumerate(codes)}
    owned = [view.bindings.get(m.object_id, []) for m in facts]
    meters = Meters(
        role=np.array([_ROLE[m.meter_role] for m in facts], np.int64),
        plant=np.array([index[m.credit_code] for m in facts], np.int64),
        parent=np.array([-1 if m.parent_id is None else row.get(m.parent_id, -1) for m in facts], np.int64),
        rated_max=np.full(len(facts), UNKNOWN_RATE, np.int64),
    )
    said = _Said(view)
    for fact, bindings in zip(facts, owned, strict=True):
        said.add(fact.credit_code, [fact.id, fact.meter_role, fact.parent_id], bindings)
    counting = _bindings(known, owned, ("quantity",))
    bound = bound_of(counting, len(facts))
    return MeterPerimeter(facts, meters, counting, codes, said.digests(), said.gateways(), bound, key)


def object_perimeter(known: Known, object_id: str, day: int, carrier: str) -> MeterPerimeter:
    """One asset or meter as if it were a plant of its own: what its own devices count of a carrier."""
    fact = known.view.object_by_id[object_id]
    bound = [b for b in known.view.bindings.get(fact.object_id, []) if b.role == "quantity"]
    if isinstance(fact, MeterFact):
        bound = bound if fact.carrier == carrier else []
    else:
        bound = [b for b in bound if (said := known.announced.latest(b.gateway, b.device)) and said.carrier == carrier]
    facts = [fact] if fact.valid_on(day) and fact.credit_code in known.view.enterprises else []
    one = np.zeros(len(facts), np.int64)
    meters = Meters(role=one + MeterRole.IMPORT, plant=one.copy(), parent=one - 1, rated_max=one + UNKNOWN_RATE)
    lines = _Said(known.view)
    for held in facts:
        lines.add(held.credit_code, [held.id], bound)
    shown = _bindings(known, [bound] if facts else [], ("quantity",))
    return MeterPerimeter(
        facts,
        meters,
        shown,
        [fact.credit_code],
        lines.digests(),
        lines.gateways(),
        bound_of(shown, len(facts)),
        (object_id, known.key, day, carrier),
    )


class _Said:
    """Digests of what is said of each enterprise, and the gateways that speak for it."""

    def __init__(self, view: RegisterView) -> None:
        self._view = view
        self._lines: dict[str, list[Any]] = {}
        self._gateways: dict[str, set[str]] = {}

    def add(self, code: str, said: list[Any], bindings: Iterable[BindingFact]) -> None:
        bound = [[b.gateway, b.device, b.role, b.valid_from, b.valid_to] for b in bindings]
        self._lines.setdefault(code, []).append([*said, bound])
        self._gateways.setdefault(code, set()).update(b.gateway for b in bindings)

    def digests(self) -> dict[str, str]:
        return {
            code: digest_of([self._view.enterprises[code].confirmed, *lines]) for code, lines in self._lines.items()
        }

    def gateways(self) -> dict[str, frozenset[str]]:
        return {code: frozenset(found) for code, found in self._gateways.items()}


def digest_of(what: Any) -> str:
    """SHA-256 over anything that JSON can say."""
    return hashlib.sha256(json.dumps(what, ensure_ascii=False).encode()).hexdigest()


def scope_rows(codes: Sequence[str], inside: frozenset[str]) -> NDArray[np.int64]:
    """Scope 0 for the enterprises that lie inside, -1 for the others."""
    return np.array([0 if code in inside else -1 for code in codes], np.int64)
