"""Late data: what a device says of a time in which nothing proved it connected.

A device keeps its gaps, each from the last thing heard to the next proof. A late sample counts only
inside a gap and beyond that gap's watermark, and states only time that no earlier part states.
Pure; times in ns on the gateway's time line unless the name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from collectors.model import PowerThresholds
from gateway.clock import NS_PER_S
from gateway.inference import PowerState
from gateway.spans import OPEN_END, moved
from metrics.record import DAY_S, MachineState

GAP_DAYS: Final = 14
GATHER_NS: Final = 60 * NS_PER_S
"""Late data waits this long for more of its kind before it is written."""
MAX_GAPS: Final = 64
"""Gaps kept of one device; beyond it the shortest one is forgotten."""
MAX_GATHERED: Final = 256
"""Windows gathered of one device; beyond it they are written at once."""
_GAP_NS: Final = GAP_DAYS * DAY_S * NS_PER_S


@dataclass(slots=True)
class Gap:
    """A time without proof. `mark_*` is the watermark: how far late samples were counted, and the
    state that the last of them left behind."""

    start_ns: int
    """The last thing heard before the gap."""
    stated_ns: int
    """Up to here an earlier part may state the time: where the proof before the gap ran out."""
    end_ns: int
    """The next proof; OPEN_END while there was none."""
    mark_ns: int
    mark_source_ns: int
    """The watermark on the device's own clock: what is sent again is recognised by it."""
    state: int

    @property
    def length_ns(self) -> int:
        """How long nothing proved the device connected; an open gap is longer than any closed one."""
        return self.end_ns - self.start_ns


@dataclass(slots=True)
class Gathered:
    """What late samples say of one window. `states_ns` by MachineState, without UNKNOWN."""

    states_ns: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    good: int = 0
    bad: int = 0


class LateSample(NamedTuple):
    """One late sample. `state` and `power_kw` are None where it says nothing of them."""

    at_ns: int
    source_ns: int
    good: bool
    state: int | None
    power_kw: float | None


