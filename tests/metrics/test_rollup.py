"""Periods, bindings and exact sums, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.record import local_day_start_s
from metrics.rollup import (
    NO_END,
    Series,
    add_scopes,
    asset_period,
    cumulative,
    meter_period,
    period,
    present_tenths,
    same_a_year_before,
)
from tests.metrics.records import DAY, DAY_TENTHS, all_days, bindings, device_day

LATER_S = local_day_start_s(DAY + 100)


@pytest.mark.parametrize(
    ("name", "days"),
    [
        ("2026-11-23", 1),
        ("2026-11", 30),
        ("2026-02", 28),
        ("2028-02", 29),
        ("2026-Q1", 90),
        ("2026-Q4", 92),
        ("2028", 366),
    ],
)
def test_a_period_is_whole_local_days(name: str, days: int) -> None:
    got = period(name)
    assert got.to_day - got.from_day == days
    assert got.end_s - got.start_s == days * 86_400
    assert got.start_s % 86_400 == 16 * 3600  # midnight in Ninghai is 16:00 UTC


def test_quarters_and_months_tile_the_year() -> None:
    year = period("2026")
    for parts in ([f"2026-Q{q}" for q in range(1, 5)], [f"2026-{m:02}" for m in range(1, 13)]):
        days = [day for p in map(period, parts) for day in range(p.from_day, p.to_day)]
        assert days == list(range(year.from_day, year.to_day))


@pytest.mark.parametrize("name", ["2026-13", "2026-Q5", "2026-02-30", "26-01", "2026-1", "", "2026-11-23T00"])
def test_no_other_text_is_a_period(name: str) -> None:
    with pytest.raises(ValueError):
        period(name)


def test_a_cumulative_period_begins_with_its_year() -> None:
    november, quarter = cumulative(period("2026-11")), cumulative(period("2026-Q3"))
    assert november == ("2026-01..2026-11", "year", period("2026").from_day, period("2026-12").from_day)
    assert quarter == ("2026-Q1..2026-Q3", "year", period("2026").from_day, period("2026-Q4").from_day)
    assert cumulative(period("2026-03-05")).id == "2026-01-01..2026-03-05"
    assert cumulative(period("2026")) == period("2026")
    with pytest.raises(ValueError, match="cumulative already"):
        cumulative(november)


def test_the_same_period_a_year_before() -> None:
    for name in ("2026-11", "2026-Q4", "2026", "2026-11-23"):
        assert same_a_year_before(period(name)) == period(name.replace("2026", "2025"))
    assert same_a_year_before(cumulative(period("2026-11"))) == cumulative(period("2025-11"))
    with pytest.raises(ValueError):
        same_a_year_before(period("2028-02-29"))


def test_time_in_the_register_runs_from_entry_to_exit() -> None:
    """Of ten days eight and a half are over: there throughout, entered on the third, left after the fifth day."""
    entered, left = np.array([0, DAY + 2, 0, DAY + 20]), np.array([NO_END, NO_END, DAY + 5, NO_END])
    now_s = local_day_start_s(DAY + 8) + 43_200
    got = present_tenths(entered, left, DAY, DAY + 10, now_s)
    assert (got / DAY_TENTHS).tolist() == [8.5, 6.5, 5.0, 0.0]


def test_a_period_that_is_not_over_has_elapsed_in_part() -> None:
    day = period("2026-11-23")
    assert day.elapsed_tenths(day.start_s + 3600) == 36_000
    assert day.elapsed_tenths(day.end_s + 3600) == DAY_TENTHS
    assert day.elapsed_tenths(day.start_s - 5) == 0


def test_a_device_rebound_credits_each_asset_its_own_days() -> None:
    states = all_days(
        device_day(0, day=DAY, observed=900, connected=600, running=500),
        device_day(0, day=DAY + 1, observed=800, connected=700, running=100),
    )
    moved = bindings((0, 0, 0, 0, DAY + 1), (1, 0, 0, DAY + 1, DAY + 9))
    got = asset_period(states, moved, 3, DAY, DAY + 2, LATER_S)
    assert got.connected.tolist() == [600, 700, 0]
    assert got.running.tolist() == [500, 100, 0]
    assert got.bound.tolist() == [DAY_TENTHS, DAY_TENTHS, 0]
    assert got.shown.tolist() == [True, True, False]
    assert got.first_connected_s.tolist() == [local_day_start_s(DAY), local_day_start_s(DAY + 1), -1]


def test_days_outside_the_period_do_not_count() -> None:
    states = all_days(*(device_day(0, day=DAY + k, observed=10, connected=10**k) for k in range(3)))
    got = asset_period(states, bindings((0, 0)), 1, DAY + 1, DAY + 2, LATER_S)
    assert (got.connected.tolist(), got.bound.tolist()) == ([10], [DAY_TENTHS])


def test_bound_time_ends_now_in_a_period_that_is_not_over() -> None:
    got = asset_period(device_day(0), bindings((0, 0)), 1, DAY, DAY + 30, local_day_start_s(DAY) + 100)
    assert got.bound.tolist() == [1000]


def test_any_device_shows_an_asset_and_the_least_watched_series_speaks_for_it() -> None:
    states = all_days(
        device_day(0, observed=DAY_TENTHS, running=0),
        device_day(1, observed=DAY_TENTHS // 4, connected=600),
    )
    both = bindings((0, 0, Series.STATE), (0, 1, Series.QUANTITY))
    got = asset_period(states, both, 1, DAY, DAY + 1, LATER_S)
    assert got.shown.tolist() == [True]
    assert (got.observed.tolist(), got.bound.tolist()) == ([DAY_TENTHS // 4], [DAY_TENTHS])
    assert (got.connected.tolist(), got.state_observed.tolist()) == ([0], [DAY_TENTHS])


def test_two_state_devices_at_one_time_are_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        asset_period(device_day(0), bindings((0, 0, 0, 0, DAY + 1), (0, 1, 0, DAY, DAY + 9)), 1, DAY, DAY + 1, LATER_S)


def test_no_binding_and_no_state_give_zeros_not_errors() -> None:
    empty = asset_period(all_days(), bindings(), 2, DAY, DAY + 1, LATER_S)
    assert empty.bound.tolist() == empty.connected.tolist() == [0, 0]
    assert asset_period(device_day(3), bindings(), 1, DAY, DAY + 1, LATER_S).shown.tolist() == [False]


def test_a_meter_adds_the_days_of_its_devices() -> None:
    states = all_days(
        device_day(0, day=DAY, quantity=2**60, quantity_span_s=86_400, flags=2),
        device_day(1, day=DAY + 1, quantity=2**60 + 1, quantity_span_s=43_200, quantity_estimated=5, flags=8),
    )
    replaced = bindings((0, 0, 1, 0, DAY + 1), (0, 1, 1, DAY + 1, DAY + 2))
    got = meter_period(states, replaced, 1, DAY, DAY + 2, LATER_S)
    assert got.quantity.tolist() == [2**61 + 1]  # beyond the 53 bits of a float
    assert (got.span_s.tolist(), got.bound_s.tolist()) == ([129_600], [172_800])
    assert (got.quantity_estimated.tolist(), got.flags.tolist()) == ([5], [10])


def test_sums_are_exact_and_never_wrap() -> None:
    scope = np.array([0, 1, 0, -1])
    assert add_scopes(np.array([2**62, 5, 2**61 + 1, 9]), scope, 3).tolist() == [2**62 + 2**61 + 1, 5, 0]
    assert add_scopes(np.array([2**62, -5, -(2**61), 9]), scope, 2).tolist() == [2**61, -5]
    with pytest.raises(OverflowError):
        add_scopes(np.array([2**62, 0, 2**62, 0]), scope, 2)
