"""The durable outbox: batches, checkpoint and announcements in one SQLite file, fully synced.

*Accepted* means committed here. A batch is kept until the county has journalled it, then marked and
kept on for `keep_days` within the byte limit: a restored county asks for it again. All methods block;
the runtime calls them on one thread of its own (`OutboxThread`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import numpy as np

from gateway.clock import NS_PER_S
from gateway.salvage import Salvaged, Wreck, is_damage, set_aside
from gateway.wire import Announcement, DeviceRef, Gap, Ingest, decode, encode, ingest_message, records_of
from metrics.record import DAY_S, TENTHS_PER_S, Records

SCHEMA_VERSION: Final = 2
DEFAULT_LIMIT_BYTES: Final = 1 << 30
DEFAULT_KEEP_DAYS: Final = 14
DEFAULT_UNSENT_DAYS: Final = 400
GROWTH_DAYS: Final = 1
"""What the last days brought tells how fast the outbox fills."""
MAX_GAPS_PER_BATCH: Final = 100
_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE batches (
    ordinal INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    state INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    created_ns INTEGER NOT NULL,
    settled_ns INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    body BLOB NOT NULL,
    suspect_ns INTEGER NOT NULL DEFAULT 0,
    UNIQUE (epoch, sequence)
);
CREATE INDEX batches_by_state ON batches (state, ordinal, rows, created_ns);
CREATE INDEX suspects ON batches (ordinal) WHERE state = 0 AND suspect_ns != 0;
CREATE TABLE gaps (ordinal INTEGER PRIMARY KEY, body BLOB NOT NULL, epoch INTEGER NOT NULL DEFAULT 0);
CREATE TABLE checkpoint (id INTEGER PRIMARY KEY CHECK (id = 1), body BLOB NOT NULL);
CREATE TABLE announcements (
    number INTEGER PRIMARY KEY,
    device TEXT NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0,
    body BLOB NOT NULL
);
"""

_MIGRATIONS: Final = {
    1: """
ALTER TABLE batches ADD COLUMN suspect_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE gaps ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
UPDATE gaps SET epoch = (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'epoch');
CREATE INDEX suspects ON batches (ordinal) WHERE state = 0 AND suspect_ns != 0;
""",
}
"""What leads from a version to the next one; all of them run in one transaction, or none."""

_PENDING: Final = """
SELECT ordinal, epoch, sequence, rows, created_ns, body, suspect_ns FROM batches
WHERE ordinal = ({ordinal})
"""
_NEWEST_TRUSTED: Final = "SELECT max(ordinal) FROM batches WHERE state = 0 AND suspect_ns = 0"
_OLDEST_SUSPECT: Final = "SELECT min(ordinal) FROM batches INDEXED BY suspects WHERE state = 0 AND suspect_ns != 0"
SUSPECT_NS: Final = 45 * NS_PER_S
"""A refused batch is halved for this long; what is still refused then is set aside as it is."""
_MAX_NOTED: Final = 100_000

T = TypeVar("T")


class OutboxError(Exception):
    """The outbox's file cannot be used. The message says why and what to do, in Chinese and English."""


class DiskError(OutboxError):
    """The disk does not let the outbox be opened now: read-only, full, gone. It may later."""


class BatchState(IntEnum):
    """UNSENT: not confirmed yet. ACKED: journalled by the county. POISONED: refused for ever, kept to look at."""

    UNSENT = 0
    ACKED = 1
    POISONED = 2


@dataclass(frozen=True, slots=True)
class Pending:
    """A batch to send. `ordinal` orders all batches of this outbox, over every epoch."""

    ordinal: int
    epoch: int
    sequence: int
    rows: int
    created_ns: int
    body: bytes
    suspect_ns: int = 0
    """When the county first refused it, or the batch it is a half of; 0: never."""


class SetAside(NamedTuple):
    """A batch that the county will never take, as shown to people."""

    epoch: int
    sequence: int
    rows: int
    since_ns: int
    reason: str


