"""The durable outbox: batches, checkpoint and announcements in one SQLite file, fully synced.

*Accepted* means committed here. A batch is kept until the county has journalled it, then marked and
kept on for `keep_days` within the byte limit: a restored county asks for it again. All methods block;
the runtime calls them on one thread of its own (`OutboxThread`).
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from gateway.clock import NS_PER_S
from gateway.wire import Announcement, DeviceRef, Gap, Ingest, decode, encode, ingest_message, records_of
from metrics.record import DAY_S, TENTHS_PER_S, Records

SCHEMA_VERSION: Final = 1
DEFAULT_LIMIT_BYTES: Final = 1 << 30
DEFAULT_KEEP_DAYS: Final = 14
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
    UNIQUE (epoch, sequence)
);
CREATE INDEX batches_by_state ON batches (state, ordinal, rows, created_ns);
CREATE TABLE gaps (ordinal INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE checkpoint (id INTEGER PRIMARY KEY CHECK (id = 1), body BLOB NOT NULL);
CREATE TABLE announcements (
    number INTEGER PRIMARY KEY,
    device TEXT NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0,
    body BLOB NOT NULL
);
"""

_PENDING: Final = """
SELECT ordinal, epoch, sequence, rows, created_ns, body FROM batches
WHERE ordinal = (SELECT {choice} FROM batches WHERE state = 0)
"""

T = TypeVar("T")


class OutboxError(Exception):
    """The outbox's file cannot be used. The message says why and what to do, in Chinese and English."""


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


@dataclass(slots=True)
class Outbox:
    """One gateway's outbox. Raises OutboxError where the file is no outbox of a version known here."""

    path: Path
    gateway: str
    limit_bytes: int = DEFAULT_LIMIT_BYTES
    keep_s: int = DEFAULT_KEEP_DAYS * DAY_S
    _db: sqlite3.Connection = field(init=False, repr=False)
    _bytes: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA wal_autocheckpoint=256")
            self._db.execute("PRAGMA journal_size_limit=4194304")
            self._prepare()
        except (sqlite3.Error, OSError) as error:
            raise OutboxError(
                f"无法打开待发库 {self.path}：{error}。请检查磁盘与权限；若文件损坏，移走它后重新启动。 / "
                f"cannot open the outbox {self.path}: {error}. Check disk and permissions; if the file is damaged, "
                "move it away and start again."
            ) from error
        self._bytes = self._one("SELECT coalesce(sum(length(body)), 0) FROM batches")

    def _prepare(self) -> None:
        version = self._one("PRAGMA user_version")
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
                self._keep_limits(now_ns)
        except BaseException:
            self._bytes = before
            raise
        return sum(len(records) for _, records in batches)

    def _append(self, devices: list[DeviceRef], records: Records, now_ns: int) -> None:
        gaps = self._db.execute("SELECT ordinal, body FROM gaps ORDER BY ordinal LIMIT ?", (MAX_GAPS_PER_BATCH,))
        rows = gaps.fetchall()
        self._db.executemany("DELETE FROM gaps WHERE ordinal = ?", [(ordinal,) for ordinal, _ in rows])
        epoch, sequence, previous = self._next_key()
        message = ingest_message(
            self.gateway,
            epoch,
            sequence,
            devices,
            records,
            previous=previous,
            gaps=[msgspec.msgpack.decode(body, type=Gap) for _, body in rows],
        )
        self._insert(message, now_ns)

    def _next_key(self) -> tuple[int, int, tuple[int, int] | None]:
        epoch, sequence, before = self.epoch(), int(self._meta("sequence")) + 1, self._meta("previous")
        self._set_meta("sequence", sequence)
        self._set_meta("previous", f"{epoch} {sequence}")
        if not before:
            return epoch, sequence, None
        previous_epoch, previous_sequence = before.split()
        return epoch, sequence, (int(previous_epoch), int(previous_sequence))

    def _insert(self, message: Ingest, created_ns: int) -> None:
        body = encode(message)
        self._db.execute(
            "INSERT INTO batches (epoch, sequence, state, rows, created_ns, body) VALUES (?, ?, ?, ?, ?, ?)",
            (message.epoch, message.sequence, BatchState.UNSENT, message.rows, created_ns, body),
        )
        self._bytes += len(body)

    def _keep_limits(self, now_ns: int) -> None:
        self._delete_where("state != 0 AND settled_ns < ?", (now_ns - self.keep_s * NS_PER_S,))
        while self._bytes > self.limit_bytes:
            row = self._db.execute(
                "SELECT ordinal, state FROM batches ORDER BY state = 0, ordinal LIMIT 1",
            ).fetchone()
            if row is None or row[0] == self._one("SELECT max(ordinal) FROM batches"):
                return
            ordinal, state = row
            if state == BatchState.UNSENT:
                self._note_gap(ordinal, "dropped: outbox full")
            self._delete_where("ordinal = ?", (ordinal,))

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
            self._db.execute("INSERT INTO gaps (body) VALUES (?)", (msgspec.msgpack.encode(gap),))
        self._set_meta("dropped_batches", int(self._meta("dropped_batches")) + 1)
        self._set_meta("dropped_rows", int(self._meta("dropped_rows")) + message.rows)

    # Sending ------------------------------------------------------------------------------------

    def next_unsent(self, newest: bool) -> Pending | None:
        """The newest or the oldest batch that is not confirmed."""
        choice = "max(ordinal)" if newest else "min(ordinal)"
        row = self._db.execute(_PENDING.format(choice=choice)).fetchone()
        return None if row is None else Pending(*row)

    def mark_acked(self, ordinal: int, now_ns: int) -> None:
        """The county has journalled this batch."""
        self._settle(ordinal, BatchState.ACKED, now_ns, "")

    def mark_poisoned(self, ordinal: int, now_ns: int, reason: str) -> None:
        """The county will never take this batch: set it aside, and tell of the gap."""
        with self._transaction():
            self._note_gap(ordinal, "set aside: refused by the county")
            self._settle(ordinal, BatchState.POISONED, now_ns, reason)

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
            for ordinal, body in unsent:
                epoch, sequence, previous = self._next_key()
                message = msgspec.structs.replace(
                    decode(body, Ingest), epoch=epoch, sequence=sequence, previous=previous
                )
                renumbered = encode(message)
                self._bytes += len(renumbered) - len(body)
                self._db.execute(
                    "UPDATE batches SET epoch = ?, sequence = ?, body = ? WHERE ordinal = ?",
                    (epoch, sequence, renumbered, ordinal),
                )
        return self.epoch()

    def resend(self, epoch: int, first: int, last: int) -> int:
        """Confirmed batches that the county lacks are sent again; returns how many are still kept."""
        return self._db.execute(
            "UPDATE batches SET state = 0 WHERE epoch = ? AND sequence BETWEEN ? AND ? AND state = ?",
            (epoch, first, last, BatchState.ACKED),
        ).rowcount

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


def _new_epoch() -> int:
    return secrets.randbits(63)  # 64 bits without a sign, so that every store can hold it as a signed integer


class OutboxThread:
    """One thread that owns an outbox: the event loop never waits for the disk."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")

    async def call(self, method: Callable[..., T], *arguments: Any) -> T:
        """Run a method of the outbox. Once begun it runs to its end, also when the caller is cancelled."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, method, *arguments)

    def stop(self) -> None:
        """Wait for what is being written, then close the file."""
        self._thread.shutdown(wait=True)
        self.outbox.close()
