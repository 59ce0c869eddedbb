"""When the time is known: by NTP, or by the county's clock where no NTP answers.

Until then windows are kept on a line that starts where it can, and nothing is sent: all of it gets its date at
once when the time is known, by the monotonic clock. Later a step is followed only when one of the two confirms it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from gateway.clock import (
    COUNTY_NOTICED_NS,
    EARLIEST_NS,
    NS_PER_S,
    STEP_NOTICED_NS,
    TimeLine,
)
from gateway.kernel_clock import is_ntp_synchronised

NTP_SETTLES_NS: Final = 10 * NS_PER_S
"""A step that NTP confirms is followed when it has lasted this long."""
COUNTY_SETTLES_NS: Final = 60 * NS_PER_S
"""The same for the county's clock."""


class Correction(NamedTuple):
    """The line is to be set on by `by_ns`. `dates`: what was made while the time was not known gets its date."""

    by_ns: int
    dates: bool


class Dating:
    """Decides how the line is to be set. `look` is called a few times a second."""

    def __init__(
        self, line: TimeLine, *, is_known: bool = False, ntp: Callable[[], bool] = is_ntp_synchronised
    ) -> None:
        self._line, self._ntp = line, ntp
        self.is_known = is_known
        """Whether NTP or the county has confirmed the line."""
        self.started_ns = line.monotonic_ns()
        self.county_error_ns = 0
        """How long the county's last answer was under way."""
        self._off_since_ns: int | None = None

    def start_is_known(self) -> bool:
        """Whether the system's clock is right at the start; the line stands where it does."""
        self.is_known = self._ntp() and abs(self._line.step_ns()) <= STEP_NOTICED_NS and self._line() >= EARLIEST_NS
        return self.is_known

    def look(self) -> Correction | None:
        """How the line is to be set now; None: it stays. The first answer makes the time known, by 0 ns or more."""
        line, by_ntp = self._line, self._ntp()
        if by_ntp:
            line.is_county_followed = False
            off_ns, noticed_ns, settles_ns = line.step_ns(), STEP_NOTICED_NS, NTP_SETTLES_NS
        elif line.county_ahead_ns is not None:
            off_ns, settles_ns = line.county_ahead_ns, COUNTY_SETTLES_NS
            noticed_ns = COUNTY_NOTICED_NS if self.is_known else STEP_NOTICED_NS
            noticed_ns += self.county_error_ns
            line.is_county_followed |= abs(off_ns) <= noticed_ns
        else:
            return None
        if abs(off_ns) <= noticed_ns:
            off_ns, self._off_since_ns = 0, None
        if not self.is_known:
            self.is_known = True
            line.is_county_followed = not by_ntp
            return Correction(off_ns, dates=True)
        if not off_ns:
            return None
        now_ns = line.monotonic_ns()
        if self._off_since_ns is None:
            self._off_since_ns = now_ns
        if now_ns - self._off_since_ns < settles_ns:
            return None
        self._off_since_ns = None
        line.is_county_followed = not by_ntp
        return Correction(off_ns, dates=False)
