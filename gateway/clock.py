"""The gateway's time line: UTC anchored once at start, monotonic from there on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from metrics.record import Flag

NS_PER_S: Final = 1_000_000_000
COUNTY_NOTICED_NS: Final = 10 * NS_PER_S
"""How far the county's clock may stand from the time line, the way of its answer included."""
EARLIEST_NS: Final = 1_735_689_600 * NS_PER_S
"""2025-01-01: a clock before it has no battery and has not been set since power came."""
AGAIN_PART: Final = 128
"""The first part of a window that comes again, after the clock was set back or records got their dates."""
STEP_NOTICED_NS: Final = 2 * NS_PER_S
"""How far the system clock may stand from the time line before people are told and records are flagged."""


class TimeLine:
    """Nanoseconds since 1970 UTC that never run backwards, not over a restart either.

    The line starts at the system's clock, or where the previous run ended if that is later
    (`start_no_earlier`). A step of the system clock afterwards is noticed (`step_ns`), never followed.
    """

    def __init__(
        self,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns, self._monotonic_ns = wall_ns, monotonic_ns
        self._anchor_ns = wall_ns() - monotonic_ns()
        self.county_ahead_ns: int | None = None
        """How far the county's clock stood before the line at its last answer; None before the first."""

    def start_no_earlier(self, at_ns: int) -> None:
        """Set the line on to `at_ns` where it stands before it. Only before anyone has read it."""
        self._anchor_ns += max(0, at_ns - self())

    def __call__(self) -> int:
        return self._anchor_ns + self._monotonic_ns()

    def step_ns(self) -> int:
        """How far the system clock stands before (+) or behind (−) the line."""
        return self._wall_ns() - self()

    def is_doubtful(self) -> bool:
        """Whether the line may be wrong: the system clock was stepped away from it or was never set, or the
        county's clock stands elsewhere."""
        if abs(self.step_ns()) > STEP_NOTICED_NS or self() < EARLIEST_NS:
            return True
        return self.county_ahead_ns is not None and abs(self.county_ahead_ns) > COUNTY_NOTICED_NS

    def flags(self) -> Flag:
        """The flag that records made now bear."""
        return Flag.CLOCK_UNSYNCHRONISED if self.is_doubtful() else Flag(0)
