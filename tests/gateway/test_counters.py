from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import NS_PER_S
from gateway.counters import Counter, Growth, split_by_local_day
from metrics.record import DAY_S, Flag, local_day

SECOND = NS_PER_S


def kwh(**known: float) -> Counter:
    counter = Counter(1000)
    counter.describe(known.get("modulus"), known.get("rated_max_per_h"))
    return counter


def feed(counter: Counter, *readings: float, step_s: int = 1) -> list[Growth | None]:
    return [counter.take(value, i * step_s * SECOND) for i, value in enumerate(readings)]


@given(st.lists(st.floats(0, 5), min_size=1, max_size=50), st.floats(0, 1e6))
def test_differences_telescope_to_last_minus_first(steps: list[float], start: float) -> None:
    readings = [start]
    for step in steps:
        readings.append(readings[-1] + step)
    counter = kwh()
    found = [growth.amount for growth in feed(counter, *readings) if growth]
    assert sum(found) == counter.rounded(readings[-1]) - counter.rounded(readings[0])


def test_a_late_value_never_moves_the_last_one() -> None:
    counter = kwh()
    counter.take(10, 5 * SECOND)
    assert counter.take(9, 3 * SECOND) is None
    assert counter.take(11, 6 * SECOND) == Growth(1000, 5 * SECOND, 6 * SECOND)


def test_a_wrap_is_counted_at_the_modulus() -> None:
    growth = feed(kwh(modulus=1000, rated_max_per_h=100), 999.5, 0.25)[1]
    assert growth is not None
    assert growth.amount == 750
    assert growth.flag == 0


def test_a_wrap_without_a_rated_maximum_needs_a_counter_near_its_end() -> None:
    assert feed(kwh(modulus=1000), 990, 5)[1] == Growth(15000, 0, SECOND)
    assert feed(kwh(modulus=1000), 500, 5)[1] is None


def test_a_reset_is_flagged_and_never_counted_as_negative() -> None:
    counter = kwh(rated_max_per_h=100)
    found = feed(counter, 500, 501, 0.5, 1.5)
    assert found[2] is None
    assert found[3] == Growth(1000, 2 * SECOND, 3 * SECOND, Flag.COUNTER_RESET)


def test_a_glitch_to_zero_costs_nothing() -> None:
    found = feed(kwh(), 500, 501, 0, 502)
    assert [g.amount for g in found if g] == [1000, 1000]
    assert [g.flag for g in found if g] == [0, 0]


def test_a_single_wild_value_above_the_rated_maximum_is_not_believed() -> None:
    found = feed(kwh(rated_max_per_h=50), 500, 900_000, 500.5)
    assert [g.amount for g in found if g] == [500]


def test_a_replaced_meter_is_flagged_and_its_jump_not_counted() -> None:
    found = feed(kwh(rated_max_per_h=50), 500, 900_000, 900_001)
    assert found[2] == Growth(1000, SECOND, 2 * SECOND, Flag.COUNTER_REPLACED)


def test_a_meter_that_counts_in_whole_units_is_plausible() -> None:
    growth = feed(kwh(rated_max_per_h=30), 500, 501)[1]
    assert growth is not None
    assert growth.amount == 1000


def test_a_long_gap_allows_what_the_rated_maximum_allows() -> None:
    growth = feed(kwh(rated_max_per_h=30), 500, 560, step_s=7200)[1]
    assert growth is not None
    assert growth.amount == 60_000
    assert feed(kwh(rated_max_per_h=30), 500, 561, step_s=7200)[1] is None


DAY_NS = DAY_S * NS_PER_S


@given(
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.integers(0, 5 * DAY_NS),
    st.integers(0, 4 * DAY_NS),
)
def test_a_split_at_local_midnights_keeps_every_sum(amount: int, idle: int, from_ns: int, length_ns: int) -> None:
    idle = min(idle, amount)
    growth = Growth(amount, from_ns, from_ns + length_ns)
    shares = split_by_local_day(growth, idle)
    assert sum(s.amount for s in shares) == amount
    assert sum(s.idle for s in shares) == idle
    assert sum(s.span_s for s in shares) == growth.to_ns // NS_PER_S - growth.from_ns // NS_PER_S
    assert all(0 <= s.idle <= s.amount for s in shares)
    assert all(s.span_s <= DAY_S for s in shares)
    first, last = local_day(from_ns // NS_PER_S), local_day(growth.to_ns // NS_PER_S)
    assert [local_day(s.day_end_s - 1) for s in shares[:-1] if s.day_end_s] == list(range(first, last))


@pytest.mark.parametrize(("before_s", "after_s", "expected"), [(30, 30, 500), (10, 30, 250), (50, 10, 833)])
def test_a_share_is_in_proportion_to_time(before_s: int, after_s: int, expected: int) -> None:
    midnight_s = 16 * 3600
    growth = Growth(1000, (midnight_s - before_s) * SECOND, (midnight_s + after_s) * SECOND)
    assert split_by_local_day(growth, 0)[0].amount == expected
