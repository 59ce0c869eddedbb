"""A table as a file: CSV for people, Parquet and JSON for programs.

CSV is UTF-8 with a byte order mark, so that Excel reads it as it is; each heading is the Chinese name and the English
key. Text that a spreadsheet would take for a formula is preceded by an apostrophe: names come from registers and
gateways.
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TextIO

import duckdb
import numpy as np

Kind = Literal["text", "number", "integer"]
Cell = str | float | int | None
Row = tuple[Cell, ...]

_ROWS_AT_ONCE: Final = 50_000
_SQL_TYPES: Final[dict[Kind, str]] = {"text": "varchar", "number": "double", "integer": "bigint"}
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


class Column(NamedTuple):
    """A column: its stable key, its Chinese name, what it holds. A text or number may be unknown, an integer not."""

    key: str
    zh: str
    kind: Kind


class Table(NamedTuple):
    """Rows as they come, under their columns."""

    columns: Sequence[Column]
    rows: Iterable[Row]


def guarded(text: str) -> str:
    """Text that no spreadsheet runs as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def print_csv(table: Table, out: TextIO) -> int:
    """Write CSV; how many rows it has. An unknown value is an empty cell."""
    out.write("\ufeff")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([f"{column.zh} {column.key}" for column in table.columns])
    count = 0
    for row in table.rows:
        writer.writerow([guarded(cell) if isinstance(cell, str) else _number(cell) for cell in row])
        count += 1
    return count


def _number(cell: float | int | None) -> str:
    """Exact, and without an exponent where people read it."""
    if cell is None:
        return ""
    text = repr(cell)
    return text if "e" not in text else np.format_float_positional(cell, trim="0")


def print_json(table: Table, out: TextIO) -> int:
    """Write a JSON list with an object a row; how many rows it has."""
    keys = [column.key for column in table.columns]
    count = 0
    for row in table.rows:
        out.write("[\n" if count == 0 else ",\n")
        json.dump(dict(zip(keys, row, strict=True)), out, ensure_ascii=False, allow_nan=False)
        count += 1
    out.write("\n]\n" if count else "[]\n")
    return count


def write_parquet(table: Table, path: Path) -> int:
    """Write a Parquet file; how many rows it has. Raises OSError."""
    try:
        return _write_parquet(table, path)
    except duckdb.Error as error:
        raise OSError(str(error)) from error


def _write_parquet(table: Table, path: Path) -> int:
    columns = table.columns
    count = 0
    with duckdb.connect() as db:
        typed = ", ".join(f'"{c.key}" {_SQL_TYPES[c.kind]}' for c in columns)
        db.execute(f"create table made ({typed})")
        told = ", ".join(_told(c) for c in columns)
        for rows in _some(table.rows):
            db.register("incoming", {c.key: _array(c, [row[i] for row in rows]) for i, c in enumerate(columns)})
            db.execute(f"insert into made select {told} from incoming")  # noqa: S608 (keys of columns above)
            db.unregister("incoming")
            count += len(rows)
        name = str(path).replace("'", "''")
        db.execute(f"copy made to '{name}' (format parquet, compression zstd)")
    return count


def _told(column: Column) -> str:
    match column.kind:
        case "text":
            return f"nullif(\"{column.key}\", '')"
        case "number":
            return f'case when isnan("{column.key}") then null else "{column.key}" end'
        case _:
            return f'"{column.key}"'


def _array(column: Column, cells: list[Cell]) -> np.typing.NDArray[Any]:
    """One column of some rows; unknown is empty or NaN here, because engines guess the type of what is mixed."""
    match column.kind:
        case "text":
            return np.array([cell or "" for cell in cells], object)
        case "number":
            return np.array([np.nan if cell is None else cell for cell in cells], np.float64)
        case _:
            return np.array(cells, np.int64)


def _some(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while some := list(islice(left, _ROWS_AT_ONCE)):
        yield some


def write_file(table: Table, path: Path) -> int:
    """Write a file by the end of its name, whole or not at all; how many rows it has. Raises OSError, KeyError."""
    write = WRITERS[path.suffix.lower()]
    with _whole(path) as new:
        return write(table, new)


def _as_text(write: Callable[[Table, TextIO], int]) -> Callable[[Table, Path], int]:
    def to_file(table: Table, path: Path) -> int:
        with path.open("w", encoding="utf-8", newline="") as out:
            return write(table, out)

    return to_file


WRITERS: Final[dict[str, Callable[[Table, Path], int]]] = {
    ".csv": _as_text(print_csv),
    ".parquet": write_parquet,
    ".json": _as_text(print_json),
}


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A new file beside the wanted one, which takes its place when it is whole and synced."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        new = Path(folder) / path.name
        yield new
        with new.open("rb+") as written:
            os.fsync(written.fileno())
        new.replace(path)
