"""A whole journal from one engine into another: what backup reads and restore writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from api.journal.batch import AnnounceEntry, Batch
from api.journal.port import TooLate
from api.journal.ranges import Receipts


@dataclass(slots=True)
class Lasting:
    """What outlives the journal's days. `receipts` hold at least what the days that were dropped had."""

    position: int = 0
    receipts: Receipts = field(default_factory=Receipts)
    conflicts: dict[str, int] = field(default_factory=dict)
    final_before: tuple[int, int] | None = None
    too_late: list[TooLate] = field(default_factory=list)


class JournalReader(Protocol):
    """Reads a journal beside its running service. What comes meanwhile may be missing, never half there."""

    def lasting(self) -> Lasting:
        """What outlives the days. Asked first: whatever day is dropped after it is in its receipts."""
        ...

    def days(self) -> list[str]:
        """The days that are kept, ascending, as `2026-11-23`."""
        ...

    def batches(self, day: str) -> Iterator[Batch]:
        """The batches of a day by position, with their gaps and counted rows."""
        ...

    def announces(self, day: str) -> Iterator[AnnounceEntry]:
        """The announcements of a day in the order of arrival."""
        ...

    def close(self) -> None:
        """Give it back."""
        ...


class JournalMaker(Protocol):
    """Writes a journal where there is none."""

    def is_empty(self) -> bool:
        """Whether there is none yet."""
        ...

    def write(self, day: str, batches: Iterable[Batch], announces: Iterable[AnnounceEntry]) -> None:
        """Add to a day; batches keep their positions. Days come in order."""
        ...

    def finish(self, lasting: Lasting) -> None:
        """Keep what outlives the days; everything that was written is in its receipts."""
        ...

    def close(self) -> None:
        """Give it back."""
        ...
