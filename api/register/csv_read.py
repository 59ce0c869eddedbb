"""Reading a folder of register files: every value checked, every error kept with its place."""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final, NamedTuple

from api.register.credit_code import fault
from api.register.csv_format import REGISTER_FILES, CsvColumn

_ID: Final = re.compile(r"[A-Za-z0-9一-鿿][A-Za-z0-9一-鿿._-]{0,63}")
_DEVICE: Final = re.compile(r"[^\s/][^\s]{0,199}")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_YEAR: Final = re.compile(r"[12]\d{3}", re.ASCII)
_MONTH: Final = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")
_EPOCH: Final = date(1970, 1, 1)
_MAX_BYTES: Final = 64 * 1024 * 1024


class RowError(NamedTuple):
    """One error: where it stands, what is there, and what was expected (Chinese and English)."""

    file: str
    line: int
    column: str
    value: str
    expected: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.column}={self.value!r}: {self.expected}" if self.column else f"{place}: {self.expected}"


class RegisterImportError(Exception):
    """The folder has errors; nothing was changed."""

    def __init__(self, errors: list[RowError]) -> None:
        super().__init__("\n".join(str(e) for e in errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: its line, what was typed, and the values by column (None for empty)."""

    file: str
    line: int
    raw: Mapping[str, str]
    values: Mapping[str, Any]

    def error(self, column: str, expected: str) -> RowError:
        """An error in this row."""
        return RowError(self.file, self.line, column, self.raw.get(column, ""), expected)


@dataclass(slots=True)
class Folder:
    """All rows by file, and the errors so far."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    errors: list[RowError] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Known:
    """Ids that values may refer to beyond the folder: the plan's industries and zones."""

    industries: frozenset[str]
    zones: frozenset[str]


def local_day_number(text: str) -> int:
    """Days since 1970-01-01 of a date `YYYY-MM-DD`. Raises ValueError."""
    return (date.fromisoformat(text) - _EPOCH).days


def read_folder(folder: Path, known: Known) -> Folder:
    """Read and check every file of a folder, each row by itself."""
    found = Folder()
    if not folder.is_dir():
        found.errors.append(RowError(str(folder), 0, "", "", "应为文件夹 expected a folder"))
        return found
    for name in sorted(p.name for p in folder.glob("*.csv")):
        if name not in REGISTER_FILES:
            found.errors.append(
                RowError(name, 0, "", "", f"未知文件，应为 unknown file, expected one of {', '.join(REGISTER_FILES)}")
            )
    for name, columns in REGISTER_FILES.items():
        path = folder / name
        found.rows[name] = _read_file(path, columns, known, found.errors) if path.is_file() else []
        if name == "enterprises.csv" and not path.is_file():
            found.errors.append(RowError(name, 0, "", "", "缺少此文件 this file is missing"))
    return found


def _read_file(path: Path, columns: tuple[CsvColumn, ...], known: Known, errors: list[RowError]) -> list[Row]:
    name = path.name
    if path.stat().st_size > _MAX_BYTES:
        errors.append(RowError(name, 0, "", "", f"文件过大 at most {_MAX_BYTES} bytes"))
        return []
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        errors.append(RowError(name, 0, "", "", f"应为 UTF-8 编码 expected UTF-8, byte {error.start}"))
        return []
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    rows: list[Row] = []
    try:
        heading = [_clean(cell) for cell in next(reader, [])]
        if not _check_heading(name, heading, columns, errors):
            return []
        for cells in reader:
            if any(cell.strip() for cell in cells):
                row = _read_row(name, reader.line_num, heading, cells, columns, known, errors)
                if row is not None:
                    rows.append(row)
    except csv.Error as error:
        errors.append(RowError(name, reader.line_num, "", "", f"不是合法的 CSV not valid CSV: {error}"))
    return rows


def _check_heading(name: str, heading: list[str], columns: tuple[CsvColumn, ...], errors: list[RowError]) -> bool:
    names = {c.name for c in columns}
    before = len(errors)
    for cell in heading:
        if cell not in names:
            errors.append(
                RowError(name, 1, cell, cell, f"未知列，应为 unknown column, expected {', '.join(sorted(names))}")
            )
        elif heading.count(cell) > 1:
            errors.append(RowError(name, 1, cell, cell, "列重复 the column is there twice"))
    errors.extend(
        RowError(name, 1, column.name, "", f"缺少此列 this column is missing: {column.meaning}")
        for column in columns
        if column.required and column.name not in heading
    )
    return len(errors) == before


def _read_row(
    name: str,
    line: int,
    heading: list[str],
    cells: list[str],
    columns: tuple[CsvColumn, ...],
    known: Known,
    errors: list[RowError],
) -> Row | None:
    if len(cells) != len(heading):
        errors.append(
            RowError(name, line, "", "", f"应有 {len(heading)} 列，实有 {len(cells)} expected {len(heading)} cells")
        )
        return None
    raw = dict(zip(heading, (_clean(c) for c in cells), strict=True))
    values: dict[str, Any] = {}
    good = True
    for column in columns:
        text = raw.get(column.name, "") or column.default
        if not text:
            values[column.name] = "" if column.kind == "text" else None
            if column.required:
                errors.append(RowError(name, line, column.name, "", f"不能为空 must not be empty: {column.meaning}"))
                good = False
            continue
        try:
            values[column.name] = _READ[column.kind](text, column, known)
        except ValueError as error:
            errors.append(RowError(name, line, column.name, text, str(error)))
            good = False
    return Row(name, line, raw, values) if good else None


def _clean(cell: str) -> str:
    """A cell with full-width letters, digits and spaces put right, and nothing around it."""
    narrow = "".join(unicodedata.normalize("NFKC", c) if "！" <= c <= "～" and c.isalnum() else c for c in cell)
    return narrow.replace("　", " ").strip()


def _text(text: str, _: CsvColumn, __: Known) -> str:
    if len(text) > 500:
        raise ValueError("最多 500 字 at most 500 signs")
    if not text.isprintable():
        raise ValueError("含有控制字符 holds control characters")
    return text


def _id(text: str, _: CsvColumn, __: Known) -> str:
    if not _ID.fullmatch(text):
        raise ValueError("应为 1–64 位字母、数字、汉字或 - _ . expected 1 to 64 letters, digits or - _ .")
    return text


def _device(text: str, _: CsvColumn, __: Known) -> str:
    if not _DEVICE.fullmatch(text):
        raise ValueError("应为网关上报的设备编号 expected a device id as the gateway sends it, without spaces")
    return text


def _credit_code(text: str, _: CsvColumn, __: Known) -> str:
    code = text.upper()
    wrong = fault(code)
    if wrong is not None:
        raise ValueError(wrong)
    return code


def _date(text: str, _: CsvColumn, __: Known) -> int:
    try:
        if not _DATE.fullmatch(text):
            raise ValueError
        return local_day_number(text)
    except ValueError:
        raise ValueError("应为日期 expected a date YYYY-MM-DD") from None


def _month(text: str, _: CsvColumn, __: Known) -> str:
    if not _MONTH.fullmatch(text):
        raise ValueError("应为月份 expected a month YYYY-MM")
    return text


def _year(text: str, _: CsvColumn, __: Known) -> int:
    if not _YEAR.fullmatch(text):
        raise ValueError("应为年份 expected a year YYYY")
    return int(text)


def _yes_no(text: str, _: CsvColumn, __: Known) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("应为 expected yes or no")
    return text == "yes"


def _number(text: str, _: CsvColumn, __: Known) -> float:
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError("应为数字 expected a number with a decimal point, e.g. 1234.5")
    return float(text)


def _choice(text: str, column: CsvColumn, _: Known) -> str:
    if text not in column.choices:
        raise ValueError(f"应为 expected one of {', '.join(column.choices)}")
    return text


def _industry(text: str, _: CsvColumn, known: Known) -> str:
    if text not in known.industries:
        raise ValueError(f"应为规划中的产业 expected an industry of the plan: {', '.join(sorted(known.industries))}")
    return text


def _zone(text: str, _: CsvColumn, known: Known) -> str:
    if text not in known.zones:
        raise ValueError(f"应为规划中的片区 expected a zone of the plan: {', '.join(sorted(known.zones))}")
    return text


_READ: Final[dict[str, Callable[[str, CsvColumn, Known], Any]]] = {
    "text": _text,
    "id": _id,
    "device": _device,
    "credit-code": _credit_code,
    "date": _date,
    "month": _month,
    "year": _year,
    "yes-no": _yes_no,
    "number": _number,
    "choice": _choice,
    "industry": _industry,
    "zone": _zone,
}
