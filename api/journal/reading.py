"""A look at a journal from outside of its service."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Engine

from api.clock import SystemClock
from api.journal.day_file import DayFile
from api.journal.files import DAY_FILES, day_name
from api.journal.port import JournalSize
from api.journal.postgres import PostgresJournal
from api.settings import Settings


class JournalLook(NamedTuple):
    """How large a journal is, and which gateways were heard since the time that was asked about."""

    size: JournalSize
    heard: set[str]


def look_at(settings: Settings, engine: Engine, since_ns: int) -> JournalLook:
    """Look at the journal of the settings. Raises OSError, sqlite3.Error or SQLAlchemyError."""
    if settings.journal == "postgresql":
        journal = PostgresJournal(engine, SystemClock())
        try:
            return JournalLook(journal.size(), journal.heard_since(since_ns))
        finally:
            journal.close()
    folder = settings.journal_dir
    if not folder.is_dir():
        return JournalLook(JournalSize(0, 0, None, None), set())
    paths = sorted(folder.glob(DAY_FILES))
    oldest: int | None = None
    newest: int | None = None
    heard: set[str] = set()
    for path in paths:
        day = DayFile(path, read_only=True)
        try:
            first = day.first()
            if first is not None and oldest is None:
                oldest = first[1]
            newest = day.newest_ns() or newest
            if path.stem >= day_name(since_ns):
                heard |= day.heard_since(since_ns)
        finally:
            day.close()
    size_bytes = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return JournalLook(JournalSize(len(paths), size_bytes, oldest, newest), heard)
