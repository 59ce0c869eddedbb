"""Sealed days: one Parquet file per local day, `2026-11-23.000000012345.parquet`.

The number is the journal position up to which the file holds every record of its day: what comes later stands in the
hot table, and what is journalled up to it is never taken from there, nor stored again. So a file that has its
final name is the whole truth of its day, and any step of sealing may be repeated.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import duckdb
import numpy as np

from api.store.columns import ROW, Part

_EPOCH: Final = date(1970, 1, 1).toordinal()
_PARTIAL: Final = ".tmp"


@dataclass(frozen=True, slots=True)
class SealedDay:
    """One sealed local day. `through` is a journal position."""

    day: int
    through: int
    rows: int
    gateways: frozenset[str]
    path: Path


def sealed_path(folder: Path, day: int, through: int) -> Path:
    """The file of a day."""
    return folder / f"{date.fromordinal(day + _EPOCH).isoformat()}.{through:012d}.parquet"


def partial_path(path: Path) -> Path:
    """What a file is called until it is whole and synced."""
    return path.with_name(path.name + _PARTIAL)


def read_sealed(db: duckdb.DuckDBPyConnection, path: Path) -> SealedDay:
    """What a file says of itself. Raises duckdb.Error, ValueError or KeyError for one that is no sealed day."""
    name, through, _ = path.name.split(".")
    rows = db.execute("select num_rows from parquet_file_metadata(?)", [str(path)]).fetchall()[0][0]
    told = dict(db.execute("select key, value from parquet_kv_metadata(?)", [str(path)]).fetchall())
    gateways = frozenset(json.loads(told[b"gateways"]))
    return SealedDay(date.fromisoformat(name).toordinal() - _EPOCH, int(through), int(rows), gateways, path)


def tidy(folder: Path) -> list[Path]:
    """The files of all days, ascending; what an interrupted sealing left is removed, the older of two files too."""
    folder.mkdir(parents=True, exist_ok=True)
    for partial in folder.glob(f"*{_PARTIAL}"):
        partial.unlink()
    latest: dict[str, Path] = {}
    for path in sorted(folder.glob("*.parquet")):
        name = path.name.split(".")[0]
        if name in latest:
            latest[name].unlink()
        latest[name] = path
    return list(latest.values())


def publish(partial: Path, path: Path) -> None:
    """Sync a whole file and give it its name, so that a power cut leaves it whole or not at all. Raises OSError."""
    _sync(partial)
    partial.rename(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_part(db: duckdb.DuckDBPyConnection, path: Path, gateways: list[str]) -> Part:
    """The rows of some gateways in a day's file. Raises duckdb.Error."""
    file = [str(path), gateways]
    found = db.execute(
        "select series, any_value(gateway), any_value(device) from read_parquet(?)"
        " where gateway in (select unnest(?)) group by series order by series",
        file,
    ).fetchall()
    got = db.execute(
        f"select {ROW} from read_parquet(?) where gateway in (select unnest(?))",  # noqa: S608 (our own column names)
        file,
    ).fetchnumpy()
    series = np.searchsorted(np.array([row[0] for row in found]), np.asarray(got["series"]))
    columns = {name: np.asarray(values) for name, values in got.items()} | {"series": series}
    return [(gateway, device) for _, gateway, device in found], columns
