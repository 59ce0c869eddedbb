"""The service's time, passed in so that tests can set it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time and a monotonic time line."""

    def now_ns(self) -> int:
        """UTC, nanoseconds since 1970."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a line that never goes back."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ns(self) -> int:
        """UTC, nanoseconds since 1970."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """Seconds on a line that never goes back."""
        return time.monotonic()


def moment(at_ns: int) -> datetime:
    """A UTC datetime of a time in ns (microseconds are kept)."""
    return datetime.fromtimestamp(at_ns // 1000 / 1e6, UTC)
