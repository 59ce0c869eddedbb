"""Metered energy: plant totals from meter trees, standard coal, intensity, and their bounds.

Plant energy = import + generation − export, one carrier at a time. Sub-meters and machines' own readings
are never added to a main meter that contains them. Sources: GB/T 2589-2020 (standard coal), the county's
《“十四五”制造业高质量发展规划》(intensity target).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum, StrEnum
from fractions import Fraction
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from metrics.rollup import MeterPeriod, add_scopes

MICRO: Final = 1_000_000
"""Coefficients are integers in millionths of kgce per unit: 0.1229 is 122900."""

UNKNOWN_RATE: Final = -1
"""`rated_max` of a meter of which no rated maximum is known."""

NO_BOUND: Final = -1
"""`upper` where no upper bound is known."""

_S_PER_H: Final = 3600
_THOUSANDTHS: Final = 1000
_KG_PER_T: Final = 1000

Basis = Literal["calorific", "equivalent"]
"""当量值 (the energy content) or 等价值 (the primary energy used to make it)."""


class MeterRole(IntEnum):
    """Where a meter stands. SUB covers sub-meters and machines' own readings."""

    IMPORT = 0
    EXPORT = 1
    GENERATION = 2
    SUB = 3


@dataclass(frozen=True, slots=True)
class Meters:
    """Meters of one carrier. Arrays of equal length m."""

    role: NDArray[np.int64]
    """See MeterRole."""
    plant: NDArray[np.int64]
    """Index of the plant (enterprise or site) that the meter belongs to."""
    parent: NDArray[np.int64]
    """Row of the meter that contains this one, -1: none. A SUB without one is under its plant's import meters."""
    rated_max: NDArray[np.int64]
    """Largest rate that the meter can count, 0.001 unit per hour; UNKNOWN_RATE: not known."""

    def __len__(self) -> int:
        return len(self.role)


@dataclass(frozen=True, slots=True)
class PlantEnergy:
    """Energy of one carrier per plant. Arrays of length p; quantities in 0.001 of the unit."""

    metered: NDArray[np.int64]
    """Import + generation − export as counted; without a main meter the top sub-meters' sum."""
    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    """Bounds; `upper` is NO_BOUND where no maximum is known for a time that was not metered."""
    estimated: NDArray[np.int64]
    """Part of the counted quantities that is estimated, signs aside."""
    sub_metered: NDArray[np.int64]
    """Counted by the top sub-meters under the plant's import meters; 0 without one."""
    unallocated: NDArray[np.int64]
    """Metered less sub-metered; 0 without a main meter. May be negative by the meters' errors."""
    span_s: NDArray[np.int64]
    bound_s: NDArray[np.int64]
    """Metered and bound time of the meters counted, s; their ratio is the coverage."""
    has_main: NDArray[np.bool_]
    """Whether the plant has an import meter. Without one there is no upper bound."""
    meters: NDArray[np.int64]
    """Meters counted in `metered`; 0: nothing is known, the plant has no value."""

    def __len__(self) -> int:
        return len(self.metered)

    def take(self, rows: NDArray[np.int64]) -> PlantEnergy:
        """Some of the plants, as often as `rows` names them: for scopes that overlap, see metrics.scopes."""
        return PlantEnergy(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True, slots=True)
class Amount:
    """A figure of an amount: energy in its unit or in tce. None: no value, or no such bound."""

    value: float | None
    lower: float | None
    upper: float | None
    coverage: float | None


class Certainty(StrEnum):
    """How well a coefficient is established."""

    FIRM = "firm"
    """Read in several copies of the standard that agree."""
    RANGE = "range"
    """The standard prints a range: the supplier's own heat value comes first."""
    WEAK = "W"
    """Read in one copy only, or in copies that differ."""
    KNOWLEDGE = "K"
    """General knowledge, not confirmed in a text: to be checked before a figure is called conformant."""
    UNSAFE = "unsafe"
    """Depends on what is not stated (pressure, temperature): measure the heat instead."""


