"""An outbox as an onlooker sees it: read only, while its gateway may be running."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gateway.outbox.batches import BatchState
from gateway.wire import Announcement


@dataclass(frozen=True, slots=True)
class OutboxView:
    """What stands in an outbox's file. Times in ns UTC, 0: there is none."""

    gateway: str
    schema: int
    file_bytes: int
    batches: dict[str, int]
    rows: dict[str, int]
    body_bytes: int
    oldest_unsent_ns: int
    newest_ns: int
    meta: dict[str, str]
    set_aside: list[dict[str, Any]] = field(default_factory=list)
    announcements: list[Announcement] = field(default_factory=list)


def reading(path: Path) -> sqlite3.Connection:
    """An outbox's file, to read without taking part. Raises OSError where there is none, sqlite3.Error."""
    path.stat()
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)


def look(path: Path) -> OutboxView:
    """Read an outbox's file without taking part. Raises OSError where there is none, sqlite3.Error, ValueError."""
    size = path.stat().st_size
    with closing(reading(path)) as db:
        db.execute("BEGIN")  # one state of the file for all that follows
        by_state = db.execute(
            "SELECT state, count(*), coalesce(sum(rows), 0), coalesce(sum(length(body)), 0) FROM batches GROUP BY state"
        ).fetchall()
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        oldest, newest = db.execute(
            "SELECT min(CASE WHEN state = 0 THEN created_ns END), max(created_ns) FROM batches"
        ).fetchone()
        poisoned = db.execute(
            "SELECT epoch, sequence, rows, settled_ns, reason FROM batches WHERE state = ? "
            "ORDER BY settled_ns DESC, ordinal DESC LIMIT 20",
            (BatchState.POISONED,),
        ).fetchall()
        latest = db.execute(
            "SELECT body FROM announcements WHERE number IN "
            "(SELECT max(number) FROM announcements GROUP BY device) ORDER BY device"
        ).fetchall()
        return OutboxView(
            gateway=str(meta.get("gateway", "")),
            schema=int(db.execute("PRAGMA user_version").fetchone()[0]),
            file_bytes=size,
            batches={BatchState(state).name.lower(): count for state, count, _, _ in by_state},
            rows={BatchState(state).name.lower(): rows for state, _, rows, _ in by_state},
            body_bytes=sum(size for _, _, _, size in by_state),
            oldest_unsent_ns=oldest or 0,
            newest_ns=newest or 0,
            meta={str(key): str(value) for key, value in meta.items()},
            set_aside=[
                dict(zip(("epoch", "sequence", "rows", "since_ns", "reason"), row, strict=True)) for row in poisoned
            ],
            announcements=[msgspec.msgpack.decode(body, type=Announcement) for (body,) in latest],
        )
