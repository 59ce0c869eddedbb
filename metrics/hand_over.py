"""The hole that a change of hardware leaves in a counter, settled from the two readings around it.

New hardware has not seen the old one's last counter value: what a meter counted from the last that the old one recorded
to the first that the new one read is in no record's `quantity`. The meter knows it: the difference of the last reading
before the hand-over and the first one after it, less what records between them say, is what is missing.

It is settled as a marked estimate: its sum is exact, its place in time is not. It goes to the local days in proportion
to the time that no record's quantity covers, integers exact, the remainder to the last day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from metrics.days import DAY_COLUMNS, NEVER, DayStates, merge
from metrics.record import (
    DAY_S,
    TENTHS_PER_S,
    THOUSANDTHS,
    UNKNOWN_READING,
    Flag,
    Records,
    local_day,
    local_day_start_s,
)
from metrics.timeline import in_order

SETTLED: Final = 1 << 31
"""Bit of the day states' `flags`, never of a record's: part of the quantity settles the hole of a hand-over."""

_S_PER_H: Final = 3600
_STEP: Final = 1_000 * THOUSANDTHS
_PER_H: Final = 100_000 * THOUSANDTHS
"""What no counter of a plant exceeds, a step and more in each hour: as gateways judge a counter without a maximum."""
_TIMES_FASTEST: Final = 10
"""How much faster than anything recorded around it a hole may have been counted; beyond, the scale has changed."""
_NEVER_COLUMNS: Final = tuple(c.name for c in DAY_COLUMNS if c.name.startswith(("first_", "last_")))


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a hole that falls on one local day."""

    day: int
    quantity: int
    """0.001 of the unit."""
    span_s: int
    """Time of that day between the readings that no record's quantity covers."""


@dataclass(frozen=True, slots=True)
class Hole:
    """What one device's counter counted around a hand-over and no record holds. Readings in 0.001 of the unit."""

    device: int
    from_s: int
    """End of the window that holds the last reading before, s UTC."""
    to_s: int
    """End of the window that holds the first reading after."""
    before: int
    after: int
    recorded: int
    """What records between the readings say, 0.001 of the unit."""
    shares: tuple[Share, ...]
    """By day, ascending; days that records cover are left out."""

    @property
    def missing(self) -> int:
        """What is settled, 0.001 of the unit."""
        return self.after - self.before - self.recorded

    @property
    def days(self) -> tuple[int, int]:
        """Local days of the windows of the two readings."""
        return int(local_day(self.from_s - 1)), int(local_day(self.to_s - 1))


def holes(records: Records, position: NDArray[np.int64] | None, hand_overs_s: Sequence[int]) -> list[Hole]:
    """The holes of all devices, by device and time.

    Parameters: `records` all that are known of the devices from the day of the reading before to that of the
    reading after, any order; `position` (n,) of each in the journal, None: as given; `hand_overs_s` when new hardware
    took over, s UTC.

    A hole lies between a device's last reading before a hand-over and its first one from there on; several
    hand-overs between two readings are one. There is none where the difference is not more than what records say (the
    chain went on, or the counter started again or wrapped), where a reset or replacement is flagged between, where
    records cover all of the time, or where it is more than the counter can have counted: at most 1,000 units and
    100,000 an hour, nor ten times the fastest that any record of those days says, taken for an hour more.
    """
    r = in_order(records, position)
    known = np.flatnonzero(r.reading != UNKNOWN_READING)
    if len(known) < 2:
        return []
    since = np.searchsorted(np.unique(np.asarray(hand_overs_s, np.int64)), r.start[known], side="right")
    pairs = np.flatnonzero((r.device[known][1:] == r.device[known][:-1]) & (since[1:] > since[:-1]))
    found = (_hole(r, int(known[k]), int(known[k + 1])) for k in pairs.tolist())
    return [hole for hole in found if hole is not None]


