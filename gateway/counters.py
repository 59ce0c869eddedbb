"""Differences of a machine's cumulative counters: exact sums, whatever the order of restarts.

Every reading is rounded once, to a whole number of its smallest unit; a difference is taken between
two rounded readings, so differences telescope: their sum is the last reading minus the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from gateway.clock import NS_PER_S
from gateway.spans import moved
from metrics.record import DAY_S, Flag, local_day, local_day_start_s

HOUR_NS: Final = 3600 * NS_PER_S
CONFIRM_NS: Final = 60 * NS_PER_S
"""How long readings that do not follow the last one must follow each other before they are believed."""
_WRAP_SHARE: Final = 10
"""Without a rated maximum, a fall is a wrap only where the growth is below 1/10 of the modulus."""
_RESET_SHARE: Final = 10
"""Without a rated maximum, a counter that starts again below 1/10 of what it had was reset, else replaced."""
_UNRATED_STEP: Final = 1_000
_UNRATED_PER_H: Final = 100_000
"""Without a rated maximum, what no counter of a plant exceeds, in its unit: a step, and more in each hour
(100 MW). A single misread word shows as more."""


_UNTIMED_NS: Final = 30 * DAY_S * NS_PER_S
"""What is plausible over a time of unknown length is what is in this one."""


class Growth(NamedTuple):
    """What a counter grew by between two readings, in its smallest unit; times in ns UTC.

    `flag` says that what happened before `from_ns` is not known: COUNTER_RESET where the counter started
    again from 0, COUNTER_REPLACED where it goes on from a reading far off.
    """

    amount: int
    from_ns: int
    to_ns: int
    flag: Flag = Flag(0)


@dataclass(frozen=True, slots=True)
class Held:
    """Readings that follow each other but not the counter's last one: a glitch, a reset or another meter."""

    first: int
    first_ns: int
    latest: int
    latest_ns: int
    readings: int


@dataclass(frozen=True, slots=True)
class Bridge:
    """A time of unknown length between two readings: the machine was off, its clock not yet set again."""

    last: int
    last_ns: int
    first: int | None = None
    """The first reading after it, None while there is none."""
    first_ns: int = 0
    is_timed: bool = True
    """Whether its length is known at the end: not where the time was unknown before it, too."""


