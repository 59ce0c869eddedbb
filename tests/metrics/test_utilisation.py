"""Utilisation, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.record import Records
from metrics.utilisation import (
    UNKNOWN,
    Calendar,
    TimeElements,
    idle_energy,
    iso_22400,
    load_profile,
    peak_demand,
    planned_busy,
    state_shares,
    stops,
)
from tests.metrics.records import DAY, START_S, records

LATER_S = START_S + 10 * 86_400
H = 36_000  # an hour in 0.1 s


def elements(**given: int) -> TimeElements:
    names = (
        "planned_busy", "busy", "processing", "production", "setup", "delay", "order_execution", "run_per_item",
        "produced", "good",
    )  # fmt: skip
    return TimeElements(**{name: np.array([given.get(name, UNKNOWN)], np.int64) for name in names})


def test_iso_22400_worked_by_hand() -> None:
    # A shift of 8 h planned; busy 7 h, of which 6.5 h processing (0.5 h of it setup, 6 h production) and 0.5 h delay.
    # 340 pieces at a planned 60 s each, 323 good, orders open for 6.8 h. Formulas: ISO 22400-2:2014, clause 9.
    got = iso_22400(
        elements(
            planned_busy=8 * H, busy=7 * H, processing=13 * H // 2, production=6 * H, setup=H // 2, delay=H // 2,
            order_execution=68 * H // 10, run_per_item=600, produced=340, good=323,
        )
    )  # fmt: skip
    assert got.allocation_efficiency.tolist() == [7 / 8]
    assert got.availability.tolist() == [6 / 8]
    assert got.utilisation_efficiency.tolist() == [6 / 7]
    assert got.technical_efficiency.tolist() == [6 / 6.5]
    assert got.effectiveness.tolist() == pytest.approx([340 / 360])
    assert got.quality_ratio.tolist() == [323 / 340]
    # 0.75 × 340/360 × 323/340 = 0.75 × 323/360 = 0.672916…
    assert got.oee_index.tolist() == pytest.approx([0.75 * 323 / 360])
    assert got.nee_index.tolist() == pytest.approx([6.5 / 8 * 323 / 360])
    assert got.setup_ratio.tolist() == [0.5 / 6.5]
    assert got.throughput_per_h.tolist() == pytest.approx([340 / 6.8])


def test_what_is_not_known_makes_no_kpi() -> None:
    got = iso_22400(elements(planned_busy=8 * H, production=6 * H, produced=340))
    assert got.availability.tolist() == [0.75]
    unknown = (got.oee_index, got.quality_ratio, got.effectiveness, got.setup_ratio, got.technical_efficiency)
    assert all(np.isnan(kpi).all() for kpi in unknown)


def test_a_calendar_of_no_time_gives_no_availability() -> None:
    assert np.isnan(iso_22400(elements(planned_busy=0, production=0)).availability).all()


def minutes(*rows: dict[str, int], device: int = 0, start_s: int = START_S) -> list[dict[str, int]]:
    """One row per minute, in order; an empty row is a minute of which there is no record."""
    return [{"device": device, "start": start_s + 60 * i, "connected": 600} | row for i, row in enumerate(rows) if row]


RUN, IDLE, FAULT, OFF = ({name: 600} for name in ("running", "idle", "fault", "off"))
BLIND = {"running": 0}
MISSING: dict[str, int] = {}


def test_planned_busy_time_bounds_availability() -> None:
    # Planned: 15 min of device 0 and nothing of device 1. In them: 8 min running, 3 idle, 2 fault, 2 nobody knows.
    day = minutes(*[RUN] * 8, *[IDLE] * 3, *[FAULT] * 2, BLIND, MISSING, *[RUN] * 30)
    calendar = Calendar(np.array([0]), np.array([START_S]), np.array([START_S + 900]))
    got = planned_busy(records(*day, *minutes(RUN, device=1)), None, calendar, 2, DAY, DAY + 1, LATER_S)
    assert got.planned.tolist() == [9000, 0]
    assert got.running.tolist() == [4800, 0]
    assert got.unknown.tolist() == [1200, 0]
    share = got.availability()
    assert (share.value[0], share.lower[0], share.upper[0], share.coverage[0]) == (8 / 15, 8 / 15, 10 / 15, 13 / 15)
    assert np.isnan([share.value[1], share.upper[1], share.coverage[1]]).all()
    nothing = np.full(2, UNKNOWN)
    assert np.isnan(iso_22400(got.elements(nothing, nothing)).availability).all()  # two minutes are unknown


def test_what_is_planned_for_later_does_not_count_yet() -> None:
    calendar = Calendar(np.array([0]), np.array([START_S]), np.array([START_S + 4 * 900]))
    got = planned_busy(records(*minutes(*[RUN] * 20)), None, calendar, 1, DAY, DAY + 1, START_S + 1200)
    assert (got.planned.tolist(), got.running.tolist()) == ([12_000], [12_000])
    early = planned_busy(records(RUN), None, calendar, 1, DAY, DAY + 1, START_S - 5)
    assert (early.planned.tolist(), early.running.tolist()) == ([0], [0])


def test_elements_from_states() -> None:
    rows = [row | {"parts": 2} for row in (*[RUN] * 10, *[IDLE] * 3, *[FAULT] * 2)]
    calendar = Calendar(np.array([0]), np.array([START_S]), np.array([START_S + 900]))
    got = planned_busy(records(*minutes(*rows)), None, calendar, 1, DAY, DAY + 1, LATER_S)
    kpis = iso_22400(got.elements(np.array([150]), np.array([24])))
    # 30 pieces of 15 s in 10 min of production: effectiveness 450/600. 24 good of 30.
    assert kpis.availability.tolist() == [10 / 15]
    assert kpis.technical_efficiency.tolist() == [10 / 15]
    assert kpis.effectiveness.tolist() == [0.75]
    assert kpis.oee_index.tolist() == pytest.approx([2 / 3 * 0.75 * 0.8])
    assert np.isnan(kpis.setup_ratio).all()  # a state does not tell setup from idle


def test_a_record_sent_twice_and_a_supplement_count_once_in_the_plan() -> None:
    row = {"start": START_S, "connected": 300, "running": 300}
    late = {"start": START_S, "part": 1, "running": 500}
    calendar = Calendar(np.array([0]), np.array([START_S]), np.array([START_S + 900]))
    got = planned_busy(records(row, row, late), np.array([0, 1, 2]), calendar, 1, DAY, DAY + 1, LATER_S)
    assert got.running.tolist() == [600]  # capped at the window


@pytest.mark.parametrize(
    ("intervals", "message"),
    [
        ([(0, 0, 600)], "whole quarter hours"),
        ([(0, 900, 900)], "ends before"),
        ([(1, 0, 900)], "outside the table"),
        ([(0, 0, 1800), (0, 900, 2700)], "overlap"),
    ],
)
def test_a_wrong_calendar_is_refused(intervals: list[tuple[int, int, int]], message: str) -> None:
    device, start, end = (np.array(c) for c in zip(*intervals, strict=True))
    with pytest.raises(ValueError, match=message):
        planned_busy(records(RUN), None, Calendar(device, START_S + start, START_S + end), 1, DAY, DAY + 1, LATER_S)


def test_state_shares_and_the_running_share_of_known_time() -> None:
    # 10 h bound: 4 h running, 2 idle, 1 fault, 1 off, 2 unknown. Running share of known time 4/8;
    # over all the time between 4/10 and 6/10.
    def hours(value: int) -> np.ndarray:
        return np.array([value * H, 0], np.int64)

    got = state_shares(hours(4), hours(2), hours(1), hours(1), hours(10))
    assert [float(s[0]) for s in (got.running, got.idle, got.fault, got.off, got.unknown)] == [0.4, 0.2, 0.1, 0.1, 0.2]
    of_known = got.running_of_known
    assert (of_known.value[0], of_known.lower[0], of_known.upper[0], of_known.coverage[0]) == (0.5, 0.4, 0.6, 0.8)
    assert np.isnan([got.running[1], of_known.value[1], of_known.coverage[1]]).all()


def test_stops_worked_by_hand() -> None:
    # 10 min running, 1 min pause, 9 running, 5 idle, 10 running, 3 idle + 1 fault, 6 running, then off for the night.
    rows = [
        *[RUN] * 10, IDLE, *[RUN] * 9, *[IDLE] * 5, *[RUN] * 10, *[IDLE] * 3, FAULT, *[RUN] * 6, *[OFF] * 20,
    ]  # fmt: skip
    got = stops(records(*minutes(*rows)), None, 2)
    assert (got.idle.tolist(), got.fault.tolist(), got.switched_off.tolist()) == ([1, 0], [1, 0], [1, 0])
    assert got.censored.tolist() == [0, 0]
    assert got.running[0] == 35 * 600
    # 35 min running over 2 stops; 5 + 4 min stopped.
    assert got.mean_between_s()[0] == 35 * 60 / 2
    assert got.mean_between_faults_s()[0] == 35 * 60
    assert got.mean_stop_s()[0] == 9 * 60 / 2
    assert np.isnan(got.mean_between_s()[1])


@pytest.mark.parametrize("hole", [[MISSING] * 5, [BLIND] * 5, [BLIND, *[IDLE] * 5]])
def test_a_stretch_whose_end_nobody_saw_is_censored(hole: list[dict[str, int]]) -> None:
    got = stops(records(*minutes(*[RUN] * 5, *hole, *[RUN] * 5)), None, 1)
    assert (int(got.idle[0]), int(got.fault[0]), int(got.censored[0])) == (0, 0, 2)


def test_devices_do_not_stop_one_another() -> None:
    got = stops(records(*minutes(*[RUN] * 5), *minutes(*[IDLE] * 5, device=1, start_s=START_S + 300)), None, 2)
    assert (got.idle.tolist(), got.censored.tolist()) == ([0, 0], [1, 0])


def metered(wh: int, *, span_s: int = 60, **more: int) -> dict[str, int]:
    return {"quantity": wh, "quantity_span": span_s} | more


def test_a_load_profile_worked_by_hand() -> None:
    # 15 min at 200 Wh a minute = 3 kWh in a quarter hour = 12 kW; then 15 min at 100 Wh = 6 kW.
    got = load_profile(
        records(*minutes(*[metered(200)] * 15, *[metered(100)] * 15)), None, 1, START_S, START_S + 3 * 900
    )
    assert got.metered.tolist() == [[3000, 1500, 0]]
    assert got.demand_kw()[0, :2].tolist() == [12.0, 6.0]
    assert np.isnan(got.demand_kw()[0, 2])
    assert got.resolved().tolist() == [2 / 3]
    peak = peak_demand(got)
    assert (peak.demand_kw.tolist(), peak.start_s.tolist()) == ([12.0], [START_S])


def test_an_outages_energy_never_looks_like_a_peak() -> None:
    # Steady 6 kW. Nobody looked for an hour; the first minute afterwards brings 61 min of energy at once.
    rows = [*[metered(100)] * 15, *[MISSING] * 60, metered(6100, span_s=61 * 60), *[metered(100)] * 29]
    got = load_profile(records(*minutes(*rows)), None, 1, START_S, START_S + 7 * 900)
    peak = peak_demand(got)
    assert (peak.demand_kw.tolist(), peak.start_s.tolist()) == ([6.0], [START_S])
    assert peak.resolved.tolist() == [2 / 7]
    # Spread evenly over what it spans, whole, and apart from what was metered.
    assert got.spread.tolist() == [[0, 1500, 1500, 1500, 1500, 100, 0]]
    assert got.total().tolist() == [15 * 100 + 6100 + 29 * 100]


def test_a_short_gap_within_a_quarter_hour_leaves_its_demand() -> None:
    rows = [*[metered(100)] * 4, MISSING, MISSING, MISSING, metered(400, span_s=240), *[metered(100)] * 7]
    got = load_profile(records(*minutes(*rows)), None, 1, START_S, START_S + 900)
    assert got.demand_kw().tolist() == [[6.0]]
    # The same gap across the boundary belongs to neither side: both quarter hours stay without a demand.
    rows = [*[metered(100)] * 13, MISSING, MISSING, MISSING, metered(400, span_s=240), *[metered(100)] * 13]
    across = load_profile(records(*minutes(*rows)), None, 1, START_S, START_S + 1800)
    assert np.isnan(across.demand_kw()).all()
    assert across.total().tolist() == [3000]


def test_a_quarter_hour_with_a_minute_missing_has_no_demand() -> None:
    rows = [*[metered(100)] * 7, MISSING, *[metered(100)] * 7]
    assert np.isnan(load_profile(records(*minutes(*rows)), None, 1, START_S, START_S + 900).demand_kw()).all()


def test_what_lies_outside_the_stretch_is_cut_off_exactly() -> None:
    # 1,001 Wh over 30 min, of which the stretch holds the last 15.
    late = records(*minutes(*[MISSING] * 14, metered(1001, span_s=1800)))
    assert load_profile(late, None, 1, START_S, START_S + 900).total().tolist() == [1001 - 1001 // 2]


def test_a_wrong_stretch_and_a_strange_device_are_refused() -> None:
    with pytest.raises(ValueError, match="whole quarter hours"):
        load_profile(records(RUN), None, 1, START_S + 60, START_S + 960)
    for function in (stops, idle_energy):
        with pytest.raises(ValueError, match="device 3, the table has 2"):
            function(records({"device": 3}), None, 2)
    with pytest.raises(OverflowError):
        load_profile(records(metered(2**60, span_s=3600)), None, 1, START_S, START_S + 900)


def test_idle_energy_worked_by_hand() -> None:
    rows = [
        metered(200, running=600),
        metered(50, idle=600, quantity_idle=50),
        metered(100, running=200, idle=200, quantity_idle=20),  # of 20 s nobody knows the state
        metered(500, span_s=300, idle=600, quantity_idle=100),  # covers four minutes before it
    ]
    got = idle_energy(records(*minutes(*rows)), None, 1)
    assert (got.lower.tolist(), got.upper.tolist(), got.quantity.tolist()) == ([170], [650], [850])
    lower, upper = got.share()
    assert (lower.tolist(), upper.tolist()) == ([170 / 850], [650 / 850])
    assert got.mean_idle_kw().tolist() == pytest.approx([170 / 1000 / (140 / 3600)])


def test_no_records_give_no_figures() -> None:
    nothing = Records.empty()
    assert stops(nothing, None, 2).running.tolist() == [0, 0]
    assert np.isnan(peak_demand(load_profile(nothing, None, 2, START_S, START_S)).demand_kw).all()
    assert np.isnan(peak_demand(load_profile(nothing, None, 2, START_S, START_S + 900)).demand_kw).all()
    assert np.isnan(idle_energy(nothing, None, 1).share()).all()
    calendar = Calendar(*(np.empty(0, np.int64) for _ in range(3)))
    assert planned_busy(nothing, None, calendar, 1, DAY, DAY + 1, LATER_S).planned.tolist() == [0]
