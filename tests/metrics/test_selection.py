"""The smallest set of machines equals exhaustive search on small plants."""

from __future__ import annotations

import time
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.selection import smallest_set


def rate(machines: list[tuple[bool, bool, bool, int, int]], chosen: tuple[int, ...], by_mean: bool) -> Fraction | None:
    """The rate by its definition, machine by machine: (counted, shown, free, weight, enterprise)."""
    shares: dict[int, list[tuple[int, int]]] = {}
    for i, (counted, shown, _, weight, enterprise) in enumerate(machines):
        if counted and weight >= 0:
            shares.setdefault(enterprise if by_mean else 0, []).append((weight if shown or i in chosen else 0, weight))
    rates = [Fraction(sum(a for a, _ in x), sum(b for _, b in x)) for x in shares.values() if sum(b for _, b in x)]
    return sum(rates, Fraction(0)) / len(rates) if rates else None


MACHINE = st.tuples(st.booleans(), st.booleans(), st.booleans(), st.integers(-1, 6), st.integers(0, 2))


@given(st.lists(MACHINE, max_size=8), st.integers(0, 12), st.booleans(), st.booleans())
@settings(max_examples=250, deadline=None)
def test_it_equals_exhaustive_search(
    machines: list[tuple[bool, bool, bool, int, int]], twelfths: int, by_mean: bool, by_value: bool
) -> None:
    if not by_value:
        machines = [(c, s, f, 1, e) for c, s, f, _, e in machines]
    goal = Fraction(twelfths, 12)
    counted, shown, free, weight, enterprise = (
        np.array(column) for column in (zip(*machines, strict=True) if machines else [[]] * 5)
    )
    got = smallest_set(
        counted.astype(np.bool_),
        shown.astype(np.bool_),
        free.astype(np.bool_),
        goal,
        weight.astype(np.int64) if by_value else None,
        enterprise.astype(np.int64) if by_mean else None,
    )
    may = [i for i, (c, s, f, _, _) in enumerate(machines) if c and not s and f]
    before = rate(machines, (), by_mean)
    assert got.before == before
    if before is None:
        assert not got.reached
        return
    sizes = [
        k
        for k in range(len(may) + 1)
        if any((r := rate(machines, chosen, by_mean)) is not None and r >= goal for chosen in combinations(may, k))
    ]
    assert got.reached == bool(sizes)
    assert set(got.rows.tolist()) <= set(may)
    assert got.after == rate(machines, tuple(got.rows.tolist()), by_mean)
    if sizes:
        assert len(got.rows) == sizes[0]


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(-1, 6), st.integers(0, 9)), max_size=8),
    st.integers(0, 12),
)
@settings(max_examples=150, deadline=None)
def test_machines_replaced_by_others_of_another_value_equal_exhaustive_search(
    machines: list[tuple[bool, bool, int, int]], twelfths: int
) -> None:
    goal = Fraction(twelfths, 12)
    shown, free, old, new = (np.array(column) for column in (zip(*machines, strict=True) if machines else [[]] * 4))
    got = smallest_set(
        np.ones(len(machines), np.bool_),
        shown.astype(np.bool_),
        free.astype(np.bool_),
        goal,
        old.astype(np.int64),
        new_weight=new.astype(np.int64),
    )

    def share(chosen: tuple[int, ...]) -> Fraction:
        values = [(n if i in chosen else o, s or i in chosen) for i, (s, _, o, n) in enumerate(machines) if o >= 0]
        return Fraction(sum(v for v, counts in values if counts), sum(v for v, _ in values))

    if sum(o for _, _, o, _ in machines if o >= 0) == 0:
        assert (got.before, got.reached) == (None, False)
        return
    may = [i for i, (s, f, o, n) in enumerate(machines) if not s and f and o >= 0 and n > 0]
    sizes = [k for k in range(len(may) + 1) if any(share(c) >= goal for c in combinations(may, k))]
    assert got.reached == bool(sizes)
    assert (got.before, got.after) == (share(()), share(tuple(got.rows.tolist())))
    if sizes:
        assert len(got.rows) == sizes[0]


def test_replacing_by_dearer_machines_needs_fewer() -> None:
    """Two numerical machines of 100 among ten; eight to replace by machines of 400: two make 1000 of 1600."""
    counted, shown = np.ones(10, np.bool_), np.arange(10) < 2
    hundred = np.full(10, 100)
    got = smallest_set(counted, shown, counted, 0.6, hundred, new_weight=hundred * 4)
    assert (got.rows.tolist(), got.before, got.after) == ([2, 3], Fraction(1, 5), Fraction(5, 8))
    assert len(smallest_set(counted, shown, counted, 0.6, hundred).rows) == 4
    together = smallest_set(counted, shown, counted, 0.6, hundred, np.zeros(10, np.int64), hundred * 4)
    assert (together.rows.tolist(), together.after) == ([2, 3], Fraction(5, 8))