@dataclass(slots=True)
class Counter:
    """One counter of one device.

    A reading follows the last one where it is not below it, or wrapped at the modulus, and grew no more than
    the rated maximum permits. One that does not is held back. When a later one follows the last one again, what
    was held was no reading of this counter: dropped, counted in `dropped`. When the held readings go on for
    `CONFIRM_NS`, the counter was reset or replaced: flagged, its hidden growth not invented.
    """

    scale: int
    """Smallest units in one unit: 1000 for quantities, 1 for pieces."""
    modulus: int | None = None
    """Where the counter wraps to 0, in smallest units."""
    rated_max_per_h: int | None = None
    """Largest plausible growth in one hour, in smallest units."""
    last: int | None = None
    last_ns: int = 0
    held: Held | None = None
    before: int | None = None
    """The last reading before the latest reset: for an hour a device that showed 0 for a while may go on there."""
    before_ns: int = 0
    """When that reset was believed."""
    bridges: list[Bridge] = field(default_factory=list)
    """What grew over them is counted once it is known how long they were."""
    dropped: int = 0
    """Readings that were none, since this was last asked for."""

    def describe(self, modulus: float | None, rated_max_per_h: float | None) -> None:
        """Set what the device's profile knows of the counter, in its unit."""
        self.modulus = None if modulus is None else round(modulus * self.scale)
        self.rated_max_per_h = None if rated_max_per_h is None else math.ceil(rated_max_per_h * self.scale)

    def forget(self) -> None:
        """Start a new chain: the next reading is a first one."""
        self.last = self.held = self.before = None
        self.bridges = [bridge for bridge in self.bridges if bridge.first is not None]

    def begin_bridge(self, *, is_timed: bool) -> None:
        """It is not known how long ago the last reading was: the next one begins anew."""
        if self.last is not None:
            self.bridges.append(Bridge(self.last, self.last_ns, is_timed=is_timed))
        self.last = self.held = self.before = None

    def end_bridges(self) -> list[Growth]:
        """All times are known: what grew over the bridges. What does not follow counts nothing, flagged."""
        found = []
        for bridge in self.bridges:
            if bridge.first is None:
                if self.last is None:  # the next reading follows the last one after all
                    self.last, self.last_ns = bridge.last, bridge.last_ns
                continue
            from_ns = min(bridge.last_ns, bridge.first_ns)
            since_ns = from_ns if bridge.is_timed else from_ns - _UNTIMED_NS
            grown = self._growth(bridge.last, since_ns, bridge.first, bridge.first_ns)
            if grown is not None:
                flag = Flag(0) if bridge.is_timed else Flag.ESTIMATED
                found.append(Growth(grown, from_ns, bridge.first_ns, flag))
            else:
                flag = Flag.COUNTER_RESET if bridge.first < bridge.last else Flag.COUNTER_REPLACED
                found.append(Growth(0, bridge.first_ns, bridge.first_ns, flag))
        self.bridges = []
        return found

    def bridges_in(self, start_ns: int, end_ns: int) -> bool:
        """Whether what grew over a bridge will be counted in a window."""
        return any(bridge.first is not None and start_ns <= bridge.first_ns < end_ns for bridge in self.bridges)

    def shift(self, by_ns: int, from_ns: int) -> None:
        """What happened at or after `from_ns` happened `by_ns` later."""
        self.last_ns = moved(self.last_ns, by_ns, from_ns)
        self.before_ns = moved(self.before_ns, by_ns, from_ns)
        if (held := self.held) is not None:
            first_ns, latest_ns = moved(held.first_ns, by_ns, from_ns), moved(held.latest_ns, by_ns, from_ns)
            self.held = replace(held, first_ns=first_ns, latest_ns=latest_ns)
        self.bridges = [
            replace(b, last_ns=moved(b.last_ns, by_ns, from_ns), first_ns=moved(b.first_ns, by_ns, from_ns))
            for b in self.bridges
        ]

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
            if self.bridges and self.bridges[-1].first is None:
                self.bridges[-1] = replace(self.bridges[-1], first=reading, first_ns=at_ns)
            return None
        if at_ns < self.last_ns:
            return None
        grown = self._growth(last, self.last_ns, reading, at_ns)
        if grown is not None and not self._jumps_back(last, reading, at_ns):
            growth = Growth(grown, self.last_ns, at_ns)
            self._drop_held()
            self.last, self.last_ns = reading, at_ns
            return growth
        return self._hold(last, reading, at_ns)

    def _hold(self, last: int, reading: int, at_ns: int) -> Growth | None:
        """Keep a reading that does not follow the last one; believe what is held once it has lasted."""
        held = self.held
        grown = None
        if held is not None and at_ns >= held.latest_ns:
            grown = self._growth(held.latest, held.latest_ns, reading, at_ns)
        if held is None or grown is None:
            self._drop_held()
            self.held = Held(reading, at_ns, reading, at_ns, 1)
            return None
        held = self.held = Held(held.first, held.first_ns, reading, at_ns, held.readings + 1)
        if at_ns - held.first_ns < CONFIRM_NS:
            return None
        amount = held.latest - held.first
        if amount < 0:
            amount += self.modulus or 0
        flag = Flag.COUNTER_RESET if self._is_reset(last, held) else Flag.COUNTER_REPLACED
        self.before, self.before_ns = last, at_ns
        self.held, self.last, self.last_ns = None, reading, at_ns
        return Growth(amount, held.first_ns, at_ns, flag)

    def _drop_held(self) -> None:
        if self.held is not None:
            self.dropped += self.held.readings
            self.held = None

    def _is_reset(self, last: int, held: Held) -> bool:
        """Whether what is held can have started from 0 since the last reading."""
        if held.first >= last:
            return False
        if self.rated_max_per_h is None:
            return held.first * _RESET_SHARE <= last
        return held.first <= self._most(held.first_ns - self.last_ns)

    def _jumps_back(self, last: int, reading: int, at_ns: int) -> bool:
        """Whether one step leads from a counter that seemed reset to where it had been."""
        return self.before is not None and at_ns - self.before_ns < HOUR_NS and 2 * last < self.before <= reading

    def _growth(self, before: int, before_ns: int, reading: int, at_ns: int) -> int | None:
        """What the counter grew by where the reading can follow the one before, None where it cannot."""
        grown = reading - before
        if grown < 0:
            if self.modulus is None:
                return None
            grown += self.modulus
            if grown < 0 or (self.rated_max_per_h is None and grown * _WRAP_SHARE > self.modulus):
                return None
        return grown if grown <= self._most(at_ns - before_ns) else None

    def _most(self, span_ns: int) -> int:
        """Largest plausible growth in a span, in smallest units."""
        if self.rated_max_per_h is None:
            return (_UNRATED_STEP + _UNRATED_PER_H * span_ns // HOUR_NS) * self.scale
        # At least an hour's worth: a meter that counts in whole kWh jumps by one in a second.
        return self.rated_max_per_h * max(span_ns, HOUR_NS) // HOUR_NS


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
