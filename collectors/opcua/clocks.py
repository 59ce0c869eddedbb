"""Notices machines whose clock is wrong: the gateway corrects their times, a person should set the clock."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_NS_PER_S = 1_000_000_000
_TIMES = 3
"""So many publications in a row must agree before a clock is called wrong, or right again."""


class Clocks:
    """The clocks of `n` devices. `tolerance_s`: how far one may be from ours."""

    def __init__(self, n: int, tolerance_s: float) -> None:
        self._tolerance_s = tolerance_s
        self._wrong = np.zeros(n, bool)
        self._count = np.zeros(n, np.int32)

    def look(self, newest_ns: NDArray[np.int64], received_ns: int) -> Iterator[tuple[int, float | None]]:
        """Take the newest live source time of each device (0: none); give each device of which something
        changed, with how far its clock is ahead [s], None where it is right again."""
        ahead_s = (newest_ns - received_ns) / _NS_PER_S
        differs = (newest_ns > 0) & ((np.abs(ahead_s) > self._tolerance_s) != self._wrong)
        self._count = np.where(differs, self._count + 1, np.where(newest_ns > 0, 0, self._count))
        for number in np.flatnonzero(self._count >= _TIMES).tolist():
            self._count[number] = 0
            self._wrong[number] = not self._wrong[number]
            yield number, float(ahead_s[number]) if self._wrong[number] else None
