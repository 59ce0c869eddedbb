"""What was watched, proven and said of one device over time."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from gateway.clock import NS_PER_S
from gateway.row import TENTH_NS, tenths
from gateway.spans import OPEN_END, Span, add, clipped, cut, intersection, moved, total
from metrics.record import MachineState

_MAX_SPANS: Final = 4096
"""Spans of proof kept in open windows: beyond it the oldest is forgotten, never another one invented."""


class Track:
    """Times in ns on the gateway's time line.

    `watched` is what the gateway observed, `proven` where connection was proven, `events` the states
    said, each valid until the next event or the next end of a proven span.
    """

    __slots__ = ("events", "last_proof_ns", "proven", "proven_until_ns", "watched", "withdrawn_ns")

    def __init__(self) -> None:
        self.watched: list[Span] = []
        self.proven: list[Span] = []
        self.events: list[tuple[int, int]] = []
        self.withdrawn_ns = 0
        self.last_proof_ns = 0
        self.proven_until_ns = 0
        """Where the latest proof runs out; OPEN_END while it lasts until it is withdrawn."""

    def watch(self, now_ns: int) -> None:
        """From now on the gateway observes this device."""
        if not self.watched or self.watched[-1][1] != OPEN_END:
            add(self.watched, now_ns, OPEN_END)

    def unwatch(self, from_ns: int, to_ns: int = OPEN_END) -> None:
        """The gateway was not watching in this time."""
        cut(self.watched, from_ns, to_ns)

    # Proof --------------------------------------------------------------------------------------

    def prove(self, at_ns: int, lasts_s: float) -> None:
        """Evidence of connection from an instant on."""
        end_ns = OPEN_END if lasts_s == float("inf") else at_ns + round(lasts_s * NS_PER_S)
        if at_ns < self.withdrawn_ns:
            end_ns = min(end_ns, self.withdrawn_ns)
        self.proven_until_ns = max(self.proven_until_ns, end_ns)
        add(self.proven, at_ns, end_ns)
        if len(self.proven) > _MAX_SPANS:
            _, oldest_end_ns = self.proven.pop(0)
            self.events = [e for e in self.events if e[0] >= oldest_end_ns]
        self.last_proof_ns = max(self.last_proof_ns, at_ns)

    def withdraw(self, at_ns: int) -> None:
        """What was proven before proves nothing from `at_ns` on."""
        cut(self.proven, at_ns)
        self.proven_until_ns = min(self.proven_until_ns, at_ns)
        self.withdrawn_ns = max(self.withdrawn_ns, at_ns)

    def lose_link(self, at_ns: int) -> None:
        """The collector's link is gone: a proof that lasts until a death message ends with it."""
        if self.proven and self.proven[-1][1] == OPEN_END:
            self.withdraw(at_ns)

    def is_proven(self, now_ns: int) -> bool:
        """Whether a proof holds now."""
        spans = self.proven
        if not spans:
            return False
        from_ns, to_ns = spans[-1]
        return from_ns <= now_ns < to_ns or (len(spans) > 1 and spans[-2][0] <= now_ns < spans[-2][1])

    # States -------------------------------------------------------------------------------------

    def say(self, at_ns: int, state: int, closed_ns: int) -> None:
        """A state from an instant on. Windows before `closed_ns` are closed."""
        events = self.events
        if not events or at_ns > events[-1][0]:
            if events:
                last_ns, last = events[-1]
                if self.next_end(last_ns) > at_ns:
                    if last == state:
                        return
                    if last_ns >= closed_ns and last_ns // TENTH_NS == at_ns // TENTH_NS:
                        events[-1] = (last_ns, state)  # finer than a record can say; keeps the list bounded
                        return
            events.append((at_ns, state))
            return
        index = bisect_left(events, at_ns, key=lambda e: e[0])
        if events[index][0] == at_ns:
            events[index] = (at_ns, state)
        else:
            events.insert(index, (at_ns, state))

    def next_end(self, at_ns: int) -> int:
        """The first end of a proven span after `at_ns`: no state is known beyond it."""
        for _, end_ns in self.proven:
            if end_ns > at_ns:
                return end_ns
        return OPEN_END

    def latest(self) -> int:
        """The state that was said last, proven or not."""
        return self.events[-1][1] if self.events else MachineState.UNKNOWN

    def state_at(self, at_ns: int) -> int:
        """The state that holds at an instant, if it is proven and said; else UNKNOWN."""
        index = bisect_left(self.events, at_ns + 1, key=lambda e: e[0]) - 1
        if index < 0 or self.next_end(self.events[index][0]) <= at_ns:
            return MachineState.UNKNOWN
        return self.events[index][1]

    def share_of(self, states: tuple[int, ...], from_ns: int, to_ns: int) -> tuple[int, int]:
        """How much of a time is covered by some states: (ns, ns of the whole)."""
        whole_ns = to_ns - from_ns
        if self.events:
            since_ns, state = self.events[-1]
            if since_ns <= from_ns and self.next_end(since_ns) >= to_ns:
                return (whole_ns if state in states else 0), whole_ns
        covered = self._covered(from_ns, to_ns, to_ns)
        stated = self._state_spans(from_ns, to_ns)
        return sum(total(intersection([span], covered)) for span, state in stated if state in states), whole_ns

    def _covered(self, start_ns: int, end_ns: int, now_ns: int) -> list[Span]:
        """Where connection is proven and observed."""
        watched = clipped(self.watched, start_ns, min(end_ns, now_ns))
        return intersection(clipped(self.proven, start_ns, end_ns), watched)

    def _state_spans(self, start_ns: int, end_ns: int) -> list[tuple[Span, int]]:
        """The states said in a time, each until the next one or until its proof ends."""
        found: list[tuple[Span, int]] = []
        ends = [end for _, end in self.proven]
        next_end = 0
        for index, (at_ns, state) in enumerate(self.events):
            while next_end < len(ends) and ends[next_end] <= at_ns:
                next_end += 1
            until_ns = self.events[index + 1][0] if index + 1 < len(self.events) else OPEN_END
            if next_end < len(ends):
                until_ns = min(until_ns, ends[next_end])
            span = (max(at_ns, start_ns), min(until_ns, end_ns))
            if span[0] < span[1] and state != MachineState.UNKNOWN:
                found.append((span, state))
        return found

    # Windows ------------------------------------------------------------------------------------

    def starts(self, from_ns: int, end_ns: int, window_s: int) -> set[int]:
        """Starts in s of the windows of a time that were watched, if only for an instant."""
        found: set[int] = set()
        for a, b in clipped(self.watched, from_ns, end_ns):
            first = a // NS_PER_S // window_s * window_s
            found.update(range(first, (b - 1) // NS_PER_S + 1, window_s))
        return found

    def times(self, start_ns: int, end_ns: int, now_ns: int) -> tuple[int, int, list[int]]:
        """(observed, connected, times by state but UNKNOWN) of a window as it stands at `now_ns`, in 1/10 s."""
        watched = clipped(self.watched, start_ns, min(end_ns, now_ns))
        covered = intersection(clipped(self.proven, start_ns, end_ns), watched)
        states_ns = [0] * len(MachineState)
        covered_at = 0
        for span, state in self._state_spans(start_ns, end_ns):
            while covered_at < len(covered) and covered[covered_at][1] <= span[0]:
                covered_at += 1
            for a, b in covered[covered_at:]:
                if a >= span[1]:
                    break
                states_ns[state] += min(b, span[1]) - max(a, span[0])
        return total(watched) // TENTH_NS, total(covered) // TENTH_NS, tenths(states_ns[1:])

    def close(self, end_ns: int) -> None:
        """Forget what only windows before `end_ns` needed."""
        self.watched = [s for s in self.watched if s[1] > end_ns]
        keep = bisect_left(self.events, end_ns + 1, key=lambda e: e[0]) - 1
        if keep >= 0:
            holds = self.next_end(self.events[keep][0]) > end_ns
            del self.events[: keep if holds else keep + 1]
        self.proven = [s for s in self.proven if s[1] > end_ns]

    def shift(self, by_ns: int, from_ns: int) -> None:
        """What happened at or after `from_ns` happened `by_ns` later."""
        self.watched = [(moved(a, by_ns, from_ns), moved(b, by_ns, from_ns)) for a, b in self.watched]
        self.proven = [(moved(a, by_ns, from_ns), moved(b, by_ns, from_ns)) for a, b in self.proven]
        self.events = [(moved(at, by_ns, from_ns), state) for at, state in self.events]
        self.withdrawn_ns = moved(self.withdrawn_ns, by_ns, from_ns)
        self.last_proof_ns = moved(self.last_proof_ns, by_ns, from_ns)
        self.proven_until_ns = moved(self.proven_until_ns, by_ns, from_ns)
