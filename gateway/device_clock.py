"""A device's own clock: how far it stands from the time line, and what people are told of one that is wrong."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from collectors.model import Trouble
from gateway.clock import NS_PER_S

MINUTE_NS: Final = 60 * NS_PER_S
OFFSET_MINUTES: Final = 10
NOTICED_NS: Final = 60 * NS_PER_S
"""How far a device's clock may stand from the time line before people are told; samples are corrected anyway."""


class ClockOffset:
    """How far a device's clock is from the time line, transmission included: the smallest delay seen.

    Of the last `OFFSET_MINUTES` minutes in which the device gave its time, only those are kept whose
    smallest delay no later minute undercut.
    """

    __slots__ = ("lows", "minute", "minutes")

    def __init__(self) -> None:
        self.minute = 0
        """The last minute (since 1970) in which the device gave its time."""
        self.minutes = 0
        """How many such minutes there were."""
        self.lows: list[tuple[int, int]] = []
        """Pairs (number of the minute, smallest delay in ns), delays rising."""

    @property
    def behind_ns(self) -> int | None:
        """How far the device's clock stands behind the time line; None where it never gave its time."""
        return self.lows[0][1] if self.lows else None

    def corrected(
        self, source_ns: NDArray[np.int64], received_ns: NDArray[np.int64], live: bool = True
    ) -> NDArray[np.int64]:
        """Source times on the time line, never later than reception; reception where there is no source time.

        Samples that are not live (queued, sent again, historical) say nothing of the offset.
        """
        given = source_ns > 0
        if not given.any():
            return received_ns
        if not live:
            offset_ns = self.lows[0][1] if self.lows else 0
            return np.where(given, np.minimum(source_ns + offset_ns, received_ns), received_ns)
        delay = int((received_ns - source_ns)[given].min())
        minute = int(received_ns[-1]) // MINUTE_NS
        lows = self.lows
        if minute > self.minute:
            self.minute, self.minutes = minute, self.minutes + 1
            while lows and lows[0][0] <= self.minutes - OFFSET_MINUTES:
                del lows[0]
        if not lows or lows[-1][0] < self.minutes or lows[-1][1] > delay:
            while lows and lows[-1][1] >= delay:
                lows.pop()
            lows.append((self.minutes, delay))
        return np.where(given, source_ns + lows[0][1], received_ns)

    def shift(self, by_ns: int) -> None:
        """The time line was set on by `by_ns`."""
        self.lows = [(number, delay_ns + by_ns) for number, delay_ns in self.lows]
        self.minute = max(0, self.minute + by_ns // MINUTE_NS)

    def forget(self) -> None:
        """What was measured against another time line says nothing."""
        self.lows = []


def trouble(device: str, offset: ClockOffset, *, time_is_known: bool) -> Trouble:
    """A device's clock is wrong; a closed trouble where it is not, or where our own time is not known."""
    subject, behind_ns = f"{device}/clock", offset.behind_ns
    if behind_ns is None or abs(behind_ns) <= NOTICED_NS or not time_is_known:
        return Trouble(subject, "")
    seconds = abs(behind_ns) / NS_PER_S
    zh, en = ("慢", "behind") if behind_ns > 0 else ("快", "ahead")
    return Trouble(
        subject,
        "device_clock_wrong",
        f"设备 {device} 的时钟{zh}了 {seconds:.0f} 秒，其样本的时间已按此修正。",
        f"the clock of {device} is {seconds:.0f} s {en}; the times of its samples are corrected by that.",
        "请在设备上校准时间，或为它配置 NTP。",
        "Set the clock at the device, or give it an NTP server.",
    )
