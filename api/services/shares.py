"""Shares of time and energy of machines, key processes, and official figures that are typed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api.schemas import Definition
from api.services.perimeter import AssetPerimeter, asset_perimeter
from api.services.register_view import ProcessFact
from api.services.sources import Question
from api.services.states import asset_quantities, states_of
from metrics.energy import Amount, intensity_change
from metrics.rates import ProcessControl, Processes, key_process_cnc_rate
from metrics.record import TENTHS_PER_S, THOUSANDTHS
from metrics.rollup import AssetPeriod
from metrics.utilisation import state_shares

_S_PER_H: Final = 3600


@dataclass(frozen=True, slots=True)
class ShareResult:
    """A share whose parts are assets: of time or of energy."""

    perimeter: AssetPerimeter
    rows: NDArray[np.int64]
    """(r,) rows of the perimeter that lie in scope, ascending."""
    part: NDArray[np.int64]
    """(r,) what each asset adds to the numerator; the whole is `whole`."""
    whole: NDArray[np.int64]
    per_unit: int
    """So many of them are one of `unit`."""
    unit: str
    states: AssetPeriod
    amount: Amount
    own: tuple[int, int]

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(r,) whether an asset counts."""
        return self.perimeter.assets.in_scope[self.rows]

    @property
    def numerator(self) -> float | None:
        """Of all assets in scope, in `unit`; None where nothing is known."""
        return None if self.amount.value is None else int(self.part[self.inside].sum()) / self.per_unit

    @property
    def denominator(self) -> float:
        """Of all assets in scope, in `unit`."""
        return int(self.whole[self.inside].sum()) / self.per_unit


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """The rate of key processes under control, with the processes."""

    processes: list[ProcessFact]
    amount: Amount
    numerator: float
    denominator: float


@dataclass(frozen=True, slots=True)
class OfficialResult:
    """A figure of official statistics."""

    said: list[tuple[str, int, float, str]]
    """(indicator, year, value, source) of everything that it is made of."""
    amount: Amount
    numerator: float | None
    denominator: float | None


def _own(question: Question) -> tuple[int, int]:
    first = question.period.from_day
    return first, max(min(question.period.to_day, question.register_day + 1), first)


def running(question: Question, _: Definition) -> ShareResult:
    """Method `running-share`: running time over the time whose state is known (运行时间占比); never called OEE."""
    perimeter = asset_perimeter(question.sources, question.known, question.register_day)
    rows = perimeter.rows(question.codes, question.object_id)
    own = _own(question)
    states = states_of(question, perimeter, own, rows)
    counted = perimeter.assets.in_scope[rows]

    def total(column: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([int(column[counted].sum())])

    shares = state_shares(
        total(states.running), total(states.idle), total(states.fault), total(states.off), total(states.state_bound)
    ).running_of_known
    return ShareResult(
        perimeter,
        rows,
        states.running,
        states.running + states.idle + states.fault + states.off,
        TENTHS_PER_S * _S_PER_H,
        "h",
        states,
        Amount(*(_known(x) for x in (shares.value, shares.lower, shares.upper, shares.coverage))),
        own,
    )


def _known(values: NDArray[np.float64]) -> float | None:
    return None if np.isnan(values[0]) else float(values[0])


def idle_energy(question: Question, _: Definition) -> ShareResult:
    """Method `idle-energy-share`: of what the machines' own electricity counters counted, the part while they were on
    and not running. The part of a time whose state nobody knows is not in it: there is no upper bound."""
    perimeter = asset_perimeter(question.sources, question.known, question.register_day)
    rows = perimeter.rows(question.codes, question.object_id)
    own = _own(question)
    counts = _counts_electricity(question, perimeter, rows)
    quantities = asset_quantities(question, perimeter, own)
    part = np.where(counts, quantities.quantity_idle[rows], 0)
    whole = np.where(counts, quantities.quantity[rows], 0)
    counted = perimeter.assets.in_scope[rows] & counts
    all_of_it, bound_s = int(whole[counted].sum()), int(quantities.bound_s[rows][counted].sum())
    share = int(part[counted].sum()) / all_of_it if all_of_it > 0 else None
    coverage = min(int(quantities.span_s[rows][counted].sum()) / bound_s, 1.0) if bound_s else None
    return ShareResult(
        perimeter,
        rows,
        part,
        whole,
        THOUSANDTHS,
        "kWh",
        states_of(question, perimeter, own, rows),
        Amount(share, share, None, coverage),
        own,
    )


def _counts_electricity(question: Question, perimeter: AssetPerimeter, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    def electric(object_id: int) -> bool:
        bound = [b for b in question.view.bindings.get(object_id, []) if b.role == "quantity"]
        said = [question.known.announced.latest(b.gateway, b.device) for b in bound]
        return bool(bound) and all(one is not None and one.carrier == "electricity" for one in said)

    return np.array([electric(perimeter.facts[i].object_id) for i in rows.tolist()], np.bool_)


def key_processes(question: Question, _: Definition) -> ProcessResult:
    """Method `key-process-cnc-rate`: each enterprise's share of key processes under control, averaged."""
    view = question.view
    codes = sorted(question.codes) if question.object_id is None else []
    index = {code: i for i, code in enumerate(codes)}
    held = [p for p in view.processes if p.credit_code in index]
    control = {True: ProcessControl.CONTROLLED, False: ProcessControl.NOT_CONTROLLED, None: ProcessControl.UNKNOWN}
    listed = np.zeros(len(codes), np.bool_)
    listed[[index[p.credit_code] for p in held]] = True
    rate = key_process_cnc_rate(
        Processes(
            np.array([index[p.credit_code] for p in held], np.int64),
            np.array([p.key_process for p in held], np.bool_),
            np.array([control[p.controlled] for p in held], np.int64),
        ),
        listed,
        np.array([view.enterprises[code].confirmed for code in codes], np.bool_),
        np.zeros(len(codes), np.int64),
        1,
    ).at(0)
    return ProcessResult(
        held, Amount(rate.value, rate.lower, rate.upper, rate.coverage), float(rate.numerator), float(rate.denominator)
    )


def official_change(question: Question, definition: Definition) -> OfficialResult:
    """Method `intensity-change`: (1 + growth of energy) / (1 + growth of value added at comparable prices) − 1.

    From the official growths of a year in %; of the county only. Options `energy` and `value`: names of the two.
    """
    names = (definition.options["energy"], definition.options["value"])
    year = int(question.period.id[:4])
    asked = question.period.id == str(year) and question.scope.kind == "county"
    found = {name: question.view.statistics.get((name, year)) for name in names} if asked else {}
    said = [(name, year, fact.value, fact.source) for name, fact in found.items() if fact is not None]
    growth = [None if (fact := found.get(name)) is None else fact.value for name in names]
    shares = [None if g is None else g / 100 for g in growth]
    change = intensity_change(shares[0], shares[1])
    return OfficialResult(
        said, Amount(change, change, change, 1.0 if change is not None else None), growth[0], growth[1]
    )


Other = ShareResult | ProcessResult | OfficialResult
OTHERS: Final[dict[str, Callable[[Question, Definition], Other]]] = {
    "running-share": running,
    "idle-energy-share": idle_energy,
    "key-process-cnc-rate": key_processes,
    "intensity-change": official_change,
}
"""By method."""


def other_inputs(result: ProcessResult | OfficialResult) -> Any:
    """Everything of the register that a result depends on, for its digest."""
    if isinstance(result, OfficialResult):
        return result.said
    return [[p.credit_code, p.number, p.key_process, p.controlled] for p in result.processes]
