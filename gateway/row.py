"""One interval record while it is made: its row, what is counted for it, and how times are rounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.clock import NS_PER_S
from metrics.record import TENTHS_PER_S, UNKNOWN_READING

TENTH_NS: Final = NS_PER_S // TENTHS_PER_S


@dataclass(slots=True)
class Tally:
    """What was counted in one open window."""

    good: int = 0
    bad: int = 0
    quantity: int = 0
    quantity_idle: int = 0
    span_s: int = 0
    known: bool = False
    """Whether any difference of the quantity's counter is known."""
    parts: int = 0
    flags: int = 0
    reading: int = UNKNOWN_READING
    """The counter at the last good sample."""

    def add(self, other: Tally) -> None:
        """Count what another one, of a time before, counted."""
        self.good += other.good
        self.bad += other.bad
        self.quantity += other.quantity
        self.quantity_idle += other.quantity_idle
        self.span_s += other.span_s
        self.known |= other.known
        self.parts += other.parts
        self.flags |= other.flags
        if self.reading == UNKNOWN_READING:
            self.reading = other.reading


@dataclass(frozen=True, slots=True)
class Row:
    """One interval record, as it goes into a batch. Units as in `metrics.record.RECORD_COLUMNS`."""

    device: str
    start: int
    length: int
    observed: int
    part: int
    connected: int
    running: int
    idle: int
    fault: int
    off: int
    quantity: int
    quantity_idle: int
    quantity_span: int
    reading: int
    parts: int
    good: int
    bad: int
    flags: int


def tenths(times_ns: list[int]) -> list[int]:
    """Round times to tenths of a second so that their sum is the sum of the times, rounded down."""
    found = [t // TENTH_NS for t in times_ns]
    missing = sum(times_ns) // TENTH_NS - sum(found)
    by_remainder = sorted(range(len(times_ns)), key=lambda i: times_ns[i] % TENTH_NS, reverse=True)
    for i in by_remainder[:missing]:
        found[i] += 1
    return found
