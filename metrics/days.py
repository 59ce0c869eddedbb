"""Day states: what one device did on one local day, as exact integers.

`day_states` reduces a day's interval records to one row per device. Rows merge by sum, min, max and
or, in any order and any split, to the same bits; they are what figures and pages read. A day is a day
in Asia/Shanghai.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from metrics.record import Records, local_day_start_s
from metrics.windows import TIMES, Columns, reduce_windows

NEVER: Final = -1
"""A time that did not happen, in s UTC; also a reading that is not known."""


class DayColumn(NamedTuple):
    """One column of the day states: its name, numpy type, unit, how two rows merge, and meaning."""

    name: str
    dtype: str
    unit: str
    merge: str
    meaning: str


DAY_COLUMNS: Final[tuple[DayColumn, ...]] = (
    DayColumn("day", "<i4", "local day", "key", "days since 1970-01-01 in Asia/Shanghai"),
    DayColumn("device", "<u4", "index", "key", "row in the caller's table of devices"),
    DayColumn("observed", "<u4", "0.1 s", "sum", "how long the gateway was watching"),
    DayColumn("connected", "<u4", "0.1 s", "sum", "covered by proof of connection"),
    DayColumn("running", "<u4", "0.1 s", "sum", "state running"),
    DayColumn("idle", "<u4", "0.1 s", "sum", "state idle"),
    DayColumn("fault", "<u4", "0.1 s", "sum", "state fault"),
    DayColumn("off", "<u4", "0.1 s", "sum", "state off"),
    DayColumn("first_connected_s", "<i8", "s, UTC", "min", "start of the first window with a proof; -1: none"),
    DayColumn("last_connected_s", "<i8", "s, UTC", "max", "end of the last window with a proof; -1: none"),
    DayColumn("quantity", "<i8", "0.001 of the unit", "sum", "counted by the device's carrier"),
    DayColumn("quantity_idle", "<i8", "0.001 of the unit", "sum", "part of it while on and not running"),
    DayColumn("quantity_estimated", "<i8", "0.001 of the unit", "sum", "part of it flagged estimated"),
    DayColumn("quantity_span_s", "<i8", "s", "sum", "time that the quantity covers"),
    DayColumn("first_reading", "<i8", "0.001 of the unit", "first", "the day's first counter reading; -1: none"),
    DayColumn("first_reading_s", "<i8", "s, UTC", "first", "start of its window; -1: none"),
    DayColumn("last_reading", "<i8", "0.001 of the unit", "last", "the day's last counter reading; -1: none"),
    DayColumn("last_reading_s", "<i8", "s, UTC", "last", "start of its window; -1: none"),
    DayColumn("parts", "<i8", "pieces", "sum", "pieces counted"),
    DayColumn("good", "<i8", "samples", "sum", "samples of good quality"),
    DayColumn("bad", "<i8", "samples", "sum", "samples of other than good quality"),
    DayColumn("records", "<u4", "records", "sum", "records counted, supplements included"),
    DayColumn("supplements", "<u4", "records", "sum", "of which parts 1, 2 …"),
    DayColumn("duplicates", "<u4", "records", "sum", "not counted: same key, same content"),
    DayColumn("conflicts", "<u4", "records", "sum", "not counted: same key, other content"),
    DayColumn("overlaps", "<u4", "windows", "sum", "windows that began before another one had ended"),
    DayColumn("flags", "<u4", "bits", "or", "see metrics.record.Flag; of every record counted"),
)

_INT64_MAX: Final = int(np.iinfo(np.int64).max)
_MAGIC: Final = b"PPDS"
_FORMAT: Final = 1
_HEADER: Final = struct.Struct("<4sHHQ")
_ROW_BYTES: Final = sum(np.dtype(c.dtype).itemsize for c in DAY_COLUMNS)


@dataclass(frozen=True, slots=True)
class DayStates:
    """Rows by (day, device), ascending, each key once; see DAY_COLUMNS for types, units and merging.

    A device without a record on a day has no row: nobody looked.
    """

    day: NDArray[np.int32]
    device: NDArray[np.uint32]
    observed: NDArray[np.uint32]
    connected: NDArray[np.uint32]
    running: NDArray[np.uint32]
    idle: NDArray[np.uint32]
    fault: NDArray[np.uint32]
    off: NDArray[np.uint32]
    first_connected_s: NDArray[np.int64]
    last_connected_s: NDArray[np.int64]
    quantity: NDArray[np.int64]
    quantity_idle: NDArray[np.int64]
    quantity_estimated: NDArray[np.int64]
    quantity_span_s: NDArray[np.int64]
    first_reading: NDArray[np.int64]
    first_reading_s: NDArray[np.int64]
    last_reading: NDArray[np.int64]
    last_reading_s: NDArray[np.int64]
    parts: NDArray[np.int64]
    good: NDArray[np.int64]
    bad: NDArray[np.int64]
    records: NDArray[np.uint32]
    supplements: NDArray[np.uint32]
    duplicates: NDArray[np.uint32]
    conflicts: NDArray[np.uint32]
    overlaps: NDArray[np.uint32]
    flags: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.device)

    @classmethod
    def empty(cls) -> Self:
        """No rows."""
        return cls(**{c.name: np.empty(0, c.dtype) for c in DAY_COLUMNS})

    def columns(self) -> dict[str, NDArray[Any]]:
        """Every column by name, in the order of DAY_COLUMNS."""
        return {c.name: getattr(self, c.name) for c in DAY_COLUMNS}

    def take(self, selection: NDArray[Any] | slice) -> DayStates:
        """The selected rows: a boolean mask, ascending indices or a slice."""
        return DayStates(**{name: column[selection] for name, column in self.columns().items()})

    def with_devices(self, table: NDArray[np.uint32]) -> DayStates:
        """The same rows under other device indices: row i gets `table[device[i]]`, re-sorted.

        For joining the states of several gateways in one table. Raises ValueError where two devices of
        one day fall on one index.
        """
        moved = np.asarray(table)[self.device].astype(np.uint32)
        order = np.lexsort((moved, self.day))
        states = DayStates(**{**self.take(order).columns(), "device": moved[order]})
        if not states._keys_ascend():
            raise ValueError("two devices of one day fall on one index")
        return states

    def _keys_ascend(self) -> bool:
        later_day = self.day[1:] > self.day[:-1]
        later_device = (self.day[1:] == self.day[:-1]) & (self.device[1:] > self.device[:-1])
        return bool((later_day | later_device).all())

    def to_bytes(self) -> bytes:
        """A stable form for storage: header, number of rows, then every column, little-endian.

        The same states give the same bytes, on every machine.
        """
        header = _HEADER.pack(_MAGIC, _FORMAT, len(DAY_COLUMNS), len(self))
        return header + b"".join(np.ascontiguousarray(getattr(self, c.name), c.dtype).tobytes() for c in DAY_COLUMNS)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read what `to_bytes` wrote, as views of it. Raises ValueError for anything else."""
        if len(raw) < _HEADER.size:
            raise ValueError(f"day states of {len(raw)} bytes, the header alone has {_HEADER.size}")
        magic, form, columns, rows = _HEADER.unpack_from(raw)
        if (magic, form, columns) != (_MAGIC, _FORMAT, len(DAY_COLUMNS)):
            raise ValueError(f"not day states of format {_FORMAT}: {magic!r}, format {form}, {columns} columns")
        if len(raw) != _HEADER.size + rows * _ROW_BYTES:
            raise ValueError(f"day states of {len(raw)} bytes, expected {_HEADER.size} + {rows} × {_ROW_BYTES}")
        offset = _HEADER.size
        arrays: dict[str, NDArray[Any]] = {}
        for column in DAY_COLUMNS:
            arrays[column.name] = np.frombuffer(raw, column.dtype, rows, offset)
            offset += arrays[column.name].nbytes
        states = cls(**arrays)
        if not states._keys_ascend():
            raise ValueError("day states whose rows are not in order of day and device")
        return states

    def digest(self) -> str:
        """SHA-256 in hex over `to_bytes`: an unchanged digest means an unchanged day."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def read_columns(raws: Sequence[bytes], names: Collection[str]) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """Some columns of many day states that `to_bytes` wrote, one below the other, and the place in `raws` of each row.

    Those of one length are cut all at once, so that a day of a thousand gateways costs little more than its bytes.
    `names` must hold `day` and `device`. Raises ValueError for anything else than day states.
    """
    by_length: dict[int, list[int]] = {}
    for place, raw in enumerate(raws):
        by_length.setdefault(len(raw), []).append(place)
    parts: dict[str, list[NDArray[Any]]] = {c.name: [np.empty(0, c.dtype)] for c in DAY_COLUMNS if c.name in names}
    places = [np.empty(0, np.int64)]
    for length, some in by_length.items():
        rows = len(DayStates.from_bytes(raws[some[0]]))
        table = np.frombuffer(b"".join([raws[place] for place in some]), np.uint8).reshape(len(some), length)
        found: dict[str, NDArray[Any]] = {}
        offset = _HEADER.size
        for column in DAY_COLUMNS:
            width = rows * np.dtype(column.dtype).itemsize
            if column.name in parts:
                found[column.name] = np.ascontiguousarray(table[:, offset : offset + width]).view(column.dtype)
            offset += width
        if not bool((table[:, : _HEADER.size] == table[0, : _HEADER.size]).all()) or not _ascend(found):
            for place in some:
                DayStates.from_bytes(raws[place])  # tells what is wrong with the one that is
        for name, values in found.items():
            parts[name].append(values.reshape(-1))
        places.append(np.repeat(np.array(some, np.int64), rows))
    return {name: np.concatenate(each) for name, each in parts.items()}, np.concatenate(places)


def _ascend(columns: Mapping[str, NDArray[Any]]) -> bool:
    """Whether each row of a table of days and devices is in order."""
    day, device = columns["day"], columns["device"]
    later_device = (day[:, 1:] == day[:, :-1]) & (device[:, 1:] > device[:, :-1])
    return bool(((day[:, 1:] > day[:, :-1]) | later_device).all())


def day_states(records: Records, position: NDArray[np.int64] | None, day: int, n_devices: int) -> DayStates:
    """Reduce one local day's records to one row per device that has any.

    Parameters: `records` (n rows that `metrics.record.refusals` lets pass, in any order; fastest sorted by device
    and start); `position` (n,) the
    rows' places in the journal, lower is earlier (None: the order given); `day` the local day number;
    `n_devices` rows in the table that `records.device` points into.

    Of several records of one key (device, start, part) the one journalled first counts; the others are
    counted as duplicates or conflicts. The parts of one window are added, their times capped at the
    window's length (an overlap with an earlier window of that device counts once); quantities, parts
    and samples are added. Integers throughout; extra memory does not grow with n where records are sorted.

    Raises ValueError for a record that starts on another local day, a device outside the table, or
    a position of another length; OverflowError where a sum leaves its column.
    """
    if len(records) == 0:
        return DayStates.empty()
    blocks = _blocks(records, position, day, n_devices, times_only=False)
    columns: dict[str, NDArray[Any]] = {
        c.name: np.concatenate([block[c.name] for block in blocks]) for c in DAY_COLUMNS[1:]
    }
    columns["day"] = np.full(len(columns["device"]), day)
    return _states(columns)


def state_seconds(
    records: Records, position: NDArray[np.int64] | None, day: int, n_devices: int
) -> dict[str, NDArray[np.uint32]]:
    """The columns `device` and metrics.windows.TIMES (0.1 s) of `day_states` alone, for less of the work."""
    names = ("device", *TIMES)
    if len(records) == 0:
        return {name: np.empty(0, np.uint32) for name in names}
    blocks = _blocks(records, position, day, n_devices, times_only=True)
    return {name: np.concatenate([block[name] for block in blocks]).astype(np.uint32, copy=False) for name in names}


def _blocks(
    records: Records, position: NDArray[np.int64] | None, day: int, n_devices: int, *, times_only: bool
) -> list[Columns]:
    if position is not None and len(position) != len(records):
        raise ValueError(f"{len(position)} positions for {len(records)} records")
    blocks = reduce_windows(records, position, local_day_start_s(day), times_only=times_only)
    if int(blocks[-1]["device"][-1]) >= n_devices:
        raise ValueError(f"device {int(blocks[-1]['device'][-1])}, the table has {n_devices}")
    return blocks


def merge(*states: DayStates) -> DayStates:
    """Join day states; rows of one (day, device) merge column by column as DAY_COLUMNS says.

    Associative and commutative, to the bit. The rows merged must come from different windows: split a
    day's records by device or by time, never one window's parts, because times are capped per window.
    Raises OverflowError where a sum leaves its column.
    """
    given = [s for s in states if len(s)]
    if not given:
        return DayStates.empty()
    if len(given) == 1:
        return given[0]
    columns = {c.name: np.concatenate([getattr(s, c.name) for s in given]) for c in DAY_COLUMNS}
    order = np.lexsort((columns["device"], columns["day"]))
    columns = {name: column[order] for name, column in columns.items()}
    day, device = columns["day"], columns["device"]
    new = np.ones(len(day), np.bool_)
    new[1:] = (day[1:] != day[:-1]) | (device[1:] != device[:-1])
    heads = np.flatnonzero(new)
    if len(heads) == len(day):
        return _states(columns)
    merged = {c.name: _merge_column(c, columns[c.name], heads) for c in DAY_COLUMNS if c.merge not in ("first", "last")}
    merged |= _merge_readings(columns, np.cumsum(new) - 1, heads)
    return _states(merged)


def _merge_column(column: DayColumn, values: NDArray[Any], heads: NDArray[np.int64]) -> NDArray[Any]:
    match column.merge:
        case "key":
            return values[heads]
        case "sum":
            return _exact_sums(values, heads, column.name)
        case "or":
            return np.bitwise_or.reduceat(values, heads)
        case "max":
            return np.maximum.reduceat(values, heads)
        case _:  # min of what happened: NEVER is no time
            earliest = np.minimum.reduceat(np.where(values == NEVER, _INT64_MAX, values), heads)
            return np.where(earliest == _INT64_MAX, NEVER, earliest)


def _merge_readings(
    columns: Mapping[str, NDArray[Any]], key: NDArray[np.int64], heads: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """First and last reading by their times; `key` (rows,) numbers the group that each row belongs to."""
    merged: dict[str, NDArray[Any]] = {}
    for which, end in (("first", 0), ("last", -1)):
        reading, at_s = columns[f"{which}_reading"], columns[f"{which}_reading_s"]
        known = np.flatnonzero(at_s != NEVER)
        order = known[np.lexsort((reading[known], at_s[known], key[known]))]
        group = key[order]
        chosen = order[np.searchsorted(group, np.unique(group), side="right" if end else "left") + end]
        for name, values in ((f"{which}_reading", reading), (f"{which}_reading_s", at_s)):
            merged[name] = np.full(len(heads), NEVER)
            merged[name][key[chosen]] = values[chosen]
    return merged


def _exact_sums(values: NDArray[Any], heads: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    wide = values.astype(np.int64)
    longest = int(np.diff(heads, append=len(values)).max())
    if int(np.abs(wide).max()) > _INT64_MAX // longest:
        raise OverflowError(f"sums of {name} leave 63 bits")
    return np.add.reduceat(wide, heads)


def _states(columns: Mapping[str, NDArray[Any]]) -> DayStates:
    """Cast each column to its type. Raises OverflowError where a value does not fit."""
    arrays: dict[str, NDArray[Any]] = {}
    for column in DAY_COLUMNS:
        values = columns[column.name]
        top = np.iinfo(column.dtype).max
        if int(values.max()) > top:
            raise OverflowError(f"{column.name} of {int(values.max())}, at most {top}")
        arrays[column.name] = values.astype(column.dtype)
    return DayStates(**arrays)
