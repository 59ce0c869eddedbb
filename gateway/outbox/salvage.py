"""A damaged outbox: set aside as a whole, and what can still be read of it carried over into a new one."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.outbox.batches import BatchState
from gateway.outbox.database import Database
from gateway.outbox.durable import put_in_place
from gateway.outbox.gap_notes import GapNotes
from gateway.outbox.schema import LAST_BODY, is_body_of, prepare
from gateway.wire import Announcement, Gap, Ingest, WireError, decode, records_of

ACKED_BUDGET_S: Final = 4.0
"""Confirmed batches are carried over for this long, newest first: the county has them."""
MAX_ASIDE: Final = 2
"""Damaged files that are kept to look at, the latest: each is as large as an outbox."""
_SUFFIXES: Final = ("", "-wal", "-shm")
_PARTIAL: Final = ".salvaging"
_WHOLE: Final = ".salvaged"
MAY_BE_DAMAGE: Final = (sqlite3.DatabaseError, WireError, msgspec.DecodeError)
"""What `is_damage` can tell of."""
_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT})
"""A number that is given out twice was changed on the card: nothing of ours breaks a constraint."""
_MAX_TRIED: Final = 1_000_000
_MAX_BLIND: Final = 20_000
"""So many keys are tried behind the last row that could be read, where nothing tells how many there are."""
_NUMBERS: Final = ("epoch", "sequence", "dropped_batches", "dropped_rows", "past", "undated")
INTERRUPTED: Final = "上次修复被中断 mending it was interrupted"
_LOST: Final = "lost: the outbox was damaged"


def is_damage(error: BaseException) -> bool:
    """Whether an error says that the file's content is damaged; a full or missing disk is not damage.

    A flipped bit in what a page holds is nothing that SQLite sees: the messages' own checksums do.
    """
    if isinstance(error, WireError | msgspec.DecodeError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.DatabaseError) and code is not None and code & 0xFF in _CORRUPT


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What became of a damaged outbox."""

    aside: Path
    batches: int = 0
    """Unsent and set-aside batches carried over."""
    confirmed: int = 0
    checkpoint: bool = False
    error: str = ""

    @property
    def zh(self) -> str:
        """For people, in Chinese."""
        kept = "窗口与计数器已续接" if self.checkpoint else "计数器从新读数开始"
        return f"待发库损坏（{self.error}），已搁置为 {self.aside}；救回 {self.batches} 个未确认批次，{kept}。"

    @property
    def en(self) -> str:
        """The same in English."""
        kept = "windows and counters go on" if self.checkpoint else "counters start anew"
        return (
            f"the outbox was damaged ({self.error}) and is set aside as {self.aside}; {self.batches} unconfirmed "
            f"batches were saved, {kept}."
        )


def salvage(path: Path, gateway: str, error: str, on_progress: Callable[[], None]) -> Salvaged:
    """Carry what can be read of a damaged outbox over into a new one, which then takes its place.

    `on_progress` is called for every row: a large outbox takes minutes on a card. What it raises ends this.

    The new one is whole, synced and has a name that says so before the damaged one is touched: whatever interrupts
    this, nothing is lost, and `finish` or the next `salvage` goes on. Raises sqlite3.Error, OSError.
    """
    partial = path.with_name(path.name + _PARTIAL)
    _remove(partial)
    _make_room(path)
    fresh, wreck = Database(partial), Wreck(path, on_progress)
    try:
        fresh.open_without_log()
        prepare(fresh, gateway)
        with fresh.transaction():
            salvaged = wreck.carry_over(fresh, GapNotes(fresh), gateway, error)
    except BaseException:
        fresh.close()
        _remove(partial)
        raise
    finally:
        wreck.close()
        fresh.close()
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    put_in_place(partial, path.with_name(path.name + _WHOLE))
    return replace(salvaged, aside=finish(path) or path)


def finish(path: Path) -> Path | None:
    """Let a new outbox that is whole take the damaged one's place; where that one went, None where there is none.

    Raises OSError.
    """
    whole = path.with_name(path.name + _WHOLE)
    if not whole.exists():
        return None
    before = _set_aside_before(path)
    aside = set_aside(path)
    if not aside.exists():  # an earlier try has moved it already
        aside = max(before, key=lambda p: p.stat().st_mtime_ns, default=aside)
    put_in_place(whole, path)
    others = [p for p in before if p != aside]  # the clock may not be set yet: the new one is not the last by its name
    for old in others[: max(0, len(others) - MAX_ASIDE + 1)]:
        _remove(old)
    return aside


