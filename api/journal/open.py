"""The journal that the settings name."""

from __future__ import annotations

from sqlalchemy import Engine

from api.clock import Clock
from api.journal.files import FileJournal
from api.journal.port import Journal
from api.journal.postgres import PostgresJournal
from api.settings import Settings


def open_journal(settings: Settings, engine: Engine, clock: Clock) -> Journal:
    """Open it; `engine` is the register's, migrated. Raises ValueError where PostgreSQL is asked for in vain."""
    if settings.journal == "files":
        return FileJournal(settings.journal_dir, clock, keep_days=settings.journal_days)
    if engine.dialect.name != "postgresql":
        raise ValueError(
            f"PLANTPULSE_JOURNAL=postgresql: 台账也须在 PostgreSQL，PLANTPULSE_REGISTER_URL 现为 {engine.dialect.name} "
            f"the register must be there too, PLANTPULSE_REGISTER_URL names {engine.dialect.name}"
        )
    return PostgresJournal(engine, clock, keep_days=settings.journal_days)
