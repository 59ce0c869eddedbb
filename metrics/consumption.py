"""Energy consumption of a scope in standard coal, and what it is set against: value added, output, water.

Comprehensive energy consumption (综合能耗) is Σ amount × coefficient over what was bought or generated; a medium
made on site from metered energy is in it already. Sources: GB/T 2589-2020; energy used as raw material is left out of
the assessment of intensity by 发改环资〔2022〕803号; yearly change by (1 + energy growth) / (1 + growth of value added
at comparable prices) − 1, as statistics offices compute 规上万元工业增加值能耗降低率.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from metrics.energy import (
    Amount,
    Basis,
    Coefficient,
    add_amounts,
    coefficient,
    intensity,
    intensity_change,
    standard_coal,
)

Prices = Literal["current", "comparable"]
"""现价 or 可比价."""


class LeftOut(StrEnum):
    """Why an amount is not in the consumption; the value is the Chinese label."""

    OWN_MADE = "自产，已计入其消耗的能源"
    MATERIAL = "原料用能"
    MEDIUM = "耗能工质，不计入本口径"


class Provenance(StrEnum):
    """Where a figure comes from; the value is the Chinese label."""

    OFFICIAL = "统计"
    REPORTED = "申报"
    ESTIMATED = "估算"


@dataclass(frozen=True, slots=True)
class Flow:
    """An amount of one carrier that a scope used, in the carrier's unit."""

    carrier: str
    amount: Amount
    made_on_site: bool = False
    """Made there from energy that is counted already (compressed air, steam of an own boiler). Not for own
    generation of electricity, which metrics.energy.plant_energy adds to what is imported."""
    as_material: bool = False
    """Used as raw material, not for its energy."""


@dataclass(frozen=True, slots=True)
class Consumption:
    """Consumption in tce, with everything that it was computed from."""

    coal: Amount
    basis: Basis
    parts: tuple[tuple[Flow, Amount, Coefficient], ...]
    """Each flow that is in it, its tce and the coefficient row that was used."""
    left_out: tuple[tuple[Flow, LeftOut], ...]


def consumption(
    flows: Sequence[Flow],
    rows: Sequence[Coefficient],
    basis: Basis,
    day: int,
    *,
    media: bool = False,
    materials: bool = False,
) -> Consumption:
    """Add up flows in standard coal by the coefficient rows in force on a local day.

    Own-made media never count. `media`: whether bought ones do (the statistical total, and the calorific basis, leave
    them out; the standard's own total counts them). `materials`: whether energy used as raw material does (the
    assessment of intensity leaves it out). Raises LookupError for a carrier that counts and has no row.
    """
    own_media = {row.carrier for row in rows if row.medium}
    parts: list[tuple[Flow, Amount, Coefficient]] = []
    left_out: list[tuple[Flow, LeftOut]] = []
    for flow in flows:
        if flow.made_on_site:
            left_out.append((flow, LeftOut.OWN_MADE))
        elif flow.as_material and not materials:
            left_out.append((flow, LeftOut.MATERIAL))
        elif flow.carrier in own_media and (not media or basis == "calorific"):
            left_out.append((flow, LeftOut.MEDIUM))
        else:
            row = coefficient(rows, flow.carrier, basis, day)
            parts.append((flow, standard_coal(flow.amount, row), row))
    return Consumption(add_amounts([coal for _, coal, _ in parts]), basis, tuple(parts), tuple(left_out))


@dataclass(frozen=True, slots=True)
class ValueAdded:
    """Value added, or output, of a scope in a period. A price basis and an origin belong to every such figure."""

    wan_yuan: float
    """万元, 10,000 CNY."""
    prices: Prices
    provenance: Provenance
    source: str
    price_year: int | None = None
    """Year whose prices are used, of comparable prices."""

    def __post_init__(self) -> None:
        if self.prices == "comparable" and self.price_year is None:
            raise ValueError("value added at comparable prices needs the year of its prices")
        if not math.isfinite(self.wan_yuan):
            raise ValueError("value added must be finite")


def at_comparable_prices(
    base: ValueAdded, growths: Sequence[float], base_year: int, provenance: Provenance, source: str
) -> ValueAdded:
    """Value added some years after `base_year`, at that year's prices, by the published real growth of each year.

    `growths` are shares (0.066 is +6.6 %), one a year. The result is no better founded than its weaker part.
    Raises ValueError where `base` is at comparable prices of another year, or a growth is −1 or below.
    """
    if base.prices == "comparable" and base.price_year != base_year:
        raise ValueError(f"the base is at prices of {base.price_year}, not of {base_year}")
    if any(not math.isfinite(g) or g <= -1 for g in growths):
        raise ValueError("growth must be above -1")
    order = list(Provenance)
    weaker = max(base.provenance, provenance, key=order.index)
    value = base.wan_yuan * math.prod(1 + g for g in growths)
    return ValueAdded(value, "comparable", weaker, f"{base.source}; {source}", base_year)


@dataclass(frozen=True, slots=True)
class PerValue:
    """An amount per 万元, with the price basis and origin of what it was divided by."""

    amount: Amount
    prices: Prices
    price_year: int | None
    provenance: Provenance


def per_value_added(amount: Amount, value: ValueAdded) -> PerValue:
    """`energy-intensity-level/1` (amount in tce), `energy-per-output/1` (of output) or `water-intensity/1` (m³).

    Per 万元; no value where value added is not above 0.
    """
    return PerValue(intensity(amount, value.wan_yuan), value.prices, value.price_year, value.provenance)


def energy_intensity_change(before: Amount, after: Amount, value_before: ValueAdded, value_after: ValueAdded) -> Amount:
    """`energy-intensity-change/1` between two periods, as a share (−0.131 is −13.1 %), with bounds.

    The least change is that of the least energy after and the most before; coverage is the lesser one.
    Raises ValueError unless both values are at comparable prices of one year: at current prices a
    change of prices would pass for efficiency.
    """
    if (value_before.prices, value_after.prices) != ("comparable", "comparable"):
        raise ValueError("a change of intensity needs value added at comparable prices in both periods")
    if value_before.price_year != value_after.price_year:
        raise ValueError(f"prices of {value_before.price_year} and of {value_after.price_year} do not compare")
    growth = value_after.wan_yuan / value_before.wan_yuan - 1 if value_before.wan_yuan > 0 else None
    if growth is not None and not math.isfinite(growth):
        growth = None

    def change(later: float | None, earlier: float | None) -> float | None:
        if later is None or earlier is None or earlier <= 0 or not math.isfinite(later / earlier):
            return None
        return intensity_change(later / earlier - 1, growth)

    coverages = [c for c in (before.coverage, after.coverage) if c is not None]
    return Amount(
        change(after.value, before.value),
        change(after.lower, before.upper),
        change(after.upper, before.lower),
        min(coverages) if len(coverages) == 2 else None,
    )


def mean_yearly_change(cumulative: float | None, years: int) -> float | None:
    """The yearly mean (年均) of a change over several years (累计), both shares: −0.185 over five is −0.04."""
    if cumulative is None or years < 1 or cumulative <= -1:
        return None
    return math.expm1(math.log1p(cumulative) / years)
