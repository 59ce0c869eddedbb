"""One day of the journal: a SQLite file of the batches that arrived on one UTC day."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from api.journal.batch import AnnounceEntry, Batch, gap_of, stored, told
from api.journal.digests import SHORT_BYTES
from api.journal.tally import GatewayCount

_SCHEMA: Final = """
create table if not exists batch(
  position integer primary key,
  gateway text not null,
  epoch integer not null,
  sequence integer not null,
  previous_epoch integer,
  previous_sequence integer,
  digest blob not null,
  is_json integer not null,
  rows integer not null,
  refused blob not null,
  held blob not null,
  arrived_ns integer not null,
  body blob not null
) strict;
create unique index if not exists batch_key on batch(gateway, epoch, sequence);
create table if not exists gap(
  position integer not null,
  gateway text not null,
  epoch integer not null,
  sequence integer not null,
  start_s integer not null,
  end_s integer not null,
  rows integer not null,
  devices text not null,
  reason text not null
) strict;
create table if not exists counted(
  position integer not null, day integer not null, rows integer not null, primary key (day, position)
) strict, without rowid;
create table if not exists announce(
  gateway text not null,
  epoch integer not null,
  arrived_ns integer not null,
  is_json integer not null,
  body blob not null
) strict;
"""

_CHUNK: Final = 500

_COUNTED_DAYS: Final = (
    "with recursive counted_day(day) as (select min(day) from counted union all"
    " select (select min(counted.day) from counted where counted.day > counted_day.day) from counted_day"
    " where counted_day.day is not null) select day from counted_day"
)
"""The local days of the file, one look-up each: `select distinct` would read every row."""


class DayFile:
    """Reads and writes one day file. One thread at a time."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        address = f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        self._db = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=30.0)
        if not read_only:
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            self._db.execute("pragma wal_autocheckpoint = 4000")
            self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def write(self, batches: Sequence[Batch], announces: Sequence[AnnounceEntry]) -> None:
        """Commit batches and announcements in one synced transaction. Raises sqlite3.Error; then nothing is kept."""
        self._db.execute("begin immediate")
        try:
            self._db.executemany(
                "insert into batch values (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                [
                    (
                        b.position,
                        b.gateway,
                        stored(b.epoch),
                        b.sequence,
                        None if b.previous is None else stored(b.previous[0]),
                        None if b.previous is None else b.previous[1],
                        b.digest,
                        int(b.is_json),
                        b.rows,
                        b.refused,
                        b.held,
                        b.arrived_ns,
                        b.body,
                    )
                    for b in batches
                ],
            )
            gaps = []
            for b in batches:
                for g in b.gaps:
                    epoch, sequence = g.stands_for(b.epoch) or (b.epoch, 0)
                    devices = "\n".join(g.devices)
                    gaps.append(
                        (b.position, b.gateway, stored(epoch), sequence, g.start_s, g.end_s, g.rows, devices, g.reason)
                    )
            if gaps:
                self._db.executemany("insert into gap values (?,?,?,?,?,?,?,?,?)", gaps)
            self._db.executemany(
                "insert into counted values (?,?,?)", [(b.position, day, rows) for b in batches for day, rows in b.days]
            )
            if announces:
                self._db.executemany(
                    "insert into announce values (?,?,?,?,?)",
                    [(a.gateway, stored(a.epoch), a.arrived_ns, int(a.is_json), a.body) for a in announces],
                )
            self._db.execute("commit")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("rollback")
            raise

    def last_position(self) -> int:
        """The highest position in the file, 0 for none."""
        return int(self._db.execute("select coalesce(max(position), 0) from batch").fetchone()[0])

    def first(self, beyond: int = 0) -> tuple[int, int] | None:
        """Position and time of arrival (ns UTC) of the first batch beyond a position."""
        row = self._db.execute(
            "select position, arrived_ns from batch where position > ? order by position limit 1", (beyond,)
        ).fetchone()
        return None if row is None else (row[0], row[1])

    def newest_ns(self) -> int | None:
        """When the last batch arrived."""
        row = self._db.execute("select arrived_ns from batch order by position desc limit 1").fetchone()
        return None if row is None else int(row[0])

    def heard_since(self, since_ns: int) -> set[str]:
        """Gateways of which a batch arrived since a time; batches are looked at from the newest back."""
        heard: set[str] = set()
        for gateway, arrived_ns in self._db.execute("select gateway, arrived_ns from batch order by position desc"):
            if arrived_ns < since_ns:
                break
            heard.add(gateway)
        return heard

    def counted_days(self) -> list[int]:
        """The local days that have counted rows, ascending."""
        return [day for (day,) in self._db.execute(_COUNTED_DAYS) if day is not None]

    def counted(self, day: int, through: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions of the batches up to one that have counted rows of a local day, ascending; how many each has."""
        found = self._db.execute(
            "select position, rows from counted where day = ? and position <= ? order by position", (day, through)
        )
        columns = np.fromiter(found, np.dtype([("position", np.int64), ("rows", np.int64)]))
        return columns["position"], columns["rows"]

    def digest_of(self, gateway: str, epoch: int, sequence: int) -> tuple[bytes, int] | None:
        """Digest and number of rows of a journalled batch."""
        row = self._db.execute(
            "select digest, rows from batch where gateway = ? and epoch = ? and sequence = ?",
            (gateway, stored(epoch), sequence),
        ).fetchone()
        return None if row is None else (row[0], row[1])

    def digests(self) -> Iterator[tuple[str, int, int, bytes]]:
        """(gateway, epoch, sequence, short digest) of every batch, in no order that matters."""
        for gateway, epoch, sequence, digest in self._db.execute(
            f"select gateway, epoch, sequence, substr(digest, 1, {SHORT_BYTES}) from batch"  # noqa: S608
        ):
            yield gateway, told(epoch), sequence, digest

    def batch_keys(self) -> Iterator[tuple[str, int, int, int | None, int | None]]:
        """(gateway, epoch, sequence, previous epoch, previous sequence) of every batch."""
        for gateway, epoch, sequence, before, before_sequence in self._db.execute(
            "select gateway, epoch, sequence, previous_epoch, previous_sequence from batch"
            " order by position"  # as they lie in the file: by the key, each would be looked up in another place
        ):
            yield gateway, told(epoch), sequence, None if before is None else told(before), before_sequence

    def gap_keys(self) -> Iterator[tuple[str, int, int]]:
        """(gateway, epoch, sequence) that a gap stands for."""
        for gateway, epoch, sequence in self._db.execute("select gateway, epoch, sequence from gap where sequence > 0"):
            yield gateway, told(epoch), sequence

    def after(self, position: int, limit: int) -> list[Batch]:
        """At most `limit` batches beyond a position, in order."""
        found = self._db.execute(
            "select position, gateway, epoch, sequence, previous_epoch, previous_sequence, digest, is_json, rows,"
            " refused, held, arrived_ns, body from batch where position > ? order by position limit ?",
            (position, limit),
        ).fetchall()
        return [
            Batch(
                r[0],
                r[1],
                told(r[2]),
                r[3],
                None if r[4] is None else (told(r[4]), r[5]),
                r[6],
                bool(r[7]),
                r[8],
                r[9],
                r[10],
                r[11],
                r[12],
            )
            for r in found
        ]

    def everything(self) -> Iterator[Batch]:
        """All batches by position, with their gaps and counted rows, as they are when this begins."""
        last = self.last_position()
        days = str(self.counted_days())
        position = 0
        while position < last:
            batches = [batch for batch in self.after(position, _CHUNK) if batch.position <= last]
            span = (position, batches[-1].position)
            gaps: dict[int, list[tuple[int, int, str, int, int, int, str]]] = {}
            for at, *gap in self._db.execute(
                "select position, epoch, sequence, devices, start_s, end_s, rows, reason from gap"
                " where position > ? and position <= ?",
                span,
            ):
                gaps.setdefault(at, []).append(tuple(gap))
            counted: dict[int, list[tuple[int, int]]] = {}
            for at, day, rows in self._db.execute(
                "select position, day, rows from json_each(?) cross join counted on day = value"
                " where position > ? and position <= ?",
                (days, *span),
            ):
                counted.setdefault(at, []).append((day, rows))
            for batch in batches:
                yield batch._replace(
                    gaps=tuple(
                        gap_of(devices, start_s, end_s, rows, reason, batch.epoch, told(epoch), sequence)
                        for epoch, sequence, devices, start_s, end_s, rows, reason in gaps.get(batch.position, ())
                    ),
                    days=tuple(counted.get(batch.position, ())),
                )
            position = span[1]

    def announces(self) -> Iterator[AnnounceEntry]:
        """All announcements in the order of arrival."""
        for gateway, epoch, arrived_ns, is_json, body in self._db.execute(
            "select gateway, epoch, arrived_ns, is_json, body from announce order by rowid"
        ):
            yield AnnounceEntry(gateway, told(epoch), arrived_ns, bool(is_json), body)

    def totals(self) -> list[GatewayCount]:
        """What each gateway sent; the whole file is read for it."""
        found: Counter[str] = Counter()
        refused: Counter[str] = Counter()
        held: Counter[str] = Counter()
        for gateway, refused_bytes, held_bytes in self._db.execute(
            "select gateway, length(refused), length(held) from batch order by position"
        ):
            found[gateway] += 1
            refused[gateway] += refused_bytes // 4
            held[gateway] += held_bytes // 4
        return [GatewayCount(gateway, n, refused[gateway], held[gateway]) for gateway, n in found.items()]
