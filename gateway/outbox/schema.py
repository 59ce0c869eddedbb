"""The outbox's tables, and how a file of any version that was ever shipped is opened.

A gateway is upgraded, and sometimes rolled back, with its backlog in the file. So the tables are those of
version 1 for ever: what is added later is an index or a row of `meta`, which older programs do not mind. Version 2
had two columns more; a file that has them keeps them, and what they hold is taken over on every start.
"""

from __future__ import annotations

import secrets
from typing import Final

import msgspec

from gateway.outbox.database import Database, damaged
from gateway.wire import Gap, Ingest, WireError, decode

SCHEMA_VERSION: Final = 1
"""What new files bear in `user_version`."""
_WITH_COLUMNS: Final = 2
"""The version with `batches.suspect_ns` and `gaps.epoch`."""
_NEVER_SHIPPED: Final = 100
"""No release will bear such a number: a file that does has changed on the card."""
_TABLES: Final = """
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
LAST_BODY: Final = "SELECT body FROM batches ORDER BY ordinal DESC LIMIT 1"
_ADDED_LATER: Final = """
CREATE INDEX IF NOT EXISTS refused ON batches (ordinal) WHERE state = 0 AND settled_ns != 0;
"""


class OutboxError(Exception):
    """The outbox's file cannot be used. The message says why and what to do, in Chinese and English."""


class DiskError(OutboxError):
    """The disk does not let the outbox be opened now: read-only, full, gone. It may later."""


def new_epoch() -> int:
    """Random bits, never 0: 63 of them, so that every store can hold them as a signed integer."""
    return secrets.randbits(63) | 1


def prepare(db: Database, gateway: str) -> None:
    """Make the tables, or bring those of an older version up, in one transaction.

    Raises OutboxError for the file of another gateway or of a version not known here, sqlite3.Error.
    """
    version = db.one("PRAGMA user_version")
    if version not in (0, SCHEMA_VERSION, _WITH_COLUMNS):
        if not 0 < version < _NEVER_SHIPPED and is_body_of(gateway, db.one(LAST_BODY)):
            raise damaged(f"user_version = {version}, but what it holds is of {gateway}")
        raise OutboxError(
            f"待发库 {db.path} 是版本 {version}，本程序只认识到 {_WITH_COLUMNS}。请升级程序。 / "
            f"the outbox {db.path} has version {version}, this program knows {_WITH_COLUMNS} at most. Upgrade it."
        )
    if version and (owner := db.meta("gateway")) != gateway:
        if is_body_of(gateway, db.one(LAST_BODY)):
            raise damaged(f"meta gateway = {owner!r}, but what it holds is of {gateway}")
        raise OutboxError(
            f"待发库 {db.path} 属于 {owner}，不属于 {gateway}。请改回 site，或换一个 data_dir。 / "
            f"the outbox {db.path} belongs to {owner}, not to {gateway}. Restore site, or use another data_dir."
        )
    with db.transaction():
        if not version:
            _make(db, gateway)
        if version == _WITH_COLUMNS:
            _take_over_columns(db)
        db.script(_ADDED_LATER)


def is_body_of(gateway: str, body: object) -> bool:
    """Whether a batch's body says that it is of this gateway."""
    try:
        return isinstance(body, bytes) and decode(body, Ingest).gateway == gateway
    except WireError:
        return False


def _make(db: Database, gateway: str) -> None:
    db.script(_TABLES)
    first = {"gateway": gateway, "epoch": new_epoch(), "sequence": 0, "previous": ""}
    for key, value in {**first, "dropped_batches": 0, "dropped_rows": 0}.items():
        db.set_meta(key, value)
    db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _take_over_columns(db: Database) -> None:
    """What version 2 kept in its columns goes where every version looks."""
    db.execute("UPDATE batches SET settled_ns = suspect_ns, suspect_ns = 0 WHERE state = 0 AND suspect_ns != 0")
    for ordinal, epoch, body in db.execute("SELECT ordinal, epoch, body FROM gaps WHERE epoch != 0").fetchall():
        gap = msgspec.msgpack.decode(body, type=Gap)
        told = msgspec.structs.replace(gap, batch=gap.stands_for(epoch))
        db.execute("UPDATE gaps SET epoch = 0, body = ? WHERE ordinal = ?", (msgspec.msgpack.encode(told), ordinal))
