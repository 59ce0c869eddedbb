"""The register as the arrays that `metrics` computes with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from api.services.register_view import AssetFact, BindingFact, MeterFact, RegisterView
from gateway.wire import EvidenceName
from metrics.energy import UNKNOWN_RATE, MeterRole, Meters
from metrics.rates import Assets, Control
from metrics.record import Evidence
from metrics.rollup import NO_END, Bindings, Series

if TYPE_CHECKING:
    from api.runtime import County

EVIDENCE: Final[tuple[EvidenceName, ...]] = ("self-identified", "native", "retrofit", "declared")
"""Evidence classes in the order of metrics.record.Evidence, strongest first."""
assert tuple(e.value for e in Evidence) == EVIDENCE

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


@dataclass(frozen=True, slots=True)
class MeterPerimeter:
    """Meters of one carrier on one day. `meters.plant` counts enterprises."""

    facts: list[MeterFact]
    meters: Meters
    bindings: Bindings
    codes: list[str]
    """Credit codes, in the order of `meters.plant`."""


def evidence_of(county: County, bindings: Iterable[BindingFact]) -> EvidenceName:
    """The strongest evidence that any of some devices announced; `declared` without a device.

    A device that has not announced itself counts as `retrofit`, the weakest class that an answer can prove.
    """
    found = [county.announcements.latest(b.gateway, b.device) for b in bindings]
    classes = ["retrofit" if said is None else said.evidence for said in found]
    return min(classes, key=lambda name: EVIDENCE.index(name), default="declared")


def _bindings(county: County, owned: Sequence[list[BindingFact]], roles: tuple[str, ...]) -> Bindings:
    rows = [
        (
            i,
            county.days.number(b.gateway, b.device),
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


def asset_perimeter(county: County, view: RegisterView, day: int) -> AssetPerimeter:
    """All assets that the register lists on a local day."""
    facts = [a for a in view.assets if a.valid_on(day) and a.credit_code in view.enterprises]
    codes = list(view.enterprises)
    index = {code: i for i, code in enumerate(codes)}
    owned = [view.bindings.get(a.object_id, []) for a in facts]
    assets = Assets(
        in_scope=np.array([a.in_scope for a in facts], np.bool_),
        enterprise=np.array([index[a.credit_code] for a in facts], np.int64),
        confirmed=np.array([view.enterprises[a.credit_code].confirmed for a in facts], np.bool_),
        control=np.array([_CONTROL[a.control] for a in facts], np.int64),
        evidence=np.array([EVIDENCE.index(evidence_of(county, b)) for b in owned], np.int64),
        value=np.full(len(facts), -1, np.int64),
    )
    return AssetPerimeter(facts, assets, _bindings(county, owned, ("state", "quantity")), codes)


def meter_perimeter(county: County, view: RegisterView, day: int, carrier: str) -> MeterPerimeter:
    """All meters of a carrier that the register lists on a local day."""
    facts = [m for m in view.meters if m.valid_on(day) and m.carrier == carrier and m.credit_code in view.enterprises]
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
    return MeterPerimeter(facts, meters, _bindings(county, owned, ("quantity",)), codes)


def scope_rows(count: int, inside: Callable[[int], bool]) -> NDArray[np.int64]:
    """Scope 0 for the rows that lie inside, -1 for the others."""
    return np.array([0 if inside(i) else -1 for i in range(count)], np.int64)
