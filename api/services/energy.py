"""Metered energy of a scope, in kWh and standard coal, and per value added of the enterprises that reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from api.services.day_cache import DayRange
from api.services.perimeter import MeterPerimeter, meter_perimeter, scope_rows
from api.services.periods import months_of
from api.services.question import Question
from metrics.coefficients import STANDARD_COAL
from metrics.energy import (
    MICRO,
    Amount,
    PlantEnergy,
    add_amounts,
    coefficient,
    counted,
    intensity,
    plant_energy,
    standard_coal,
    total,
)
from metrics.rollup import MeterPeriod, Period, meter_period

CARRIER: Final = "electricity"


@dataclass(frozen=True, slots=True)
class MeterMonth:
    """Meters over one stretch of days, with the enterprises that are counted in it."""

    period: Period
    perimeter: MeterPerimeter
    states: MeterPeriod
    plants: PlantEnergy
    sign: np.typing.NDArray[np.int64]
    """(m,) sign with which a meter enters: 1, -1 or 0."""
    codes: set[str]
    """Enterprises counted."""
    days: DayRange


@dataclass(frozen=True, slots=True)
class MeterResult:
    """Energy of a scope with what it was computed from."""

    stretches: list[MeterMonth]
    energy: Amount
    """kWh."""
    coal: Amount
    """tce, calorific."""
    intensity: Amount
    value_added_wan: float | None
    kgce_per_kwh: float
    reports: list[tuple[str, str, float]]
    """(credit code, month, value added in 万元) of every report that is counted."""

    @property
    def watched(self) -> bool:
        """Whether any counted meter was read at all."""
        return any(
            bool((s.states.observed[s.sign != 0] > 0).any() or (s.states.span_s[s.sign != 0] > 0).any())
            for s in self.stretches
        )

    def inputs(self) -> list[Any]:
        """Everything that the result depends on, for its digest."""
        found: list[Any] = [sorted(self.reports)]
        for stretch in self.stretches:
            gateways: set[str] = set()
            meters = []
            for i, fact in enumerate(stretch.perimeter.facts):
                if fact.credit_code in stretch.codes:
                    own = np.flatnonzero(stretch.perimeter.bindings.object == i)
                    meters.append(
                        [
                            fact.id,
                            fact.meter_role,
                            fact.parent_id,
                            [
                                [int(stretch.perimeter.bindings.from_day[j]), int(stretch.perimeter.bindings.to_day[j])]
                                for j in own
                            ],
                            int(stretch.states.quantity[i]),
                            int(stretch.states.span_s[i]),
                        ]
                    )
                    gateways.add(fact.credit_code)
            found.append([stretch.period.id, sorted(stretch.codes), meters])
        return found


def metered(question: Question) -> MeterResult:
    """Energy of the scope's enterprises over the whole period."""
    return _sum([_stretch(question, question.period, question.codes)], [])


def intensity_of(question: Question) -> MeterResult:
    """Energy and value added of every (enterprise, month) that has a report and a meter."""
    stretches: list[MeterMonth] = []
    reports: list[tuple[str, str, float]] = []
    for month in months_of(question.period):
        said = {
            code: report.value_added_wan
            for code in question.codes
            if (report := question.view.reports.get((code, month.id))) and report.value_added_wan is not None
        }
        if not said:
            continue
        stretch = _stretch(question, month, set(said))
        stretches.append(stretch)
        reports.extend((code, month.id, said[code]) for code in stretch.codes)
    return _sum(stretches, reports)


def _stretch(question: Question, period: Period, codes: set[str]) -> MeterMonth:
    county = question.county
    perimeter = meter_perimeter(county, question.view, min(period.to_day - 1, question.register_day), CARRIER)
    days = county.days.range(period.from_day, period.to_day)
    states = meter_period(
        days.states, perimeter.bindings, len(perimeter.facts), period.from_day, period.to_day, question.now_s
    )
    plants = plant_energy(perimeter.meters, states, len(perimeter.codes))
    # an enterprise without a meter has no energy to set against its value added
    counted_codes = {code for i, code in enumerate(perimeter.codes) if code in codes and plants.meters[i] > 0}
    return MeterMonth(period, perimeter, states, plants, counted(perimeter.meters), counted_codes, days)


def _sum(stretches: list[MeterMonth], reports: list[tuple[str, str, float]]) -> MeterResult:
    energies: list[Amount] = []
    coals: list[Amount] = []
    row = coefficient(
        STANDARD_COAL, CARRIER, "calorific", max((s.period.to_day - 1 for s in stretches), default=0) or 20_000
    )
    for stretch in stretches:
        codes = stretch.perimeter.codes
        scope = scope_rows(len(codes), lambda i, codes=codes, inside=stretch.codes: codes[i] in inside)  # type: ignore[misc]
        energy = total(stretch.plants, scope, 1)[0]
        row = coefficient(STANDARD_COAL, CARRIER, "calorific", stretch.period.to_day - 1)
        energies.append(energy)
        coals.append(standard_coal(energy, row))
    coal = add_amounts(coals)
    value_added = sum(amount for _, _, amount in reports) if reports else None
    return MeterResult(
        stretches=stretches,
        energy=add_amounts(energies),
        coal=coal,
        intensity=intensity(coal, value_added),
        value_added_wan=value_added,
        kgce_per_kwh=row.micro_kgce / MICRO,
        reports=reports,
    )
