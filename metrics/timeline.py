"""Records in order of device and time, each key once: what is needed where the order of windows matters.

Day states do without an order; stops, load profiles and plausibility do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.record import STATE_COLUMNS, TENTHS_PER_S, UNKNOWN_READING, Records


def in_order(records: Records, position: NDArray[np.int64] | None = None) -> Records:
    """The records by device, start and part; of several with one key the one journalled first.

    `position` (n,) of each in the journal, lower is earlier; None: as given. Records already in order are
    returned as they are.
    """
    r = records
    if len(r) < 2 or bool(_later(r).all()):
        return r
    place = np.arange(len(r)) if position is None else position
    r = r.take(np.lexsort((place, r.part, r.start, r.device)))
    first = np.ones(len(r), np.bool_)
    first[1:] = _later(r)
    return r if bool(first.all()) else r.take(first)


def _later(r: Records) -> NDArray[np.bool_]:
    """Whether each row but the first comes after the one before it."""
    same_device = r.device[1:] == r.device[:-1]
    same_start = same_device & (r.start[1:] == r.start[:-1])
    return np.asarray(
        (r.device[1:] > r.device[:-1])
        | (same_device & (r.start[1:] > r.start[:-1]))
        | (same_start & (r.part[1:] > r.part[:-1]))
    )


@dataclass(frozen=True, slots=True)
class Windows:
    """One row per device and window, parts added, times capped at the window. Arrays of length w, in order."""

    device: NDArray[np.int64]
    start_s: NDArray[np.int64]
    """s UTC."""
    length: NDArray[np.int64]
    observed: NDArray[np.int64]
    connected: NDArray[np.int64]
    running: NDArray[np.int64]
    idle: NDArray[np.int64]
    fault: NDArray[np.int64]
    off: NDArray[np.int64]
    """0.1 s."""
    quantity: NDArray[np.int64]
    quantity_idle: NDArray[np.int64]
    """0.001 of the unit."""
    span_s: NDArray[np.int64]
    """Time that the quantity covers, s; 0: no quantity known."""
    reading: NDArray[np.int64]
    """Counter at the window's last good sample, 0.001 of the unit; -1: none."""
    parts: NDArray[np.int64]
    flags: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.device)

    @property
    def known(self) -> NDArray[np.int64]:
        """Time whose state is known, 0.1 s."""
        return self.running + self.idle + self.fault + self.off

    @property
    def end_s(self) -> NDArray[np.int64]:
        """End of each window, s UTC."""
        return self.start_s + self.length // TENTHS_PER_S

    def first_of_device(self) -> NDArray[np.bool_]:
        """Whether a row is the first one of its device."""
        first = np.ones(len(self), np.bool_)
        first[1:] = self.device[1:] != self.device[:-1]
        return first


def windows(records: Records, position: NDArray[np.int64] | None = None) -> Windows:
    """Put the parts of each window together; `position` as for `in_order`."""
    r = in_order(records, position)
    head = np.ones(len(r), np.bool_)
    head[1:] = (r.device[1:] != r.device[:-1]) | (r.start[1:] != r.start[:-1])
    heads = np.flatnonzero(head)
    whole = len(heads) == len(r)

    def add(column: NDArray[Any]) -> NDArray[np.int64]:
        wide = column.astype(np.int64)
        return wide if whole else np.add.reduceat(wide, heads)

    length = r.length[heads].astype(np.int64) if whole else np.maximum.reduceat(r.length, heads).astype(np.int64)
    times: dict[str, NDArray[np.int64]] = {
        name: np.minimum(add(getattr(r, name)), length) for name in ("observed", "connected")
    }
    left = length
    for name in STATE_COLUMNS:  # states share the window: each gets what those before it leave
        times[name] = np.minimum(add(getattr(r, name)), left)
        left = left - times[name]
    reading = r.reading.astype(np.int64)
    if not whole:
        # The last known one, in the order of parts.
        row = np.maximum.accumulate(np.where((reading != UNKNOWN_READING) | head, np.arange(len(r)), 0))
        reading = reading[row[np.append(heads[1:], len(r)) - 1]]
    return Windows(
        device=r.device[heads].astype(np.int64),
        start_s=r.start[heads],
        length=length,
        **times,
        quantity=add(r.quantity),
        quantity_idle=add(r.quantity_idle),
        span_s=add(r.quantity_span),
        reading=reading,
        parts=add(r.parts),
        flags=(r.flags if whole else np.bitwise_or.reduceat(r.flags, heads)).astype(np.int64),
    )
