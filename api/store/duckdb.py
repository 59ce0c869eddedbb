"""The embedded interval store: one DuckDB file, appended only.

No unique index, because appends slow down as it grows (duckdb/duckdb#24848); what was sent twice is found by its
journal position when a day is read. All tables are made when the file is made: no DDL at run time, because most
files that DuckDB would not open after a crash had DDL in their WAL (#19712, #22044).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from api.store.lock import FolderLock
from api.store.port import Append, DayRecords, StoreError
from metrics.record import RECORD_COLUMNS, Records, local_day

_TYPES: Final = {"<u1": "utinyint", "<u2": "usmallint", "<u4": "uinteger", "<i8": "bigint"}
_COLUMNS: Final = tuple(c for c in RECORD_COLUMNS if c.name != "device")
_SCHEMA: Final = (
    "create table if not exists series(number uinteger not null, gateway varchar not null, device varchar not null)",
    "create table if not exists applied(position bigint not null)",
    "create table if not exists record(position bigint not null, day integer not null, series uinteger not null, "
    + ", ".join(f"{c.name} {_TYPES[c.dtype]} not null" for c in _COLUMNS)
    + ")",
)
_MEMORY_LIMIT: Final = "1GB"
_CHECKPOINT_AT: Final = "256MB"  # the default 16 MiB costs half as much again per record


class DuckDBStore:
    """The interval store in a DuckDB file. Raises StoreLockedError while another process has it."""

    def __init__(self, path: Path) -> None:
        self._lock = FolderLock(path.with_name(path.name + ".lock"))
        try:
            self._db = duckdb.connect(
                str(path), config={"memory_limit": _MEMORY_LIMIT, "checkpoint_threshold": _CHECKPOINT_AT, "threads": 1}
            )
            for statement in _SCHEMA:
                self._db.execute(statement)
            if not self._db.execute("select count(*) from applied").fetchall()[0][0]:
                self._db.execute("insert into applied values (0)")
            found = self._db.execute("select number, gateway, device from series").fetchall()
        except duckdb.Error as error:
            self._lock.release()
            raise StoreError(f"{path}: {error}") from error
        self._numbers: dict[tuple[str, str], int] = {(gateway, device): n for n, gateway, device in found}
        self._names: dict[int, tuple[str, str]] = {n: key for key, n in self._numbers.items()}
        self._writing = threading.Lock()

    def applied(self) -> int:
        """The journal position up to which everything is stored."""
        with self._db.cursor() as cursor:
            return int(cursor.execute("select max(position) from applied").fetchall()[0][0])

    def rows(self) -> int:
        """How many records are stored."""
        with self._db.cursor() as cursor:
            return int(cursor.execute("select count(*) from record").fetchall()[0][0])

    def append(self, batches: Sequence[Append], applied: int) -> None:
        """Store batches and the position reached, in one transaction."""
        with self._writing, self._db.cursor() as cursor:
            new: dict[tuple[str, str], int] = {}
            columns = self._columns(batches, new)
            try:
                cursor.execute("begin")
                if new:
                    cursor.executemany(
                        "insert into series values (?, ?, ?)",
                        [[n, gateway, device] for (gateway, device), n in new.items()],
                    )
                if len(columns["position"]):
                    cursor.register("incoming", columns)
                    cursor.execute("insert into record select * from incoming")
                    cursor.unregister("incoming")
                cursor.execute("update applied set position = ? where position < ?", [applied, applied])
                cursor.execute("commit")
            except duckdb.Error as error:
                _roll_back(cursor)
                raise StoreError(str(error)) from error
            self._numbers.update(new)
            self._names.update({n: key for key, n in new.items()})

    def _columns(self, batches: Sequence[Append], new: dict[tuple[str, str], int]) -> dict[str, NDArray[Any]]:
        """The rows of all batches in the order of the table `record`; numbers series that are `new`."""
        position: list[NDArray[Any]] = []
        series: list[NDArray[Any]] = []
        for batch in batches:
            table = np.empty(len(batch.devices), np.uint32)
            for i, device in enumerate(batch.devices):
                key = (batch.gateway, device)
                number = self._numbers.get(key)
                if number is None:
                    number = new.setdefault(key, len(self._numbers) + len(new))
                table[i] = number
            series.append(table[batch.records.device])
            position.append(np.full(len(batch.records), batch.position, np.int64))
        columns: dict[str, NDArray[Any]] = {}
        columns["position"] = np.concatenate(position) if position else np.empty(0, np.int64)
        start = np.concatenate([b.records.start for b in batches]) if batches else np.empty(0, np.int64)
        columns["day"] = local_day(start).astype(np.int32)
        columns["series"] = np.concatenate(series) if series else np.empty(0, np.uint32)
        for column in _COLUMNS:
            parts = [getattr(b.records, column.name) for b in batches]
            columns[column.name] = np.concatenate(parts) if parts else np.empty(0, column.dtype)
        return columns

    def read_days(self, keys: Sequence[tuple[str, int]]) -> Iterator[DayRecords]:
        """The records of each (gateway, local day) that has any."""
        by_day: dict[int, set[str]] = {}
        for gateway, day in keys:
            by_day.setdefault(day, set()).add(gateway)
        for day, gateways in sorted(by_day.items()):
            numbers = [n for (gateway, _), n in list(self._numbers.items()) if gateway in gateways]
            if numbers:
                yield from self._read(day, numbers)

    def _read(self, day: int, numbers: list[int]) -> Iterator[DayRecords]:
        try:
            with self._db.cursor() as cursor:
                cursor.register("wanted", {"number": np.array(numbers, np.uint32)})
                got = cursor.execute(
                    "select * from record where day = ? and series in (select number from wanted)", [day]
                ).fetchnumpy()
                cursor.unregister("wanted")
        except duckdb.Error as error:
            raise StoreError(str(error)) from error
        columns = {name: np.asarray(column) for name, column in got.items()}
        if not len(columns["series"]):
            return
        # one place per series in the order (gateway, device), so that one sort does everything
        names = sorted((self._names[int(n)], int(n)) for n in np.unique(columns["series"]))
        place = np.zeros(max(n for _, n in names) + 1, np.int64)
        for i, (_, number) in enumerate(names):
            place[number] = i
        at = place[columns["series"]]
        order = np.lexsort((columns["position"], columns["part"], columns["start"], at))
        at = at[order]
        gateways = [gateway for (gateway, _), _ in names]
        first = 0
        while first < len(names):
            last = first
            while last < len(names) and gateways[last] == gateways[first]:
                last += 1
            rows = order[np.searchsorted(at, first) : np.searchsorted(at, last)]
            device = at[np.searchsorted(at, first) : np.searchsorted(at, last)] - first
            yield DayRecords(
                gateway=gateways[first],
                day=day,
                devices=[device_id for (_, device_id), _ in names[first:last]],
                records=Records.from_columns(
                    {"device": device.astype(np.uint32)} | {c.name: columns[c.name][rows] for c in _COLUMNS}
                ),
                position=columns["position"][rows].astype(np.int64, copy=False),
            )
            first = last

    def gateway_days(self, gateway: str) -> list[int]:
        """The local days of which a gateway has records, ascending."""
        with self._db.cursor() as cursor:
            found = cursor.execute(
                "select distinct day from record where series in (select number from series where gateway = ?)"
                " order by day",
                [gateway],
            ).fetchall()
        return [int(day) for (day,) in found]

    def close(self) -> None:
        """Close the file and give up its lock."""
        with self._writing:
            self._db.close()
            self._lock.release()


def _roll_back(cursor: duckdb.DuckDBPyConnection) -> None:
    try:
        cursor.execute("rollback")
    except duckdb.TransactionException:
        return  # the failure ended the transaction already
