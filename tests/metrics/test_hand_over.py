"""Holes of hand-overs: which gaps count, how much they hold, on which days it falls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from metrics.days import day_states, merge
from metrics.hand_over import SETTLED, Hole, Share, holes, settlement
from metrics.record import Flag, Records, local_day_start_s
from tests.metrics.records import DAY, START_S, records

NOON_S = START_S + 12 * 3600
"""The hand-over, unless a test says otherwise."""


def row(at_s: int, quantity: int = 0, reading: int = -1, **more: int) -> dict[str, int]:
    """One minute of a device that is counted; without a quantity nothing is known of the counter."""
    span = {"quantity_span": 60} if quantity else {}
    return {"start": at_s, "quantity": quantity, "reading": reading} | span | more


OLD = (row(NOON_S - 7200, 100, 5_000), row(NOON_S - 7140, 100), row(NOON_S - 7080, 100))
"""Read at 10:00, counted until 10:03, then dead."""
NEW = (row(NOON_S + 600, 90, 20_000, quantity_span=58), row(NOON_S + 660, 100))
"""Its first minute begins at 12:10."""


def found(*rows: dict[str, int], hand_overs: tuple[int, ...] = (NOON_S,)) -> list[Hole]:
    return holes(records(*rows), None, hand_overs)


def test_the_hole_is_the_difference_of_the_readings_less_what_records_say() -> None:
    (hole,) = found(*OLD, *NEW)
    assert (hole.from_s, hole.to_s, hole.before, hole.after) == (NOON_S - 7140, NOON_S + 660, 5_000, 20_000)
    assert (hole.recorded, hole.missing) == (100 + 100 + 90, 14_710)
    assert hole.shares == (Share(DAY, 14_710, 7800 - 60 - 60 - 58),)


def test_what_was_counted_at_and_after_the_readings_is_in_neither_end() -> None:
    more = (*OLD, *NEW, row(NOON_S - 7260, 999), row(NOON_S + 720, 999))
    assert found(*more) == found(*OLD, *NEW)


def test_nothing_is_settled_without_a_hand_over_between_the_readings() -> None:
    assert found(*OLD, *NEW, hand_overs=()) == []
    for turn in (NOON_S - 7200, NOON_S + 660):
        assert found(*OLD, *NEW, hand_overs=(turn,)) == [], "a gap for another reason"
    assert len(found(*OLD, *NEW, hand_overs=(NOON_S + 600,))) == 1, "the first reading may be the hand-over's minute"


def test_a_hand_over_needs_a_reading_on_both_sides_and_two_without_one_between_are_one() -> None:
    assert found(*OLD) == found(*NEW) == []
    twice = found(*OLD, *NEW, hand_overs=(NOON_S, NOON_S + 300))
    assert twice == found(*OLD, *NEW)
    middle = row(NOON_S + 120, 0, 9_000)
    both = found(*OLD, middle, *NEW, hand_overs=(NOON_S, NOON_S + 300))
    assert [hole.missing for hole in both] == [3_800, 10_910]
    assert sum(hole.missing for hole in both) == found(*OLD, *NEW)[0].missing


def test_a_chain_that_went_on_leaves_no_hole() -> None:
    """The card was moved into the new box: its first difference reaches back to the old one's last value."""
    assert found(*OLD, row(NOON_S + 600, 14_800, 20_000, quantity_span=7620)) == []


@pytest.mark.parametrize("flag", [Flag.COUNTER_RESET, Flag.COUNTER_REPLACED])
@pytest.mark.parametrize("at", range(4))
def test_a_counter_that_started_again_or_was_replaced_is_not_estimated(flag: Flag, at: int) -> None:
    rows: list[dict[str, int]] = [*OLD, NEW[0]]
    rows[at] = rows[at] | {"flags": int(flag)}
    assert found(*rows) == []


def test_a_reading_that_fell_is_a_reset_or_a_wrap_and_is_not_estimated() -> None:
    assert found(*OLD, row(NOON_S + 600, 90, 4_000)) == []
    assert found(*OLD, row(NOON_S + 600, 90, 5_290)) == [], "nor one that moved as records say"


def test_a_step_that_no_counter_of_a_plant_makes_is_not_estimated() -> None:
    old, new = row(NOON_S - 3600, 0, 5_000), row(NOON_S, 0, 5_000 + 101_000_000)
    assert len(found(old, new)) == 1, "an hour permits 1,000 units and 100,000 an hour"
    assert found(old, row(NOON_S, 0, 5_000 + 101_000_001)) == []


def test_a_reading_on_another_scale_is_told_by_what_the_counter_does_otherwise() -> None:
    """The new plant's file says a transformer ratio that the old one lacked: eighty times the reading."""
    seconds = 7800 - 60 - 60 - 58
    most = 10 * 6_000 * (seconds + 3600) // 3600  # 100 in a minute are 6,000 an hour
    assert len(found(*OLD, row(NOON_S + 600, 90, 5_290 + most, quantity_span=58))) == 1
    assert found(*OLD, row(NOON_S + 600, 90, 5_291 + most, quantity_span=58)) == []
    assert found(*OLD, row(NOON_S + 600, 90, 80 * 5_300, quantity_span=58)) == []


