"""The register's tables as rows, whatever engine they live in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from alembic.runtime.migration import MigrationContext
from sqlalchemy import BigInteger, Boolean, Connection, Integer, MetaData, Table, func, insert, inspect, select, text

from api.backup.frames import RowWriter, read_rows
from api.register.models import Base, SessionRow

_LEFT_OUT: Final = {SessionRow.__tablename__}
"""Whoever is signed in signs in again."""
_CHUNK: Final = 500


def revision_of(connection: Connection) -> str | None:
    """The migration that a register is at; None for an empty database."""
    return MigrationContext.configure(connection).get_current_revision()


def write_tables(connection: Connection, folder: Path) -> dict[str, int]:
    """Write every table into a file of its own, its columns first. Returns how many rows each has."""
    written: dict[str, int] = {}
    for table in Base.metadata.sorted_tables:
        if table.name in _LEFT_OUT:
            continue
        with RowWriter(folder / f"{table.name}.rows.zst") as out:
            out.write([column.name for column in table.columns])
            found = connection.execution_options(yield_per=_CHUNK).execute(select(table).order_by(*table.primary_key))
            for row in found:
                out.write(tuple(row))
            written[table.name] = out.rows - 1
    return written


def is_empty(connection: Connection) -> bool:
    """Whether nobody has put anything into a migrated register."""
    tables = ("audit", "announcement", "device_day", "enterprise", "gateway_credential", "user_account")
    found = set(inspect(connection).get_table_names())
    return not any(
        connection.execute(text(f"select 1 from {name} limit 1")).first()  # noqa: S608 (our own names)
        for name in tables
        if name in found
    )


def read_tables(connection: Connection, folder: Path, names: list[str]) -> None:
    """Fill the tables, in the order of `names`, as they are at the register's present migration."""
    for name in names:
        table = Table(name, MetaData(), autoload_with=connection, resolve_fks=False)
        if (
            connection.execute(select(table).limit(1)).first() is not None
        ):  # some tables refuse a delete, even of nothing
            connection.execute(table.delete())
        rows = read_rows(folder / f"{name}.rows.zst")
        columns = next(rows)
        kinds = [_reader(table, column) for column in columns]
        while chunk := list(islice(rows, _CHUNK)):
            connection.execute(
                insert(table),
                [
                    {c: kind(v) if v is not None else None for c, kind, v in zip(columns, kinds, row, strict=True)}
                    for row in chunk
                ],
            )
        _continue_numbers(connection, table)


def _reader(table: Table, column: str) -> Any:
    """How a value becomes the column's: SQLite tells true from 1 only by the column."""
    return bool if isinstance(table.c[column].type, Boolean) else _as_is


def _as_is(value: Any) -> Any:
    return value


def _continue_numbers(connection: Connection, table: Table) -> None:
    """Let PostgreSQL number the next row after those that brought their own numbers."""
    if connection.dialect.name != "postgresql":
        return
    for column in table.primary_key:
        if isinstance(column.type, Integer | BigInteger) and column.server_default is not None:
            last = connection.execute(select(func.max(column))).scalar()
            if last is not None:
                connection.execute(
                    text("select setval(pg_get_serial_sequence(:table, :column), :last)"),
                    {"table": table.name, "column": column.name, "last": last},
                )


def table_names(folder: Path) -> Iterator[str]:
    """The tables of a backup, those first that others point to."""
    known = [table.name for table in Base.metadata.sorted_tables]
    there = {path.name.removesuffix(".rows.zst") for path in folder.glob("*.rows.zst")}
    yield from (name for name in known if name in there)
    yield from sorted(there - set(known))
