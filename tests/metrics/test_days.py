"""Day states, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.days import DAY_COLUMNS, DayStates, day_states, merge, read_columns, state_seconds
from metrics.record import Flag, Records
from tests.metrics.records import DAY, START_S, device_day, records


def row(states: DayStates, index: int = 0) -> dict[str, int]:
    return {name: int(column[index]) for name, column in states.columns().items()}


def test_two_minutes_of_one_device_add_up() -> None:
    given = records(
        {"connected": 600, "running": 400, "idle": 200, "quantity": 2000, "quantity_span": 60, "reading": 5000},
        {"start": START_S + 60, "connected": 300, "running": 300, "quantity": 1500, "quantity_span": 60, "parts": 2},
    )
    got = row(day_states(given, None, DAY, 1))
    assert (got["observed"], got["connected"], got["running"], got["idle"]) == (1200, 900, 700, 200)
    assert (got["quantity"], got["quantity_span_s"], got["parts"]) == (3500, 120, 2)
    assert (got["first_connected_s"], got["last_connected_s"]) == (START_S, START_S + 120)
    assert (got["first_reading"], got["last_reading"], got["last_reading_s"]) == (5000, 5000, START_S)


def test_a_device_without_records_has_no_row_and_a_silent_one_has() -> None:
    got = day_states(records({"device": 2}), None, DAY, 5)
    assert got.device.tolist() == [2]
    assert row(got)["observed"] == 600
    assert row(got)["first_connected_s"] == row(got)["last_connected_s"] == -1


def test_of_two_records_of_one_key_the_one_journalled_first_counts() -> None:
    given = records({"connected": 600}, {"connected": 100}, {"connected": 100})
    got = row(day_states(given, np.array([7, 3, 9]), DAY, 1))
    assert (got["connected"], got["duplicates"], got["conflicts"], got["records"]) == (100, 1, 1, 1)


def test_parts_of_a_window_are_capped_at_its_length_and_quantities_are_not() -> None:
    given = records(
        {"observed": 400, "connected": 400, "running": 400, "quantity": 5, "quantity_span": 60},
        {"part": 1, "running": 150, "idle": 100, "quantity": 7, "quantity_span": 60, "flags": int(Flag.ESTIMATED)},
    )
    got = row(day_states(given, None, DAY, 1))
    assert (got["running"], got["idle"], got["connected"]) == (550, 50, 400)
    assert (got["quantity"], got["quantity_estimated"], got["supplements"]) == (12, 7, 1)


def test_a_minute_lived_twice_after_the_clock_was_set_back_counts_once() -> None:
    given = records({"connected": 600, "running": 600}, {"part": 1, "connected": 600, "observed": 600, "running": 600})
    got = row(day_states(given, None, DAY, 1))
    assert (got["observed"], got["connected"], got["running"]) == (600, 600, 600)


def test_windows_of_two_lengths_that_overlap_count_their_common_time_once() -> None:
    given = records(
        {"connected": 600, "running": 600},
        {"start": START_S + 30, "length": 300, "observed": 300, "connected": 300, "idle": 300},
        {"start": START_S + 45, "length": 300, "observed": 300, "connected": 300, "idle": 300},
    )
    got = row(day_states(given, None, DAY, 1))
    assert (got["connected"], got["running"], got["idle"], got["overlaps"]) == (750, 600, 150, 2)


@pytest.mark.parametrize(("window_s", "minutes"), [(10, 1440), (60, 1440), (60, 1437), (60, 64), (900, 1440), (60, 1)])
def test_times_of_whole_days_add_up_however_long_the_windows_are(window_s: int, minutes: int) -> None:
    """Full windows, the largest sums there are, and arbitrary ones, against Python's own integers."""
    windows, tenths = max(1, minutes * 60 // window_s), window_s * 10
    rng = np.random.default_rng(window_s + minutes)
    full, some = np.full(windows, tenths), rng.integers(0, tenths + 1, windows)
    running = np.concatenate([full, some, np.zeros(windows, np.int64)])
    columns = records().columns() | {
        "device": np.repeat([0, 1, 2], windows),
        "start": np.tile(START_S + window_s * np.arange(windows), 3),
        "length": np.tile(full, 3),
        "observed": np.tile(full, 3),
        "connected": running,
        "running": running,
        "reading": np.full(3 * windows, -1),
    }
    zero = np.zeros(3 * windows, np.int64)
    given = Records.from_columns({name: column if len(column) else zero for name, column in columns.items()})
    got = day_states(given, None, DAY, 3)
    expected = [sum(full.tolist()), sum(some.tolist()), 0]
    assert got.running.tolist() == got.connected.tolist() == expected
    assert got.observed.tolist() == [expected[0]] * 3
    alone = state_seconds(given, None, DAY, 3)
    assert {name: alone[name].tolist() for name in alone} == {name: getattr(got, name).tolist() for name in alone}


def test_a_record_of_another_day_is_refused() -> None:
    with pytest.raises(ValueError, match="outside the day"):
        day_states(records({"start": START_S - 60}), None, DAY, 1)
    with pytest.raises(ValueError, match="outside the day"):
        day_states(records({"start": START_S + 86_400}), None, DAY, 1)


def test_a_device_outside_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="the table has 3"):
        day_states(records({"device": 3}), None, DAY, 3)


