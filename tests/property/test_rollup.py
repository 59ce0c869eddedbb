"""Assets get exactly the days of their devices; meters and plants add up in any order."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from api.services.states import added, least_watched, taken
from metrics.days import DayStates, merge
from metrics.energy import NO_BOUND, MeterRole, Meters, fill_gaps, plant_energy, total
from metrics.record import DAY_S, local_day_start_s
from metrics.rollup import Bindings, MeterPeriod, add_scopes, asset_period, meter_period
from tests.metrics.records import DAY, device_day

DAYS, DEVICES, OBJECTS = 4, 3, 3


@st.composite
def bound_days(draw: st.DrawFn, steady: bool) -> tuple[list[DayStates], list[tuple[int, int, int, int, int]]]:
    """Device days with holes, and bindings that never overlap within one object and series.

    Steady bindings hold all the time: then days are added up before they are credited.
    """
    holes = draw(st.booleans())
    days = [
        device_day(
            device,
            day=DAY + day,
            observed=(observed := draw(st.integers(0, DAY_S * 10))),
            connected=draw(st.integers(0, observed)),
            quantity=draw(st.integers(0, 2**58)),
            quantity_span_s=draw(st.integers(0, DAY_S)),
        )
        for day in range(DAYS)
        for device in range(DEVICES)
        if not holes or draw(st.booleans())
    ]
    rows = []
    for obj in range(OBJECTS):
        for series in range(2):
            edges = [DAY, DAY + DAYS] if steady else sorted(draw(st.sets(st.integers(DAY - 1, DAY + DAYS), max_size=4)))
            for begin, end in pairwise(edges):
                if draw(st.booleans()):
                    rows.append((obj, draw(st.integers(0, DEVICES - 1)), series, begin, end))
    return days, draw(st.permutations(rows))


@given(st.booleans().flatmap(bound_days), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_credit_equals_a_walk_over_days_and_bindings(
    case: tuple[list[DayStates], list[tuple[int, int, int, int, int]]], random: object
) -> None:
    days, rows = case
    random.shuffle(days)  # type: ignore[attr-defined]
    states = merge(*days)
    bound = Bindings(*np.array(rows, np.int64).reshape(-1, 5).T)
    now_s = local_day_start_s(DAY + DAYS)
    assets = asset_period(states, bound, OBJECTS, DAY, DAY + DAYS, now_s)
    meters = meter_period(states, bound, OBJECTS, DAY, DAY + DAYS, now_s)
    for obj in range(OBJECTS):
        connected = quantity = 0
        shown, proofs = False, []
        for o, device, series, begin, end in rows:
            for one in days:
                if o == obj and int(one.device[0]) == device and begin <= int(one.day[0]) < end:
                    quantity += int(one.quantity[0])
                    connected += int(one.connected[0]) if series == 0 else 0
                    shown |= bool(one.connected[0])
                    proofs += [int(one.first_connected_s[0])] * bool(one.connected[0])
        assert int(assets.connected[obj]) == connected
        assert bool(assets.shown[obj]) == shown
        assert int(assets.first_connected_s[obj]) == min(proofs, default=-1)
        assert int(meters.quantity[obj]) == quantity
        assert int(assets.observed[obj]) <= int(assets.bound[obj])


@given(st.lists(st.tuples(st.integers(-(2**57), 2**57), st.integers(-1, 3)), max_size=30), st.integers(0, 30))
@settings(max_examples=100, deadline=None)
def test_scope_sums_are_exact_in_any_split(items: list[tuple[int, int]], cut: int) -> None:
    values = np.array([v for v, _ in items], np.int64)
    scope = np.array([s for _, s in items], np.int64)
    whole = add_scopes(values, scope, 4)
    assert whole.tolist() == [sum(v for v, s in items if s == k) for k in range(4)]
    assert (
        add_scopes(values[:cut], scope[:cut], 4) + add_scopes(values[cut:], scope[cut:], 4)
    ).tolist() == whole.tolist()


@st.composite
def metered_plants(draw: st.DrawFn) -> tuple[Meters, MeterPeriod, list[int]]:
    """Meters of two plants, what they counted while metered, and what they might have counted besides."""
    n = draw(st.integers(1, 6))
    plant = [draw(st.integers(0, 1)) for _ in range(n)]
    # A parent comes before its child, in the same plant: trees by construction.
    parent = [draw(st.sampled_from([-1, *(j for j in range(i) if plant[j] == plant[i])])) for i in range(n)]
    rated = [draw(st.integers(-1, 10**6)) for _ in range(n)]
    span = [draw(st.sampled_from((0, 3600, DAY_S - 1, DAY_S))) for _ in range(n)]
    missed = [draw(st.integers(0, max(r, 0) * (DAY_S - s) // 3600)) for r, s in zip(rated, span, strict=True)]
    quantity = [draw(st.integers(0, 10**9)) if s else 0 for s in span]
    zeros = np.zeros(n, np.int64)
    period = MeterPeriod(
        np.full(n, DAY_S), np.array(span), np.array(quantity), zeros, zeros, zeros, zeros, zeros - 1, zeros - 1, zeros
    )
    roles = np.array([draw(st.sampled_from(list(MeterRole))) for _ in range(n)], np.int64)
    return Meters(roles, np.array(plant), np.array(parent), np.array(rated)), period, missed


@given(metered_plants())
@settings(max_examples=200, deadline=None)
def test_what_the_meters_may_have_missed_stays_within_the_bounds(case: tuple[Meters, MeterPeriod, list[int]]) -> None:
    meters, period, missed = case
    got = plant_energy(meters, period, 2)
    full = MeterPeriod(
        period.bound_s,
        period.bound_s,
        period.quantity + np.array(missed),
        *[getattr(period, n) for n in MeterPeriod.__slots__[3:]],
    )
    truth = plant_energy(meters, full, 2)
    for plant in range(2):
        real = max(int(truth.metered[plant]), 0)  # a plant never consumes less than nothing
        assert int(got.lower[plant]) <= real
        assert int(got.upper[plant]) == NO_BOUND or real <= int(got.upper[plant])
    for amount in total(got, np.array([0, 0]), 1):
        assert all(x is None or np.isfinite(x) for x in (amount.value, amount.lower, amount.upper, amount.coverage))


@given(metered_plants())
@settings(max_examples=100, deadline=None)
def test_a_filled_gap_lies_within_the_bounds(case: tuple[Meters, MeterPeriod, list[int]]) -> None:
    meters, period, _ = case
    bounds, estimate = plant_energy(meters, period, 2), fill_gaps(meters, period, 2)
    for plant in np.flatnonzero(estimate.known).tolist():
        assert bounds.lower[plant] <= estimate.value[plant]
        assert bounds.upper[plant] == NO_BOUND or estimate.value[plant] <= bounds.upper[plant]


@given(st.booleans().flatmap(bound_days), st.integers(0, DAYS))
@settings(max_examples=100, deadline=None)
def test_blocks_of_days_give_the_bits_of_the_whole(
    case: tuple[list[DayStates], list[tuple[int, int, int, int, int]]], cut: int
) -> None:
    days, rows = case
    whole = merge(*days)
    bound = Bindings(*np.array(rows, np.int64).reshape(-1, 5).T)
    now_s = local_day_start_s(DAY + DAYS)
    blocks = [whole.take(whole.day < DAY + cut), whole.take(whole.day >= DAY + cut)]
    for period in (asset_period, meter_period):
        together = period(whole, bound, OBJECTS, DAY, DAY + DAYS, now_s)
        in_blocks = period(blocks, bound, OBJECTS, DAY, DAY + DAYS, now_s)
        for field in fields(together):
            assert np.array_equal(getattr(in_blocks, field.name), getattr(together, field.name)), field.name


@given(st.booleans().flatmap(bound_days), st.integers(0, DAYS))
@settings(max_examples=100, deadline=None)
def test_a_county_adds_parts_of_a_stretch_to_the_bits_of_the_whole(
    case: tuple[list[DayStates], list[tuple[int, int, int, int, int]]], cut: int
) -> None:
    days, rows = case
    whole = merge(*days)
    bound = Bindings(*np.array(rows, np.int64).reshape(-1, 5).T)
    now_s = local_day_start_s(DAY + DAYS)
    parts = [(DAY, DAY + cut), (DAY + cut, DAY + DAYS)]
    by_series = [taken(bound, bound.series == series) for series in (0, 1)]
    sums = [
        added([asset_period(whole, one, OBJECTS, first, last, now_s) for first, last in parts]) for one in by_series
    ]
    found = least_watched(*sums)
    expected = asset_period(whole, bound, OBJECTS, DAY, DAY + DAYS, now_s)
    for field in fields(expected):
        assert np.array_equal(getattr(found, field.name), getattr(expected, field.name)), field.name
