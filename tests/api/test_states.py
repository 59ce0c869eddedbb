"""Stretches of days in parts: that they tile, where they are cut, and that their sums are the whole's, bit for bit."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from api.services.periods import read_day
from api.services.states import added, parts_of
from metrics.days import NEVER, DayStates
from metrics.record import DAY_S, local_day_start_s
from metrics.rollup import NO_END, AssetPeriod, Bindings, MeterPeriod, Series, asset_period, meter_period
from tests.metrics.records import device_day

FIRST = read_day("2026-09-20")
TODAY = read_day("2026-11-18")


@pytest.mark.parametrize("length", [0, 1, 2, 3, 30, 31, 58, 70, 100])
@pytest.mark.parametrize("late", [-3, 0, 1, 2, 20])
def test_parts_tile_the_days_and_none_holds_what_may_change_with_what_stays(length: int, late: int) -> None:
    days = (TODAY + late - length, TODAY + late)
    parts = parts_of(days, TODAY)
    assert (parts[0][0], parts[-1][1]) == days
    assert all(one[1] == other[0] for one, other in pairwise(parts))
    for first, last in parts:
        if first < TODAY < last:
            pytest.fail("the day that runs is added to days before it")
        assert last <= TODAY - 1 or first >= TODAY - 1


def test_the_parts_of_tomorrow_are_those_of_today_but_for_the_last() -> None:
    year = (read_day("2026-01-01"), read_day("2026-12-31"))
    today, tomorrow = (parts_of(year, TODAY + i) for i in (0, 1))
    assert today[:10] == tomorrow[:10] == parts_of(year, TODAY)[:10]
    assert [(first - TODAY, last - TODAY) for first, last in tomorrow[10:]] == [(-17, 0), (0, 1), (1, year[1] - TODAY)]


def some_days(rng: np.random.Generator, devices: int) -> list[DayStates]:
    """A table a day, some days and devices missing."""
    tables = []
    for day in range(FIRST, TODAY + 1):
        rows = []
        for device in np.flatnonzero(rng.random(devices) < 0.8).tolist():
            observed = int(rng.integers(0, DAY_S * 10 + 1))
            connected = int(rng.integers(0, observed + 1)) if rng.random() < 0.6 else 0
            start_s = local_day_start_s(day)
            rows.append(
                device_day(
                    device,
                    day=day,
                    observed=observed,
                    connected=connected,
                    running=connected // 3,
                    parts=int(rng.integers(0, 1 << 40)),
                    first_connected_s=start_s + int(rng.integers(0, 100)) if connected else NEVER,
                    last_connected_s=start_s + int(rng.integers(100, DAY_S)) if connected else NEVER,
                    quantity=int(rng.integers(-(1 << 40), 1 << 40)),
                    quantity_span_s=int(rng.integers(0, DAY_S)),
                    flags=1 << int(rng.integers(0, 8)),
                )
            )
        if rows and rng.random() < 0.9:
            tables.append(DayStates(**{n: np.concatenate([getattr(r, n) for r in rows]) for n in rows[0].columns()}))
    return tables


def some_bindings(rng: np.random.Generator, objects: int, devices: int) -> Bindings:
    """Each object bound to one device after another of one series."""
    rows: list[tuple[int, int, int, int, int]] = []
    for one in range(objects):
        turn = int(rng.integers(FIRST - 5, TODAY + 3))
        rows.append((one, int(rng.integers(0, devices)), Series.STATE, FIRST - 100, turn))
        if rng.random() < 0.8:
            rows.append((one, int(rng.integers(0, devices)), Series.STATE, turn, NO_END))
    return Bindings(*np.array(rows, np.int64).T.copy())


def bits(period: Any) -> dict[str, list[int]]:
    return {f.name: getattr(period, f.name).tolist() for f in fields(period)}


@pytest.mark.parametrize("seed", range(12))
def test_parts_added_up_are_the_whole_bit_for_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables, bindings = some_days(rng, 12), some_bindings(rng, 15, 12)
    as_of_s = local_day_start_s(TODAY) + int(rng.integers(0, DAY_S))
    first = int(rng.integers(FIRST, TODAY))
    days = (first, TODAY + int(rng.integers(0, 40)))

    def between(span: tuple[int, int]) -> list[DayStates]:
        return [table for table in tables if span[0] <= int(table.day[0]) < span[1]]

    def assets(span: tuple[int, int]) -> AssetPeriod:
        return asset_period(between(span), bindings, 15, *span, as_of_s)

    def meters(span: tuple[int, int]) -> MeterPeriod:
        return meter_period(between(span), bindings, 15, *span, as_of_s)

    parts = parts_of(days, TODAY)
    assert len(parts) > 1
    # more was watched than there was time only while the day still runs, and that day stands alone
    whole, summed = bits(assets(days)), bits(added([assets(part) for part in parts]))
    assert {name for name in whole if whole[name] != summed[name]} <= {"observed", "state_observed"}
    assert bits(meters(days)) == bits(added([meters(part) for part in parts]))
    closed = [part for part in parts if part[1] <= TODAY]
    until = (days[0], TODAY)
    assert bits(assets(until)) == bits(added([assets(part) for part in closed]))
    assert bits(added([added([assets(part) for part in closed]), assets(parts[-1])])) == summed