@dataclass(frozen=True, slots=True)
class Depth:
    """What the outbox holds."""

    unsent: int = 0
    unsent_rows: int = 0
    oldest_unsent_ns: int = 0
    """When the oldest unsent batch was made, 0 if there is none."""
    acked: int = 0
    poisoned: int = 0
    size_bytes: int = 0
    dropped_batches: int = 0
    dropped_rows: int = 0
    set_aside: tuple[SetAside, ...] = ()
    """The latest of those set aside, newest first."""


@dataclass(slots=True)
class Outbox:
    """One gateway's outbox. Raises OutboxError where the file is no outbox of a version known here."""

    path: Path
    gateway: str
    limit_bytes: int = DEFAULT_LIMIT_BYTES
    keep_s: int = DEFAULT_KEEP_DAYS * DAY_S
    unsent_s: int = DEFAULT_UNSENT_DAYS * DAY_S
    """Unsent batches older than this are dropped, each leaving a gap."""
    reserve_bytes: int = 0
    """Free space left on the disk: where there is less, batches go as they do at the limit."""
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
    _db: sqlite3.Connection = field(init=False, repr=False)
    _bytes: int = field(init=False, default=0)
    _noted: set[int] = field(init=False, default_factory=set)
    """Sequences of this epoch that the county asked for and that got a gap."""
    salvaged: Salvaged | None = field(init=False, default=None)
    """What became of a damaged file, where one was found since the start."""

    def __post_init__(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._open()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self.salvage(error)
        except (sqlite3.Error, OSError) as error:
            raise DiskError(
                f"无法打开待发库 {self.path}：{error}。请检查磁盘空间、权限和挂载方式。 / "
                f"cannot open the outbox {self.path}: {error}. Check the disk's space, its permissions and how it is "
                "mounted."
            ) from error

    def _open(self) -> None:
        """Open the file and look at every page of its tables: damage shows now. Raises sqlite3.Error."""
        self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA wal_autocheckpoint=256")
            self._db.execute("PRAGMA journal_size_limit=4194304")
            self._prepare()
            self._bytes = self._one("SELECT coalesce(sum(length(body)), 0) FROM batches NOT INDEXED")
            self._one("SELECT count(*) FROM batches WHERE state = 0")
            self.checkpoint()
            self.known_devices()
        except BaseException:
            self._db.close()
            raise

    def salvage(self, error: Exception) -> None:
        """Set the damaged file aside and carry over what can be read. Raises sqlite3.Error, OSError."""
        self._db.close()
        aside = set_aside(self.path)
        self._open()
        wreck = Wreck(aside)
        try:
            with self._transaction():
                self.salvaged = self._carry_over(wreck, aside, str(error))
        finally:
            wreck.close()
        self._bytes = self._one("SELECT coalesce(sum(length(body)), 0) FROM batches")

    def _carry_over(self, wreck: Wreck, aside: Path, error: str) -> Salvaged:
        owner = wreck.one("SELECT value FROM meta WHERE key = 'gateway'")
        if owner is not None and owner != self.gateway:
            return Salvaged(aside, error=error)
        for row in wreck.announcements():
            self._db.execute(
                "INSERT OR IGNORE INTO announcements (number, device, sent, body) VALUES (?, ?, ?, ?)", row
            )
        saved = {BatchState.UNSENT: 0, BatchState.POISONED: 0, BatchState.ACKED: 0}
        for row in wreck.batches():
            self._db.execute("INSERT OR IGNORE INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            saved[BatchState(row[3])] += 1
        checkpoint = wreck.one("SELECT body FROM checkpoint")
        if checkpoint is not None:
            self._replace_checkpoint(checkpoint)
        epoch = wreck.one("SELECT value FROM meta WHERE key = 'epoch'")
        sequence = wreck.one("SELECT value FROM meta WHERE key = 'sequence'")
        if _is_number(epoch) and _is_number(sequence):
            known = {s for (s,) in self._db.execute("SELECT sequence FROM batches WHERE epoch = ?", (int(epoch),))}
            last = max(int(sequence), max(known, default=0))
            self._set_meta("epoch", int(epoch))
            self._set_meta("sequence", last)
            self._set_meta("previous", f"{epoch} {last}" if last else "")
            for lost in sorted(set(range(min(known, default=last + 1), last + 1)) - known - wreck.confirmed):
                self._add_gap(Gap([], 0, 0, 0, "lost: the outbox was damaged", lost), int(epoch))
        if not saved[BatchState.UNSENT]:  # how much was lost nobody can say
            self._add_gap(Gap([], 0, 0, 0, "lost: the outbox was damaged"), self.epoch())
        for key in ("dropped_batches", "dropped_rows"):
            value = wreck.one(f"SELECT value FROM meta WHERE key = '{key}'")  # noqa: S608 (two words of ours)
            self._set_meta(key, value if _is_number(value) else 0)
        unsent = saved[BatchState.UNSENT] + saved[BatchState.POISONED]
        return Salvaged(aside, unsent, saved[BatchState.ACKED], checkpoint is not None, error)

    def _prepare(self) -> None:
        version = self._one("PRAGMA user_version")
        if version in _MIGRATIONS:
            version = self._migrate(version)
        if version == SCHEMA_VERSION:
            owner = self._one("SELECT value FROM meta WHERE key = 'gateway'")
            if owner != self.gateway:
                raise OutboxError(
                    f"待发库 {self.path} 属于 {owner}，不属于 {self.gateway}。请改回 site，或换一个 data_dir。 / "
                    f"the outbox {self.path} belongs to {owner}, not to {self.gateway}. Restore site, or use another "
                    "data_dir."
                )
            return
        if version != 0:
            raise OutboxError(
                f"待发库 {self.path} 是版本 {version}，本程序只认识 {SCHEMA_VERSION}。请升级程序。 / "
                f"the outbox {self.path} has version {version}, this program knows {SCHEMA_VERSION}. Upgrade it."
            )
        with self._transaction():
            for statement in _SCHEMA.split(";"):
                if statement.strip():
                    self._db.execute(statement)
            self._db.execute("INSERT INTO meta VALUES ('gateway', ?)", (self.gateway,))
            self._db.execute("INSERT INTO meta VALUES ('epoch', ?)", (str(_new_epoch()),))
            self._db.execute("INSERT INTO meta VALUES ('sequence', '0')")
            self._db.execute("INSERT INTO meta VALUES ('previous', '')")
            self._db.execute("INSERT INTO meta VALUES ('dropped_batches', '0')")
            self._db.execute("INSERT INTO meta VALUES ('dropped_rows', '0')")
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _migrate(self, version: int) -> int:
        """Bring an older file to this version, in one transaction; returns the version."""
        with self._transaction():
            while version in _MIGRATIONS:
                for statement in _MIGRATIONS[version].split(";"):
                    if statement.strip():
                        self._db.execute(statement)
                version += 1
            self._db.execute(f"PRAGMA user_version={version}")
        return version

    def close(self) -> None:
        """Safe twice."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:  # a full disk has already rolled it back
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _one(self, sql: str, values: Sequence[Any] = ()) -> Any:
        row = self._db.execute(sql, values).fetchone()
        return None if row is None else row[0]

    def _meta(self, key: str) -> str:
        return str(self._one("SELECT value FROM meta WHERE key = ?", (key,)))

    def _set_meta(self, key: str, value: object) -> None:
        self._db.execute("UPDATE meta SET value = ? WHERE key = ?", (str(value), key))

    # Writing ------------------------------------------------------------------------------------

    def epoch(self) -> int:
        """The epoch under which new batches are numbered."""
        return int(self._meta("epoch"))

    def checkpoint(self) -> bytes | None:
        """The checkpoint as last saved, None on the first start."""
        body: bytes | None = self._one("SELECT body FROM checkpoint")
        return body

    def save_checkpoint(self, blob: bytes) -> None:
        """Replace the checkpoint, synced."""
        with self._transaction():
            self._replace_checkpoint(blob)

    def _replace_checkpoint(self, blob: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO checkpoint VALUES (1, ?)", (blob,))

    def commit(self, batches: Sequence[tuple[list[DeviceRef], Records]], checkpoint: bytes, now_ns: int) -> int:
        """Closed windows and the checkpoint that no longer holds them, in one synced transaction.

        Returns how many rows were written.
        """
        before = self._bytes
        try:
            with self._transaction():
                for devices, records in batches:
                    self._append(devices, records, now_ns)
                self._replace_checkpoint(checkpoint)
                self._keep_limits(now_ns, before)
        except BaseException:
            self._bytes = before
            raise
        return sum(len(records) for _, records in batches)

    def _append(self, devices: list[DeviceRef], records: Records, now_ns: int) -> None:
        gaps = self._take_gaps()
        epoch, sequence, previous = self._next_key()
        message = ingest_message(self.gateway, epoch, sequence, devices, records, previous=previous, gaps=gaps)
        self._insert(message, now_ns)

    def _take_gaps(self) -> list[Gap]:
        """Gaps to send with the next batch. A sequence speaks of the batch's own epoch: that of another is left out."""
        found = self._db.execute(
            "SELECT ordinal, epoch, body FROM gaps ORDER BY ordinal LIMIT ?", (MAX_GAPS_PER_BATCH,)
        ).fetchall()
        self._db.executemany("DELETE FROM gaps WHERE ordinal = ?", [(ordinal,) for ordinal, _, _ in found])
        now, gaps = self.epoch(), []
        for _, epoch, body in found:
            gap = msgspec.msgpack.decode(body, type=Gap)
            gaps.append(gap if epoch == now else msgspec.structs.replace(gap, sequence=0))
        return gaps

    def _add_gap(self, gap: Gap, epoch: int) -> None:
        self._db.execute("INSERT INTO gaps (body, epoch) VALUES (?, ?)", (msgspec.msgpack.encode(gap), epoch))

    def _next_key(self) -> tuple[int, int, tuple[int, int] | None]:
        epoch, sequence, before = self.epoch(), int(self._meta("sequence")) + 1, self._meta("previous")
        self._set_meta("sequence", sequence)
        self._set_meta("previous", f"{epoch} {sequence}")
        if not before:
            return epoch, sequence, None
        previous_epoch, previous_sequence = before.split()
        return epoch, sequence, (int(previous_epoch), int(previous_sequence))

    def _insert(self, message: Ingest, created_ns: int, suspect_ns: int = 0) -> None:
        body = encode(message)
        self._db.execute(
            "INSERT INTO batches (epoch, sequence, state, rows, created_ns, body, suspect_ns) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (message.epoch, message.sequence, BatchState.UNSENT, message.rows, created_ns, body, suspect_ns),
        )
        self._bytes += len(body)

    def _keep_limits(self, now_ns: int, held_before: int) -> None:
        self._delete_where("state != 0 AND settled_ns < ?", (now_ns - self.keep_s * NS_PER_S,))
        for (ordinal,) in self._db.execute(
            "SELECT ordinal FROM batches WHERE state = 0 AND created_ns < ? ORDER BY ordinal LIMIT 100",
            (now_ns - self.unsent_s * NS_PER_S,),
        ).fetchall():
            self._drop(ordinal, BatchState.UNSENT, "dropped: too old")
        room = self._room(held_before)
        while self._bytes > room:
            row = self._db.execute(
                "SELECT ordinal, state FROM batches ORDER BY state = 0, ordinal LIMIT 1",
            ).fetchone()
            if row is None or row[0] == self._one("SELECT max(ordinal) FROM batches"):
                return
            self._drop(row[0], row[1], "dropped: outbox full")

    def _drop(self, ordinal: int, state: int, reason: str) -> None:
        if state == BatchState.UNSENT:
            self._note_gap(ordinal, reason)
        self._delete_where("ordinal = ?", (ordinal,))

    def _room(self, held: int) -> int:
        """Bytes of batches that may be held, where `held` are now: within the limit and what the disk can spare.

        Pages that were freed inside the file are room as well. A disk that others filled keeps the outbox
        from growing; dropping more of it would give them nothing back.
        """
        if not self.reserve_bytes:
            return self.limit_bytes
        try:
            spare = self.free_bytes(self.path.parent) - self.reserve_bytes
        except OSError:
            return self.limit_bytes
        freed = int(self._one("PRAGMA freelist_count")) * int(self._one("PRAGMA page_size"))
        return min(self.limit_bytes, held + max(0, spare) + freed)

    def days_to_full(self, now_ns: int) -> float | None:
        """Days until the outbox drops unsent records, if the county stays away; None where nothing tells the rate.

        The rate is that of the batches of the last day, confirmed ones included.
        """
        since_ns = now_ns - GROWTH_DAYS * DAY_S * NS_PER_S
        size, first_ns = self._db.execute(
            "SELECT coalesce(sum(length(body)), 0), min(created_ns) FROM batches WHERE created_ns >= ?", (since_ns,)
        ).fetchone()
        if first_ns is None or now_ns - first_ns < 60 * NS_PER_S:
            return None
        unsent = self._one("SELECT coalesce(sum(length(body)), 0) FROM batches WHERE state = 0")
        per_day = size * DAY_S * NS_PER_S / (now_ns - first_ns)
        return float(max(0, self._room(self._bytes) - unsent) / per_day) if per_day else None

    def _delete_where(self, condition: str, values: Sequence[Any]) -> None:
        where = f" FROM batches WHERE {condition}"
        freed = self._one("SELECT coalesce(sum(length(body)), 0)" + where, values)
        if freed:
            self._db.execute("DELETE" + where, values)
            self._bytes -= freed

    def _note_gap(self, ordinal: int, reason: str) -> None:
        """Put a gap in the place of a batch that will never come, and pass its own gaps on."""
        body = self._one("SELECT body FROM batches WHERE ordinal = ?", (ordinal,))
        message = decode(body, Ingest)
        for gap in [*message.gaps, gap_of(message, reason)]:
            self._add_gap(gap, message.epoch)
        self._set_meta("dropped_batches", int(self._meta("dropped_batches")) + 1)
        self._set_meta("dropped_rows", int(self._meta("dropped_rows")) + message.rows)

    # Sending ------------------------------------------------------------------------------------

    def next_unsent(self, newest: bool) -> Pending | None:
        """The newest batch that is not confirmed; or what is left of a refused one, else the oldest."""
        preferred = _NEWEST_TRUSTED if newest else _OLDEST_SUSPECT
        row = self._db.execute(_PENDING.format(ordinal=preferred)).fetchone()
        if row is None:
            otherwise = "SELECT min(ordinal) FROM batches WHERE state = 0"
            row = self._db.execute(_PENDING.format(ordinal=otherwise)).fetchone()
        return None if row is None else Pending(*row)

    def mark_acked(self, ordinal: int, now_ns: int) -> None:
        """The county has journalled this batch."""
        self._settle(ordinal, BatchState.ACKED, now_ns, "")

    def refuse(self, ordinal: int, now_ns: int, reason: str) -> int:
        """The county will never take this batch as it is: find the rows that are to blame.

        It is halved, and its halves are sent under numbers of their own; a single row, or what is still
        refused after 45 s, is set aside, kept to look at, and told as a gap. Returns how many rows were
        set aside.
        """
        body, suspect_ns = self._db.execute(
            "SELECT body, suspect_ns FROM batches WHERE ordinal = ?", (ordinal,)
        ).fetchone()
        message = decode(body, Ingest)
        with self._transaction():
            last = message.rows <= 1 and not message.gaps
            if last or (suspect_ns and now_ns - suspect_ns > SUSPECT_NS):
                self._note_gap(ordinal, "set aside: refused by the county")
                self._settle(ordinal, BatchState.POISONED, now_ns, reason)
                return message.rows
            self._halve(message, suspect_ns or max(now_ns, 1))
            self._delete_where("ordinal = ?", (ordinal,))
        return 0

    def _halve(self, message: Ingest, suspect_ns: int) -> None:
        """Two batches in the place of one; a gap without rows says that its number will never come.

        Gaps wait for a batch that is not suspected: they may be what was refused.
        """
        for gap in message.gaps:
            self._add_gap(gap, message.epoch)
        self._add_gap(msgspec.structs.replace(gap_of(message, "sent in two halves"), rows=0), message.epoch)
        records, middle = records_of(message), message.rows // 2
        for part in (slice(0, middle), slice(middle, None)):
            half = records.take(part)
            if not len(half):
                continue
            used, index = np.unique(half.device, return_inverse=True)
            half = dataclasses.replace(half, device=index.astype(half.device.dtype))
            epoch, sequence, previous = self._next_key()
            devices = [message.devices[i] for i in used.tolist()]
            batch = ingest_message(self.gateway, epoch, sequence, devices, half, previous=previous)
            self._insert(batch, suspect_ns, suspect_ns)

    def set_aside(self, at_most: int = 20) -> list[SetAside]:
        """The latest batches that were set aside, newest first."""
        rows = self._db.execute(
            "SELECT epoch, sequence, rows, settled_ns, reason FROM batches WHERE state = ? "
            "ORDER BY ordinal DESC LIMIT ?",
            (BatchState.POISONED, at_most),
        )
        return [SetAside(*row) for row in rows]

    def _settle(self, ordinal: int, state: BatchState, now_ns: int, reason: str) -> None:
        self._db.execute(
            "UPDATE batches SET state = ?, settled_ns = ?, reason = ? WHERE ordinal = ?",
            (state, now_ns, reason, ordinal),
        )

    def open_epoch(self) -> int:
        """Number everything that is not confirmed anew, under a new epoch; returns the epoch.

        For an answer "same key, other bytes": another gateway writes under our epoch (a cloned card).
        """
        with self._transaction():
            unsent = self._db.execute("SELECT ordinal, body FROM batches WHERE state = 0 ORDER BY ordinal").fetchall()
            if unsent:
                previous = decode(unsent[0][1], Ingest).previous
                self._set_meta("previous", f"{previous[0]} {previous[1]}" if previous else "")
            self._set_meta("epoch", _new_epoch())
            self._set_meta("sequence", 0)
            self._noted.clear()
            for ordinal, body in unsent:
                epoch, sequence, previous = self._next_key()
                message = decode(body, Ingest)
                gaps = [msgspec.structs.replace(gap, sequence=0) for gap in message.gaps]  # they spoke of the old epoch
                message = msgspec.structs.replace(message, epoch=epoch, sequence=sequence, previous=previous, gaps=gaps)
                renumbered = encode(message)
                self._bytes += len(renumbered) - len(body)
                self._db.execute(
                    "UPDATE batches SET epoch = ?, sequence = ?, body = ? WHERE ordinal = ?",
                    (epoch, sequence, renumbered, ordinal),
                )
        return self.epoch()

    def resend(self, epoch: int, first: int, last: int) -> int:
        """Batches that the county lacks: those still kept are sent again, the others become gaps.

        Returns how many are sent again.
        """
        ours = epoch == self.epoch()
        last = min(last, int(self._meta("sequence"))) if ours else last
        with self._transaction():
            again = self._db.execute(
                "UPDATE batches SET state = 0 WHERE epoch = ? AND sequence BETWEEN ? AND ? AND state = ?",
                (epoch, first, last, BatchState.ACKED),
            ).rowcount
            if ours:
                self._note_lacking(epoch, first, last)
        return again

    def _note_lacking(self, epoch: int, first: int, last: int) -> None:
        """Gaps for what the county asks for and we no longer have; each once a run."""
        waiting = {
            sequence
            for (sequence,) in self._db.execute(
                "SELECT sequence FROM batches WHERE epoch = ? AND sequence BETWEEN ? AND ? AND state = 0",
                (epoch, first, last),
            )
        }
        for sequence in range(first, last + 1):
            if sequence not in waiting and sequence not in self._noted and len(self._noted) < _MAX_NOTED:
                self._noted.add(sequence)
                self._add_gap(Gap([], 0, 0, 0, "no longer kept", sequence), epoch)

    def depth(self) -> Depth:
        """How much is held and waits."""
        unsent, rows, oldest = self._db.execute(
            "SELECT count(*), coalesce(sum(rows), 0), coalesce(min(created_ns), 0) FROM batches WHERE state = 0"
        ).fetchone()
        counts = dict(self._db.execute("SELECT state, count(*) FROM batches WHERE state != 0 GROUP BY state"))
        return Depth(
            unsent,
            rows,
            oldest,
            counts.get(BatchState.ACKED, 0),
            counts.get(BatchState.POISONED, 0),
            self._bytes,
            int(self._meta("dropped_batches")),
            int(self._meta("dropped_rows")),
            tuple(self.set_aside()) if counts.get(BatchState.POISONED) else (),
        )

    # Announcements ------------------------------------------------------------------------------

    def announce(self, announcement: Announcement) -> int:
        """Number what a device says of itself; the number it already has where nothing changed."""
        latest = self._one(
            "SELECT body FROM announcements WHERE device = ? ORDER BY number DESC LIMIT 1", (announcement.device,)
        )
        if latest is not None:
            known = msgspec.msgpack.decode(latest, type=Announcement)
            if msgspec.structs.replace(known, number=0, at_ns=0) == msgspec.structs.replace(
                announcement, number=0, at_ns=0
            ):
                return known.number
        with self._transaction():
            number = int(self._one("SELECT coalesce(max(number), 0) FROM announcements")) + 1
            self._db.execute(
                "INSERT INTO announcements (number, device, body) VALUES (?, ?, ?)",
                (
                    number,
                    announcement.device,
                    msgspec.msgpack.encode(msgspec.structs.replace(announcement, number=number)),
                ),
            )
        return number

    def unsent_announcements(self, at_most: int = 200) -> list[Announcement]:
        """Announcements that the county has not taken yet, in order."""
        rows = self._db.execute("SELECT body FROM announcements WHERE sent = 0 ORDER BY number LIMIT ?", (at_most,))
        return [msgspec.msgpack.decode(body, type=Announcement) for (body,) in rows]

    def mark_announced(self, up_to: int) -> None:
        """The county has taken every announcement up to this number."""
        self._db.execute("UPDATE announcements SET sent = 1 WHERE number <= ? AND sent = 0", (up_to,))

    def announce_again(self) -> None:
        """Send the latest announcement of every device once more."""
        self._db.execute(
            "UPDATE announcements SET sent = 0 WHERE number IN (SELECT max(number) FROM announcements GROUP BY device)"
        )

    def known_devices(self) -> list[Announcement]:
        """The latest announcement of every device ever found."""
        rows = self._db.execute(
            "SELECT body FROM announcements WHERE number IN (SELECT max(number) FROM announcements GROUP BY device) "
            "ORDER BY number"
        )
        return [msgspec.msgpack.decode(body, type=Announcement) for (body,) in rows]


def gap_of(message: Ingest, reason: str) -> Gap:
    """What stands for a batch that will never come."""
    records = records_of(message)
    return Gap(
        [ref.id for ref in message.devices],
        int(records.start.min()) if len(records) else 0,
        int((records.start + records.length // TENTHS_PER_S).max()) if len(records) else 0,
        message.rows,
        reason,
        message.sequence,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, str) and value.isdecimal()


def _new_epoch() -> int:
    return secrets.randbits(63)  # 64 bits without a sign, so that every store can hold it as a signed integer


class OutboxThread:
    """One thread that owns an outbox: the event loop never waits for the disk."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")

    async def call(self, method: Callable[..., T], *arguments: Any) -> T:
        """Run a method of the outbox. Once begun it runs to its end, also when the caller is cancelled.

        Where the file turns out to be damaged it is set aside, what can be read goes into a new one, and
        the method is run again there.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, method, arguments)

    def _run(self, method: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        try:
            return method(*arguments)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self.outbox.salvage(error)
        return method(*arguments)

    def stop(self) -> None:
        """Wait for what is being written, then close the file."""
        self._thread.shutdown(wait=True)
        self.outbox.close()
