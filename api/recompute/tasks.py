"""Units of recomputation that any process can do which reaches the records: picklable, and without the service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from api.day_rows import day_row
from api.store.columns import by_gateway
from api.store.open import open_store
from api.store.port import DayRecords, StoreError
from api.store.sealed import read_part

Row = dict[str, Any]
"""A row of `device_day`, its `generation` the journal position up to which the records were read."""


@dataclass(frozen=True, slots=True)
class SealedTask:
    """Some gateways of one sealed day."""

    path: Path
    day: int
    through: int
    gateways: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServerTask:
    """Some days of some gateways in an InfluxDB."""

    address: str
    token_file: Path | None
    ca_file: Path | None
    keys: tuple[tuple[str, int], ...]


Task = SealedTask | ServerTask


def work(task: Task, now_ns: int) -> list[Row]:
    """Compute the day states of a task: the same numpy functions as the service's, so the same bits.

    Raises StoreError where the records cannot be read.
    """
    if isinstance(task, SealedTask):
        return [day_row(records, task.through, now_ns) for records in _sealed(task)]
    store = open_store(task.address, token_file=task.token_file, ca_file=task.ca_file)
    try:
        applied = store.applied()
        return rows_of(store.read_days(task.keys), applied, now_ns)
    finally:
        store.close()


def rows_of(days: Iterator[DayRecords], applied: int, now_ns: int) -> list[Row]:
    """The rows of days that were read when the store had applied the journal up to `applied`."""
    return [day_row(records, applied, now_ns) for records in days]


def _sealed(task: SealedTask) -> Iterator[DayRecords]:
    try:
        with duckdb.connect() as db:
            part = read_part(db, task.path, list(task.gateways))
    except duckdb.Error as error:
        raise StoreError(f"{task.path}: {error}") from error
    yield from by_gateway(task.day, [part])


def chunks(keys: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    """The keys in groups of at most `size`."""
    for first in range(0, len(keys), size):
        yield tuple(keys[first : first + size])
