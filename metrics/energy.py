"""Metered energy: plant totals from meter trees, standard coal, intensity, and their bounds.

Plant energy = import + generation − export, one carrier at a time. Sub-meters and machines' own readings
are never added to a main meter that contains them. Sources: GB/T 2589-2020 (standard coal), the county's
《“十四五”制造业高质量发展规划》(intensity target).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from metrics.rollup import MeterPeriod

MICRO: Final = 1_000_000
"""Coefficients are integers in millionths of kgce per unit: 0.1229 is 122900."""

UNKNOWN_RATE: Final = -1
"""`rated_max` of a meter of which no rated maximum is known."""

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
    """Counted by the top sub-meters under the plant's main meters."""
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


NO_BOUND: Final = -1
"""`upper` where no upper bound is known."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A figure of an amount: energy in its unit or in tce. None: no value, or no such bound."""

    value: float | None
    lower: float | None
    upper: float | None
    coverage: float | None


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


def counted(meters: Meters) -> NDArray[np.int64]:
    """Sign with which each meter enters its plant's energy, (m,): +1, −1 (export) or 0 (contained in another).

    Raises ValueError for a tree with a loop, or a parent of another plant.
    """
    raise NotImplementedError


def plant_energy(meters: Meters, period: MeterPeriod, n_plants: int) -> PlantEnergy:
    """Energy of one carrier per plant, with bounds and coverage.

    A meter that was bound but not metered for a time may have counted up to its rated maximum in it.
    """
    raise NotImplementedError


def total(energy: PlantEnergy, scope: NDArray[np.int64], n_scopes: int) -> list[Amount]:
    """`metered-energy/1` per scope, in the carrier's unit; `scope` (p,) of each plant, -1 for none."""
    raise NotImplementedError


def coefficient(rows: Sequence[Coefficient], carrier: str, basis: Basis, day: int) -> Coefficient:
    """The row in force on a local day. Raises LookupError where there is none."""
    raise NotImplementedError


def standard_coal(amount: Amount, row: Coefficient) -> Amount:
    """An amount of a carrier in tonnes of standard coal (tce), bounds included."""
    raise NotImplementedError


def add_amounts(amounts: Sequence[Amount]) -> Amount:
    """The sum of amounts of one unit (carriers in tce, or stretches of a period with different coefficients).

    A value where any has one; a bound only where all that have a value have it; coverage is the least.
    """
    raise NotImplementedError


def intensity(energy_tce: Amount, denominator_wan_yuan: float | None) -> Amount:
    """Energy per value, tce per 万元 (10,000 CNY): `energy-intensity-level/1` on value added,
    `energy-per-output/1` on output value. No value without a positive denominator."""
    raise NotImplementedError


def intensity_change(energy_growth: float | None, value_growth: float | None) -> float | None:
    """`energy-intensity-change/1`: (1 + energy growth) / (1 + growth of value added at comparable prices) − 1.

    Growths and result are shares: −0.074 and 0.066 give −0.1313. None where one is not known or value fell
    to nothing.
    """
    raise NotImplementedError
