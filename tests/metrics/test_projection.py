"""The interval holds as often as it says: shown on simulated series, over seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.projection import Projection, project, student_quantile, student_share_below

# Two-sided 95 % and one-sided 99.5 % points as every printed t table has them.
PRINTED = [(0.975, 1, 12.706), (0.975, 2, 4.303), (0.975, 5, 2.571), (0.975, 10, 2.228), (0.975, 30, 2.042)]
PRINTED += [(0.995, 1, 63.657), (0.995, 4, 4.604), (0.95, 3, 2.353), (0.9, 7, 1.415), (0.9, 120, 1.289)]


@pytest.mark.parametrize(("share", "degrees", "printed"), PRINTED)
def test_students_t_is_that_of_the_printed_tables(share: float, degrees: int, printed: float) -> None:
    assert student_quantile(share, degrees) == pytest.approx(printed, abs=6e-4)
    assert student_quantile(1 - share, degrees) == pytest.approx(-printed, abs=6e-4)
    assert student_share_below(student_quantile(share, degrees), degrees) == pytest.approx(share, abs=1e-12)


def share_that_holds(seed: int, share: float, runs: int) -> float:
    """How many simulated random walks with drift end within their interval; 5 to 12 values at uneven times."""
    rng = np.random.default_rng(seed)
    held = 0
    for _ in range(runs):
        n = int(rng.integers(5, 13))
        steps = rng.choice([0.5, 1.0, 2.0], n)
        times = 2015 + np.concatenate([[0.0], np.cumsum(steps)])
        course = 50 + np.concatenate([[0.0], np.cumsum(rng.normal(0.3 * steps, 1.5 * np.sqrt(steps)))])
        got = project(list(times[:n]), list(course[:n]), float(times[n]), share=share)
        assert got is not None
        held += bool(got.lower <= course[n] <= got.upper)
    return held / runs


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_on_random_walks_with_drift_the_interval_holds_as_often_as_it_says(share: float) -> None:
    held = [share_that_holds(seed, share, 700) for seed in range(4)]
    sigma = math.sqrt(share * (1 - share) / 2800)
    print(f"stated {share}, held by seed {held}")
    assert sum(held) / 4 == pytest.approx(share, abs=4 * sigma)


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_on_trends_with_independent_errors_it_is_not_too_narrow(ahead: int) -> None:
    runs, held = 2000, 0
    rng = np.random.default_rng(ahead)
    for _ in range(runs):
        n = int(rng.integers(5, 13))
        course = 50 + 0.8 * np.arange(n + ahead) + rng.normal(0, 1.5, n + ahead)
        got = project(range(n), list(course[:n]), n - 1 + ahead)
        assert got is not None
        held += got.lower <= course[-1] <= got.upper
    print(f"{ahead} ahead: stated 0.8, held {held / runs:.3f}")
    assert held / runs >= 0.8 - 4 * math.sqrt(0.16 / runs)
    assert ahead == 1 or held / runs >= 0.8


def test_the_chance_of_a_goal_is_as_often_right_as_it_says() -> None:
    rng = np.random.default_rng(7)
    chances, came = [], []
    for _ in range(3000):
        course = np.cumsum(rng.normal(1.0, 2.0, 9))
        got = project(range(7), list(course[:7]), 8, goal=10.0)
        assert got is not None
        chances.append(got.at_least)
        came.append(course[8] >= 10.0)
    sure = np.array(chances)
    for low, high in ((0.0, 0.25), (0.75, 1.0)):
        some = (sure >= low) & (sure < high)
        assert some.sum() > 200
        assert np.mean(np.array(came)[some]) == pytest.approx(sure[some].mean(), abs=0.12)


def test_a_straight_line_goes_on() -> None:
    got = project([2020, 2021, 2022], [50.0, 52.0, 54.0], 2025, goal=60.0)
    assert got == Projection(2025, 60.0, 60.0, 60.0, 0.8, 1.0, 3)


def test_seven_per_cent_a_year_goes_on_at_seven_per_cent() -> None:
    got = project([2020, 2021, 2022], [969.48, 969.48 * 1.07, 969.48 * 1.07**2], 2025, scale="compound")
    assert got is not None
    assert got.value == pytest.approx(969.48 * 1.07**5)


def test_by_hand_with_one_degree_of_freedom() -> None:
    """Gains 1 and 3: drift 2, variance 2; over one year ahead of two behind the spread is √(2·1.5) = √3."""
    got = project([0, 1, 2], [0.0, 1.0, 4.0], 3, share=0.5)
    assert got is not None
    assert (got.value, got.upper - got.value, got.value - got.lower) == pytest.approx((6.0, math.sqrt(3), math.sqrt(3)))


def test_two_values_say_nothing_about_the_spread() -> None:
    assert project([2020, 2021], [1.0, 2.0], 2025) is None
    assert project([], [], 2025) is None


@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=8),
    st.floats(0.01, 30),
    st.floats(0.01, 0.99),
)
@settings(max_examples=100, deadline=None)
def test_a_share_stays_a_share_and_the_ends_in_order(values: list[float], ahead: float, share: float) -> None:
    got = project(range(len(values)), values, len(values) - 1 + ahead, share=share, within=(0, 1), goal=0.6)
    assert got is not None
    assert 0 <= got.lower <= got.value <= got.upper <= 1
    assert got.at_least is not None
    assert 0 <= got.at_least <= 1


@given(st.lists(st.floats(1e-3, 1e6), min_size=3, max_size=6))
@settings(max_examples=50, deadline=None)
def test_money_stays_positive_and_finite(values: list[float]) -> None:
    got = project(range(len(values)), values, len(values) + 10, scale="compound", share=0.99)
    assert got is not None
    assert 0 <= got.lower <= got.value <= got.upper < math.inf


@pytest.mark.parametrize(
    ("years", "values", "year", "share", "message"),
    [
        ([1, 1, 2], [1, 2, 3], 5, 0.8, "ascend"),
        ([1, 2, 3], [1, 2, 3], 3, 0.8, "not after the last"),
        ([1, 2, 3], [1, 2], 5, 0.8, "3 years for 2 values"),
        ([1, 2, 3], [1, 2, math.nan], 5, 0.8, "finite"),
        ([1, 2, 3], [1, 2, 3], 5, 80, "between 0 and 1"),
    ],
)
def test_wrong_input_is_refused(
    years: list[float], values: list[float], year: float, share: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        project(years, values, year, share=share)
