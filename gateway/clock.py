"""The gateway's time line: UTC anchored once at start, monotonic from there on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from metrics.record import Flag

NS_PER_S: Final = 1_000_000_000
STEP_NOTICED_NS: Final = 2 * NS_PER_S
"""How far the system clock may stand from the time line before people are told and records are flagged."""


class TimeLine:
    """Nanoseconds since 1970 UTC that never run backwards, not over a restart either.

    The line starts at the system's clock, or at `not_before_ns` (the end of the previous run) where
    that is later. A step of the system clock afterwards is noticed (`step_ns`), never followed.
    """

    def __init__(
        self,
        not_before_ns: int = 0,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns, self._monotonic_ns = wall_ns, monotonic_ns
        self._anchor_ns = max(wall_ns(), not_before_ns) - monotonic_ns()

    def __call__(self) -> int:
        return self._anchor_ns + self._monotonic_ns()

    def step_ns(self) -> int:
        """How far the system clock stands before (+) or behind (−) the line."""
        return self._wall_ns() - self()

    def flags(self) -> Flag:
        """The flag that records made now bear."""
        return Flag.CLOCK_UNSYNCHRONISED if abs(self.step_ns()) > STEP_NOTICED_NS else Flag(0)
