"""Coalescing: few requests, never a torn block, and what a device refuses is read in pieces."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.modbus.plan import Request, polls_of
from tests.collectors.modbus.test_codec import profile


def points(*at: int, **more: Any) -> list[dict[str, Any]]:
    return [{"tag": f"p{n}", "unit": "1", "at": n, "type": "u16"} | more for n in at]


def requests(*args: Any, **more: Any) -> list[tuple[int, int, int]]:
    (poll,) = polls_of(profile(*args, **more))
    return [(r.function, r.address, r.count) for r in poll.requests]


def test_neighbours_and_small_gaps_come_by_one_request() -> None:
    assert requests(points(100, 101, 110), gap_limit=8) == [(3, 100, 11)]
    assert requests(points(100, 101, 110), gap_limit=7) == [(3, 100, 2), (3, 110, 1)]


def test_the_order_in_the_profile_does_not_matter() -> None:
    assert requests(points(110, 100, 101), gap_limit=8) == [(3, 100, 11)]


def test_no_request_is_longer_than_the_limit() -> None:
    assert requests(points(*range(200))) == [(3, 0, 125), (3, 125, 75)]
    assert requests(points(*range(200)), max_registers=50) == [(3, 50 * n, 50) for n in range(4)]


def test_a_value_of_several_registers_is_never_split() -> None:
    subject = [{"tag": f"p{n}", "unit": "1", "at": 2 * n, "type": "f32"} for n in range(63)]
    assert requests(subject) == [(3, 0, 124), (3, 124, 2)]


def test_a_block_is_never_torn() -> None:
    body = points(*range(100, 220))
    energy = [
        {"tag": "energy_import", "at": 222, "type": "u32", "block": "energy"},
        {"tag": "energy_export", "at": 226, "type": "u32", "block": "energy"},
    ]
    assert requests(body + energy) == [(3, 100, 120), (3, 222, 6)]


def test_tables_are_read_by_their_own_functions() -> None:
    subject = [
        {"tag": "h", "unit": "1", "at": 0, "type": "u16"},
        {"tag": "i", "unit": "1", "at": 0, "type": "u16", "table": "input"},
        {"tag": "c", "unit": "1", "at": 0, "type": "bit", "table": "coil"},
        {"tag": "d", "unit": "1", "at": 0, "type": "bit", "table": "discrete"},
    ]
    assert requests(subject) == [(1, 0, 1), (2, 0, 1), (3, 0, 1), (4, 0, 1)]


def test_each_rate_has_a_poll_of_its_own() -> None:
    subject = points(0, 1) + points(2, 3, every_s=30)
    polls = polls_of(profile(subject))
    assert [(poll.every_s, poll.requests) for poll in polls] == [
        (1.0, (Request(3, 0, 2),)),
        (30.0, (Request(3, 2, 2),)),
    ]


def test_what_was_refused_is_read_without_its_gaps_and_the_rest_as_before() -> None:
    subject = profile(points(0, 1, 5, 6, 40, 44), gap_limit=8)
    (poll,) = polls_of(subject)
    assert poll.requests == (Request(3, 0, 7), Request(3, 40, 5))
    (poll,) = polls_of(subject, poll.cuts_in(Request(3, 0, 7)))
    assert poll.requests == (Request(3, 0, 2), Request(3, 5, 2), Request(3, 40, 5))
    assert poll.cuts_in(Request(3, 5, 2)) == {(3, 6)}


@given(st.integers(1, 125), st.data())
def test_halving_finds_the_register_that_is_not_there(count: int, data: st.DataObject) -> None:
    """Sixty neighbours of which one does not exist: the others come again after a few refusals, in few requests."""
    missing = data.draw(st.integers(0, count - 1))
    subject = profile(points(*range(count)))
    cuts: frozenset[tuple[int, int]] = frozenset()
    for _ in range(8):
        (poll,) = polls_of(subject, cuts)
        refused = [r for r in poll.requests if r.address <= missing < r.address + r.count]
        assert len(refused) == 1
        if refused[0].count == 1:
            break
        cuts |= poll.cuts_in(refused[0])
    assert refused == [Request(3, missing, 1)]
    assert not poll.cuts_in(refused[0])
    assert len(poll.requests) <= 8


def test_a_block_and_bits_of_one_word_are_never_cut() -> None:
    energy = [
        {"tag": "energy_import", "at": 0, "type": "u32", "block": "energy"},
        {"tag": "energy_export", "at": 4, "type": "u32", "block": "energy"},
    ]
    bits = [{"tag": f"b{n}", "unit": "1", "at": 6, "type": "bit", "bit": n} for n in range(3)]
    (poll,) = polls_of(profile(energy + bits))
    assert poll.requests == (Request(3, 0, 7),)
    (poll,) = polls_of(profile(energy + bits), poll.cuts_in(Request(3, 0, 7)))
    assert poll.requests == (Request(3, 0, 6), Request(3, 6, 1))
    assert poll.cuts_in(Request(3, 0, 6)) == poll.cuts_in(Request(3, 6, 1)) == set()


@pytest.mark.parametrize("every_s", [1.0, 5.0])
def test_a_meter_of_forty_values_takes_at_most_three_requests(every_s: float) -> None:
    live = [{"tag": f"v{n}", "unit": "V", "at": 3000 + 2 * n, "type": "f32"} for n in range(34)]
    energy = [{"tag": f"e{n}", "unit": "kWh", "at": 3200 + 4 * n, "type": "i64", "block": "energy"} for n in range(6)]
    assert len(requests(live + energy, every_s=every_s, liveness_s=6 if every_s == 1 else 10)) <= 3


def test_a_hole_is_never_read_over_however_small() -> None:
    with_hole = points(100, 102, 110)
    assert requests(with_hole, gap_limit=8, holes=[{"first": 101, "last": 101}]) == [(3, 100, 1), (3, 102, 9)]
    assert requests(with_hole, gap_limit=8, holes=[{"first": 90, "last": 99}, {"first": 111, "last": 120}]) == [
        (3, 100, 11)
    ]
    in_another_table = [{"first": 101, "last": 101, "table": "input"}]
    assert requests(with_hole, gap_limit=8, holes=in_another_table) == [(3, 100, 11)]


def test_holes_are_in_the_sheet_s_own_numbering() -> None:
    shifted = requests(points(40101, 40103), count_from=40001, holes=[{"first": 40102, "last": 40102}])
    assert shifted == [(3, 100, 1), (3, 102, 1)]
