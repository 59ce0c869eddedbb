"""A silent unit is asked less and less, so that it cannot hold up the others on its link."""

from __future__ import annotations

from typing import Final

FIRST_WAIT_S: Final = 2.0
LONGEST_WAIT_S: Final = 300.0
_NS: Final = 1_000_000_000


class Breaker:
    """One unit on one link. Each missed reply adds 2 s to the wait, 5 min at most; a reply ends it."""

    def __init__(self) -> None:
        self.failures = 0
        """Replies missed in a row."""
        self._next_ns = 0
        self._doubts = 0
        self._rests_until_ns = 0

    @property
    def is_closed(self) -> bool:
        """Whether the unit is polled as usual."""
        return self.failures == 0

    def may_probe(self, now_ns: int) -> bool:
        """Whether a silent unit's wait is over."""
        return now_ns >= self._next_ns

    @property
    def waiting_since_ns(self) -> int:
        """When the wait ends or ended: the unit that has waited longest is asked first."""
        return self._next_ns

    def missed(self, now_ns: int) -> None:
        """The unit did not answer."""
        self.failures += 1
        self._next_ns = now_ns + int(min(FIRST_WAIT_S * self.failures, LONGEST_WAIT_S) * _NS)

    def doubted(self, now_ns: int, rest_s: float) -> None:
        """Something came that was no reply. Noise spoils one reply: the unit is asked again at the next beat
        that comes after `rest_s`, when no late reply can be under way. The second in a row is a missed one."""
        self._doubts += 1
        if self._doubts > 1 or self.failures:
            self.missed(now_ns)
        else:
            self.rest(now_ns, rest_s)

    def rest(self, now_ns: int, rest_s: float) -> None:
        """Ask the unit nothing for a while: a late reply to what was asked before must not pass for another."""
        self._rests_until_ns = max(self._rests_until_ns, now_ns + int(rest_s * _NS))

    def rests(self, now_ns: int) -> bool:
        """Whether a unit polled as usual is left out of this beat."""
        return now_ns < self._rests_until_ns

    def answered(self) -> None:
        """The unit answered."""
        self.failures = self._doubts = 0
        self._next_ns = self._rests_until_ns = 0

    def retry(self) -> None:
        """A person has been there: ask a silent unit now, and start its waits from the beginning."""
        if self.failures:
            self.failures = 1
        self._next_ns = 0
