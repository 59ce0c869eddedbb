"""The journal's port: what the service asks of it, whatever engine it lives in.

What a gateway sent is synced here before it is acknowledged; everything behind it is derived. A batch is known by
(gateway, epoch, sequence), unique over all days. Batches have positions 1, 2, 3 … in the order of commit, without
holes; the interval store says up to which position it has applied them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from api.journal.batch import AnnounceEntry, Batch

Result = Literal["journalled", "duplicate", "conflict"]


class JournalError(Exception):
    """The batch could not be journalled; it was not acknowledged and may be sent again."""


class JournalBusyError(JournalError):
    """More batches wait than the journal's limit."""


class UnkeepableError(JournalError):
    """The engine has no room for what this batch says, whenever it is sent: it is not to be sent again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch. `position` is 0 unless it was journalled now; `missing`: (epoch, first, last)."""

    result: Result
    position: int
    missing: list[tuple[int, int, int]]


@dataclass(slots=True)
class Totals:
    """Counters of one gateway: since the oldest day that is kept (files), since the beginning (PostgreSQL)."""

    batches: int = 0
    refused_rows: int = 0
    held_rows: int = 0
    conflicts: int = 0
    duplicates: int = 0


class JournalSize(NamedTuple):
    """How large the journal is. Times in ns UTC, None for an empty journal."""

    days: int
    size_bytes: int
    oldest_ns: int | None
    newest_ns: int | None


class DayCounts(NamedTuple):
    """Of one local day, the positions of batches that have counted rows for it, ascending, and how many each has."""

    day: int
    position: NDArray[np.int64]
    rows: NDArray[np.int64]


class TooLate(NamedTuple):
    """Records of one device and local day that came when the day was final: what they would have added.

    `connected` in 1/10 s, `quantity` in 1/1000 of the unit.
    """

    position: int
    gateway: str
    device: str
    day: int
    rows: int
    connected: int
    quantity: int


class Kept(Protocol):
    """What outlives the journal's days, beside the received ranges."""

    @property
    def final_before(self) -> tuple[int, int] | None:
        """Local days before the first are final, unless all their records are still there; what was journalled up to
        the second, a position, was counted while they were not."""
        ...

    def finish_before(self, day: int, position: int) -> None:
        """Make every local day before `day` final for what comes after a position; that is never taken back."""
        ...

    def add_too_late(self, entries: Iterable[TooLate]) -> None:
        """List what came too late; what is listed already stays as it is."""
        ...

    def too_late(self, limit: int) -> list[TooLate]:
        """The last `limit` entries of the list, the newest first."""
        ...

    def too_late_rows(self) -> int:
        """How many rows are listed."""
        ...


class Journal(Protocol):
    """The journal of one county. Calls may come from any thread."""

    @property
    def position(self) -> int:
        """The last position that is synced."""
        ...

    @property
    def kept(self) -> Kept:
        """What outlives the days."""
        ...

    @property
    def last_error(self) -> str:
        """Why the last commit failed; empty after one that did not."""
        ...

    async def commit(self, batch: Batch) -> Outcome:
        """Journal a batch (its `position` is ignored) and say what became of it, after the sync.

        Raises JournalBusyError when too many wait, UnkeepableError when it never can be kept, JournalError when
        it could not be now.
        """
        ...

    async def commit_announce(self, entry: AnnounceEntry) -> None:
        """Journal an announcement message; as `commit`."""
        ...

    def after(self, position: int, limit: int) -> list[Batch]:
        """At most `limit` batches beyond a position, in order: for whoever derives from the journal."""
        ...

    def first(self) -> tuple[int, int] | None:
        """Position and time of arrival (ns UTC) of the first batch that is still here; None for none."""
        ...

    def arrived_ns(self, position: int) -> int | None:
        """When the first batch beyond a position arrived, ns UTC; None where there is none."""
        ...

    def counted(self, through: int, skip: Callable[[int], bool]) -> Iterator[DayCounts]:
        """Of each local day that is not skipped, how many rows were counted of every batch up to a position.

        At most one day is held at a time where the engine can tell days apart.
        """
        ...

    def heard_since(self, since_ns: int) -> set[str]:
        """Gateways of which a batch arrived since a time."""
        ...

    def continue_from(self, position: int) -> None:
        """Number the next batch beyond a position that the interval store has: of a journal that was lost."""
        ...

    def totals(self) -> dict[str, Totals]:
        """Counters by gateway."""
        ...

    def size(self) -> JournalSize:
        """How large it is, and how old."""
        ...

    def drop_before(self, applied_position: int) -> list[str]:
        """Drop the days beyond those that are kept, unless something in them is not applied yet.

        Their received ranges stay, and the digests of their batches. Returns the days that were dropped, as
        `2026-11-23`.
        """
        ...

    def close(self) -> None:
        """Write what waits, then give it back."""
        ...