@dataclass(frozen=True, slots=True)
class Coefficient:
    """One dated coefficient row: kgce per unit of a carrier."""

    carrier: str
    unit: str
    basis: Basis
    micro_kgce: int
    """Millionths of kgce per unit."""
    from_day: int
    """First local day for which the row holds, until a later row of the same carrier and basis."""
    source: str
    certainty: Certainty = Certainty.FIRM
    least_micro_kgce: int | None = None
    most_micro_kgce: int | None = None
    """Ends of the range that the source leaves open, millionths of kgce per unit; None: no range."""
    medium: bool = False
    """Whether it is an energy-consuming medium (耗能工质), which counts only where it is bought."""


def counted(meters: Meters) -> NDArray[np.int64]:
    """Sign with which each meter enters its plant's energy, (m,): +1, −1 (export) or 0 (contained in another).

    Generation and export always enter: the import meter does not contain them. An import meter enters
    unless it has a parent. A sub-meter enters only at the top of its tree and where its plant has no import meter.
    Raises ValueError for a tree with a loop, or a parent of another plant.
    """
    _require_trees(meters)
    top = meters.parent < 0
    return np.select(
        [
            meters.role == MeterRole.EXPORT,
            meters.role == MeterRole.GENERATION,
            (meters.role == MeterRole.IMPORT) & top,
            (meters.role == MeterRole.SUB) & top & ~_plant_has_main(meters)[meters.plant],
        ],
        [-1, 1, 1, 1],
        0,
    ).astype(np.int64)


def _require_trees(meters: Meters) -> None:
    child = np.flatnonzero(meters.parent >= 0)
    if len(child) and int(meters.parent.max()) >= len(meters):
        raise ValueError(f"parent {int(meters.parent.max())}, there are {len(meters)} meters")
    strange = child[meters.plant[child] != meters.plant[meters.parent[child]]]
    if len(strange):
        raise ValueError(f"meter {int(strange[0])} is contained in a meter of another plant")
    above = meters.parent.copy()
    for _ in range(len(meters)):  # each round climbs one level; trees are a few levels deep
        climbing = np.flatnonzero(above >= 0)
        if not len(climbing):
            return
        above[climbing] = meters.parent[above[climbing]]
    if len(meters) and int(above.max()) >= 0:
        raise ValueError(f"meter {int(np.argmax(above >= 0))} is contained in itself")


def _plant_has_main(meters: Meters) -> NDArray[np.bool_]:
    main = np.zeros(int(meters.plant.max(initial=-1)) + 1, np.bool_)
    main[meters.plant[meters.role == MeterRole.IMPORT]] = True
    return main


