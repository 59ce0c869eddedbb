"""What assets and meters showed over some days: computed once for all scopes, from stretches that are kept.

A stretch of days is taken apart where something is known to stay: the day that runs and the one before it, which may
still change, stand alone, and what lies before them is kept month by month. So when a day state changes, or a new day
begins, a few parts are computed, and all are added up. They are added by series of bindings, because which series of
an asset was watched least is known only of the whole.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from api.services.perimeter import AssetPerimeter, MeterPerimeter, bound_of
from api.services.periods import months_between
from api.services.sources import Question
from metrics.days import NEVER
from metrics.record import local_day, local_day_start_s
from metrics.rollup import AssetPeriod, Bindings, MeterPeriod, Series, asset_period, meter_period

P = TypeVar("P", AssetPeriod, MeterPeriod)
Days = tuple[int, int]


def asset_states(question: Question, perimeter: AssetPerimeter, days: Days) -> AssetPeriod:
    """What every asset of the register showed in the local days `[from, to)`, whatever the scope."""
    key = ("assets", perimeter.bound, days, _as_of_s(question, days), question.known.at_ns)
    token = question.days.token(*days)

    def make() -> AssetPeriod:
        of_state = perimeter.bindings.series == Series.STATE
        by_series = [taken(perimeter.bindings, of_state)]
        if not bool(of_state.all()):
            by_series.append(taken(perimeter.bindings, ~of_state))
        parts = parts_of(days, int(local_day(question.now_s)))
        sums = [
            added([_assets_of(question, perimeter, series, bindings, part) for part in parts])
            for series, bindings in enumerate(by_series)
        ]
        return sums[0] if len(sums) == 1 else least_watched(sums[0], sums[1])

    return question.sources.memory.once("states", (*key, token), make)


def states_of(question: Question, perimeter: AssetPerimeter, days: Days, rows: NDArray[np.int64]) -> AssetPeriod:
    """The same of some assets, by their rows; of all of them nothing is copied."""
    states = asset_states(question, perimeter, days)
    return states if len(rows) == len(states) else states.take(rows)


def _assets_of(
    question: Question, perimeter: AssetPerimeter, series: int, bindings: Bindings, days: Days
) -> AssetPeriod:
    """What the devices of one series showed of the assets in one part."""
    key = ("series", series, perimeter.bound, days, _as_of_s(question, days), question.known.at_ns)

    def make() -> AssetPeriod:
        tables = question.days.tables(*days)
        return asset_period(tables, bindings, len(perimeter.facts), *days, question.now_s)

    return question.sources.memory.once("states", (*key, question.days.token(*days)), make)


def meter_states(question: Question, perimeter: MeterPerimeter | AssetPerimeter, days: Days) -> MeterPeriod:
    """What every meter of a perimeter counted in the local days `[from, to)`."""
    return added([_meters_of(question, perimeter, part) for part in parts_of(days, int(local_day(question.now_s)))])


def _meters_of(question: Question, perimeter: MeterPerimeter | AssetPerimeter, days: Days) -> MeterPeriod:
    def make() -> MeterPeriod:
        tables = question.days.tables(*days) if len(perimeter.bindings) else []
        return meter_period(tables, perimeter.bindings, len(perimeter.facts), *days, question.now_s)

    return question.sources.memory.once("meters", meters_key(question, perimeter, days), make)


def meters_key(question: Question, perimeter: MeterPerimeter | AssetPerimeter, days: Days) -> tuple[Hashable, ...]:
    """Changes when what the meters counted in the local days `[from, to)` may have."""
    return (perimeter.bound, days, _as_of_s(question, days), question.known.at_ns, question.days.token(*days))


def asset_quantities(question: Question, perimeter: AssetPerimeter, days: Days) -> MeterPeriod:
    """What the assets' own devices counted in the local days `[from, to)`, whatever they count."""
    bindings = taken(perimeter.bindings, perimeter.bindings.series >= Series.QUANTITY)
    counting = replace(perimeter, bindings=bindings, bound=bound_of(bindings, len(perimeter.facts)))
    return meter_states(question, counting, days)


def taken(bindings: Bindings, chosen: NDArray[np.bool_]) -> Bindings:
    return Bindings(*(getattr(bindings, f.name)[chosen] for f in fields(Bindings)))


def _as_of_s(question: Question, days: Days) -> int:
    """Time beyond the days' end changes nothing."""
    return min(question.now_s, local_day_start_s(days[1]))


def parts_of(days: Days, today: int) -> list[Days]:
    """Local days `[from, to)` cut at the ends of months, and before and after yesterday."""
    first, last = days
    ends = [end for end in (today - 1, today) if first < end < last]
    parts: list[Days] = []
    for end in (*ends, last):
        parts.extend(months_between(first, end) if end <= today else [(first, end)])
        first = end
    return parts or [days]


def least_watched(state: AssetPeriod, quantity: AssetPeriod) -> AssetPeriod:
    """Both series of bindings together; the one that was watched for the smaller share speaks for the asset."""
    shares = [np.full(len(one), np.inf) for one in (state, quantity)]
    for share, one in zip(shares, (state, quantity), strict=True):
        np.divide(one.observed, one.bound, out=share, where=one.bound > 0)
    by_quantity = shares[1] < shares[0]
    both = added([state, quantity])
    return replace(
        state,
        bound=np.where(by_quantity, quantity.bound, state.bound),
        observed=np.where(by_quantity, quantity.observed, state.observed),
        shown=both.shown,
        first_connected_s=both.first_connected_s,
        last_connected_s=both.last_connected_s,
    )


def added(parts: Sequence[P]) -> P:
    """Several stretches of one series, or of meters, together."""
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {}
    for field in fields(parts[0]):
        each: list[NDArray[Any]] = [getattr(part, field.name) for part in parts]
        match field.name:
            case "shown":
                columns[field.name] = np.logical_or.reduce(each)
            case "flags":
                columns[field.name] = np.bitwise_or.reduce(each)
            case "last_connected_s":
                columns[field.name] = np.maximum.reduce(each)
            case "first_connected_s":
                never = int(np.iinfo(np.int64).max)
                first = np.minimum.reduce([np.where(one == NEVER, never, one) for one in each])
                columns[field.name] = np.where(first == never, NEVER, first)
            case _:
                columns[field.name] = np.sum(each, axis=0)
    return type(parts[0])(**columns)