def test_sums_beyond_63_bits_are_refused_not_wrapped() -> None:
    huge = {"quantity": 2**62, "quantity_span": 60}
    with pytest.raises(OverflowError):
        day_states(records(huge, {**huge, "start": START_S + 60}), None, DAY, 1)


def plant_day(n_devices: int, seed: int = 7) -> Records:
    rng = np.random.default_rng(seed)
    n = n_devices * 1440
    connected = np.where(rng.random(n) < 0.1, rng.integers(0, 600, n), 600)
    running = rng.integers(0, connected + 1)
    quantity = rng.integers(0, 10**7, n)
    columns = {
        "device": np.repeat(np.arange(n_devices), 1440),
        "start": np.tile(START_S + 60 * np.arange(1440), n_devices),
        "length": np.full(n, 600),
        "observed": np.full(n, 600),
        "part": np.zeros(n),
        "connected": connected,
        "running": running,
        "idle": connected - running,
        "fault": np.zeros(n),
        "off": np.zeros(n),
        "quantity": quantity,
        "quantity_idle": quantity // 3,
        "quantity_span": np.full(n, 60),
        "reading": np.where(np.arange(n) % 60 == 5, 10**9 + np.arange(n), -1),
        "parts": rng.integers(0, 5, n),
        "good": rng.integers(0, 2**32, n),
        "bad": rng.integers(0, 3, n),
        "flags": rng.integers(0, 16, n),
    }
    return Records.from_columns(columns)


def test_every_way_to_bring_a_day_in_gives_the_same_bits() -> None:
    """Dense, scattered in time, by minute as it arrived, and with a copy that forces sorting."""
    given = plant_day(5)
    dense = day_states(given, None, DAY, 5)
    assert dense.good.tolist() == given.good.reshape(5, 1440).sum(axis=1, dtype=np.int64).tolist()
    shuffled = np.random.default_rng(1).permutation(len(given))
    by_minute = np.lexsort((given.device, given.start))
    late_tail = np.argsort(np.random.default_rng(2).random(len(given)) < 0.05, kind="stable")
    for order in (shuffled, by_minute, late_tail):
        assert day_states(given.take(order), order, DAY, 5).to_bytes() == dense.to_bytes()
    twice = day_states(given.take(np.append(shuffled, shuffled[:1])), None, DAY, 5)
    for name, column in dense.columns().items():
        if name != "duplicates":
            assert getattr(twice, name).tolist() == column.tolist(), name
    assert int(twice.duplicates.sum()) == 1


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    given = plant_day(5)
    whole = day_states(given, None, DAY, 5).to_bytes()
    for rows in (1, 1439, 1440, 1441, 4000):
        monkeypatch.setattr("metrics.windows.BLOCK_ROWS", rows)
        assert day_states(given, None, DAY, 5).to_bytes() == whole


