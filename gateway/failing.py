"""Whose fault it is when the county fails (500): that of a batch, or its own.

Only what the county takes meanwhile tells them apart. A batch at which it fails again and again is halved, for that
loses nothing; set aside is only a row at which it fails while it takes others.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from gateway.outbox import Pending

FAILS_ALWAYS: Final = 3
"""A batch at which the county failed this often is halved, if it takes others."""
FAILS_FOR_GOOD: Final = 6
"""A row at which the county failed this often is set aside, if it takes others."""
MAX_REFUSALS: Final = 512
"""So many pieces of one batch are halved; what is refused of it then is set aside as it is."""
_MAX_KNOWN: Final = 1000


class Step(Enum):
    """What to do after the county failed at a batch."""

    LATER = auto()
    """Wait, then try what is due."""
    OTHER = auto()
    """Try the next one at once: this half failed for the first time, and the other may not."""
    PERHAPS = auto()
    """Nothing shows that the county works: halve it where nothing else could show it, and set nothing aside."""
    REFUSED = auto()
    """The county takes others: it is to blame."""


@dataclass(slots=True)
class _Family:
    """The pieces of one batch that was halved."""

    taken: int
    """What the county had taken when one of them was halved last."""
    halved: int = 0
    """How many of its pieces, itself among them."""


class Failing:
    """Counts failures, in memory only: after a restart it is found out again."""

    def __init__(self) -> None:
        self._taken = 0
        self._failures: dict[int, tuple[int, int]] = {}
        """By a batch's ordinal: how often the county failed at it, and `_taken` from which others count."""
        self._announcing: tuple[int, int] | None = None
        """How often the county failed at announcements, and `_taken` when it first did."""
        self._families: dict[int, _Family] = {}
        """By the instant at which the whole batch came under suspicion."""

    def taken(self, ordinal: int) -> None:
        """The county has taken a batch."""
        self._failures.pop(ordinal, None)
        self._taken += 1

    def failed(self, batch: Pending) -> Step:
        """The county failed at a batch."""
        if max(len(self._failures), len(self._families)) > _MAX_KNOWN:
            self._failures.clear()
            self._families.clear()
        family = self._families.get(batch.suspect_ns) if batch.suspect_ns else None
        times, since = self._failures.get(batch.ordinal, (0, self._taken if family is None else family.taken))
        times += 1
        self._failures[batch.ordinal] = times, since
        is_half, is_proven = bool(batch.suspect_ns), self._taken > since
        if is_proven and times >= self._enough(batch):
            return Step.REFUSED
        if is_half and times == 1:
            return Step.OTHER
        return Step.PERHAPS if times >= FAILS_ALWAYS else Step.LATER

    def _enough(self, batch: Pending) -> int:
        """Failures after which a batch is to blame, if the county takes others."""
        if not batch.suspect_ns:
            return FAILS_ALWAYS
        return FAILS_FOR_GOOD if batch.rows <= 1 and not self.is_hopeless(batch) else 1

    def fails_announcing(self) -> bool:
        """The county failed at announcements: whether again and again, and while it takes batches."""
        times, since = self._announcing or (0, self._taken)
        self._announcing = times + 1, since
        if times + 1 < FAILS_ALWAYS or self._taken == since:
            return False
        self._announcing = None
        return True

    def is_hopeless(self, batch: Pending) -> bool:
        """Whether enough pieces of a batch were halved: it bears too many rows that are to blame."""
        family = self._families.get(batch.suspect_ns)
        return family is not None and family.halved >= MAX_REFUSALS

    def halved(self, batch: Pending, now_ns: int) -> None:
        """A batch was halved at `now_ns`: what the county takes from now on tells about its halves."""
        self._failures.pop(batch.ordinal, None)
        if len(self._families) > _MAX_KNOWN:
            self._families.clear()
        family = self._families.setdefault(batch.suspect_ns or now_ns, _Family(self._taken))
        family.taken = self._taken
        family.halved += 1