def _hole(r: Records, i: int, j: int) -> Hole | None:
    """The hole between the readings of rows i and j of one device; None where there is none."""
    if (np.bitwise_or.reduce(r.flags[i : j + 1]) & np.uint32(Flag.COUNTER_RESET | Flag.COUNTER_REPLACED)) != 0:
        return None
    between = slice(i + 1, j + 1)
    recorded = int(r.quantity[between].sum())
    before, after = int(r.reading[i]), int(r.reading[j])
    missing = after - before - recorded
    if missing <= 0:
        return None
    from_s, to_s = (int(r.start[k]) + int(r.length[k]) // TENTHS_PER_S for k in (i, j))
    open_s = _open_s(from_s, to_s, r.start[between], r.quantity_span[between])
    if not open_s or missing > _most(r, i, j, sum(open_s.values())):
        return None
    return Hole(int(r.device[i]), from_s, to_s, before, after, recorded, _split(missing, open_s))


def _open_s(from_s: int, to_s: int, start: NDArray[np.int64], span_s: NDArray[np.uint32]) -> dict[int, int]:
    """Time from `from_s` to `to_s` that no span covers, by local day, where there is any. A span lies in one day."""
    covered = dict[int, int]()
    for day, seconds in zip(local_day(start).tolist(), span_s.tolist(), strict=True):
        covered[day] = covered.get(day, 0) + seconds
    found: dict[int, int] = {}
    for day in range(int(local_day(from_s)), int(local_day(to_s - 1)) + 1):
        start_s = local_day_start_s(day)
        open_s = min(to_s, start_s + DAY_S) - max(from_s, start_s) - covered.get(day, 0)
        if open_s > 0:
            found[day] = open_s
    return found


def _most(r: Records, i: int, j: int, open_s: int) -> int:
    """The most that the counter can have counted in a hole of `open_s`."""
    most = _STEP + _PER_H * open_s // _S_PER_H
    first_s = local_day_start_s(int(local_day(int(r.start[i]))))
    end_s = local_day_start_s(int(local_day(int(r.start[j]))) + 1)
    around = (r.device == r.device[i]) & (r.start >= first_s) & (r.start < end_s) & (r.quantity_span > 0)
    # a meter that counts in whole units jumps by one in a second: slower than a window nothing is told
    seconds = np.maximum(r.quantity_span[around].astype(np.int64), r.length[around] // TENTHS_PER_S)
    counted = np.minimum(r.quantity[around], _PER_H * _S_PER_H)  # no product leaves 63 bits
    per_h = int((counted * _S_PER_H // seconds).max(initial=0))
    return min(most, _TIMES_FASTEST * per_h * (open_s + _S_PER_H) // _S_PER_H) if per_h else most


def _split(missing: int, open_s: dict[int, int]) -> tuple[Share, ...]:
    whole_s, last = sum(open_s.values()), max(open_s)
    parts = {day: missing * seconds // whole_s for day, seconds in open_s.items() if day != last}
    parts[last] = missing - sum(parts.values())
    return tuple(Share(day, parts[day], seconds) for day, seconds in open_s.items())


def settlement(found: Iterable[Hole], day: int) -> DayStates:
    """What holes add to one local day, to be merged with its day states: quantity, its span, marked as estimated.

    A device that nobody looked at on that day gets a row by it: of no record, observed for no time.
    """
    return merge(*(_row(hole.device, share) for hole in found for share in hole.shares if share.day == day))


def _row(device: int, share: Share) -> DayStates:
    row = {c.name: 0 for c in DAY_COLUMNS} | dict.fromkeys(_NEVER_COLUMNS, NEVER)
    row |= {"day": share.day, "device": device, "flags": int(Flag.ESTIMATED) | SETTLED}
    row |= {"quantity": share.quantity, "quantity_estimated": share.quantity, "quantity_span_s": share.span_s}
    return DayStates(**{c.name: np.array([row[c.name]], c.dtype) for c in DAY_COLUMNS})
