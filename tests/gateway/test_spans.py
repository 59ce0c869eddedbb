from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway import spans

intervals = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=12)


def covered(of: list[tuple[int, int]]) -> set[int]:
    return {i for a, b in of for i in range(a, b)}


def built(of: list[tuple[int, int]]) -> list[tuple[int, int]]:
    united: list[tuple[int, int]] = []
    for a, b in of:
        spans.add(united, a, b)
    return united


@given(intervals)
def test_a_set_of_time_covers_what_was_added_in_any_order(added: list[tuple[int, int]]) -> None:
    united = built(added)
    assert covered(united) == covered(added)
    assert spans.total(united) == len(covered(added))
    assert all(a < b for a, b in united)
    assert all(first[1] < second[0] for first, second in itertools.pairwise(united))


@given(intervals, st.integers(0, 40), st.integers(0, 40))
def test_cutting_and_clipping_are_complementary(added: list[tuple[int, int]], start: int, end: int) -> None:
    united = built(added)
    inside = covered(spans.clipped(united, start, end)) if start < end else set()
    spans.cut(united, start, max(start, end))
    assert covered(united) == covered(added) - set(range(start, end))
    assert inside == covered(added) & set(range(start, end))


@given(intervals, intervals)
def test_intersection_is_what_both_cover(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    assert covered(spans.intersection(built(left), built(right))) == covered(left) & covered(right)
