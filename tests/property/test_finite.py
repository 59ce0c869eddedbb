"""Finite input never gives NaN or infinity, however large, small or close together the numbers are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from metrics.consumption import Provenance, ValueAdded, energy_intensity_change, mean_yearly_change, per_value_added
from metrics.decomposition import decompose
from metrics.energy import Amount, intensity_change
from metrics.projection import project
from metrics.targets import Status, Target, completion, fulfilment, required, settling_width, status

ANY = st.floats(allow_nan=False, allow_infinity=False)
NOT_NEGATIVE = st.floats(0, 1.7e308)
YEARS = st.floats(1990, 2060)


def finite(value: Any) -> bool:
    return value is None or math.isfinite(value)


@given(st.sampled_from(["linear", "compound"]), ANY, ANY, ANY, ANY, YEARS, st.sampled_from(["up", "down"]))
@settings(max_examples=300, deadline=None)
def test_targets(method: str, base: float, goal: float, one: float, other: float, year: float, direction: str) -> None:
    target = Target(method, 2020, base, 2025, goal, direction=direction)  # type: ignore[arg-type]
    assert finite(required(target, year))
    for value in (one, base, goal, required(target, year)):
        assert finite(completion(target, value, year))
        assert finite(fulfilment("level", value, goal, direction=direction))  # type: ignore[arg-type]
        assert finite(fulfilment("increment", value, goal, base, direction))  # type: ignore[arg-type]
    lower, upper = sorted((one, other))
    assert status(target, lower, upper, year) in Status
    settling = settling_width(target, lower, upper, year, coverage=0.5)
    if settling is not None:
        assert finite(settling.width)
        assert finite(settling.coverage)


@given(NOT_NEGATIVE, NOT_NEGATIVE, NOT_NEGATIVE, NOT_NEGATIVE, ANY, ANY)
@settings(max_examples=300, deadline=None)
def test_intensities(before: float, after: float, value: float, later: float, growth: float, other: float) -> None:
    assert finite(intensity_change(growth, other))
    assert finite(mean_yearly_change(growth, 5))
    amounts = [Amount(x, x, x, 1.0) for x in (before, after)]
    values = [ValueAdded(x, "comparable", Provenance.OFFICIAL, "", 2020) for x in (value, later)]
    change = energy_intensity_change(*amounts, *values)
    level = per_value_added(amounts[0], values[0]).amount
    for got in (change, level):
        assert all(finite(x) for x in (got.value, got.lower, got.upper, got.coverage))


@given(st.lists(st.tuples(*[st.one_of(st.just(0.0), st.floats(0, 1e150))] * 4), min_size=1, max_size=5))
@settings(max_examples=300, deadline=None)
def test_decompositions(rows: list[tuple[float, float, float, float]]) -> None:
    usable = [r for r in rows if not (r[0] and not r[2]) and not (r[1] and not r[3])]
    assume(usable)
    got = decompose(*np.array(usable).T)
    for column in (got.change, got.activity, got.structure, got.intensity):
        assert np.isfinite(column).all()


@given(
    st.lists(st.floats(-1e100, 1e100), min_size=3, max_size=6),
    st.floats(0.01, 100),
    st.floats(0.01, 0.99),
    st.sampled_from(["linear", "compound"]),
)
@settings(max_examples=200, deadline=None)
def test_projections(values: list[float], ahead: float, share: float, scale: str) -> None:
    if scale == "compound":
        values = [abs(v) or 1.0 for v in values]
    got = project(range(len(values)), values, len(values) - 1 + ahead, share=share, scale=scale, goal=1.0)  # type: ignore[arg-type]
    assert got is not None
    assert all(finite(x) for x in (got.value, got.lower, got.upper, got.at_least))
    assert got.lower <= got.value <= got.upper