def _make_room(path: Path) -> None:
    """Room for a second file of that size; earlier damaged ones go where there is none. Raises OSError."""
    needed_bytes = path.stat().st_size if path.exists() else 0
    for old in _set_aside_before(path):
        if shutil.disk_usage(path.parent).free > needed_bytes:
            return
        _remove(old)
    if shutil.disk_usage(path.parent).free <= needed_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _set_aside_before(path: Path) -> list[Path]:
    """Damaged files that were set aside, the oldest first as far as their names tell."""
    return sorted(p for p in path.parent.glob(f"{path.name}.damaged-*") if not p.name.endswith(_SUFFIXES[1:]))


def _remove(path: Path) -> None:
    for suffix in _SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Move a database with its log out of the way. Raises OSError."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    n = 1
    while aside.exists():
        n += 1
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{n}")
    for suffix in _SUFFIXES:
        source = path.with_name(path.name + suffix)
        if source.exists():
            os.replace(source, aside.with_name(aside.name + suffix))
    return aside


class Wreck:
    """A damaged outbox, read as far as it can be. Nothing here raises sqlite3.Error."""

    def __init__(self, path: Path, on_progress: Callable[[], None]) -> None:
        self._path, self._on_progress = path, on_progress
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.confirmed: set[int] = set()
        """Sequences of the batches that the county has, as far as `batches` met them."""
        self._db.text_factory = lambda raw: raw.decode("utf-8", "replace")

    def close(self) -> None:
        """Done with it."""
        self._db.close()

    def one(self, sql: str) -> Any:
        """The first value of a query, None where it cannot be read."""
        try:
            row = self._db.execute(sql).fetchone()
        except sqlite3.Error:
            return None
        return None if row is None else row[0]

    def announcements(self) -> list[tuple[Any, ...]]:
        """Rows (number, device, sent, body) in order of their numbers."""
        return list(self._scan("announcements", "number", "number, device, sent, body"))

    def batches(self) -> Iterator[tuple[Any, ...]]:
        """Whole batches: (ordinal, epoch, sequence, state, rows, created, settled, reason, body), the unconfirmed
        ones first in order, then the confirmed ones, newest first, for as long as there is time."""
        columns = "ordinal, epoch, sequence, state, rows, created_ns, settled_ns, reason, body"
        confirmed: list[int] = []
        self.confirmed.clear()
        for row in self._scan("batches", "ordinal", columns):
            if row[3] == BatchState.ACKED:
                confirmed.append(row[0])
                self.confirmed.add(row[2])
            elif (whole := _whole(row)) is not None:
                yield whole
        until_s = time.monotonic() + ACKED_BUDGET_S
        for ordinal in reversed(confirmed):
            if time.monotonic() > until_s:
                return
            found = self._row("batches", "ordinal", columns, ordinal)
            if found is not None and (whole := _whole(found)) is not None:
                yield whole

    def carry_over(self, db: Database, gaps: GapNotes, gateway: str, error: str) -> Salvaged:
        """Put what can be read into a new outbox, and gaps in the place of what cannot; says what became of it.

        `db`: an empty one of `gateway`, in a transaction. Raises sqlite3.Error of it.
        """
        owner = self.one("SELECT value FROM meta WHERE key = 'gateway'")
        if owner is not None and owner != gateway and not is_body_of(gateway, self.one(LAST_BODY)):
            return Salvaged(self._path, error=error)
        for row in self.announcements():
            if _can_be_read(row[3], Announcement):
                db.execute("INSERT OR IGNORE INTO announcements (number, device, sent, body) VALUES (?, ?, ?, ?)", row)
        for _, body in self._scan("gaps", "ordinal", "ordinal, body"):
            if _can_be_read(body, Gap):
                db.execute("INSERT INTO gaps (body) VALUES (?)", (body,))
        saved = dict.fromkeys(BatchState, 0)
        for row in self.batches():
            db.execute("INSERT OR IGNORE INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            saved[BatchState(row[3])] += 1
        checkpoint = self.one("SELECT body FROM checkpoint")
        if checkpoint is not None:
            db.execute("INSERT OR REPLACE INTO checkpoint VALUES (1, ?)", (checkpoint,))
        self._carry_numbers_over(db, gaps)
        if not saved[BatchState.UNSENT]:  # how much was lost nobody can say
            gaps.add(Gap([], 0, 0, 0, _LOST), int(db.meta("epoch")))
        unsent = saved[BatchState.UNSENT] + saved[BatchState.POISONED]
        return Salvaged(self._path, unsent, saved[BatchState.ACKED], checkpoint is not None, error)

    def _carry_numbers_over(self, db: Database, gaps: GapNotes) -> None:
        found = {key: self.one(f"SELECT value FROM meta WHERE key = '{key}'") for key in _NUMBERS}  # noqa: S608
        for key in ("dropped_batches", "dropped_rows"):
            db.set_meta(key, found[key] if _is_number(found[key]) else 0)
        for key in ("past", "undated"):
            if isinstance(found[key], str) and all(n.isdecimal() for n in found[key].replace(":", " ").split()):
                db.set_meta(key, found[key])
        epoch, sequence = found["epoch"], found["sequence"]
        if not (_is_number(epoch) and _is_number(sequence)):
            return
        known = {s for (s,) in db.execute("SELECT sequence FROM batches WHERE epoch = ?", (int(epoch),))}
        last = max(int(sequence), max(known, default=0))
        db.set_meta("epoch", int(epoch))
        db.set_meta("sequence", last)
        db.set_meta("previous", f"{epoch} {last}" if last else "")
        for lost in sorted(set(range(min(known, default=last + 1), last + 1)) - known - self.confirmed):
            gaps.add(Gap([], 0, 0, 0, _LOST, lost), int(epoch))

    def _row(self, table: str, key: str, columns: str, at: int) -> tuple[Any, ...] | None:
        self._on_progress()
        try:
            row: tuple[Any, ...] | None = self._db.execute(
                f"SELECT {columns} FROM {table} NOT INDEXED WHERE {key} = ?",  # noqa: S608 (names of ours)
                (at,),
            ).fetchone()
        except sqlite3.Error:
            return None
        return row

    def _scan(self, table: str, key: str, columns: str) -> Iterator[tuple[Any, ...]]:
        """Rows in order of their key, past pages that cannot be read."""
        last, tried, end = 0, 0, self._end(table, key)
        while True:
            cursor = self._db.cursor()
            try:
                cursor.execute(
                    f"SELECT {columns} FROM {table} NOT INDEXED WHERE {key} > ? ORDER BY {key}",  # noqa: S608
                    (last,),
                )
                for row in cursor:
                    last = int(row[0])
                    self._on_progress()
                    yield row
                return
            except (sqlite3.Error, ValueError, TypeError):
                pass
            finally:
                cursor.close()
            found = None
            until = last + _MAX_BLIND if end is None else end
            while found is None and last < until and tried < _MAX_TRIED:  # row by row over what cannot be read
                last, tried = last + 1, tried + 1
                found = self._row(table, key, columns, last)
            if found is None:
                return
            yield found

    def _end(self, table: str, key: str) -> int | None:
        """The last key; None where nothing tells it."""
        ways = [f"SELECT {key} FROM {table} NOT INDEXED ORDER BY {key} DESC LIMIT 1"]  # noqa: S608 (names of ours)
        if table == "batches":
            ways.append("SELECT max(ordinal) FROM batches INDEXED BY batches_by_state")
        for sql in ways:
            try:
                row = self._db.execute(sql).fetchone()
                return 0 if row is None or row[0] is None else int(row[0])
            except (sqlite3.Error, ValueError, TypeError):
                continue
        return None


def _is_number(value: object) -> bool:
    return isinstance(value, str) and value.isdecimal()


def _can_be_read(body: Any, kind: type[Announcement | Gap]) -> bool:
    try:
        msgspec.msgpack.decode(body, type=kind)
    except (msgspec.DecodeError, TypeError):
        return False
    return True


def _whole(row: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """A batch whose bytes are what was written, as their checksum tells; its columns as the bytes say, and to be sent
    where its state is none. None for any other."""
    try:
        message = decode(row[8], Ingest)
        records_of(message)
    except (WireError, TypeError):
        return None
    state = row[3] if row[3] in tuple(BatchState) else int(BatchState.UNSENT)
    return (row[0], message.epoch, message.sequence, state, message.rows, *row[5:])