class LateData:
    """The gaps of one device and what is gathered for them."""

    __slots__ = ("gaps", "gathered", "since_ns", "window_s")

    def __init__(self, window_s: int) -> None:
        self.window_s = window_s
        self.gaps: list[Gap] = []
        """In order of time, disjoint."""
        self.gathered: dict[int, Gathered] = {}
        """By the window's start in s."""
        self.since_ns = 0
        """When the oldest of it was gathered."""

    def begin(self, heard_ns: int, heard_source_ns: int, proven_until_ns: int, state: int) -> None:
        """Nothing proves the device connected any more. Safe while a gap is open."""
        if self.gaps and self.gaps[-1].end_ns == OPEN_END:
            return
        start_ns = max(heard_ns, self.gaps[-1].end_ns) if self.gaps else heard_ns
        stated_ns = max(start_ns, proven_until_ns)
        self.gaps.append(Gap(start_ns, stated_ns, OPEN_END, start_ns, heard_source_ns, int(state)))
        if len(self.gaps) > MAX_GAPS:
            self.forget(1)

    def end(self, proof_ns: int) -> None:
        """A proof ends the open gap."""
        if self.gaps and self.gaps[-1].end_ns == OPEN_END:
            self.gaps[-1].end_ns = max(proof_ns, self.gaps[-1].start_ns)

    def forget(self, n: int) -> int:
        """Forget the `n` shortest gaps that are over; what comes late for them is a duplicate. Returns how many."""
        shortest = sorted(self.ended(), key=lambda g: g.length_ns)[:n]
        self.gaps = [g for g in self.gaps if not any(g is s for s in shortest)]
        return len(shortest)

    def ended(self) -> list[Gap]:
        """The gaps that a proof has ended."""
        return [g for g in self.gaps if g.end_ns != OPEN_END]

    def expire(self, now_ns: int) -> None:
        """Forget gaps that ended 14 days ago."""
        if self.gaps and self.gaps[0].end_ns < now_ns - _GAP_NS:
            self.gaps = [g for g in self.gaps if g.end_ns >= now_ns - _GAP_NS]

    def gap_at(self, at_ns: int, source_ns: int) -> Gap | None:
        """The gap that holds an instant, given on the time line and on the device's own clock.

        A message that came faster than every one before the gap moves what was sent right after the last thing
        heard to before it on the time line; the device's own clock still tells that it came later.
        """
        for gap in reversed(self.gaps):
            if gap.end_ns <= at_ns:
                return None
            if gap.start_ns < at_ns or gap.mark_source_ns < source_ns:
                return gap
        return None

    def take(
        self,
        gap: Gap,
        sample: LateSample,
        now_ns: int,
        liveness_s: float,
        limits: PowerThresholds | None,
        count_quality: bool,
    ) -> None:
        """Gather a sample of a gap; samples come in order of their times.

        The state that a sample leaves behind holds until the next one, where that comes within the
        device's liveness: late samples prove no connection, and nothing is invented between them.
        `count_quality`: whether the sample is counted here, and not already in its open window.
        """
        if not self.gathered:
            self.since_ns = now_ns
        at_ns = max(sample.at_ns, gap.mark_ns)
        if gap.state != MachineState.UNKNOWN and at_ns - gap.mark_ns <= liveness_s * NS_PER_S:
            self._state(gap.state, max(gap.mark_ns, gap.stated_ns), at_ns)
        if sample.state is not None:
            gap.state = sample.state
        elif sample.power_kw is not None and limits is not None:
            power = PowerState(gap.state, gap.state)
            power.take(sample.power_kw, at_ns, replace(limits, dwell_s=0.0))
            gap.state = power.state
        gap.mark_ns = at_ns
        gap.mark_source_ns = max(gap.mark_source_ns, sample.source_ns)
        if count_quality:
            gathered = self._window(at_ns)
            gathered.good += sample.good
            gathered.bad += not sample.good

    def _window(self, at_ns: int) -> Gathered:
        start_s = at_ns // NS_PER_S // self.window_s * self.window_s
        return self.gathered.setdefault(start_s, Gathered())

    def _state(self, state: int, start_ns: int, end_ns: int) -> None:
        window_ns = self.window_s * NS_PER_S
        while start_ns < end_ns:
            until_ns = min(end_ns, (start_ns // window_ns + 1) * window_ns)
            self._window(start_ns).states_ns[state - 1] += until_ns - start_ns
            start_ns = until_ns

    def due_ns(self) -> int:
        """When what is gathered is to be written; OPEN_END where there is nothing."""
        if not self.gathered:
            return OPEN_END
        return self.since_ns if len(self.gathered) > MAX_GATHERED else self.since_ns + GATHER_NS

    def shift(self, by_ns: int, by_s: int, from_ns: int) -> None:
        """What happened at or after `from_ns` happened `by_ns` later, windows `by_s` (whole windows)."""
        for gap in self.gaps:
            gap.start_ns = moved(gap.start_ns, by_ns, from_ns)
            gap.stated_ns = moved(gap.stated_ns, by_ns, from_ns)
            gap.end_ns = moved(gap.end_ns, by_ns, from_ns)
            gap.mark_ns = moved(gap.mark_ns, by_ns, from_ns)
        self.gathered = {moved(s, by_s, -(-from_ns // NS_PER_S)): found for s, found in self.gathered.items()}
        self.since_ns = moved(self.since_ns, by_ns, from_ns)

    def take_out(self, closed_ns: int, now_ns: int) -> list[tuple[int, Gathered]]:
        """What is gathered for windows that are closed, in order; the rest waits for another 60 s."""
        out = sorted((s, g) for s, g in self.gathered.items() if (s + self.window_s) * NS_PER_S <= closed_ns)
        for start_s, _ in out:
            del self.gathered[start_s]
        self.since_ns = now_ns
        return out

    def may_come(self, start_s: int) -> bool:
        """Whether late data can still come for a window."""
        start_ns, end_ns = start_s * NS_PER_S, (start_s + self.window_s) * NS_PER_S
        if start_s in self.gathered:
            return True
        return any(g.start_ns < end_ns and g.end_ns > start_ns and g.mark_ns < end_ns for g in self.gaps)
