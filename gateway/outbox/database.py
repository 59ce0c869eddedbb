"""One SQLite file in WAL mode, fully synced: what is committed survives a kill and a power cut."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def damaged(what: str) -> sqlite3.DatabaseError:
    """The error of a file whose content has changed where SQLite cannot see it."""
    error = sqlite3.DatabaseError(what)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


class Database:
    """The file of an outbox. It can be closed and opened again: a damaged file gives way to a new one.

    Everything raises sqlite3.Error.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, making it where it is not there."""
        self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA wal_autocheckpoint=256")
        self._db.execute("PRAGMA journal_size_limit=4194304")

    def open_without_log(self) -> None:
        """Open a new file that is worth nothing until it is whole: nothing is written twice, and nothing is synced."""
        self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("PRAGMA synchronous=OFF")

    def close(self) -> None:
        """Safe twice."""
        if self._db is not None:
            self._db.close()

    @property
    def _open(self) -> sqlite3.Connection:
        assert self._db is not None, "open() comes first"
        return self._db

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self._open.execute(sql, values)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for every row."""
        self._open.executemany(sql, rows)

    def script(self, statements: str) -> None:
        """Run statements that end with ';', inside the transaction that is open."""
        for statement in statements.split(";"):
            if statement.strip():
                self._open.execute(statement)

    def one(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """The first value of a query, None where it finds nothing."""
        row = self._open.execute(sql, values).fetchone()
        return None if row is None else row[0]

    def file_bytes(self) -> int:
        """Size of the file, without the log beside it."""
        return int(self.one("PRAGMA page_count")) * int(self.one("PRAGMA page_size"))

    def used_bytes(self) -> int:
        """What of the file is in use: the rest are pages that were freed, and are filled again first."""
        used = int(self.one("PRAGMA page_count")) - int(self.one("PRAGMA freelist_count"))
        return used * int(self.one("PRAGMA page_size"))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, synced at the end."""
        db = self._open
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if db.in_transaction:  # a full disk has already rolled it back
                db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    # Single values ------------------------------------------------------------------------------

    def meta(self, key: str) -> str:
        """A value kept by name; blank where there is none."""
        found = self.one("SELECT value FROM meta WHERE key = ?", (key,))
        return "" if found is None else str(found)

    def number(self, key: str) -> int:
        """A whole number kept by name. What is none was damaged: raises sqlite3.DatabaseError as such."""
        found = self.meta(key)
        if not found.isdecimal():
            raise damaged(f"meta {key} = {found!r}, expected a whole number")
        return int(found)

    def set_meta(self, key: str, value: object) -> None:
        """Keep a value by name."""
        self._open.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, str(value)))

    def forget_meta(self, key: str) -> None:
        """Keep it no longer."""
        self._open.execute("DELETE FROM meta WHERE key = ?", (key,))
