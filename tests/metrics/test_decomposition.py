"""LMDI-I against a second implementation: the logarithmic mean by numerical integration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.decomposition import decompose, logarithmic_mean

POSITIVE = st.floats(1e-3, 1e6)
INDUSTRY = st.tuples(POSITIVE, POSITIVE, POSITIVE, POSITIVE)


def integrated_mean(a: float, b: float) -> float:
    """L(a, b) is the integral of a^t · b^(1−t) over t from 0 to 1: Gauss and Legendre, on short pieces."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    pieces = 8
    t = (np.arange(pieces)[:, None] + (nodes + 1) / 2) / pieces
    return float((np.exp(t * math.log(a) + (1 - t) * math.log(b)) * weights).sum() / 2 / pieces)


def test_two_industries_by_hand() -> None:
    """Energy 30 and 20 to 25 and 40 tce, output 10 and 40 to 10 and 70 (万元): the shares and intensities by hand."""
    got = decompose(np.array([30.0, 20.0]), np.array([25.0, 40.0]), np.array([10.0, 40.0]), np.array([10.0, 70.0]))
    first = (25 - 30) / math.log(25 / 30)
    second = (40 - 20) / math.log(40 / 20)
    assert got.activity.tolist() == pytest.approx([first * math.log(80 / 50), second * math.log(80 / 50)])
    assert got.structure.tolist() == pytest.approx(
        [first * math.log((10 / 80) / (10 / 50)), second * math.log((70 / 80) / (40 / 50))]
    )
    assert got.intensity.tolist() == pytest.approx(
        [first * math.log(2.5 / 3.0), second * math.log((40 / 70) / (20 / 40))]
    )
    assert got.totals()[0] == 15.0
    assert sum(got.totals()[1:]) == pytest.approx(15.0, rel=1e-14)


@given(st.lists(INDUSTRY, min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_effects_equal_the_second_implementation_and_add_up(rows: list[tuple[float, float, float, float]]) -> None:
    e0, e1, a0, a1 = (np.array(column) for column in zip(*rows, strict=True))
    got = decompose(e0, e1, a0, a1)
    scale = float(np.abs(e0).sum() + np.abs(e1).sum())
    for i, (before, after, was, now) in enumerate(rows):
        mean = integrated_mean(after, before)
        expected = (
            mean * math.log(math.fsum(a1) / math.fsum(a0)),
            mean * math.log((now / math.fsum(a1)) / (was / math.fsum(a0))),
            mean * math.log((after / now) / (before / was)),
        )
        assert (got.activity[i], got.structure[i], got.intensity[i]) == pytest.approx(
            expected, rel=1e-9, abs=1e-9 * scale
        )
    change, *effects = got.totals()
    assert abs(change - math.fsum(effects)) <= 1e-12 * scale * 40  # no logarithm here is above 40


ZERO_OR_POSITIVE = st.one_of(st.just(0.0), POSITIVE)


@given(st.lists(st.tuples(ZERO_OR_POSITIVE, ZERO_OR_POSITIVE, ZERO_OR_POSITIVE, ZERO_OR_POSITIVE), max_size=6))
@settings(max_examples=200, deadline=None)
def test_zeros_leave_nothing_over_and_nothing_infinite(rows: list[tuple[float, float, float, float]]) -> None:
    usable = [r for r in rows if not (r[0] and not r[2]) and not (r[1] and not r[3])]
    e0, e1, a0, a1 = np.array(usable).reshape(-1, 4).T
    got = decompose(e0, e1, a0, a1)
    for column in (got.change, got.activity, got.structure, got.intensity):
        assert np.isfinite(column).all()
    scale = float(e0.sum() + e1.sum())
    assert abs(float((got.change - got.activity - got.structure - got.intensity).sum())) <= 4e-11 * scale


@pytest.mark.parametrize(
    "case", [((0, 7, 0, 5), "structure"), ((7, 0, 5, 0), "structure"), ((0, 7, 5, 5), "intensity")]
)
def test_the_limit_is_what_ever_smaller_numbers_approach(case: tuple[tuple[float, ...], str]) -> None:
    """Zeros replaced by ever smaller ones come, slowly, to the same effects: each step halves the distance."""
    (e0, e1, a0, a1), takes_all = case
    other = np.array([10.0, 12.0, 20.0, 21.0])

    def effects(small: float) -> tuple[float, float, float]:
        tiny = np.array([e0 or small, e1 or small, a0 or small, a1 or small])
        got = decompose(*(np.array([x, y]) for x, y in zip(tiny, other, strict=True)))
        return float(got.activity[0]), float(got.structure[0]), float(got.intensity[0])

    limit = decompose(*(np.array([x, y], np.float64) for x, y in zip((e0, e1, a0, a1), other, strict=True)))
    assert getattr(limit, takes_all)[0] == e1 - e0
    exact = (float(limit.activity[0]), float(limit.structure[0]), float(limit.intensity[0]))
    far, near = (max(abs(a - b) for a, b in zip(effects(s), exact, strict=True)) for s in (1e-50, 1e-100))
    assert near < 0.6 * far
    assert near < 0.05 * 7


def test_a_county_that_had_no_industry_changed_by_activity() -> None:
    got = decompose(np.zeros(2), np.array([3.0, 4.0]), np.zeros(2), np.array([1.0, 1.0]))
    assert got.totals() == (7.0, 7.0, 0.0, 0.0)


def test_energy_without_activity_cannot_be_decomposed() -> None:
    with pytest.raises(ValueError, match="industry 1 uses energy without any activity"):
        decompose(np.ones(2), np.ones(2), np.array([1.0, 0.0]), np.ones(2))
    with pytest.raises(ValueError, match="finite"):
        decompose(np.array([-1.0]), np.ones(1), np.ones(1), np.ones(1))
    with pytest.raises(ValueError, match="one length"):
        decompose(np.ones(2), np.ones(1), np.ones(1), np.ones(1))


def test_the_mean_keeps_its_digits_where_both_are_nearly_equal() -> None:
    a = np.array([1.0, 1.0 + 1e-15, 1.0 + 1e-9, 2.0])
    assert logarithmic_mean(a, np.ones(4)).tolist() == pytest.approx(
        [1.0, 1.0, 1.0 + 5e-10, 1 / math.log(2)], rel=1e-15
    )
