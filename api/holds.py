"""Holds: days whose minute records must not expire, as long as somebody needs them as evidence.

A hold names local days, and may name the enterprise that it is about; days are kept whole either way, because a sealed
day is one file. Holds are added and released, never changed; both stand in the audit log.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, Engine, insert, select, update

from api.register.audit import write_audit
from api.register.database import writing
from api.register.models import Enterprise, RecordHold


class HoldError(ValueError):
    """A hold that cannot be; the text says why, in Chinese and English."""


class Hold(NamedTuple):
    """A hold as it stands. Days are local, the last one included."""

    id: int
    from_day: int
    to_day: int
    credit_code: str | None
    reason: str
    actor: str
    at_ns: int
    released_ns: int | None


def add_hold(
    engine: Engine, from_day: int, to_day: int, credit_code: str | None, reason: str, actor: str, now_ns: int
) -> int:
    """Keep the minute records of some local days. Returns the hold's number. Raises HoldError."""
    if to_day < from_day:
        raise HoldError("结束日早于开始日 the last day lies before the first")
    if not reason.strip():
        raise HoldError("须写明理由 a hold needs a reason")
    with writing(engine) as connection:
        if credit_code is not None and not _known(connection, credit_code):
            raise HoldError(f"enterprise={credit_code}: 台账中没有此企业 the register has no such enterprise")
        made = connection.execute(
            insert(RecordHold).values(
                from_day=from_day,
                to_day=to_day,
                credit_code=credit_code,
                reason=reason.strip(),
                actor=actor,
                at_ns=now_ns,
                released_ns=None,
            )
        ).inserted_primary_key
        assert made is not None
        detail = f"days {from_day} to {to_day}, enterprise {credit_code or 'all'}: {reason.strip()}"
        write_audit(connection, now_ns, actor, "hold.add", str(made[0]), detail)
    return int(made[0])


def release_hold(engine: Engine, hold_id: int, actor: str, now_ns: int) -> None:
    """End a hold: its days expire as others do. Raises HoldError."""
    with writing(engine) as connection:
        held = RecordHold.released_ns.is_(None)
        done = connection.execute(update(RecordHold).where(RecordHold.id == hold_id, held).values(released_ns=now_ns))
        if done.rowcount == 0:
            raise HoldError(f"{hold_id}: 没有此保留，或已解除 there is no such hold, or it was released")
        write_audit(connection, now_ns, actor, "hold.release", str(hold_id))


def list_holds(engine: Engine) -> list[Hold]:
    """Every hold, released ones included, the newest first."""
    h = RecordHold
    with engine.connect() as connection:
        rows = connection.execute(
            select(h.id, h.from_day, h.to_day, h.credit_code, h.reason, h.actor, h.at_ns, h.released_ns).order_by(
                h.id.desc()
            )
        ).all()
    return [Hold(*row) for row in rows]


def held_days(engine: Engine) -> list[tuple[int, int]]:
    """First and last local day of every hold that stands."""
    return [(hold.from_day, hold.to_day) for hold in list_holds(engine) if hold.released_ns is None]


def _known(connection: Connection, credit_code: str) -> bool:
    asked = select(Enterprise.row_id).where(Enterprise.credit_code == credit_code).limit(1)
    return connection.execute(asked).first() is not None