def test_the_share_of_a_day_goes_by_the_time_that_nothing_covers_the_remainder_to_the_last_day() -> None:
    """Dead at 18:00 of the first day, back at 06:00 of the third: 6, 24 and 6 hours."""
    dead_s, back_s = START_S + 18 * 3600, START_S + 54 * 3600
    old = row(dead_s - 60, 50, 1_000)
    new = row(back_s, 0, 1_000 + 1_000)
    (hole,) = found(old, new, hand_overs=(back_s,))
    assert hole.shares == (
        Share(DAY, 1_000 * 21_600 // 129_660, 21_600),
        Share(DAY + 1, 1_000 * 86_400 // 129_660, 86_400),
        Share(DAY + 2, 1_000 - 166 - 666, 21_660),
    )
    assert hole.days == (DAY, DAY + 2)


def test_a_day_that_records_cover_gets_nothing_of_the_hole() -> None:
    old = row(START_S - 120, 10, 1_000)
    last = row(START_S - 60, 10)
    new = row(START_S + 3600, 0, 2_000)
    (hole,) = found(old, last, new, hand_overs=(START_S,))
    assert [(share.day, share.quantity) for share in hole.shares] == [(DAY, 990)]


def test_a_record_that_came_twice_counts_once_and_the_first_journalled_one_counts() -> None:
    rows = records(*OLD, *NEW, row(NOON_S - 7140, 55), OLD[1])
    by_position = holes(rows, np.arange(len(rows)), (NOON_S,))
    assert by_position == found(*OLD, *NEW)
    (other,) = holes(rows, np.array([0, 9, 2, 3, 4, 1, 10]), (NOON_S,))
    assert other.recorded == 55 + 100 + 90


def test_late_batches_of_the_old_hardware_make_the_hole_smaller_and_the_whole_stays() -> None:
    late = (row(NOON_S - 7020, 100), row(NOON_S - 3600, 700, 12_000, quantity_span=3480), row(NOON_S - 3540, 100))
    for count in range(1, 4):
        (hole,) = found(*OLD, *late[:count], *NEW)
        counted = sum(r["quantity"] for r in (*OLD[1:], *late[:count], NEW[0]))
        if count == 1:
            assert counted + hole.missing == 15_000
        else:  # what lies before the old hardware's later reading is no hole of the hand-over any more
            assert hole.before == 12_000
            assert hole.missing == 8_000 - sum(r["quantity"] for r in (*late[2:count], NEW[0]))


def test_devices_are_settled_each_for_itself() -> None:
    def of(device: int, *rows: dict[str, int]) -> list[dict[str, int]]:
        return [r | {"device": device} for r in rows]

    both = found(*of(0, *OLD), *of(1, *OLD, *NEW), *of(2, *NEW))
    assert [hole.device for hole in both] == [1]


def test_what_is_settled_merges_with_the_day_and_is_marked() -> None:
    rows = records(*OLD, *NEW)
    holes_found = holes(rows, None, (NOON_S,))
    raw = day_states(rows, None, DAY, 1)
    whole = merge(raw, settlement(holes_found, DAY))

    def value(name: str, states: Any = whole) -> int:
        return int(getattr(states, name)[0])

    assert len(whole) == 1
    assert value("quantity") == value("quantity", raw) + 14_710
    assert value("quantity_estimated") == 14_710
    assert value("quantity_span_s") == value("quantity_span_s", raw) + 7_622
    assert value("flags") == int(Flag.ESTIMATED) | SETTLED
    settled = ("quantity", "quantity_estimated", "quantity_span_s", "flags")
    for name in raw.columns().keys() - set(settled):
        assert value(name) == value(name, raw), name
    assert merge(raw, settlement(holes_found, DAY + 1)).to_bytes() == raw.to_bytes()


def test_a_day_that_nobody_looked_at_gets_a_row_of_no_record() -> None:
    old, new = row(START_S - 60, 10, 1_000), row(local_day_start_s(DAY + 1), 0, 2_440)
    added = settlement(found(old, new, hand_overs=(local_day_start_s(DAY + 1),)), DAY)
    assert (added.quantity.tolist(), added.quantity_span_s.tolist()) == ([1_439], [86_400])
    assert (added.records.tolist(), added.observed.tolist(), added.last_connected_s.tolist()) == ([0], [0], [-1])
    assert added.first_reading_s.tolist() == [-1]


def test_no_records_no_holes() -> None:
    assert holes(Records.empty(), None, (NOON_S,)) == []
    assert len(settlement([], DAY)) == 0