REPLACED = st.tuples(st.booleans(), st.booleans(), st.integers(-1, 9), st.integers(0, 9), st.integers(0, 2))


@given(st.lists(REPLACED, max_size=8), st.integers(0, 12))
@settings(max_examples=250, deadline=None)
def test_replacing_under_the_mean_of_enterprises_equals_exhaustive_search(
    machines: list[tuple[bool, bool, int, int, int]], twelfths: int
) -> None:
    goal = Fraction(twelfths, 12)
    shown, free, old, new, enterprise = (
        np.array(column) for column in (zip(*machines, strict=True) if machines else [[]] * 5)
    )
    got = smallest_set(
        np.ones(len(machines), np.bool_),
        shown.astype(np.bool_),
        free.astype(np.bool_),
        goal,
        old.astype(np.int64),
        enterprise.astype(np.int64),
        new.astype(np.int64),
    )
    worth = {e: sum(o for _, _, o, _, of in machines if of == e and o >= 0) for e in range(3)}
    held = [e for e in worth if worth[e] > 0]

    def mean(chosen: tuple[int, ...]) -> Fraction:
        rates = []
        for e in held:
            values = [
                (n if i in chosen else o, s or i in chosen)
                for i, (s, _, o, n, of) in enumerate(machines)
                if o >= 0 and of == e
            ]
            rates.append(Fraction(sum(v for v, counts in values if counts), sum(v for v, _ in values)))
        return sum(rates, Fraction(0)) / len(rates)

    if not held:
        assert (got.before, got.reached, got.rows.tolist()) == (None, False, [])
        return
    may = [i for i, (s, f, o, n, e) in enumerate(machines) if not s and f and o >= 0 and n > 0 and e in held]
    sizes = [k for k in range(len(may) + 1) if any(mean(c) >= goal for c in combinations(may, k))]
    assert got.reached == bool(sizes)
    assert set(got.rows.tolist()) <= set(may)
    assert (got.before, got.after) == (mean(()), mean(tuple(got.rows.tolist())))
    assert len(got.rows) == (sizes[0] if sizes else len(may))


def test_the_best_pair_to_replace_need_not_hold_the_best_single_machine() -> None:
    """Machines of 9, 3 and 2 by ones of 2, 5 and 6: alone the third is best, 6/18; together the first two, 7/9."""
    old, new = np.array([9, 3, 2]), np.array([2, 5, 6])
    every, none, one = np.ones(3, np.bool_), np.zeros(3, np.bool_), np.zeros(3, np.int64)
    for target, rows in ((Fraction(1, 3), [2]), (Fraction(7, 9), [0, 1]), (Fraction(8, 10), [0, 1, 2])):
        assert smallest_set(every, none, every, target, old, one, new).rows.tolist() == rows


def test_sixty_per_cent_of_ten_machines_needs_six() -> None:
    counted = np.ones(10, np.bool_)
    shown = np.arange(10) < 4
    got = smallest_set(counted, shown, counted, 0.6)
    assert got.rows.tolist() == [4, 5]
    assert (got.before, got.after, got.reached) == (Fraction(2, 5), Fraction(3, 5), True)


def test_the_mean_of_enterprises_is_raised_where_plants_are_small() -> None:
    enterprise = np.array([0] * 8 + [1, 1])
    counted, nothing = np.ones(10, np.bool_), np.zeros(10, np.bool_)
    assert smallest_set(counted, nothing, counted, 0.5, enterprise=enterprise).rows.tolist() == [8, 9]
    assert len(smallest_set(counted, nothing, counted, 0.5).rows) == 5


def test_a_target_out_of_reach_says_how_far_it_goes() -> None:
    counted = np.ones(4, np.bool_)
    got = smallest_set(counted, np.zeros(4, np.bool_), np.array([True, False, False, False]), 0.5)
    assert (got.reached, got.rows.tolist(), got.after) == (False, [0], Fraction(1, 4))
    with pytest.raises(ValueError, match="expected 0 to 1"):
        smallest_set(counted, counted, counted, 60.0)
    with pytest.raises(ValueError, match="unequal length"):
        smallest_set(counted, counted[:2], counted, 0.5)


def test_a_countys_machines_by_value_and_mean_are_chosen_in_seconds() -> None:
    rng = np.random.default_rng(8)
    n = 20_000
    counted, shown = np.ones(n, np.bool_), rng.random(n) < 0.5
    began = time.process_time()
    got = smallest_set(counted, shown, counted, 0.8, rng.integers(1, 10**10, n), rng.integers(0, 600, n))
    assert got.reached
    assert got.after is not None
    assert got.after >= Fraction(4, 5)
    assert time.process_time() - began < 20
