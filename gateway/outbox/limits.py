"""How much the outbox may hold, and what goes when it would be more."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Final

from gateway.clock import NS_PER_S
from gateway.outbox.batches import Batches, BatchState
from gateway.outbox.database import Database
from gateway.outbox.gap_notes import GapNotes, gap_of
from gateway.wire import Ingest, decode, records_of
from metrics.record import DAY_S

GROWTH_DAYS: Final = 1
"""What the last days brought tells how fast the outbox fills."""


_THINNED: Final = "thinned"
_SETTLED_FIRST: Final = "SELECT ordinal, state FROM batches WHERE state != 0 ORDER BY ordinal LIMIT 1"
_ROWS: Final = (
    "SELECT coalesce(sum(rows), 0), min(created_ns), max(created_ns) FROM batches INDEXED BY batches_by_state"
)
_FEW_BATCHES: Final = 1000
_AT_ONCE: Final = 100
"""So many batches of a state expire with one commit at most."""
_HOUR_S: Final = 3600


def _begins_an_hour(message: Ingest) -> bool:
    """Whether a batch holds the first window of an hour."""
    return bool((records_of(message).start % _HOUR_S == 0).any())


def free_bytes_of(folder: Path) -> int:
    """Free space of the disk that holds a folder. Raises OSError."""
    return shutil.disk_usage(folder).free


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits in bytes and in days."""

    bytes: int = 1 << 30
    """Of the file, the pages apart that are free in it."""
    keep_s: int = 14 * DAY_S
    """Confirmed batches are kept for so long."""
    unsent_s: int = 400 * DAY_S
    """Unsent batches older than this are dropped, each leaving a gap; those set aside are kept as long."""
    reserve_bytes: int = 0
    """Free space left on the disk: where there is less, batches go as they do at the limit."""
    free_bytes: Callable[[Path], int] = free_bytes_of