def plant_energy(meters: Meters, period: MeterPeriod, n_plants: int) -> PlantEnergy:
    """Energy of one carrier per plant, with bounds and coverage.

    A meter that was bound but not metered for a time may have counted up to its rated maximum in it: that
    raises the upper bound (import, generation) or lowers the lower one (export). A plant's energy is never
    below 0. Without a rated maximum there is no upper bound, and an export of unknown size makes the lower 0.
    """
    sign = counted(meters)
    plant = meters.plant
    enters = sign != 0
    uncovered_s = np.maximum(period.bound_s - period.span_s, 0)
    open_time = enters & (uncovered_s > 0)
    known_max = meters.rated_max >= 0
    # Rounded up, so that the bound holds.
    most = -(-np.where(known_max, meters.rated_max, 0) * uncovered_s // _S_PER_H)

    def add(values: NDArray[Any]) -> NDArray[np.int64]:
        return add_scopes(values.astype(np.int64), plant, n_plants)

    has_main = np.zeros(n_plants, np.bool_)
    mains = _plant_has_main(meters)
    has_main[: len(mains)] = mains
    metered = add(sign * period.quantity)
    lower = metered - add((sign < 0) * open_time * most)
    upper = metered + add((sign > 0) * open_time * most)
    open_export = add(open_time & (sign < 0) & ~known_max) > 0
    open_import = add(open_time & (sign > 0) & ~known_max) > 0
    lower = np.maximum(np.where(open_export, 0, lower), 0)
    upper = np.where(open_import | ~has_main, NO_BOUND, np.maximum(upper, 0))
    parent = meters.parent
    under_sub = (parent >= 0) & (meters.role[np.maximum(parent, 0)] == MeterRole.SUB)
    top_sub = (meters.role == MeterRole.SUB) & ~under_sub & has_main[plant]
    sub_metered = add(top_sub * period.quantity)
    return PlantEnergy(
        metered=metered,
        lower=lower,
        upper=upper,
        estimated=add(enters * period.quantity_estimated),
        sub_metered=sub_metered,
        unallocated=np.where(has_main, metered - sub_metered, 0),
        span_s=add(enters * np.minimum(period.span_s, period.bound_s)),
        bound_s=add(enters * period.bound_s),
        has_main=has_main,
        meters=add(enters & (period.bound_s > 0)),
    )


@dataclass(frozen=True, slots=True)
class GapEstimate:
    """Energy per plant with its gaps filled: an estimate, never a metered figure. Arrays of length p; 0.001 unit."""

    value: NDArray[np.int64]
    """Metered and filled together, within the bounds of `PlantEnergy`; 0 where not `known`."""
    filled: NDArray[np.int64]
    """Size of what was filled in, signs aside: to be marked as estimated."""
    known: NDArray[np.bool_]
    """Whether every meter that is counted was metered for long enough to fill its gaps."""


FILL_FROM_PERMILLE: Final = 500
"""A meter's gaps are filled from its own mean rate where it was metered for at least so much of its time, in 1/1000."""


def fill_gaps(
    meters: Meters, period: MeterPeriod, n_plants: int, fill_from_permille: int = FILL_FROM_PERMILLE
) -> GapEstimate:
    """Fill the time that each counted meter was bound and not metered by its mean rate over the rest.

    The rate is cut to the meter's rated maximum. A plant of which a meter was metered for less than
    `fill_from_permille` of its time has no estimate: nothing is guessed from other plants.
    """
    sign = counted(meters)
    uncovered_s = np.maximum(period.bound_s - period.span_s, 0)
    enough = (period.span_s * 1000 >= period.bound_s * fill_from_permille) & (period.span_s > 0)
    share = np.zeros(len(meters))
    np.divide(uncovered_s, period.span_s, out=share, where=period.span_s > 0)
    fill = np.floor(period.quantity * share).astype(np.int64)
    most = np.where(meters.rated_max >= 0, meters.rated_max, 0) * uncovered_s // _S_PER_H
    fill = np.where(meters.rated_max >= 0, np.minimum(fill, most), fill)
    counts = (sign != 0) & (period.bound_s > 0)
    fill = np.where(counts & enough, fill, 0)
    missing = add_scopes((counts & ~enough).astype(np.int64), meters.plant, n_plants) > 0
    known = (add_scopes(counts.astype(np.int64), meters.plant, n_plants) > 0) & ~missing
    value = add_scopes(sign * (period.quantity + fill), meters.plant, n_plants)
    filled = add_scopes(fill, meters.plant, n_plants)
    return GapEstimate(np.where(known, np.maximum(value, 0), 0), np.where(known, filled, 0), known)


def total(energy: PlantEnergy, scope: NDArray[np.int64], n_scopes: int) -> list[Amount]:
    """`metered-energy/1` per scope, in the carrier's unit; `scope` (p,) of each plant, -1 for none.

    Plants without a meter add nothing and take no part in coverage: how many they are is for the caller
    to show. No value where no plant has a meter.
    """
    known = energy.meters > 0
    sums = {
        name: add_scopes(np.where(known, getattr(energy, name), 0), scope, n_scopes)
        for name in ("metered", "lower", "upper", "span_s", "bound_s")
    }
    plants = add_scopes(known.astype(np.int64), scope, n_scopes)
    endless = add_scopes((known & (energy.upper == NO_BOUND)).astype(np.int64), scope, n_scopes) > 0
    amounts: list[Amount] = []
    for i in range(n_scopes):
        if plants[i] == 0:
            amounts.append(Amount(None, None, None, None))
            continue
        span_s, bound_s = int(sums["span_s"][i]), int(sums["bound_s"][i])
        amounts.append(
            Amount(
                value=int(sums["metered"][i]) / _THOUSANDTHS,
                lower=int(sums["lower"][i]) / _THOUSANDTHS,
                upper=None if endless[i] else int(sums["upper"][i]) / _THOUSANDTHS,
                coverage=span_s / bound_s if bound_s else None,
            )
        )
    return amounts


def coefficient(rows: Sequence[Coefficient], carrier: str, basis: Basis, day: int) -> Coefficient:
    """The row in force on a local day. Raises LookupError where there is none."""
    in_force = [row for row in rows if (row.carrier, row.basis) == (carrier, basis) and row.from_day <= day]
    if not in_force:
        raise LookupError(f"no coefficient to standard coal for {carrier}, {basis}, on local day {day}")
    return max(in_force, key=lambda row: row.from_day)


def standard_coal(amount: Amount, row: Coefficient) -> Amount:
    """An amount of a carrier in tonnes of standard coal (tce); a coefficient's own range widens the bounds."""

    def tce(quantity: float | None, micro_kgce: int | None) -> float | None:
        micro = row.micro_kgce if micro_kgce is None else micro_kgce
        return None if quantity is None else float(Fraction(quantity) * micro / (MICRO * _KG_PER_T))

    return Amount(
        tce(amount.value, None),
        tce(amount.lower, row.least_micro_kgce),
        tce(amount.upper, row.most_micro_kgce),
        amount.coverage,
    )


def add_amounts(amounts: Sequence[Amount]) -> Amount:
    """The sum of amounts of one unit (carriers in tce, or stretches of a period with different coefficients).

    A value where any has one; a bound only where all that have a value have it; coverage is the least.
    """
    known = [a for a in amounts if a.value is not None]
    if not known:
        return Amount(None, None, None, None)

    def add(parts: Sequence[float | None]) -> float | None:
        present = [p for p in parts if p is not None]
        # Exact before the one rounding, so the order of the parts cannot show.
        return float(sum(map(Fraction, present), Fraction(0))) if len(present) == len(parts) else None

    coverages = [a.coverage for a in known if a.coverage is not None]
    return Amount(
        add([a.value for a in known]),
        add([a.lower for a in known]),
        add([a.upper for a in known]),
        min(coverages) if len(coverages) == len(known) else None,
    )


def intensity(energy_tce: Amount, denominator_wan_yuan: float | None) -> Amount:
    """Energy per value, tce per 万元 (10,000 CNY): `energy-intensity-level/1` on value added,
    `energy-per-output/1` on output value. No value without a positive denominator."""
    if denominator_wan_yuan is None or denominator_wan_yuan <= 0:
        return Amount(None, None, None, energy_tce.coverage)

    def per_value(tce: float | None) -> float | None:
        quotient = math.inf if tce is None else tce / denominator_wan_yuan
        return quotient if math.isfinite(quotient) else None

    return Amount(
        per_value(energy_tce.value), per_value(energy_tce.lower), per_value(energy_tce.upper), energy_tce.coverage
    )


def intensity_change(energy_growth: float | None, value_growth: float | None) -> float | None:
    """`energy-intensity-change/1`: (1 + energy growth) / (1 + growth of value added at comparable prices) − 1.

    Growths and result are shares: −0.074 and 0.066 give −0.1313. None where one is not known or value fell
    to nothing.
    """
    if energy_growth is None or value_growth is None or value_growth <= -1:
        return None
    change = (1 + energy_growth) / (1 + value_growth) - 1
    return change if math.isfinite(change) else None
