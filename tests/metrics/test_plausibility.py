"""Each check finds the fault that was put in, and none speaks of a healthy plant."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from metrics.plausibility import (
    CLAIM_DAYS,
    UNKNOWN,
    Check,
    Claims,
    Devices,
    Finding,
    Identified,
    Severity,
    check_claims,
    check_cnc,
    check_records,
)
from metrics.record import Flag, Records, local_day_start_s
from simulators.physics import Machine
from tests.metrics.healthy_plants import KINDS, plant_days
from tests.metrics.records import DAY, START_S, records

PLANTS = 50
FEW = 10


@pytest.mark.parametrize("quarter", range(4))
def test_a_thousand_healthy_plant_days_raise_nothing(quarter: int) -> None:
    for seed in range(5 * quarter, 5 * quarter + 5):
        day, devices = plant_days(seed, PLANTS)
        assert check_records(day, None, devices) == [], seed


@pytest.mark.parametrize("window_s", [300, 900])
def test_other_windows_of_healthy_plants_raise_nothing(window_s: int) -> None:
    for seed in range(8):
        day, devices = plant_days(100 + seed, PLANTS, window_s)
        assert check_records(day, None, devices) == [], seed


@pytest.mark.long
@pytest.mark.parametrize("window_s", [10, 30, 60])
def test_thousands_of_healthy_plant_days_raise_nothing(window_s: int) -> None:
    for seed in range(3000, 3000 + window_s):
        day, devices = plant_days(seed, PLANTS, window_s)
        assert check_records(day, None, devices) == [], seed


@pytest.mark.parametrize("kind", ["cnc", "moulding", "robot", "edm", "stamping", "assembly"])
def test_simulated_machines_raise_nothing(kind: str) -> None:
    """A week of a machine drawn by the simulators, which know nothing of these checks."""
    start_s, days = local_day_start_s(DAY), 7
    seen = Machine("m", kind, seed=5, pattern="two-shifts", origin_s=start_s).windows(
        start_s, start_s + days * 86_400, 60
    )
    n = len(seen.start_s)
    reading = np.round(seen.energy_kwh * 1000).astype(np.int64)
    zero = np.zeros(n, np.int64)
    full = zero + 600
    states = {
        name: np.round(getattr(seen, f"{name}_s") * 10).astype(int) for name in ("running", "idle", "fault", "off")
    }
    week = Records.from_columns(
        {"device": zero, "start": seen.start_s, "length": full, "observed": full, "part": zero, "connected": full}
        | states
        | {"quantity": np.diff(reading), "quantity_idle": zero, "quantity_span": zero + 60}
        | {"reading": reading[1:], "parts": np.diff(seen.parts), "good": zero + 60, "bad": zero, "flags": zero}
    )
    for rated in (UNKNOWN, int(np.diff(reading).max()) * 60):
        assert check_records(week, None, Devices(np.array([rated]), np.array([True]))) == []


# ------------------------------------------------------------------------- seeded faults

CNC, MOULDING, LATHE, ROBOT, MAIN, WATER = range(KINDS)


def changed(day: Records, rows: np.ndarray, **columns: np.ndarray | int) -> Records:
    """The same records with other values in some rows."""
    given = {name: column.copy() for name, column in day.columns().items()}
    for name, values in columns.items():
        given[name][rows] = values
    return Records(**given)


def fault_of(seed: int, kind: int, spoil: Callable[[Records, np.ndarray, Devices], Records]) -> list[Finding]:
    """Findings on the plant in which the fault was put, of FEW; whoever else is named is a false alarm."""
    day, devices = plant_days(seed, FEW)
    busy = [
        device
        for device in range(kind, FEW * KINDS, KINDS)
        if int(day.running[day.device == device].astype(np.int64).sum()) > 5 * 36_000
        and int(day.quantity[day.device == device].max(initial=0)) > 0
    ]
    device = busy[seed % len(busy)]
    rows = np.flatnonzero((day.device == device) & (day.part == 0))
    rows = rows[np.argsort(day.start[rows], kind="stable")]
    found = check_records(spoil(day, rows, devices), None, devices)
    assert all(finding.row == device for finding in found), found
    return found


def only(found: list[Finding], check: Check) -> Finding:
    """The one finding of a check, with words in both languages."""
    (finding,) = (f for f in found if f.check is check)
    assert finding.reason.zh
    assert finding.reason.en
    return finding


def working(day: Records, rows: np.ndarray, length: int) -> np.ndarray:
    """The stretch of so many windows in which the machine ran most."""
    ran = np.convolve(day.running[rows].astype(np.int64), np.ones(length, np.int64), "valid")
    first = int(ran.argmax())
    return rows[first : first + length]


@pytest.mark.parametrize("seed", range(8))
def test_a_flat_line_is_found(seed: int) -> None:
    def freeze(day: Records, rows: np.ndarray, devices: Devices) -> Records:
        return changed(day, working(day, rows, 300), quantity=1583, quantity_idle=0, quantity_span=60, reading=-1)

    finding = only([f for f in fault_of(seed, MOULDING, freeze) if f.check is Check.FLAT_LINE], Check.FLAT_LINE)
    assert finding.severity in (Severity.WARNING, Severity.ERROR)
    assert finding.measured >= 4.0


def test_a_flat_line_all_day_through_changing_states_is_an_error() -> None:
    rows = [
        {"start": START_S + 60 * i, "connected": 600, "quantity": 1583, "quantity_span": 60}
        | ({"running": 600} if i % 10 < 6 else {"idle": 600})
        for i in range(600)
    ]
    found = check_records(records(*rows), None, Devices(np.array([UNKNOWN]), np.array([False])))
    assert only(found, Check.FLAT_LINE)[:2] == (Check.FLAT_LINE, Severity.ERROR)


@pytest.mark.parametrize("seed", range(8))
def test_a_stuck_energy_counter_is_found(seed: int) -> None:
    def stick(day: Records, rows: np.ndarray, devices: Devices) -> Records:
        return changed(day, rows, quantity=0, quantity_idle=0, quantity_span=60, reading=123_456, flags=0)

    finding = only(fault_of(seed, CNC, stick), Check.STUCK_COUNTER)
    assert finding.severity is Severity.ERROR
    assert "没有走动" in finding.reason.zh


@pytest.mark.parametrize("seed", range(8))
def test_a_counter_stuck_for_some_hours_is_found(seed: int) -> None:
    def stick(day: Records, rows: np.ndarray, devices: Devices) -> Records:
        return changed(day, working(day, rows, 240), quantity=0, quantity_idle=0, quantity_span=60, reading=-1)

    # A counter of fine steps: one that counts whole kWh may rightly stand for hours.
    day, _ = plant_days(seed, FEW)
    fine = [
        d
        for d in range(CNC, FEW * KINDS, KINDS)
        if np.gcd.reduce(day.quantity[day.device == d]) <= 10
        and int(day.running[day.device == d].astype(np.int64).sum()) > 5 * 36_000
    ]
    rows = np.flatnonzero((day.device == fine[0]) & (day.part == 0))
    devices = plant_days(seed, FEW)[1]
    found = check_records(stick(day, rows[np.argsort(day.start[rows])], devices), None, devices)
    assert {f.row for f in found} == {fine[0]}
    only(found, Check.STUCK_COUNTER)


@pytest.mark.parametrize("seed", range(8))
def test_a_stuck_parts_counter_is_found(seed: int) -> None:
    def stick(day: Records, rows: np.ndarray, devices: Devices) -> Records:
        return changed(day, working(day, rows, 200), parts=0)

    assert only(fault_of(seed, MOULDING, stick), Check.STUCK_COUNTER).severity is Severity.WARNING


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", [CNC, LATHE])
def test_an_impossible_jump_is_found(seed: int, kind: int) -> None:
    def jump(day: Records, rows: np.ndarray, devices: Devices) -> Records:
        counted = rows[(day.quantity_span[rows] > 0) & (day.running[rows] > 0)]
        silent = changed(day, rows, reading=-1)
        return changed(silent, counted[len(counted) // 2], quantity=655_360)  # 39 MW for a minute: a word of 16 bits

    finding = only(fault_of(seed, kind, jump), Check.IMPOSSIBLE_JUMP)
    assert finding.measured > finding.limit


@pytest.mark.parametrize("seed", range(4))
def test_a_reading_that_falls_without_a_reset_is_found(seed: int) -> None:
    def fall(day: Records, rows: np.ndarray, devices: Devices) -> Records:
        read = rows[day.reading[rows] >= 0]
        return changed(day, read[len(read) // 2 :], reading=(day.reading[read[len(read) // 2 :]] // 3))

    assert only(fault_of(seed, CNC, fall), Check.IMPOSSIBLE_JUMP).severity is Severity.ERROR


def test_a_reading_that_falls_with_a_reset_is_none() -> None:
    rows = [{"start": START_S + 3600 * i, "connected": 600, "reading": r} for i, r in enumerate((9000, 10, 20))]
    devices = Devices(np.array([UNKNOWN]), np.array([True]))
    assert only(check_records(records(*rows), None, devices), Check.IMPOSSIBLE_JUMP)
    rows[1]["flags"] = int(Flag.COUNTER_RESET)
    assert check_records(records(*rows), None, devices) == []


def test_an_outages_energy_is_no_jump() -> None:
    rows = [
        {"start": START_S + 60 * i, "connected": 600, "running": 600, "quantity": 150 + i % 7, "quantity_span": 60}
        for i in range(200)
    ]
    rows[150] |= {"quantity": 150 * 600, "quantity_span": 36_000}  # ten hours' energy at once
    devices = Devices(np.array([10_000]), np.array([True]))
    assert check_records(records(*rows), None, devices) == []
    rows[150]["quantity_span"] = 60
    (finding,) = check_records(records(*rows), None, devices)
    # 90 kWh less one step of 1 Wh in a minute: 5,399.94 kW, where 10 kW are rated and 12 believed.
    assert (finding.check, finding.severity) == (Check.IMPOSSIBLE_JUMP, Severity.ERROR)
    assert (finding.measured, finding.limit) == (pytest.approx(5399.94), 12.0)


@pytest.mark.parametrize("seed", range(8))
def test_the_energy_of_another_machine_is_found(seed: int) -> None:
    def mix_up(day: Records, rows: np.ndarray, devices: Devices) -> Records:
        counted = rows[day.quantity_span[rows] == 60]
        shuffled = np.random.default_rng(seed).permutation(counted)
        return changed(day, counted, quantity=day.quantity[shuffled], quantity_idle=0, reading=-1)

    found = [f for f in fault_of(seed, LATHE, mix_up) if f.check is Check.ENERGY_AGAINST_STATE]
    assert len(found) == 1


def test_energy_that_runs_against_the_state_is_an_error() -> None:
    rows = [
        {"start": START_S + 60 * i, "connected": 600, "quantity_span": 60}
        | ({"running": 600, "quantity": 50 + i % 3} if i % 10 < 5 else {"idle": 600, "quantity": 200 + i % 3})
        for i in range(200)
    ]
    devices = Devices(np.array([UNKNOWN]), np.array([True]))
    (finding,) = check_records(records(*rows), None, devices)
    assert (finding.check, finding.severity) == (Check.ENERGY_AGAINST_STATE, Severity.ERROR)
    assert "相反" in finding.reason.zh
    # A hall's main meter need not follow one machine.
    assert check_records(records(*rows), None, Devices(np.array([UNKNOWN]), np.array([False]))) == []


def test_off_that_draws_like_running_is_found() -> None:
    rows = [
        {"start": START_S + 60 * i, "connected": 600, "quantity_span": 60, "quantity": 150 + i % 5}
        | ({"running": 600} if i < 100 else {"off": 600})
        for i in range(200)
    ]
    (finding,) = check_records(records(*rows), None, Devices(np.array([UNKNOWN]), np.array([True])))
    assert (finding.check, finding.severity) == (Check.ENERGY_AGAINST_STATE, Severity.ERROR)
    assert finding.measured == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("seed", range(8))
def test_a_wrong_ct_ratio_is_found_as_a_rate_above_the_register(seed: int) -> None:
    day, devices = plant_days(seed, FEW)
    rated = devices.rated_max.copy()
    device = next(
        d
        for d in range(CNC, FEW * KINDS, KINDS)
        if rated[d] > 0 and int(day.running[day.device == d].astype(np.int64).sum()) > 5 * 36_000
    )
    rows = np.flatnonzero(day.device == device)
    spoilt = changed(day, rows, quantity=day.quantity[rows] * 40, reading=-1)  # 200:5 applied twice
    (finding,) = check_records(spoilt, None, devices)
    assert (finding.row, finding.check) == (device, Check.RATE_ABOVE_REGISTER)
    assert finding.measured > finding.limit == rated[device] / 1000


def test_a_device_outside_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="device 7, the table has 1"):
        check_records(records({"device": 7}), None, Devices(np.array([UNKNOWN]), np.array([True])))
    assert check_records(Records.empty(), None, Devices(np.array([UNKNOWN]), np.array([True]))) == []


# ----------------------------------------------------------------------------- register


def claims(**columns: list[int]) -> Claims:
    usual = {
        "declared_total": [100], "declared_digital": [72], "declared_networked": [54], "registered": [100],
        "may_be_networked": [60], "may_be_digital": [75], "answering": [58], "confirmed": [1],
    }  # fmt: skip
    given = {name: np.array(values) for name, values in (usual | columns).items()}
    return Claims(**(given | {"confirmed": given["confirmed"].astype(np.bool_)}))


def test_a_form_within_its_register_raises_nothing() -> None:
    assert check_claims(claims()) == []
    # One machine more than the register allows may be a matter of the day on which it was filled in.
    assert check_claims(claims(declared_networked=[61])) == []
    assert (
        check_claims(claims(declared_total=[UNKNOWN], declared_digital=[UNKNOWN], declared_networked=[UNKNOWN])) == []
    )
    assert check_claims(claims(declared_networked=[99], confirmed=[0], answering=[500])) == []


@pytest.mark.parametrize(
    ("columns", "severity", "words"),
    [
        ({"declared_networked": [62]}, Severity.WARNING, "填报联网率 62.0%,高于台账允许的上限 60.0%"),
        ({"declared_digital": [80]}, Severity.WARNING, "填报数控化率 80.0%,高于台账允许的上限 75.0%"),
        ({"declared_networked": [101]}, Severity.ERROR, "填报的联网设备 101 台多于设备总数 100 台"),
        ({"declared_digital": [101]}, Severity.ERROR, "填报的数字化设备 101 台"),
        ({"answering": [103]}, Severity.WARNING, "有 103 台生产设备在线应答,台账只登记了 100 台"),
    ],
)
def test_a_rate_above_what_the_register_allows_is_found(
    columns: dict[str, list[int]], severity: Severity, words: str
) -> None:
    (finding,) = check_claims(claims(**columns))
    assert (finding.check, finding.severity, finding.row) == (Check.RATE_ABOVE_REGISTER, severity, 0)
    assert words in finding.reason.zh
    assert finding.reason.en


def test_a_cnc_claimed_but_never_identified_is_found() -> None:
    kinds = list(Identified)
    claimed = np.ones(len(kinds), np.bool_)
    long = np.full(len(kinds), CLAIM_DAYS)
    found = check_cnc(claimed, np.array(kinds), long)
    assert [(f.row, f.severity) for f in found] == [
        (Identified.AS_OTHER, Severity.ERROR),
        (Identified.NOT_SAID, Severity.WARNING),
        (Identified.METER_ONLY, Severity.INFO),
    ]
    assert "30 天" in found[1].reason.zh
    assert "30 days" in found[2].reason.en
    # Too early to tell, except where it says that it is something else; and who claims nothing owes nothing.
    assert [f.row for f in check_cnc(claimed, np.array(kinds), long - 1)] == [Identified.AS_OTHER]
    assert check_cnc(~claimed, np.array(kinds), long) == []


def test_severities_have_words() -> None:
    assert [(s.label.zh, s.label.en) for s in Severity] == [
        ("提示", "note"),
        ("待核", "to be checked"),
        ("错误", "error"),
    ]