class Keeper:
    """Keeps an outbox within its limits, each batch that goes unsent told as a gap.

    Confirmed batches go first. Of those that wait the oldest goes first, but what rates need stays longest: the
    batches of an hour's first window, which show who was connected in that hour and bear the counters' readings, go
    only when nothing else is left.
    """

    def __init__(self, db: Database, batches: Batches, gaps: GapNotes, limits: Limits) -> None:
        self._db, self._batches, self._gaps, self._limits = db, batches, gaps, limits

    def keep(self, now_ns: int, file_before_bytes: int) -> None:
        """Drop what is too old or too much, inside the transaction that is open.

        `file_before_bytes`: size of the file when it began.
        """
        batches, limits = self._batches, self._limits
        for state, kept_s in ((BatchState.ACKED, limits.keep_s), (BatchState.POISONED, limits.unsent_s)):
            for ordinal in self._older("settled_ns", state, now_ns - kept_s * NS_PER_S):
                batches.delete_where("ordinal = ?", (ordinal,))
        for ordinal in self._older("created_ns", BatchState.UNSENT, now_ns - limits.unsent_s * NS_PER_S):
            self._drop(ordinal, BatchState.UNSENT, "dropped: too old")
        # Gaps do not count, of which there are few: to drop a batch for their sake would make more of them.
        page_bytes = int(self._db.one("PRAGMA page_size"))
        held_bytes = self._db.used_bytes() - self._gaps.size_bytes()
        excess_bytes = held_bytes - self._room_bytes(file_before_bytes)
        while excess_bytes > 0:
            row = self._db.execute(_SETTLED_FIRST).fetchone() or self._least_needed()
            if row is None or row[0] == batches.last_ordinal():
                return
            pages = -(-batches.size_bytes(row[0]) // page_bytes)  # rather too many, so that rather too little goes
            excess_bytes -= pages * page_bytes
            self._drop(row[0], row[1], "dropped: outbox full")

    def _older(self, column: str, state: BatchState, than_ns: int) -> list[int]:
        """The first batches of a state, up to one that is younger: only so many are looked at."""
        rows = self._db.execute(
            f"SELECT ordinal, {column} FROM batches WHERE state = ? ORDER BY ordinal LIMIT ?",  # noqa: S608 (names of ours)
            (state, _AT_ONCE),
        ).fetchall()
        return [ordinal for ordinal, _ in takewhile(lambda row: row[1] < than_ns, rows)]

    def _least_needed(self) -> tuple[int, int] | None:
        """The oldest batch that waits and holds no first window of an hour; else the oldest of all. (ordinal, state)

        Up to `thinned` only such first windows are left: each batch is looked at once.
        """
        thinned = int(self._db.meta(_THINNED) or 0)
        last = self._batches.last_ordinal()
        for (ordinal,) in self._db.execute(
            "SELECT ordinal FROM batches WHERE state = 0 AND ordinal > ? AND ordinal < ? ORDER BY ordinal",
            (thinned, last),
        ):
            if not _begins_an_hour(self._message(ordinal)):
                return ordinal, int(BatchState.UNSENT)
            self._db.set_meta(_THINNED, ordinal)
        row: tuple[int, int] | None = self._db.execute(
            "SELECT ordinal, state FROM batches WHERE state = 0 ORDER BY ordinal LIMIT 1"
        ).fetchone()
        return row

    def _message(self, ordinal: int) -> Ingest:
        body, _ = self._batches.body(ordinal) or (b"", 0)
        return decode(body, Ingest)

    def _drop(self, ordinal: int, state: int, reason: str) -> None:
        if state == BatchState.UNSENT:
            self.note_lost(self._message(ordinal), reason)
        self._batches.delete_where("ordinal = ?", (ordinal,))

    def note_lost(self, message: Ingest, reason: str) -> None:
        """Put a gap in the place of a batch that will never come, and count it."""
        self._gaps.add_all_of(message, gap_of(message, reason))
        for key, more in (("dropped_batches", 1), ("dropped_rows", message.rows)):
            self._db.set_meta(key, self._db.number(key) + more)

    def _room_bytes(self, file_bytes: int) -> int:
        """How much of the file may be in use, where it is so large now: within the limit and what the disk can spare.

        A disk that others filled keeps the file from growing; dropping more of it would give them nothing back.
        """
        limits = self._limits
        if not limits.reserve_bytes:
            return limits.bytes
        try:
            spare_bytes = limits.free_bytes(self._db.path.parent) - limits.reserve_bytes
        except OSError:
            return limits.bytes
        return min(limits.bytes, file_bytes + max(0, spare_bytes))

    def days_to_full(self, now_ns: int) -> float | None:
        """Days until unsent records are dropped, if the county stays away; None where nothing tells the rate.

        The rate is that of the rows of the last day, confirmed ones included, at the bytes that a row takes here. What
        the first batch holds was made before it: it begins the time and is not counted. Of a large table only its
        index is read: the card may be slow.
        """
        since_ns = now_ns - GROWTH_DAYS * DAY_S * NS_PER_S
        _, first_ns, last_ns = self._rows("WHERE created_ns >= ?", since_ns)
        if first_ns is None or last_ns - first_ns < 60 * NS_PER_S:
            return None
        (lately, *_), (held, *_) = self._rows("WHERE created_ns > ?", first_ns), self._rows("")
        row_bytes = self._rows_bytes() / held
        left_bytes = self._room_bytes(self._db.file_bytes()) - self._rows("WHERE state = 0")[0] * row_bytes
        per_day_bytes = lately * row_bytes * DAY_S * NS_PER_S / (last_ns - first_ns)
        return max(0.0, left_bytes) / float(per_day_bytes) if per_day_bytes else None

    def _rows(self, where: str, *values: int) -> tuple[int, int, int]:
        """How many rows some batches hold, and when the first and the last of them was made: None for no batch."""
        found: tuple[int, int, int] = self._db.execute(f"{_ROWS} {where}", values).fetchone()
        return found

    def _rows_bytes(self) -> int:
        """What all rows take. Of an outbox that is nearly empty the file would tell of its empty tables."""
        if int(self._db.one("SELECT count(*) FROM batches INDEXED BY batches_by_state")) > _FEW_BATCHES:
            return self._db.used_bytes()
        return int(self._db.one("SELECT sum(length(body)) FROM batches"))
