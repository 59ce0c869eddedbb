"""What the journal keeps after its day files are dropped: received ranges, counters, the last position; digests too,
until no gateway can send the batch again."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from api.journal.batch import stored, told
from api.journal.digests import NOBODY_CAN_TELL, Run, forgotten_before, short_digest
from api.journal.port import TooLate
from api.journal.ranges import Received
from api.journal.tally import GatewayCount

_SCHEMA: Final = """
create table if not exists received(
  gateway text not null, epoch integer not null, first integer not null, last integer not null,
  primary key (gateway, epoch, first)
) strict, without rowid;
create table if not exists floor(
  gateway text not null, epoch integer not null, sequence integer not null, primary key (gateway, epoch)
) strict, without rowid;
create table if not exists counter(name text not null, gateway text not null, value integer not null,
  primary key (name, gateway)) strict, without rowid;
create table if not exists final(before_day integer not null, position integer not null) strict;
create table if not exists too_late(
  position integer not null, gateway text not null, device text not null, day integer not null,
  rows integer not null, connected integer not null, quantity integer not null,
  primary key (position, device, day)
) strict, without rowid;
create table if not exists day_count(
  day text not null, position integer not null, gateway text not null, batches integer not null,
  refused_rows integer not null, held_rows integer not null, primary key (day, gateway)
) strict, without rowid;
create table if not exists digest(
  gateway text not null, epoch integer not null, first integer not null, day text not null, digests blob not null,
  primary key (gateway, epoch, first)
) strict;
create index if not exists digest_day on digest(day);
create table if not exists through(day text not null, position integer not null) strict;
"""


class KeptFile:
    """The small file beside the day files. `save` is called before a day file is dropped, never per batch."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")
        self._db.executescript(_SCHEMA)
        self._lock = threading.Lock()
        self.final_before: tuple[int, int] | None = self._db.execute(
            "select before_day, position from final"
        ).fetchone()
        """Local days before the first are final, unless all their records are still there; what was journalled up to
        the second, a position, was counted while they were not."""

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def through(self) -> tuple[str, int]:
        """The last day that the ranges hold, as `2026-11-23` ('' for none), and the last position of it."""
        row = self._db.execute("select day, position from through").fetchone()
        return ("", 0) if row is None else (row[0], row[1])

    def load(self) -> dict[tuple[str, int], Received]:
        """Ranges by (gateway, epoch)."""
        ranges: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for gateway, epoch, first, last in self._db.execute("select gateway, epoch, first, last from received"):
            ranges.setdefault((gateway, told(epoch)), []).append((first, last))
        floors = {
            (gateway, told(epoch)): sequence
            for gateway, epoch, sequence in self._db.execute("select gateway, epoch, sequence from floor")
        }
        return {key: Received(found, floors.get(key)) for key, found in ranges.items()}

    @contextmanager
    def _synced(self) -> Iterator[sqlite3.Connection]:
        """One synced transaction: all of it, or nothing."""
        with self._lock:
            self._db.execute("begin immediate")
            try:
                yield self._db
                self._db.execute("commit")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("rollback")
                raise

    def save(self, received: Mapping[tuple[str, int], Received], day: str, position: int) -> None:
        """Replace the ranges by those that hold every batch up to the end of `day`."""
        with self._synced() as db:
            db.execute("delete from received")
            db.execute("delete from floor")
            db.execute("delete from through")
            db.executemany(
                "insert into received values (?,?,?,?)",
                [(g, stored(e), first, last) for (g, e), ranges in received.items() for first, last in ranges],
            )
            db.executemany(
                "insert into floor values (?,?,?)",
                [(g, stored(e), r.floor) for (g, e), r in received.items() if r.floor is not None],
            )
            db.execute("insert into through values (?, ?)", (day, position))

    def keep_digests(self, day: str, kept: Iterable[Run]) -> None:
        """Keep the digests of a day that is to be dropped, and forget the oldest."""
        rows = [(run.gateway, stored(run.epoch), run.first, day, run.digests) for run in kept]
        with self._synced() as db:
            # what is there already was kept before a kill, of the same day
            db.executemany("insert or ignore into digest values (?,?,?,?,?)", rows)
            db.execute("delete from digest where day < ?", (forgotten_before(day),))

    def digest_of(self, gateway: str, epoch: int, sequence: int) -> bytes:
        """The short digest of a batch whose day was dropped, NOBODY_CAN_TELL for none."""
        with self._lock:
            row = self._db.execute(
                "select first, digests from digest where gateway = ? and epoch = ? and first <= ?"
                " order by first desc limit 1",
                (gateway, stored(epoch), sequence),
            ).fetchone()
        return NOBODY_CAN_TELL if row is None else short_digest(row[1], sequence - row[0])

    def keep_day_counts(self, day: str, position: int, counts: Iterable[GatewayCount], since: str) -> None:
        """Keep what each gateway sent on a day, up to its last position. Days before `since` are forgotten."""
        with self._synced() as db:
            db.execute("delete from day_count where day = ? or day < ?", (day, since))
            db.executemany("insert into day_count values (?,?,?,?,?,?)", [(day, position, *count) for count in counts])

    def day_counts(self) -> dict[str, tuple[int, list[GatewayCount]]]:
        """By day, the position up to which it was counted, and what each gateway had sent."""
        found: dict[str, tuple[int, list[GatewayCount]]] = {}
        for day, position, *count in self._db.execute("select * from day_count order by day, gateway"):
            found.setdefault(day, (position, []))[1].append(GatewayCount(*count))
        return found

    def count(self, name: str, gateway: str, by: int = 1) -> None:
        """Raise a counter that must survive a restart, such as conflicts."""
        with self._lock:
            self._count(name, gateway, by)

    def _count(self, name: str, gateway: str, by: int) -> None:
        self._db.execute(
            "insert into counter values (?,?,?)"
            " on conflict (name, gateway) do update set value = value + excluded.value",
            (name, gateway, by),
        )

    def counters(self, name: str) -> dict[str, int]:
        """A counter by gateway."""
        return dict(self._db.execute("select gateway, value from counter where name = ?", (name,)).fetchall())

    def finish_before(self, day: int, position: int) -> None:
        """Make every local day before `day` final for what comes after a position; that is never taken back."""
        with self._synced() as db:
            if self.final_before is not None and day <= self.final_before[0]:
                return
            db.execute("delete from final")
            db.execute("insert into final values (?, ?)", (day, position))
        self.final_before = (day, position)

    def add_too_late(self, entries: Iterable[TooLate]) -> None:
        """List what came too late; what is listed already stays as it is."""
        with self._synced() as db:
            db.executemany("insert or ignore into too_late values (?,?,?,?,?,?,?)", entries)

    def too_late(self, limit: int) -> list[TooLate]:
        """The last `limit` entries of the list, the newest first."""
        with self._lock:
            found = self._db.execute("select * from too_late order by position desc, device, day limit ?", (limit,))
            return [TooLate(*row) for row in found]

    def too_late_rows(self) -> int:
        """How many rows are listed."""
        with self._lock:
            return int(self._db.execute("select coalesce(sum(rows), 0) from too_late").fetchone()[0])
