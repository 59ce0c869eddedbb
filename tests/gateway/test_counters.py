from __future__ import annotations

from typing import Any

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


def growths(found: list[Growth | None]) -> list[tuple[int, Flag]]:
    return [(g.amount, g.flag) for g in found if g]


NO_FLAG = Flag(0)


@pytest.mark.parametrize(
    ("modulus", "known"),
    [(42_949_672.96, {"rated_max_per_h": 100}), (42_949_672.96, {}), (655.36, {"rated_max_per_h": 100})],
)
def test_a_wrap_is_counted_at_the_width_of_the_type(modulus: float, known: dict[str, float]) -> None:
    found = feed(kwh(modulus=modulus, **known), modulus - 0.5, 0.25, 1.25)
    assert growths(found) == [(750, NO_FLAG), (1000, NO_FLAG)]


def test_a_wrap_without_a_rated_maximum_needs_a_counter_near_its_end() -> None:
    assert feed(kwh(modulus=1000), 990, 5)[1] == Growth(15000, 0, SECOND)
    assert feed(kwh(modulus=1000), 500, 5)[1] is None


def lasting(start: float, per_s: float = 0.01, seconds: int = 60) -> list[float]:
    """Readings of a counter that goes on for a minute, as many as it takes to be believed."""
    return [round(start + per_s * second, 3) for second in range(seconds + 1)]


def test_a_reset_is_flagged_and_never_counted_as_negative() -> None:
    counter = kwh(rated_max_per_h=100)
    found = feed(counter, 500, 501, *lasting(0.5), 1.5)
    assert growths(found) == [(1000, NO_FLAG), (600, Flag.COUNTER_RESET), (400, NO_FLAG)]
    assert found[62] == Growth(600, 2 * SECOND, 62 * SECOND, Flag.COUNTER_RESET)
    assert counter.dropped == 0


@pytest.mark.parametrize(
    ("case", "known", "after", "flag"),
    [
        ("counts from 0 again", {"rated_max_per_h": 100}, 0.0, Flag.COUNTER_RESET),
        ("has counted since it began again", {"rated_max_per_h": 100}, 40.0, Flag.COUNTER_RESET),
        ("lower than before, but more than it can have counted", {"rated_max_per_h": 100}, 4_000.0, "replaced"),
        ("higher than before", {"rated_max_per_h": 100}, 900_000.0, "replaced"),
        ("counts from 0 again, no maximum known", {}, 0.0, Flag.COUNTER_RESET),
        ("a tenth of before, no maximum known", {}, 500.0, Flag.COUNTER_RESET),
        ("half of before, no maximum known", {}, 2_500.0, "replaced"),
        ("higher than any counter grows, no maximum known", {}, 900_000.0, "replaced"),
    ],
)
def test_a_reset_and_another_meter_are_told_apart(case: str, known: dict[str, float], after: float, flag: Any) -> None:
    expected = Flag.COUNTER_REPLACED if flag == "replaced" else flag
    found = feed(kwh(**known), 5_000, 5_000.1, *lasting(after))
    assert growths(found) == [(100, NO_FLAG), (600, expected)], case


@pytest.mark.parametrize("glitch", [[0.0], [900_000.0], [0.0] * 20, [900_000.0] * 20, [0.0, 900_000.0, 77.0]])
@pytest.mark.parametrize("known", [{"rated_max_per_h": 50}, {}, {"modulus": 42_949_672.96}])
def test_readings_that_were_none_cost_nothing_and_are_counted(glitch: list[float], known: dict[str, float]) -> None:
    """A meter that shows 0 while it starts, a word misread: the counter goes on where it was."""
    counter = kwh(**known)
    found = feed(counter, 500, 501, *glitch, 501.5)
    assert growths(found) == [(1000, NO_FLAG), (500, NO_FLAG)]
    assert found[-1] == Growth(500, SECOND, (2 + len(glitch)) * SECOND), "the span covers the glitch"
    assert counter.dropped == len(glitch)


@pytest.mark.parametrize("known", [{"rated_max_per_h": 50}, {}])
def test_a_meter_that_showed_0_for_long_invents_no_energy_when_it_is_back(known: dict[str, float]) -> None:
    """Believed to be reset after a minute; what it shows when it is back is no growth of 500 kWh."""
    found = feed(kwh(**known), 500, 501, *lasting(0, 0), *lasting(501.25))
    assert growths(found) == [(1000, NO_FLAG), (0, Flag.COUNTER_RESET), (600, Flag.COUNTER_REPLACED)]


def test_a_counter_that_was_reset_may_pass_its_old_reading_later() -> None:
    counter = Counter(1)
    counter.describe(None, None)
    readings = [*([800] * 2), *lasting(0, 1), *(60 + 10 * n for n in range(100))]
    found = feed(counter, *readings, step_s=60)
    assert sum(amount for amount, _ in growths(found)) == readings[-1]
    assert sum(flag is not NO_FLAG for _, flag in growths(found)) == 1


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 7200)), min_size=1, max_size=60),
    st.sampled_from([None, 1000.0, 42_949_672.96]),
    st.sampled_from([None, 50.0]),
)
def test_no_order_of_readings_makes_a_difference_negative_or_larger_than_plausible(
    readings: list[tuple[float, int]], modulus: float | None, rated: float | None
) -> None:
    counter = Counter(1000)
    counter.describe(modulus, rated)
    now_ns = held = counted = 0
    for value, pause_s in readings:
        now_ns += pause_s * SECOND
        growth = counter.take(value, now_ns)
        if growth is None:
            continue
        counted += 1
        assert growth.amount >= 0
        assert growth.from_ns < growth.to_ns == now_ns
        if rated is not None and not growth.flag:
            assert growth.amount <= rated * 1000 * max(growth.to_ns - growth.from_ns, 3600 * SECOND) / (3600 * SECOND)
    held = counter.held.readings if counter.held else 0
    assert counter.dropped + held + counted <= len(readings)


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
