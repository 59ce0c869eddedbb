"""Counters that tell readers when something changed."""

from __future__ import annotations

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from api.register.models import Counter


def raise_counter(connection: Connection, name: str) -> None:
    """Count one change, in the transaction that makes it."""
    dialect = postgresql_insert if connection.dialect.name == "postgresql" else sqlite_insert
    statement = dialect(Counter).values(name=name, value=1)
    connection.execute(
        statement.on_conflict_do_update(index_elements=[Counter.name], set_={"value": Counter.value + 1})
    )


def read_counter(connection: Connection, name: str, *, lock: bool = False) -> int:
    """How many changes there were. With `lock` it stays so until the transaction ends."""
    statement = select(Counter.value).where(Counter.name == name)
    value = connection.execute(statement.with_for_update() if lock else statement).scalar()
    return 0 if value is None else int(value)
