"""Sets of time as sorted, disjoint intervals `[start, end)` in ns. Pure functions on short lists."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

Span = tuple[int, int]
OPEN_END: Final = 1 << 62
"""End of an interval that goes on until somebody ends it."""


def moved(at: int, by: int, since: int) -> int:
    """An instant, `by` later where it is at or after `since` and no open end."""
    return at + by if since <= at < OPEN_END else at


def add(spans: list[Span], start: int, end: int) -> None:
    """Unite an interval with the set, in place. Intervals that touch become one."""
    if end <= start:
        return
    if not spans or start > spans[-1][1]:
        spans.append((start, end))
        return
    last_start, last_end = spans[-1]
    if start >= last_start:
        if end > last_end:
            spans[-1] = (last_start, end)
        return
    first = bisect_left(spans, start, key=lambda s: s[1])
    after = first
    while after < len(spans) and spans[after][0] <= end:
        start, end = min(start, spans[after][0]), max(end, spans[after][1])
        after += 1
    spans[first:after] = [(start, end)]


def cut(spans: list[Span], start: int, end: int = OPEN_END) -> None:
    """Take an interval out of the set, in place."""
    kept: list[Span] = []
    for a, b in spans:
        if b <= start or a >= end:
            kept.append((a, b))
            continue
        if a < start:
            kept.append((a, start))
        if b > end:
            kept.append((end, b))
    spans[:] = kept


def clipped(spans: Sequence[Span], start: int, end: int) -> list[Span]:
    """The part of the set inside `[start, end)`."""
    return [(max(a, start), min(b, end)) for a, b in spans if a < end and b > start]


def intersection(left: Sequence[Span], right: Sequence[Span]) -> list[Span]:
    """What both sets cover."""
    found: list[Span] = []
    i = j = 0
    while i < len(left) and j < len(right):
        start, end = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if start < end:
            found.append((start, end))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return found


def total(spans: Sequence[Span]) -> int:
    """Length of the set in ns."""
    return sum(b - a for a, b in spans)