def test_merge_takes_the_reading_of_the_earliest_and_the_latest_window() -> None:
    morning = device_day(0, first_reading=10, first_reading_s=START_S, last_reading=20, last_reading_s=START_S + 60)
    evening = device_day(
        0, first_reading=5, first_reading_s=START_S + 120, last_reading=8, last_reading_s=START_S + 180
    )
    unread = device_day(0)
    for order in ((morning, evening, unread), (unread, evening, morning), (evening, unread, morning)):
        got = row(merge(*order))
        assert (got["first_reading"], got["last_reading"], got["last_reading_s"]) == (10, 8, START_S + 180)


def test_devices_of_two_gateways_join_in_one_table() -> None:
    first = day_states(records({"device": 0}, {"device": 1, "connected": 600}), None, DAY, 2)
    moved = first.with_devices(np.array([9, 4], np.uint32))
    assert moved.device.tolist() == [4, 9]
    assert moved.connected.tolist() == [600, 0]
    with pytest.raises(ValueError, match="one index"):
        first.with_devices(np.array([3, 3], np.uint32))


def test_bytes_are_stable_and_anything_else_is_refused() -> None:
    states = day_states(plant_day(2), None, DAY, 2)
    raw = states.to_bytes()
    assert DayStates.from_bytes(raw).to_bytes() == raw
    assert len(raw) == 16 + 2 * sum(np.dtype(c.dtype).itemsize for c in DAY_COLUMNS)
    for broken in (b"", raw[:-1], raw + b"x", b"XXXX" + raw[4:]):
        with pytest.raises(ValueError):
            DayStates.from_bytes(broken)


def many_states(seed: int) -> list[bytes]:
    """Day states of several lengths, none among them, in mixed order."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(20):
        devices = np.flatnonzero(rng.random(int(rng.choice((1, 4, 4, 9)))) < 0.8).astype(np.uint32)
        columns = {c.name: rng.integers(0, 1000, len(devices)).astype(c.dtype) for c in DAY_COLUMNS}
        made.append(
            DayStates(**(columns | {"day": np.full(len(devices), DAY, np.int32), "device": devices})).to_bytes()
        )
    return made


@pytest.mark.parametrize("seed", range(5))
def test_many_read_at_once_are_what_each_is_read_alone(seed: int) -> None:
    raws = many_states(seed)
    columns, place = read_columns(raws, {"day", "device", "quantity", "flags", "first_connected_s"})
    assert set(columns) == {"day", "device", "quantity", "flags", "first_connected_s"}
    assert len(place) == sum(len(DayStates.from_bytes(raw)) for raw in raws)
    for i, raw in enumerate(raws):
        alone = DayStates.from_bytes(raw)
        for name, column in columns.items():
            assert column[place == i].tolist() == getattr(alone, name).tolist(), name
            assert column.dtype == getattr(alone, name).dtype


def test_nothing_read_at_once_is_nothing() -> None:
    columns, place = read_columns([], {"day", "device", "parts"})
    assert {name: len(column) for name, column in columns.items()} == {"day": 0, "device": 0, "parts": 0}
    assert len(place) == 0


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("wrong", ["magic", "order", "length"])
def test_one_that_is_no_day_states_among_many_is_told(wrong: str, at: int) -> None:
    good = DayStates(
        **{c.name: np.arange(3).astype(c.dtype) for c in DAY_COLUMNS if c.name != "day"}, day=np.full(3, DAY, np.int32)
    )
    raw = {
        "magic": b"XXXX" + good.to_bytes()[4:],
        "order": good.take(np.array([1, 0, 2])).to_bytes(),
        "length": good.to_bytes()[:-1],
    }[wrong]
    raws = [good.to_bytes()] * 3
    raws[at] = raw
    with pytest.raises(ValueError, match=r"day states"):
        read_columns(raws, {"day", "device"})
