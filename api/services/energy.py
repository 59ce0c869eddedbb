"""What meters counted in a scope: energy, water and standard coal, and that per what enterprises reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import fsum
from typing import Any, Final, Literal

import numpy as np

from api.register.csv_format import CARRIER_UNITS
from api.schemas import Definition
from api.services.perimeter import MeterPerimeter, meter_perimeter, object_perimeter, scope_rows
from api.services.periods import months_of
from api.services.register_view import ReportFact
from api.services.sources import Question
from api.services.states import meter_states, meters_key
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
from metrics.rollup import MeterPeriod, Period

Report = tuple[str, str, float]
"""(credit code, month, 万元)."""


@dataclass(frozen=True, slots=True)
class MeterMonth:
    """Meters over one stretch of days, with the enterprises that are counted in it."""

    period: Period
    perimeter: MeterPerimeter
    states: MeterPeriod
    plants: PlantEnergy
    sign: np.typing.NDArray[np.int64]
    """(m,) sign with which a meter enters: 1, -1 or 0."""
    codes: frozenset[str]
    """Enterprises counted."""


@dataclass(frozen=True, slots=True)
class MeterResult:
    """What was metered in a scope, with what it was computed from."""

    stretches: list[MeterMonth]
    carrier: str
    quantity: Amount
    """In the carrier's unit."""
    coal: Amount | None
    """tce, calorific; None where it is not asked for."""
    amount: Amount
    """The figure."""
    denominator: float | None
    """万元 of what the reports say; None where nothing is divided."""
    kgce_per_unit: float | None
    reports: list[Report]
    """Every report that is counted."""
    per: Literal["value-added", "output"] | None

    @property
    def unit(self) -> str:
        """The carrier's unit."""
        return CARRIER_UNITS[self.carrier]

    @property
    def numerator(self) -> float | None:
        """What is divided, or stands alone."""
        return (self.coal or self.quantity).value

    @property
    def watched(self) -> bool:
        """Whether any counted meter was read at all."""
        return any(
            bool((s.states.observed[s.sign != 0] > 0).any() or (s.states.span_s[s.sign != 0] > 0).any())
            for s in self.stretches
        )


def metered(question: Question, definition: Definition) -> MeterResult:
    """Method `metered`: what the scope's enterprises used of a carrier over the whole period.

    Options: `carrier`; `as`: `tce` for standard coal.
    """
    found = _stretch(question, definition, question.period, question.codes)
    return _sum(definition, [found], [], None)


_PER: Final[dict[str, Callable[[ReportFact], float | None]]] = {
    "value-added": lambda report: report.value_added_wan,
    "output": lambda report: report.output_wan,
}


def per_report(question: Question, definition: Definition) -> MeterResult:
    """Method `per-report`: what was metered per 万元 of every (enterprise, month) that has a report and a meter.

    Options: `carrier`; `as`: `tce`; `per`: `value-added` or `output`.
    """
    per = definition.options.get("per", "value-added")
    stretches: list[MeterMonth] = []
    reports: list[Report] = []
    # what an enterprise reports is not one asset's
    for month in months_of(question.period) if question.object_id is None else []:
        said = {
            code: amount
            for code in question.codes
            if (report := question.view.reports.get((code, month.id))) and (amount := _PER[per](report)) is not None
        }
        if not said:
            continue
        stretch = _stretch(question, definition, month, frozenset(said))
        stretches.append(stretch)
        reports.extend((code, month.id, said[code]) for code in stretch.codes)
    return _sum(definition, stretches, reports, "output" if per == "output" else "value-added")


METERED: Final[dict[str, Callable[[Question, Definition], MeterResult]]] = {
    "metered": metered,
    "metered-energy": metered,
    "metered-energy-tce": metered,
    "per-report": per_report,
    "energy-intensity-level": per_report,
}
"""By method."""


def options_of(definition: Definition) -> dict[str, str]:
    """Options of a definition; those of the first ones, which had none, follow from their ids."""
    first = {"metered-energy-tce": {"as": "tce"}, "energy-intensity-level": {"as": "tce", "per": "value-added"}}
    return {"carrier": "electricity"} | first.get(definition.id, {}) | definition.options


def _stretch(question: Question, definition: Definition, period: Period, codes: frozenset[str]) -> MeterMonth:
    carrier = options_of(definition)["carrier"]
    last_day = min(period.to_day - 1, question.register_day)
    if question.object_id is None:
        perimeter = meter_perimeter(question.sources, question.known, last_day, carrier)
    else:
        perimeter = object_perimeter(question.known, question.scope.id, last_day, carrier)
    days = (period.from_day, period.to_day)

    def make() -> tuple[MeterPeriod, PlantEnergy, np.typing.NDArray[np.int64]]:
        states = meter_states(question, perimeter, days)
        return states, plant_energy(perimeter.meters, states, len(perimeter.codes)), counted(perimeter.meters)

    states, plants, sign = question.sources.memory.once(
        "plants", (perimeter.key, meters_key(question, perimeter, days)), make
    )
    # an enterprise without a meter has no energy to set against its value added
    metered_codes = [perimeter.codes[i] for i in np.flatnonzero(plants.meters > 0).tolist()]
    return MeterMonth(period, perimeter, states, plants, sign, codes.intersection(metered_codes))


def _sum(
    definition: Definition,
    stretches: list[MeterMonth],
    reports: list[Report],
    per: Literal["value-added", "output"] | None,
) -> MeterResult:
    options = options_of(definition)
    carrier, in_coal = options["carrier"], options.get("as") == "tce"
    quantities: list[Amount] = []
    coals: list[Amount] = []
    last_day = max((s.period.to_day - 1 for s in stretches), default=0) or 20_000
    row = coefficient(STANDARD_COAL, carrier, "calorific", last_day) if in_coal else None
    for stretch in stretches:
        quantity = total(stretch.plants, scope_rows(stretch.perimeter.codes, stretch.codes), 1)[0]
        quantities.append(quantity)
        if in_coal:
            row = coefficient(STANDARD_COAL, carrier, "calorific", stretch.period.to_day - 1)
            coals.append(standard_coal(quantity, row))
    quantity = add_amounts(quantities)
    coal = add_amounts(coals) if in_coal else None
    denominator = fsum(amount for _, _, amount in reports) if reports else None
    top = coal or quantity
    return MeterResult(
        stretches=stretches,
        carrier=carrier,
        quantity=quantity,
        coal=coal,
        amount=top if per is None else intensity(top, denominator),
        denominator=denominator,
        kgce_per_unit=None if row is None else row.micro_kgce / MICRO,
        reports=sorted(reports),
        per=per,
    )


def meter_inputs(result: MeterResult) -> dict[str, Any]:
    """Everything of the register that a result depends on, for its digest, by kind."""
    register = [
        [s.period.id, sorted((code, s.perimeter.register_of.get(code, "")) for code in s.codes)]
        for s in result.stretches
    ]
    return {"register": register, "reports": result.reports}
