"""Random plants, from records to published figures, against a slow walk in plain Python and exact fractions.

Machines and meters whose devices move between them, meter trees, records that are missing, late, sent twice or
supplemented, registers that are not confirmed. Nothing of `metrics` is used on the slow side but names of numbers.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from metrics.days import day_states, merge
from metrics.energy import NO_BOUND, Coefficient, MeterRole, Meters, plant_energy, standard_coal, total
from metrics.rates import Assets, networking_rate, networking_rate_digital
from metrics.record import RECORD_COLUMNS, Records
from metrics.rollup import NO_END, Bindings, asset_period, connection_period, meter_period
from tests.property import reference

FIRST_DAY, DAYS, WINDOW_S, WINDOWS = 20_780, 3, 900, 8
DAY_S, OFFSET_S = 86_400, 8 * 3600
DEVICES, ASSETS, METERS, ENTERPRISES, SCOPES = 9, 7, 6, 3, 2
FROM_DAY, TO_DAY = FIRST_DAY, FIRST_DAY + DAYS
NOW_S = TO_DAY * DAY_S - OFFSET_S - DAY_S // 2
WATCHED_PERMILLE = 60
"""The few windows of a day cover 83 in 1000 of it."""
COAL = Coefficient("electricity", "kWh", "calorific", 122_900, 0, "GB/T 2589-2020 A.2")


@dataclass(frozen=True)
class Asset:
    in_scope: bool
    enterprise: int
    confirmed: bool
    control: int
    evidence: int


@dataclass(frozen=True)
class Meter:
    role: MeterRole
    plant: int
    parent: int
    rated_max: int


@dataclass(frozen=True)
class Binding:
    owner: int
    device: int
    series: int
    from_day: int
    to_day: int


@dataclass
class Plants:
    records: list[dict[str, int]]
    """In the order in which they were journalled."""
    assets: list[Asset]
    meters: list[Meter]
    of_assets: list[Binding]
    of_meters: list[Binding]
    scope_of_enterprise: list[int]


def random_plants(seed: int) -> Plants:
    rng = random.Random(seed)
    rows = [
        row
        for device in range(DEVICES)
        if rng.random() < 0.9
        for day in range(DAYS)
        if rng.random() < 0.85  # a whole day may be missing
        for row in device_day_rows(rng, device, day)
    ]
    again = rng.sample(rows, min(len(rows), 6))  # sent again, with the same or another content
    rows += [dict(row) | ({"good": row["good"] + 1} if rng.random() < 0.5 else {}) for row in again]
    rng.shuffle(rows)  # late ones come after later ones
    confirmed = [rng.random() < 0.6 for _ in range(ENTERPRISES)]
    owners = [rng.randrange(ENTERPRISES) for _ in range(ASSETS)]
    assets = [Asset(rng.random() < 0.85, e, confirmed[e], rng.randrange(6), rng.randrange(4)) for e in owners]
    meters: list[Meter] = []
    for i in range(METERS):
        plant = rng.randrange(ENTERPRISES)
        above = [j for j in range(i) if meters[j].plant == plant]
        parent = rng.choice([-1, *above])
        meters.append(Meter(rng.choice(list(MeterRole)), plant, parent, rng.choice([-1, 50_000, 2_000_000])))
    return Plants(
        rows,
        assets,
        meters,
        random_bindings(rng, ASSETS, series=2),
        random_bindings(rng, METERS, series=1, first=1),
        [rng.randrange(-1, SCOPES) for _ in range(ENTERPRISES)],
    )


def device_day_rows(rng: random.Random, device: int, day: int) -> list[dict[str, int]]:
    rows = []
    alive = rng.random() < 0.2
    for window in range(WINDOWS):
        if rng.random() < 0.1:
            continue
        start = (FIRST_DAY + day) * DAY_S - OFFSET_S + window * DAY_S // WINDOWS
        observed = rng.choice([0, 4000, 9000, 9000])
        connected = rng.randint(0, observed) if alive else 0
        running = rng.randint(0, connected)
        span = rng.choice([0, WINDOW_S, DAY_S // WINDOWS, DAY_S // WINDOWS])
        quantity = rng.randint(0, 10**7) if span else 0
        row = {c.name: 0 for c in RECORD_COLUMNS}
        row |= {"device": device, "start": start, "length": 9000, "observed": observed, "connected": connected}
        row |= {"running": running, "idle": connected - running, "quantity": quantity, "quantity_span": span}
        row |= {"quantity_idle": quantity // 3, "reading": -1, "good": 5, "flags": rng.choice([0, 0, 8])}
        rows.append(row)
        if rng.random() < 0.1:
            rows.append(row | {"part": 1, "observed": 0, "connected": 0, "running": 50, "idle": 0, "good": 1})
    return rows


def random_bindings(rng: random.Random, owners: int, series: int, first: int = 0) -> list[Binding]:
    """Some hold throughout, some begin or end within the period, and devices pass from one owner to another."""
    found = []
    for owner in range(owners):
        for one in range(first, first + series):
            kind = rng.random()
            if kind < 0.25:
                continue
            if kind < 0.65:
                found.append(Binding(owner, rng.randrange(DEVICES), one, FROM_DAY - 5, NO_END))
                continue
            edges = sorted(rng.sample(range(FROM_DAY - 1, TO_DAY + 2), 3))
            for begin, end in ((edges[0], edges[1]), (edges[1], edges[2])):
                if rng.random() < 0.7:
                    found.append(Binding(owner, rng.randrange(DEVICES), one, begin, end))
    rng.shuffle(found)
    return found


# --------------------------------------------------------------------------------------- the slow way


def slow_days(plants: Plants) -> dict[tuple[int, int], reference.Day]:
    """(day, device) → what it did."""
    of_day: dict[int, list[tuple[int, dict[str, int]]]] = defaultdict(list)
    for place, row in enumerate(plants.records):
        of_day[(row["start"] + OFFSET_S) // DAY_S].append((place, row))
    return {
        (day, device): state
        for day, rows in of_day.items()
        for device, state in reference.device_days([r for _, r in rows], [p for p, _ in rows]).items()
    }


def in_force(binding: Binding) -> tuple[list[int], int]:
    """The days of the period on which a binding held, and for how long until now, 0.1 s."""
    days = [day for day in range(FROM_DAY, TO_DAY) if binding.from_day <= day < binding.to_day]
    start_s = [day * DAY_S - OFFSET_S for day in days]
    return days, sum(max(0, min(NOW_S, s + DAY_S) - s) * 10 for s in start_s)


def slow_class(plants: Plants, days: dict[tuple[int, int], reference.Day], row: int) -> str:
    asset = plants.assets[row]
    if not asset.in_scope:
        return "excluded"
    bound: dict[int, int] = defaultdict(int)
    observed: dict[int, int] = defaultdict(int)
    shown = False
    for binding in plants.of_assets:
        if binding.owner == row:
            held, tenths = in_force(binding)
            bound[binding.series] += tenths
            for day in held:
                if state := days.get((day, binding.device)):
                    observed[binding.series] += state.times["observed"]
                    shown |= state.times["connected"] > 0
    if shown:
        return "shown"
    shares = [Fraction(min(observed[s], bound[s]), bound[s]) for s in bound if bound[s]]
    if not asset.confirmed or (shares and min(shares) < Fraction(WATCHED_PERMILLE, 1000)):
        return "unobserved"
    return "shown-not" if shares else "declared"


def slow_energy(plants: Plants, days: dict[tuple[int, int], reference.Day], plant: int) -> tuple[int, int, int] | None:
    """Metered, lower and upper bound (or NO_BOUND) of a plant, 0.001 kWh; None without a bound meter."""
    mine = [(i, m) for i, m in enumerate(plants.meters) if m.plant == plant]
    has_main = any(m.role == MeterRole.IMPORT for _, m in mine)
    metered = lower = upper = 0
    open_ended, lower_open, some = not has_main, False, False
    for i, meter in mine:
        if meter.role in (MeterRole.EXPORT, MeterRole.GENERATION):
            counts = True
        else:
            counts = meter.parent < 0 and (meter.role == MeterRole.IMPORT or not has_main)
        if not counts:
            continue
        bound_s = span_s = quantity = 0
        for binding in plants.of_meters:
            if binding.owner == i:
                held, tenths = in_force(binding)
                bound_s += tenths // 10
                for day in held:
                    if state := days.get((day, binding.device)):
                        span_s += state.sums["quantity_span_s"]
                        quantity += state.sums["quantity"]
        some |= bound_s > 0
        missed = max(0, bound_s - span_s)
        most = -(-max(meter.rated_max, 0) * missed // 3600)
        sign = -1 if meter.role == MeterRole.EXPORT else 1
        metered += sign * quantity
        lower += sign * quantity - (most if sign < 0 else 0)
        upper += sign * quantity + (most if sign > 0 else 0)
        if missed and meter.rated_max < 0:
            open_ended |= sign > 0
            lower_open |= sign < 0
    if not some:
        return None
    return metered, 0 if lower_open else max(lower, 0), NO_BOUND if open_ended else max(upper, 0)


# ----------------------------------------------------------------------------------------- the test


def columns_of(rows: list[dict[str, int]]) -> Records:
    return Records.from_columns({c.name: [row[c.name] for row in rows] for c in RECORD_COLUMNS})


def table(bindings: list[Binding]) -> Bindings:
    rows = [(b.owner, b.device, b.series, b.from_day, b.to_day) for b in bindings]
    return Bindings(*np.array(rows, np.int64).reshape(-1, 5).T)


@pytest.mark.parametrize("start", range(0, 300, 50))
def test_random_plants_equal_the_slow_reference(start: int) -> None:
    for seed in range(start, start + 50):
        compare(random_plants(seed))


def compare(plants: Plants) -> None:
    slow = slow_days(plants)
    places = np.arange(len(plants.records))
    of_day = np.array([(row["start"] + OFFSET_S) // DAY_S for row in plants.records], np.int64)
    states = merge(
        *(
            day_states(
                columns_of([plants.records[i] for i in places[of_day == day]]), places[of_day == day], day, DEVICES
            )
            for day in range(FROM_DAY, TO_DAY)
            if (of_day == day).any()
        )
    )
    assert sorted(zip(states.day.tolist(), states.device.tolist(), strict=True)) == sorted(slow)

    owner = np.array([a.enterprise for a in plants.assets])
    register = Assets(
        in_scope=np.array([a.in_scope for a in plants.assets]),
        enterprise=owner,
        confirmed=np.array([a.confirmed for a in plants.assets]),
        control=np.array([a.control for a in plants.assets]),
        evidence=np.array([a.evidence for a in plants.assets]),
        value=np.full(ASSETS, -1, np.int64),
    )
    scope_of = np.array(plants.scope_of_enterprise)
    given = (states, table(plants.of_assets), ASSETS, FROM_DAY, TO_DAY, NOW_S)
    period = connection_period(*given)
    elapsed = (NOW_S - (FROM_DAY * DAY_S - OFFSET_S)) * 10
    classes = [slow_class(plants, slow, i) for i in range(ASSETS)]
    digital = [c if a.control in (1, 2, 3) else "excluded" for a, c in zip(plants.assets, classes, strict=True)]
    all_assets = networking_rate(register, period, scope_of[owner], SCOPES, elapsed, WATCHED_PERMILLE)
    some = networking_rate_digital(register, asset_period(*given), scope_of[owner], SCOPES, elapsed, WATCHED_PERMILLE)
    for scope in range(SCOPES):
        inside = [i for i in range(ASSETS) if plants.scope_of_enterprise[plants.assets[i].enterprise] == scope]
        expected = reference.bounds([classes[i] for i in inside])
        got = all_assets.at(scope)
        assert (got.value, got.lower, got.upper) == (tuple(map(float, expected)) if expected else (None,) * 3)
        shares = [
            reference.bounds([classes[i] for i in inside if plants.assets[i].enterprise == e])
            for e in range(ENTERPRISES)
        ]
        for k, mean in enumerate((got.mean_of_enterprises, got.mean_lower, got.mean_upper)):
            known = [s[k] for s in shares if s is not None]
            assert mean == (pytest.approx(float(sum(known, Fraction(0)) / len(known))) if known else None)
        form_b = reference.bounds([digital[i] for i in inside])
        assert some.at(scope).value == (None if form_b is None else float(form_b[0]))

    meters = Meters(
        *(
            np.array(c, np.int64)
            for c in zip(*((m.role, m.plant, m.parent, m.rated_max) for m in plants.meters), strict=True)
        )
    )
    counted = meter_period(states, table(plants.of_meters), METERS, FROM_DAY, TO_DAY, NOW_S)
    energy = plant_energy(meters, counted, ENTERPRISES)
    amounts = total(energy, np.arange(ENTERPRISES), ENTERPRISES)
    for plant in range(ENTERPRISES):
        expected_energy = slow_energy(plants, slow, plant)
        if expected_energy is None:
            assert amounts[plant].value is None
            continue
        assert (int(energy.metered[plant]), int(energy.lower[plant]), int(energy.upper[plant])) == expected_energy
        tce = standard_coal(amounts[plant], COAL).value
        assert tce == pytest.approx(float(Fraction(expected_energy[0], 1000) * 1229 / 10_000 / 1000), rel=1e-12)
