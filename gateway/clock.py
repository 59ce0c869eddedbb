"""The gateway's time line: UTC anchored at start, monotonic from there on, set right when the time is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from metrics.record import Flag

NS_PER_S: Final = 1_000_000_000
COUNTY_NOTICED_NS: Final = 10 * NS_PER_S
"""How far the county's clock may stand from the time line."""
EARLIEST_NS: Final = 1_735_689_600 * NS_PER_S
"""2025-01-01: a clock before it has no battery and has not been set since power came."""
AGAIN_PART: Final = 128
"""The first part of a window that comes again, after the clock was set back or records got their dates."""
STEP_NOTICED_NS: Final = 2 * NS_PER_S
"""How far the system clock may stand from the time line before people are told and records are flagged."""


def boottime_ns() -> int:
    """Nanoseconds since the machine was switched on, the time it slept included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Eight characters that differ from boot to boot; blank where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    except OSError:
        return ""


class TimeLine:
    """Nanoseconds since 1970 UTC that run with the monotonic clock.

    The line starts at the system's clock, or where the previous run ended if that is later
    (`start_no_earlier`). A step of the system clock is noticed (`step_ns`); the line follows nothing but
    `correct`. What must never run backwards reads `steady`.
    """

    def __init__(
        self,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = boottime_ns,
    ) -> None:
        self._wall_ns, self.monotonic_ns = wall_ns, monotonic_ns
        self.ahead_ns = wall_ns() - monotonic_ns()
        """How far the line stands before the monotonic clock."""
        self.corrected_ns = 0
        """By how much the line was set on since the start."""
        self.county_ahead_ns: int | None = None
        """How far the county's clock stood before the line at its last answer; None before the first."""
        self.is_county_followed = False
        """Whether the line was set by the county's clock, for want of NTP."""

    def start_no_earlier(self, at_ns: int) -> None:
        """Set the line on to `at_ns` where it stands before it. Only before anyone has read it."""
        self.ahead_ns += max(0, at_ns - self())

    def start_at(self, at_ns: int) -> None:
        """Let the line begin at `at_ns`. Only before anyone has read it."""
        self.ahead_ns += at_ns - self()

    def go_on(self, ahead_ns: int) -> None:
        """Let the line go on as one of the same boot that stood `ahead_ns` before the monotonic clock."""
        self.ahead_ns = ahead_ns

    def __call__(self) -> int:
        return self.ahead_ns + self.monotonic_ns()

    def steady(self) -> int:
        """The line as it was at the start: it never jumps."""
        return self() - self.corrected_ns

    def correct(self, by_ns: int) -> None:
        """Set the line on by `by_ns`."""
        self.ahead_ns += by_ns
        self.corrected_ns += by_ns
        self.county_ahead_ns = None

    def step_ns(self) -> int:
        """How far the system clock stands before (+) or behind (−) the line."""
        return self._wall_ns() - self()

    def is_doubtful(self) -> bool:
        """Whether the line may be wrong: the system clock was stepped away from it or was never set, or the
        county's clock stands elsewhere. A line that keeps to the county's clock minds no other."""
        if self() < EARLIEST_NS:
            return True
        if self.county_ahead_ns is not None and abs(self.county_ahead_ns) > COUNTY_NOTICED_NS:
            return True
        return abs(self.step_ns()) > STEP_NOTICED_NS and not self.is_county_followed

    def flags(self) -> Flag:
        """The flag that records made now bear."""
        return Flag.CLOCK_UNSYNCHRONISED if self.is_doubtful() else Flag(0)
