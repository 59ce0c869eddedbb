"""A machine's clock is called wrong when it stays wrong, and right when it stays right."""

from __future__ import annotations

import numpy as np

from collectors.opcua.clocks import Clocks

S = 1_000_000_000
NOW = 1_800_000_000 * S


def said(clocks: Clocks, *ahead_s: float | None) -> list[tuple[int, float | None]]:
    newest = np.array([0 if s is None else NOW + round(s * S) for s in ahead_s], np.int64)
    return list(clocks.look(newest, NOW))


def test_a_clock_that_is_off_three_times_in_a_row_is_wrong_and_told_once() -> None:
    clocks = Clocks(2, 60.0)
    assert [said(clocks, -0.4, 90.0) for _ in range(5)] == [[], [], [(1, 90.0)], [], []]


def test_one_late_value_among_fresh_ones_is_no_wrong_clock() -> None:
    clocks = Clocks(1, 60.0)
    assert not any(said(clocks, behind) for behind in (-300.0, -0.5, -300.0, -300.0, -0.2, -300.0))


def test_a_clock_that_was_set_is_right_again() -> None:
    clocks = Clocks(1, 60.0)
    for _ in range(3):
        last = said(clocks, -3_600.0)
    assert last == [(0, -3_600.0)]
    assert [said(clocks, -0.3) for _ in range(3)] == [[], [], [(0, None)]]


def test_a_publication_without_a_value_of_a_machine_says_nothing_of_its_clock() -> None:
    clocks = Clocks(1, 60.0)
    assert [said(clocks, ahead) for ahead in (70.0, None, 70.0, None, 70.0)][-1] == [(0, 70.0)]
