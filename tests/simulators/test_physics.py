"""Machines behave: power follows state, energy is its integral, parts follow cycles, and all of it is repeatable."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from simulators.physics import DAY_S, STATES, TRAITS, Machine, PlantMeter, day_start_s, local_day

TODAY = local_day(1_795_449_600)  # a Tuesday: 2026-11-24 00:00 in Asia/Shanghai
START_S = day_start_s(TODAY)


def machine(kind: str = "cnc", **given: object) -> Machine:
    return Machine("m-1", kind, **{"seed": 5, "origin_s": START_S, **given})  # type: ignore[arg-type]


def test_a_local_day_starts_at_16_utc() -> None:
    assert START_S % DAY_S == 16 * 3600
    assert local_day(START_S) == local_day(START_S + DAY_S - 1) == TODAY
    assert local_day(START_S - 1) == TODAY - 1


@pytest.mark.parametrize("kind", TRAITS)
def test_energy_is_the_integral_of_power_whatever_the_steps(kind: str) -> None:
    fine, coarse = machine(kind), machine(kind)
    start_s = START_S + 9 * 3600
    fine.advance(start_s)
    coarse.advance(start_s)
    first_kwh, integral_kwh = fine.energy_kwh, 0.0
    for second in range(1, 1801):
        power_kw = fine.power_kw
        fine.advance(start_s + second)
        integral_kwh += power_kw / 3600.0
    coarse.advance(start_s + 1800)
    assert fine.energy_kwh - first_kwh == pytest.approx(integral_kwh, abs=1e-9)
    assert (coarse.energy_kwh, coarse.parts, coarse.state) == (fine.energy_kwh, fine.parts, fine.state)


def test_counters_never_fall_over_days() -> None:
    m = machine("moulding", pattern="two-shifts")
    seen = []
    for at_s in range(START_S, START_S + 3 * DAY_S, 997):
        m.advance(at_s)
        seen.append((m.energy_kwh, m.parts, m.water_m3))
    assert all(a <= b for earlier, later in itertools.pairwise(seen) for a, b in zip(earlier, later, strict=True))
    assert seen[-1][1] > 1000


def test_power_follows_state() -> None:
    m = machine("cnc", pattern="two-shifts")
    power: dict[str, list[float]] = {state: [] for state in STATES}
    for at_s in range(START_S, START_S + 4 * DAY_S, 61):
        m.advance(at_s)
        power[m.state].append(m.power_kw)
    running, idle, off = (float(np.mean(power[s])) for s in ("running", "idle", "off"))
    assert running > 4 * idle > 4 * off
    assert np.std(power["running"]) > 0.1
    assert len(power["fault"]) > 0


def test_parts_come_at_the_ends_of_cycles_only() -> None:
    m = machine("cnc")
    at_s = START_S + 3600.0
    m.advance(at_s)
    before, was = m.parts, m.state
    for step in range(1, 3600):
        m.advance(at_s + step)
        if m.parts != before:
            assert was == "running", "a part was finished by a machine that did not run"
            assert m.parts == before + 1
        before, was = m.parts, m.state


def test_two_shifts_rest_at_night_and_on_sunday_and_the_demo_does_not() -> None:
    by_day, always = machine(pattern="two-shifts"), machine(pattern="always")
    sunday_s = next(d for d in range(7) if (TODAY + d + 3) % 7 == 6) * DAY_S + START_S
    for m, expected in ((by_day, {"off"}), (always, {"running", "idle", "fault"})):
        states = set()
        for at_s in range(sunday_s + 10 * 3600, sunday_s + 14 * 3600, 60):
            m.advance(at_s)
            states.add(m.state)
        assert states <= expected
    states = set()
    night = machine(pattern="two-shifts")
    for at_s in range(START_S + 3 * 3600, START_S + 7 * 3600, 60):
        night.advance(at_s)
        states.add(night.state)
    assert states == {"off"}


def test_the_same_seed_and_times_give_the_same_machine_and_another_seed_another() -> None:
    one, same, other = machine(), machine(), machine(seed=6)
    rows = []
    for m in (one, same, other):
        row = []
        for at_s in range(START_S + 36_000, START_S + 39_600, 7):
            m.advance(at_s)
            row.append((m.state, m.power_kw, m.energy_kwh, m.parts, m.voltage_v, m.current_a))
        rows.append(row)
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_time_that_runs_back_changes_nothing() -> None:
    m = machine()
    m.advance(START_S + 5000)
    before = (m.energy_kwh, m.parts, m.power_kw)
    m.advance(START_S + 4000)
    assert (m.energy_kwh, m.parts, m.power_kw) == before


def test_a_held_machine_stands_still_and_goes_on_from_there() -> None:
    m, free = machine(), machine()
    m.advance(START_S + 40_000)
    m.hold()
    before = (m.state, m.power_kw, m.energy_kwh, m.parts)
    m.advance(START_S + 41_000)
    assert (m.state, m.power_kw, m.energy_kwh, m.parts) == before
    m.release()
    m.advance(START_S + 41_600)
    free.advance(START_S + 40_600)
    assert (m.state, m.energy_kwh, m.parts) == (free.state, free.energy_kwh, free.parts)


def test_phases_carry_the_power_and_differ() -> None:
    m = machine("moulding")
    m.advance(START_S + 36_000)
    power_kw = sum(v * a for v, a in zip(m.voltage_v, m.current_a, strict=True)) * TRAITS["moulding"].power_factor / 1e3
    assert power_kw == pytest.approx(m.power_kw, rel=1e-9)
    assert len({round(a, 3) for a in m.current_a}) == 3
    assert all(215 < v < 245 for v in m.voltage_v)


def test_windows_agree_with_the_counters_of_the_live_machine() -> None:
    m = machine("cnc", pattern="two-shifts", start_energy_kwh=100.0, start_parts=7)
    w = m.windows(START_S, START_S + 2 * DAY_S, 900)
    assert len(w.start_s) == 192
    np.testing.assert_allclose(w.running_s + w.idle_s + w.fault_s + w.off_s, 900.0)
    live = machine("cnc", pattern="two-shifts", start_energy_kwh=100.0, start_parts=7)
    for edge in (0, 37, 96, 191):
        live.advance(int(w.start_s[edge]))
        assert live.energy_kwh == pytest.approx(w.energy_kwh[edge], abs=1e-9)
        assert live.parts == w.parts[edge]
    live.advance(START_S + 2 * DAY_S)
    assert live.energy_kwh == pytest.approx(w.energy_kwh[-1], abs=1e-9)
    assert np.all(w.energy_not_running_kwh <= np.diff(w.energy_kwh) + 1e-9)


def test_a_main_meter_contains_its_machines() -> None:
    members = [Machine(f"m-{i}", "cnc", seed=5, origin_s=START_S, start_energy_kwh=50.0 * i) for i in range(3)]
    meter = PlantMeter("main", members, seed=5, origin_s=START_S, start_energy_kwh=1000.0)
    w = meter.windows(START_S, START_S + DAY_S, 900)
    sums = sum(m.windows(START_S, START_S + DAY_S, 900).energy_kwh for m in members)
    assert np.all(np.diff(w.energy_kwh) > np.diff(sums))
    assert w.energy_kwh[0] == pytest.approx(1000.0)
    meter.advance(int(w.start_s[50]))
    assert meter.energy_kwh == pytest.approx(w.energy_kwh[50], abs=1e-9)
    assert meter.power_kw > sum(m.power_kw for m in members)


def test_a_day_before_the_origin_is_refused() -> None:
    with pytest.raises(ValueError, match="origin"):
        machine().advance(START_S - 1)
    with pytest.raises(ValueError, match="local midnight"):
        machine().windows(START_S + 900, START_S + DAY_S, 900)
    with pytest.raises(ValueError, match="one of"):
        Machine("m", "toaster")
