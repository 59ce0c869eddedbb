"""Differences of a machine's cumulative counters: exact sums, whatever the order of restarts.

Every reading is rounded once, to a whole number of its smallest unit; a difference is taken between
two rounded readings, so differences telescope: their sum is the last reading minus the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.clock import NS_PER_S
from metrics.record import DAY_S, Flag, local_day, local_day_start_s

HOUR_NS: Final = 3600 * NS_PER_S
_WRAP_SHARE: Final = 10
"""Without a rated maximum, a fall is a wrap only where the growth is below 1/10 of the modulus."""


class Growth(NamedTuple):
    """What a counter grew by between two readings, in its smallest unit; times in ns UTC."""

    amount: int
    from_ns: int
    to_ns: int
    flag: Flag = Flag(0)


@dataclass(slots=True)
class Counter:
    """One counter of one device.

    A reading that cannot follow the last one (a fall that is no wrap, a rise above the rated maximum)
    is held back until the next reading says which of the two was true: a glitch costs nothing, and a
    reset or a replaced meter is flagged, its hidden growth not invented.
    """

    scale: int
    """Smallest units in one unit: 1000 for quantities, 1 for pieces."""
    modulus: int | None = None
    """Where the counter wraps to 0, in smallest units."""
    rated_max_per_h: int | None = None
    """Largest plausible growth in one hour, in smallest units."""
    last: int | None = None
    last_ns: int = 0
    suspect: int | None = None
    suspect_ns: int = 0

    def describe(self, modulus: float | None, rated_max_per_h: float | None) -> None:
        """Set what the device's profile knows of the counter, in its unit."""
        self.modulus = None if modulus is None else round(modulus * self.scale)
        self.rated_max_per_h = None if rated_max_per_h is None else math.ceil(rated_max_per_h * self.scale)

    def forget(self) -> None:
        """Start a new chain: the next reading is a first one."""
        self.last = self.suspect = None

    def rounded(self, value: float) -> int:
        """A reading in smallest units."""
        return math.floor(value * self.scale + 0.5)

    def take(self, value: float, at_ns: int) -> Growth | None:
        """Count a good reading. None where it counts nothing yet: the first one, one that came late
        (it never moves the last value), one that is held back."""
        reading = self.rounded(value)
        last = self.last
        if last is None:
            self.last, self.last_ns = reading, at_ns
            return None
        if at_ns < self.last_ns:
            return None
        grown = self._growth(last, self.last_ns, reading, at_ns)
        if grown is not None:
            growth = Growth(grown, self.last_ns, at_ns)
            self.last, self.last_ns, self.suspect = reading, at_ns, None
            return growth
        if self.suspect is not None and at_ns >= self.suspect_ns:
            grown = self._growth(self.suspect, self.suspect_ns, reading, at_ns)
            if grown is not None:
                flag = Flag.COUNTER_RESET if self.suspect < last else Flag.COUNTER_REPLACED
                growth = Growth(grown, self.suspect_ns, at_ns, flag)
                self.last, self.last_ns, self.suspect = reading, at_ns, None
                return growth
        self.suspect, self.suspect_ns = reading, at_ns
        return None

    def _growth(self, before: int, before_ns: int, reading: int, at_ns: int) -> int | None:
        grown = reading - before
        if grown < 0:
            if self.modulus is None:
                return None
            grown += self.modulus
            if grown < 0 or (self.rated_max_per_h is None and grown * _WRAP_SHARE > self.modulus):
                return None
        if self.rated_max_per_h is not None:
            # At least an hour's worth: a meter that counts in whole kWh jumps by one in a second.
            span_ns = max(at_ns - before_ns, HOUR_NS)
            if grown > self.rated_max_per_h * span_ns // HOUR_NS:
                return None
        return grown


class Share(NamedTuple):
    """The part of a growth that falls into one local day. `day_end_s` is None for the last day."""

    day_end_s: int | None
    amount: int
    idle: int
    span_s: int


def whole_seconds(from_ns: int, to_ns: int) -> int:
    """Whole seconds on the time line between two instants; neighbouring spans add up exactly."""
    return to_ns // NS_PER_S - from_ns // NS_PER_S


def split_by_local_day(growth: Growth, idle: int) -> list[Share]:
    """Split a growth at local midnights in proportion to time, the remainder to the last day.

    Idle and other growth are split one by one, so both keep their sums and idle never exceeds the whole.
    """
    first = local_day(growth.from_ns // NS_PER_S)
    last = local_day(growth.to_ns // NS_PER_S)
    if first == last:
        return [Share(None, growth.amount, idle, whole_seconds(growth.from_ns, growth.to_ns))]
    shares: list[Share] = []
    length_ns = growth.to_ns - growth.from_ns
    busy, busy_left, idle_left = growth.amount - idle, growth.amount - idle, idle
    start_ns = growth.from_ns
    for day in range(first, last):
        end_s = local_day_start_s(day) + DAY_S
        end_ns = end_s * NS_PER_S
        busy_share = busy * (end_ns - start_ns) // length_ns
        idle_share = idle * (end_ns - start_ns) // length_ns
        shares.append(Share(end_s, busy_share + idle_share, idle_share, whole_seconds(start_ns, end_ns)))
        busy_left, idle_left, start_ns = busy_left - busy_share, idle_left - idle_share, end_ns
    shares.append(Share(None, busy_left + idle_left, idle_left, whole_seconds(start_ns, growth.to_ns)))
    return shares
