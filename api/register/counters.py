"""Counters that tell readers when something changed."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from api.register.models import Counter


def raise_counter(connection: Connection, name: str) -> None:
    """Count one change, in the transaction that makes it."""
    done = connection.execute(update(Counter).where(Counter.name == name).values(value=Counter.value + 1))
    if done.rowcount == 0:
        connection.execute(insert(Counter).values(name=name, value=1))


def read_counter(connection: Connection, name: str) -> int:
    """How many changes there were."""
    value = connection.execute(select(Counter.value).where(Counter.name == name)).scalar()
    return 0 if value is None else int(value)
