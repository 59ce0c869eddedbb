"""The audit log: appended only, each row's digest covering the one before it."""

from __future__ import annotations

import hashlib
import json
from typing import Final, NamedTuple

from sqlalchemy import Connection, insert, select, text

from api.register.models import Audit

_CHAIN_KEY: Final = 0x70_6C_61_6E_76  # PostgreSQL advisory lock: one link of the chain at a time


def write_audit(connection: Connection, at_ns: int, actor: str, action: str, subject: str, detail: str = "") -> None:
    """Append a row in the transaction of what it tells of."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _CHAIN_KEY})
    before = connection.execute(select(Audit.digest).order_by(Audit.id.desc()).limit(1)).scalar() or ""
    digest = _digest(before, at_ns, actor, action, subject, detail)
    connection.execute(
        insert(Audit).values(at_ns=at_ns, actor=actor, action=action, subject=subject, detail=detail, digest=digest)
    )


class Checked(NamedTuple):
    """What a look through the whole chain found."""

    rows: int
    broken: int | None
    """Id of the first row that does not follow from the one before it."""
    last: str
    """Digest of the last row: kept elsewhere, it also shows that none was cut off at the end."""


def first_broken(connection: Connection) -> int | None:
    """The id of the first row that does not follow from the one before it; None for a whole chain."""
    return verify(connection).broken


def verify(connection: Connection) -> Checked:
    """Look through the whole chain, up to the first row that is broken."""
    before = ""
    count = 0
    rows = connection.execute(
        select(Audit.id, Audit.at_ns, Audit.actor, Audit.action, Audit.subject, Audit.detail, Audit.digest).order_by(
            Audit.id
        )
    )
    for row_id, at_ns, actor, action, subject, detail, digest in rows:
        if digest != _digest(before, at_ns, actor, action, subject, detail):
            return Checked(count, int(row_id), before)
        before = digest
        count += 1
    return Checked(count, None, before)


def _digest(before: str, at_ns: int, actor: str, action: str, subject: str, detail: str) -> str:
    line = json.dumps([before, at_ns, actor, action, subject, detail], ensure_ascii=False)
    return hashlib.sha256(line.encode()).hexdigest()
