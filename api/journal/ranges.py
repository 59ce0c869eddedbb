"""Which sequences of an epoch have arrived: few integers, whatever their number."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

from api.journal.batch import Batch


class Received:
    """Sequences of one (gateway, epoch) as sorted, disjoint, closed ranges."""

    __slots__ = ("_first", "_last", "floor")

    def __init__(self, ranges: Iterable[tuple[int, int]] = (), floor: int | None = None) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        self.floor = floor
        """The epoch's first sequence, once a batch has said that nothing of its epoch precedes it."""
        for first, last in sorted(ranges):
            self.add(first, last)

    def __contains__(self, sequence: int) -> bool:
        at = bisect_right(self._first, sequence) - 1
        return at >= 0 and sequence <= self._last[at]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(list(self._first), list(self._last), strict=True)

    def add(self, first: int, last: int | None = None) -> None:
        """Add one sequence, or `[first, last]`."""
        last = first if last is None else last
        if self._last and first == self._last[-1] + 1:  # the usual case: the next one
            self._last[-1] = last
            return
        left = bisect_right(self._last, first - 2)
        right = bisect_right(self._first, last + 1)
        if left < right:
            first = min(first, self._first[left])
            last = max(last, self._last[right - 1])
        self._first[left:right] = [first]
        self._last[left:right] = [last]

    def holes(self, up_to: int, limit: int) -> list[tuple[int, int]]:
        """The first `limit` ranges that are lacking among the sequences from the floor (or 1) to `up_to`."""
        found: list[tuple[int, int]] = []
        expected = 1 if self.floor is None else self.floor
        for first, last in zip(self._first, self._last, strict=True):
            if first > up_to or len(found) == limit:
                break
            if first > expected:
                found.append((expected, first - 1))
            expected = max(expected, last + 1)
        if expected <= up_to and len(found) < limit:
            found.append((expected, up_to))
        return found


MAX_HOLES: Final = 16


class Receipts:
    """What was received of every (gateway, epoch)."""

    def __init__(self, ranges: dict[tuple[str, int], Received] | None = None) -> None:
        self.ranges: dict[tuple[str, int], Received] = {} if ranges is None else ranges

    def of(self, gateway: str, epoch: int) -> Received:
        """What was received of one epoch."""
        return self.ranges.setdefault((gateway, epoch), Received())

    def has(self, gateway: str, epoch: int, sequence: int) -> bool:
        """Whether a batch, or a gap in its stead, was received."""
        received = self.ranges.get((gateway, epoch))
        return received is not None and sequence in received

    def mark(self, gateway: str, epoch: int, sequence: int, previous: tuple[int, int] | None) -> None:
        """A batch was received that names the one before it."""
        received = self.of(gateway, epoch)
        received.add(sequence)
        if previous is None or previous[0] != epoch:
            received.floor = sequence if received.floor is None else min(received.floor, sequence)

    def missing(self, batch: Batch) -> list[tuple[int, int, int]]:
        """(epoch, first, last) of what is lacking before a batch, at most 16 ranges."""
        if batch.previous is None:
            return []
        epoch, sequence = batch.previous
        holes = self.of(batch.gateway, epoch).holes(sequence, MAX_HOLES)
        return [(epoch, first, last) for first, last in holes]
