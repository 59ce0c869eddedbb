"""The embedded interval store: one DuckDB file, appended only, and beside it a Parquet file for each finished day.

No unique index, because appends slow down as it grows (duckdb/duckdb#24848); what was sent twice is found by its
journal position when a day is read. All tables are made when the file is made: no DDL at run time, because most
files that DuckDB would not open after a crash had DDL in their WAL (#19712, #22044). Deleted rows never shrink the
file (#12286), but their blocks are used again: it stays as large as the days that are not sealed yet.

Sealing a day: its rows are written in the order (gateway, device, start) into a file of another name, synced and
renamed, and only then deleted here. Repeated after a crash at any point, it gives the same.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import structlog
from numpy.typing import NDArray

from api.store.columns import ROW, STORED_COLUMNS, Part, by_gateway
from api.store.layout import sealed_folder
from api.store.lock import FolderLock
from api.store.opening import connect
from api.store.port import Append, DayRecords, StoreError
from api.store.sealed import SealedDay, partial_path, publish, read_part, read_sealed, sealed_path, tidy
from metrics.record import local_day

_TYPES: Final = {"<u1": "utinyint", "<u2": "usmallint", "<u4": "uinteger", "<i8": "bigint"}
_SCHEMA: Final = (
    "create table if not exists series(number uinteger not null, gateway varchar not null, device varchar not null)",
    "create table if not exists applied(position bigint not null)",
    "create table if not exists record(position bigint not null, day integer not null, series uinteger not null, "
    + ", ".join(f"{c.name} {_TYPES[c.dtype]} not null" for c in STORED_COLUMNS)
    + ")",
)
_SEALED_ROW: Final = ", ".join(["r.position", *(f"r.{c.name}" for c in STORED_COLUMNS)])

log = structlog.get_logger(__name__)


class DuckDBStore:
    """The interval store in a DuckDB file. Raises StoreLockedError while another process has it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = sealed_folder(path)
        self._writing = threading.Lock()
        self._sealing = threading.Lock()
        self._numbers: dict[tuple[str, str], int] = {}
        self._sealed: dict[int, SealedDay] = {}
        self._lock = FolderLock(path.with_name(path.name + ".lock"))
        try:
            self._open()
        except duckdb.Error as error:
            self._lock.release()
            raise StoreError(f"{path}: {error}") from error
        except BaseException:
            self._lock.release()
            raise

    def _open(self) -> None:
        """Open the files and finish what a crash interrupted."""
        self._db, self._notice = connect(self._path)
        for statement in _SCHEMA:
            self._db.execute(statement)
        if not self._db.execute("select count(*) from applied").fetchall()[0][0]:
            self._db.execute("insert into applied values (0)")
        found = self._db.execute("select number, gateway, device from series").fetchall()
        self._numbers = {(gateway, device): n for n, gateway, device in found}
        self._names = {n: key for key, n in self._numbers.items()}
        self._sealed = {}
        for path in tidy(self._folder):
            try:
                sealed = read_sealed(self._db, path)
            except (duckdb.Error, ValueError, KeyError) as error:
                aside = path.with_name(path.name + ".damaged")
                path.rename(aside)
                log.error("sealed_day_damaged", set_aside=str(aside), error=str(error))
                continue
            self._sealed[sealed.day] = sealed
        for name in sorted(aside.name for aside in self._folder.glob("*.damaged")):
            self._notice += (
                f" 封存文件损坏，已移开 {name}，请从备份恢复后删除它 "
                f"a damaged sealed day was set aside as {name}; restore the day from the backup, then delete that file"
            )
        for day in self.hot_days():
            if day in self._sealed:
                self._forget_sealed(self._sealed[day])

    @property
    def notice(self) -> str:
        """What was found damaged when the store was opened, in Chinese and English; empty for nothing."""
        return self._notice.strip()

    def applied(self) -> int:
        """The journal position up to which everything is stored."""
        with self._db.cursor() as cursor:
            return int(cursor.execute("select max(position) from applied").fetchall()[0][0])

    def rows(self) -> int:
        """How many records are stored."""
        with self._db.cursor() as cursor:
            hot = int(cursor.execute("select count(*) from record").fetchall()[0][0])
        return hot + sum(sealed.rows for sealed in list(self._sealed.values()))

    def append(self, batches: Sequence[Append], applied: int) -> None:
        """Store batches and the position reached, in one transaction."""
        with self._writing, self._db.cursor() as cursor:
            new: dict[tuple[str, str], int] = {}
            columns = self._columns(batches, new)
            try:
                cursor.execute("begin")
                if new:
                    # in one statement: a county's 60,000 machines one by one take 10 s
                    cursor.execute(
                        "insert into series select unnest(?), unnest(?), unnest(?)",
                        [list(new.values()), [g for g, _ in new], [d for _, d in new]],
                    )
                if len(columns["position"]):
                    cursor.register("incoming", columns)
                    cursor.execute("insert into record select * from incoming")
                    cursor.unregister("incoming")
                cursor.execute("update applied set position = ? where position < ?", [applied, applied])
                # Known before the commit: who sees the new position looks for the records of these series at once.
                self._names.update({n: key for key, n in new.items()})
                self._numbers.update(new)
                cursor.execute("commit")
            except BaseException as error:
                for key in new:
                    self._numbers.pop(key, None)
                _roll_back(cursor)
                if not isinstance(error, duckdb.Error):
                    raise
                self._revive(error)
                raise StoreError(str(error)) from error

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
        for column in STORED_COLUMNS:
            parts = [getattr(b.records, column.name) for b in batches]
            columns[column.name] = np.concatenate(parts) if parts else np.empty(0, column.dtype)
        kept = self._not_sealed(columns["day"], columns["position"])
        return columns if kept is None else {name: column[kept] for name, column in columns.items()}

    def _not_sealed(self, day: NDArray[Any], position: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Which rows no sealed file holds already: a journal that is applied again brings them. None: all."""
        sealed = self._sealed
        if not sealed or not len(day) or day.min() > max(sealed):
            return None
        kept = np.ones(len(day), np.bool_)
        for number in np.unique(day).tolist():
            if number in sealed:
                kept &= (day != number) | (position > sealed[number].through)
        return None if kept.all() else kept

    def _revive(self, error: duckdb.Error) -> None:
        """Open the file again after a failure that made DuckDB give the database up, as a full disk does."""
        try:
            with self._db.cursor() as cursor:
                cursor.execute("select 1").fetchall()
        except duckdb.Error:
            log.error("store_reopened", error=str(error))
            self._db.close()
            try:
                self._open()
            except duckdb.Error as again:
                raise StoreError(str(again)) from again

    def read_days(self, keys: Sequence[tuple[str, int]]) -> Iterator[DayRecords]:
        """The records of each (gateway, local day) that has any."""
        by_day: dict[int, set[str]] = {}
        for gateway, day in keys:
            by_day.setdefault(day, set()).add(gateway)
        for day, gateways in sorted(by_day.items()):
            while True:
                sealed = self._sealed.get(day)
                try:
                    parts = self._parts(day, gateways, sealed)
                except duckdb.Error as error:
                    if self._sealed.get(day) is sealed:
                        raise StoreError(str(error)) from error
                    continue
                if self._sealed.get(day) is sealed:  # else its rows moved between the two queries
                    break
            yield from by_gateway(day, parts)

    def _parts(self, day: int, gateways: set[str], sealed: SealedDay | None) -> list[Part]:
        """Rows of a day as they are stored, with the names that their `series` points into."""
        parts: list[Part] = []
        numbers = [n for (gateway, _), n in list(self._numbers.items()) if gateway in gateways]
        with self._db.cursor() as cursor:
            if numbers:
                cursor.register("wanted", {"number": np.array(numbers, np.uint32)})
                got = cursor.execute(
                    f"select {ROW} from record where day = ? and position > ?"  # noqa: S608 (our own column names)
                    " and series in (select number from wanted)",
                    [day, 0 if sealed is None else sealed.through],
                ).fetchnumpy()
                cursor.unregister("wanted")
                number, series = np.unique(np.asarray(got["series"]), return_inverse=True)
                names = [self._names[int(n)] for n in number]
                parts.append((names, {k: np.asarray(v) for k, v in got.items()} | {"series": series}))
            wanted = sorted(gateways & sealed.gateways) if sealed is not None else []
            if sealed is not None and wanted:
                try:
                    parts.append(read_part(cursor, sealed.path, wanted))
                except duckdb.Error as error:
                    raise duckdb.IOException(
                        f"{sealed.path.name}: 封存文件无法读取，请从备份恢复 "
                        f"this sealed day cannot be read, restore it from the backup: {error}"
                    ) from error
        return [part for part in parts if len(part[1]["series"])]

    def gateway_days(self, gateway: str) -> list[int]:
        """The local days of which a gateway has records, ascending."""
        with self._db.cursor() as cursor:
            found = cursor.execute(
                "select distinct day from record where series in (select number from series where gateway = ?)",
                [gateway],
            ).fetchall()
        days = {int(day) for (day,) in found}
        return sorted(days | {s.day for s in list(self._sealed.values()) if gateway in s.gateways})

    def hot_days(self) -> list[int]:
        """The local days that have unsealed records, ascending."""
        try:
            with self._db.cursor() as cursor:
                found = cursor.execute("select distinct day from record order by day").fetchall()
        except duckdb.Error as error:
            raise StoreError(str(error)) from error
        return [int(day) for (day,) in found]

    def hot_counts(self, day: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Journal positions, ascending, and how many unsealed records of a local day each has."""
        try:
            with self._db.cursor() as cursor:
                got = cursor.execute(
                    "select position, count(*) as rows from record where day = ? group by position order by 1", [day]
                ).fetchnumpy()
        except duckdb.Error as error:
            raise StoreError(str(error)) from error
        return np.asarray(got["position"], np.int64), np.asarray(got["rows"], np.int64)

    def rewind(self, position: int) -> None:
        """Forget what came after a journal position, so that it is applied again."""
        with self._writing:
            self._transaction(
                ("delete from record where position > ?", [position]),
                ("update applied set position = ? where position > ?", [position, position]),
            )

    def sealed_days(self) -> list[int]:
        """The local days that are sealed, ascending."""
        return sorted(self._sealed)

    def seal(self, before_day: int) -> list[int]:
        """Seal every local day before `before_day` that has unsealed records; returns those days.

        Raises StoreError, for a full disk too; then the day at hand stays as it was.
        """
        with self._sealing:
            try:
                days = [day for day in self.hot_days() if day < before_day]
                for day in days:
                    self._seal(day)
            except (duckdb.Error, OSError) as error:
                if isinstance(error, duckdb.Error):
                    with self._writing:
                        self._revive(error)
                raise StoreError(str(error)) from error
        return days

    def _seal(self, day: int) -> None:
        before = self._sealed.get(day)
        with self._db.cursor() as cursor:
            cursor.execute("begin")  # one snapshot: the position and every row up to it
            through = int(cursor.execute("select max(position) from applied").fetchall()[0][0])
            path = sealed_path(self._folder, day, through)
            try:
                gateways = self._copy(cursor, day, before, partial_path(path))
                publish(partial_path(path), path)
            except BaseException:
                partial_path(path).unlink(missing_ok=True)
                raise
            finally:
                _roll_back(cursor)
            sealed = read_sealed(cursor, path)
        self._sealed = {**self._sealed, day: sealed}
        if before is not None and before.path != path:
            before.path.unlink()
        with self._writing:
            self._forget_sealed(sealed)
        log.info("day_sealed", path=path.name, rows=sealed.rows, bytes=path.stat().st_size, gateways=len(gateways))

    def _copy(self, cursor: duckdb.DuckDBPyConnection, day: int, before: SealedDay | None, target: Path) -> list[str]:
        """Write a day's file: what is hot, and what its file before held. Returns its gateways."""
        numbers = cursor.execute("select distinct series from record where day = ?", [day]).fetchall()
        names = {self._names[int(n)] for (n,) in numbers}
        if before is not None:
            names |= set(
                cursor.execute("select distinct gateway, device from read_parquet(?)", [str(before.path)]).fetchall()
            )
        ordered = sorted(names)
        cursor.register(
            "place",
            {
                "place": np.arange(len(ordered), dtype=np.uint32),
                "number": np.array([self._numbers.get(name, -1) for name in ordered], np.int64),
                "gateway": np.array([gateway for gateway, _ in ordered], object),
                "device": np.array([device for _, device in ordered], object),
            },
        )
        gateways = sorted({gateway for gateway, _ in ordered})
        rows = (
            f"select p.gateway, p.device, p.place as series, {_SEALED_ROW} from record r"  # noqa: S608 (our own names)
            " join place p on p.number = r.series where r.day = $day and r.position > $through"
        )
        given: dict[str, Any] = {"day": day, "through": 0 if before is None else before.through}
        if before is not None:
            rows += (
                f" union all select p.gateway, p.device, p.place as series, {_SEALED_ROW}"  # noqa: S608
                " from read_parquet($before) r join place p on p.gateway = r.gateway and p.device = r.device"
            )
            given["before"] = str(before.path)
        expected = cursor.execute(f"select count(*) from ({rows})", given).fetchall()[0][0]  # noqa: S608
        written = cursor.execute(
            f"copy ({rows} order by series, start, part, position) to {_quoted(str(target))} (format parquet,"
            f" compression zstd, parquet_version v2, kv_metadata {{gateways: {_quoted(json.dumps(gateways))}}})",
            given,
        ).fetchall()[0][0]
        cursor.unregister("place")
        if written != expected:
            raise StoreError(f"{target}: {written} of {expected} records were written")
        return gateways

    def _forget_sealed(self, sealed: SealedDay) -> None:
        self._transaction(("delete from record where day = ? and position <= ?", [sealed.day, sealed.through]))

    def expire(self, before_day: int, held: Sequence[tuple[int, int]] = ()) -> list[int]:
        """Drop the records of the local days before `before_day` that `held` does not hold; returns those days."""

        def goes(day: int) -> bool:
            return day < before_day and not any(first <= day <= last for first, last in held)

        with self._sealing, self._writing:
            hot = [day for day in self.hot_days() if goes(day)]
            old = [sealed for sealed in self._sealed.values() if goes(sealed.day)]
            self._sealed = {day: sealed for day, sealed in self._sealed.items() if not goes(day)}
            for sealed in old:
                sealed.path.unlink(missing_ok=True)
            if hot:
                self._transaction(*(("delete from record where day = ?", [day]) for day in hot))
        return sorted({*hot, *(sealed.day for sealed in old)})

    def _transaction(self, *statements: tuple[str, list[int]]) -> None:
        with self._db.cursor() as cursor:
            try:
                cursor.execute("begin")
                for statement, given in statements:
                    cursor.execute(statement, given)
                cursor.execute("commit")
            except duckdb.Error as error:
                _roll_back(cursor)
                raise StoreError(str(error)) from error

    def close(self) -> None:
        """Close the file and give up its lock."""
        with self._sealing, self._writing:
            self._db.close()
            self._lock.release()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _roll_back(cursor: duckdb.DuckDBPyConnection) -> None:
    try:
        cursor.execute("rollback")
    except duckdb.TransactionException:
        return  # the failure ended the transaction already
