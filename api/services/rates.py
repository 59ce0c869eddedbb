"""Rates of assets: each method is a line that says how assets are classified and what its inputs are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from api.schemas import Definition
from api.services.perimeter import AssetPerimeter, asset_perimeter
from api.services.periods import elapsed_tenths, look_back
from api.services.sources import Question
from api.services.states import states_of
from metrics.energy import Amount
from metrics.rates import (
    AssetClass,
    Rates,
    ScopeRate,
    classify_cnc,
    classify_networked,
    cnc_rate,
    cnc_rate_value,
    declared_rate,
    is_digital,
    networking_rate,
    networking_rate_digital,
    networking_rate_value,
)
from metrics.rollup import AssetPeriod

FEN_PER_WAN: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class RateResult:
    """A rate with what it was computed from."""

    perimeter: AssetPerimeter
    rows: NDArray[np.int64]
    """(r,) rows of the perimeter that lie in scope, ascending."""
    classes: NDArray[np.int64]
    """(r,) AssetClass of each of them."""
    rate: ScopeRate
    amount: Amount
    """The measure that was asked for: pooled, mean of enterprises or by time."""
    window: tuple[int, int]
    """Local days `[from, to)` whose day states count; empty where none do."""
    own: tuple[int, int]
    """Local days of the figure's own period that count by time; empty where none do."""
    states: AssetPeriod | None
    """What those assets showed within the window, (r,)."""
    parameters: dict[str, float]
    by_value: bool = False
    """Whether numerator and denominator are sums of original value, 万元."""

    @property
    def watched(self) -> bool:
        """Whether anybody has looked at all, where that matters."""
        if self.states is None:
            return True
        bound = self.states.bound > 0
        return bool(self.states.observed[bound].any()) or not bool(bound.any())


_None = (0, 0)


def _amount(rates: Rates, measure: str) -> Amount:
    rate = rates.at(0)
    if measure == "mean":
        return Amount(rate.mean_of_enterprises, rate.mean_lower, rate.mean_upper, rate.coverage)
    if measure == "time-weighted":
        return Amount(rate.time_weighted, rate.time_weighted_lower, rate.time_weighted_upper, rate.coverage)
    return Amount(rate.value, rate.lower, rate.upper, rate.coverage)


def parameters_of(definition: Definition) -> dict[str, float]:
    """Parameters of a definition by name."""
    return {p.name: p.value for p in definition.parameters}


def networking(question: Question, definition: Definition) -> RateResult:
    """`networking-rate`, of all assets or, by the option `of`, of the numerically controlled or by original value."""
    defaults = parameters_of(definition)
    days = question.look_back_days or int(defaults["look_back_days"])
    permille = round(defaults["watched_share"] * 1000)
    window = look_back(question.period, days, question.now_s)
    perimeter = asset_perimeter(question.sources, question.known, question.register_day)
    rows = perimeter.rows(question.codes, question.object_id)
    assets = perimeter.assets_at(rows)
    states = states_of(question, perimeter, window, rows)
    own = (question.period.from_day, min(question.period.to_day, question.register_day + 1))
    own = own if own[0] < own[1] else _None
    timed = states_of(question, perimeter, own, rows)
    elapsed = elapsed_tenths(*own, question.now_s)
    of = definition.options.get("of", "all")
    classes = classify_networked(assets, states, permille)
    scope = np.zeros(len(rows), np.int64)
    if of == "digital":
        rates = networking_rate_digital(assets, states, scope, 1, elapsed, permille, timed)
        classes = np.where(is_digital(assets.control), classes, AssetClass.EXCLUDED)
    elif of == "value":
        rates = networking_rate_value(assets, states, scope, 1, permille)
        own = _None
    else:
        rates = networking_rate(assets, states, scope, 1, elapsed, permille, timed)
    rate = rates.at(0)
    if not elapsed:
        rate = replace(rate, time_weighted=None, time_weighted_lower=None, time_weighted_upper=None)
    return RateResult(
        perimeter,
        rows,
        classes,
        rate,
        _amount(rates, definition.measure),
        window,
        own,
        states,
        {"look_back_days": float(days), "watched_share": permille / 1000},
        by_value=of == "value",
    )


def cnc(question: Question, definition: Definition) -> RateResult:
    """`cnc-rate`, by count or, by the option `of`, by original value."""
    perimeter = asset_perimeter(question.sources, question.known, question.register_day)
    rows = perimeter.rows(question.codes, question.object_id)
    assets = perimeter.assets_at(rows)
    by_value = definition.options.get("of") == "value"
    rates = (cnc_rate_value if by_value else cnc_rate)(assets, np.zeros(len(rows), np.int64), 1)
    return RateResult(
        perimeter,
        rows,
        classify_cnc(assets),
        rates.at(0),
        _amount(rates, definition.measure),
        _None,
        _None,
        None,
        {},
        by_value=by_value,
    )


def declared(question: Question, definition: Definition) -> RateResult:
    """`networking-rate-declared`: what enterprises say of their own assets."""
    perimeter = asset_perimeter(question.sources, question.known, question.register_day)
    rows = perimeter.rows(question.codes, question.object_id)
    assets, claimed = perimeter.assets_at(rows), perimeter.claimed[rows]
    rates = declared_rate(assets, claimed, np.zeros(len(rows), np.int64), 1)
    classes = np.select(
        [~assets.in_scope, claimed > 0, claimed < 0],
        [AssetClass.EXCLUDED, AssetClass.SHOWN, AssetClass.UNOBSERVED],
        AssetClass.SHOWN_NOT,
    ).astype(np.int64)
    return RateResult(perimeter, rows, classes, rates.at(0), _amount(rates, definition.measure), _None, _None, None, {})


def gap(question: Question, definition: Definition) -> RateResult:
    """`networking-gap`: how far what is declared, or evidenced, lies above what is evidenced, or holds by time.

    The option `of` names the two: `declared` less evidenced, or `evidenced` less time-weighted.
    """
    evidenced = networking(question, definition)
    rate = evidenced.rate
    if definition.options["of"] == "evidenced":
        above = (rate.value, rate.lower, rate.upper)
        below = (rate.time_weighted, rate.time_weighted_lower, rate.time_weighted_upper)
    else:
        said = declared(question, definition).rate
        above = (said.value, said.lower, said.upper) if said.shown or said.shown_not else (None, None, None)
        below = (rate.value, rate.lower, rate.upper)
    amount = Amount(_less(above[0], below[0]), _less(above[1], below[2]), _less(above[2], below[1]), rate.coverage)
    return replace(evidenced, amount=amount)


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


RATES: Final[dict[str, Callable[[Question, Definition], RateResult]]] = {
    "networking-rate": networking,
    "cnc-rate": cnc,
    "networking-rate-declared": declared,
    "networking-gap": gap,
}
"""By method."""
