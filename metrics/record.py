"""The interval record: what leaves a plant, one per device and window, as columns.

A batch of records is held as one contiguous numpy array per column (`Records`). The columns, their
types and units are fixed here and nowhere else; `gateway.wire` puts them on the wire in this order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import IntEnum, IntFlag, StrEnum
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

UNKNOWN_READING: Final = -1
"""`reading` of a record that carries no counter reading."""

TENTHS_PER_S: Final = 10
"""Times in a record are counted in tenths of a second."""

THOUSANDTHS: Final = 1000
"""Quantities in a record are counted in thousandths of their unit (kWh: Wh, m³: litres)."""

MIN_WINDOW_S: Final = 10
MAX_WINDOW_S: Final = 900
LOCAL_DAY_OFFSET_S: Final = 8 * 3600
"""Asia/Shanghai is UTC+8 all the year (no summer time since 1991); a local day starts at 16:00 UTC."""

DAY_S: Final = 86_400


class MachineState(IntEnum):
    """What a machine is doing. UNKNOWN covers every time for which nothing says it."""

    UNKNOWN = 0
    RUNNING = 1
    IDLE = 2
    FAULT = 3
    OFF = 4


class Flag(IntFlag):
    """Bits of the column `flags`."""

    CLOCK_UNSYNCHRONISED = 1
    COUNTER_RESET = 2
    COUNTER_REPLACED = 4
    ESTIMATED = 8
    HISTORICAL = 16
    CLOCK_SET_BACK = 32
    CLOSED_SHORT = 64
    RESUMED = 128


DeviceClass = Literal[
    "cnc",
    "robot",
    "injection-moulding",
    "machine",
    "plc",
    "meter-electricity",
    "meter-water",
    "meter-gas",
    "mqtt-device",
    "sparkplug-device",
]
"""What kind of thing a device is."""


class Evidence(StrEnum):
    """How it is known that a machine is connected, strongest first."""

    SELF_IDENTIFIED = "self-identified"
    NATIVE = "native"
    RETROFIT = "retrofit"
    DECLARED = "declared"


class Column(NamedTuple):
    """One column of the interval record: its name, numpy type, unit and meaning."""

    name: str
    dtype: str
    unit: str
    meaning: str


RECORD_COLUMNS: Final[tuple[Column, ...]] = (
    Column("device", "<u4", "index", "row in the batch's table of devices"),
    Column("start", "<i8", "s, UTC", "the window's start"),
    Column("length", "<u2", "0.1 s", "the window's length"),
    Column("observed", "<u2", "0.1 s", "how much of the window the gateway was watching"),
    Column("part", "<u1", "number", "0, or 1, 2 … for what came after the window was closed"),
    Column("connected", "<u2", "0.1 s", "covered by proof of connection"),
    Column("running", "<u2", "0.1 s", "state running"),
    Column("idle", "<u2", "0.1 s", "state idle"),
    Column("fault", "<u2", "0.1 s", "state fault"),
    Column("off", "<u2", "0.1 s", "state off, said by the machine or its meter"),
    Column("quantity", "<i8", "0.001 of the unit", "counter difference of the device's carrier"),
    Column("quantity_idle", "<i8", "0.001 of the unit", "part of it counted while on and not running"),
    Column("quantity_span", "<u4", "s", "time the difference covers; 0: no quantity known"),
    Column("reading", "<i8", "0.001 of the unit", "counter at the window's last good sample; -1: none"),
    Column("parts", "<u4", "pieces", "pieces counted"),
    Column("good", "<u4", "samples", "samples of good quality"),
    Column("bad", "<u4", "samples", "samples of other than good quality"),
    Column("flags", "<u4", "bits", "see Flag"),
)

STATE_COLUMNS: Final = ("running", "idle", "fault", "off")


@dataclass(frozen=True, slots=True)
class Records:
    """Interval records as columns of equal length n; see RECORD_COLUMNS for types and units."""

    device: NDArray[np.uint32]
    start: NDArray[np.int64]
    length: NDArray[np.uint16]
    observed: NDArray[np.uint16]
    part: NDArray[np.uint8]
    connected: NDArray[np.uint16]
    running: NDArray[np.uint16]
    idle: NDArray[np.uint16]
    fault: NDArray[np.uint16]
    off: NDArray[np.uint16]
    quantity: NDArray[np.int64]
    quantity_idle: NDArray[np.int64]
    quantity_span: NDArray[np.uint32]
    reading: NDArray[np.int64]
    parts: NDArray[np.uint32]
    good: NDArray[np.uint32]
    bad: NDArray[np.uint32]
    flags: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.start)

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> Self:
        """Build from a mapping of every column name to n values, each cast to its exact type.

        Raises KeyError for a missing column, ValueError where lengths differ, OverflowError where a
        value does not fit its column.
        """
        arrays: dict[str, NDArray[Any]] = {}
        for column in RECORD_COLUMNS:
            given = np.asarray(columns[column.name])
            cast = given.astype(column.dtype, copy=False)
            if given.dtype != cast.dtype and not np.array_equal(given, cast):
                raise OverflowError(f"column {column.name}: a value does not fit {column.dtype}")
            arrays[column.name] = cast
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of unequal length: {lengths}")
        return cls(**arrays)

    @classmethod
    def empty(cls) -> Self:
        """No records at all."""
        return cls(**{c.name: np.empty(0, c.dtype) for c in RECORD_COLUMNS})

    @classmethod
    def concat(cls, parts: Iterable[Records]) -> Self:
        """All records of several batches, in order. The device indices must share one table."""
        parts = list(parts)
        if not parts:
            return cls.empty()
        return cls(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)})

    def take(self, selection: NDArray[Any] | slice) -> Records:
        """The selected records: a boolean mask, an index array or a slice."""
        return Records(**{f.name: getattr(self, f.name)[selection] for f in fields(self)})

    def columns(self) -> dict[str, NDArray[Any]]:
        """Every column by name, in wire order."""
        return {c.name: getattr(self, c.name) for c in RECORD_COLUMNS}


class Refusal(NamedTuple):
    """Why one row of a batch is not a valid record."""

    row: int
    column: str
    value: int
    expected: str


def refusals(records: Records, n_devices: int) -> list[Refusal]:
    """Rows that break the record's rules, each with the first rule it breaks.

    Parameters: `records` (n rows); `n_devices` rows of the batch's device table.
    The rules are the schema of the interval record: device in the table; window a divisor of 15 min
    and aligned; observed and connected within it; states within `connected` (part 0) or `length`
    (supplements, which prove no connection); a quantity only with its span.
    """
    r = records
    if _all_valid(r, n_devices):
        return []
    states = sum(getattr(r, name).astype(np.int64) for name in STATE_COLUMNS)
    length_s, remainder = np.divmod(r.length.astype(np.int64), TENTHS_PER_S)
    window_ok = (remainder == 0) & (length_s >= MIN_WINDOW_S) & (length_s <= MAX_WINDOW_S)
    safe_length_s = np.where(window_ok, length_s, MIN_WINDOW_S)
    window_ok &= MAX_WINDOW_S % safe_length_s == 0
    first = r.part == 0
    rules: tuple[tuple[str, NDArray[np.bool_], str], ...] = (
        ("device", r.device >= n_devices, f"an index below {n_devices}"),
        ("length", ~window_ok, "100 to 9000 tenths of a second, a divisor of 15 minutes"),
        ("start", (r.start < 0) | (r.start % safe_length_s != 0), "a multiple of the window, not before 1970"),
        ("observed", r.observed > np.where(first, r.length, 0), "at most length (0 in a supplement)"),
        ("connected", r.connected > r.observed, "at most observed"),
        (
            "running",
            states > np.where(first, r.connected, r.length),
            "states at most connected (length in a supplement)",
        ),
        ("quantity", (r.quantity < 0) | ((r.quantity > 0) & (r.quantity_span == 0)), "0 or more, with its span"),
        ("quantity_idle", (r.quantity_idle < 0) | (r.quantity_idle > r.quantity), "0 to quantity"),
        ("reading", r.reading < UNKNOWN_READING, "0 or more, or -1 for none"),
    )
    found: dict[int, Refusal] = {}
    for name, broken, expected in rules:
        for index in np.flatnonzero(broken):
            i = int(index)
            if i not in found:
                found[i] = Refusal(i, name, int(getattr(r, name)[i]), expected)
    return [found[i] for i in sorted(found)]


def _all_valid(r: Records, n_devices: int) -> bool:
    """Whether no row breaks a rule, for the usual batch of first parts of one length; False where that is not sure."""
    if not len(r):
        return True
    length = int(r.length[0])
    length_s, remainder = divmod(length, TENTHS_PER_S)
    states = np.add(r.running, r.idle, dtype=np.uint32) + r.fault + r.off
    return (
        remainder == 0
        and MIN_WINDOW_S <= length_s <= MAX_WINDOW_S
        and MAX_WINDOW_S % length_s == 0
        and not r.part.any()
        and bool((r.length == length).all())
        and int(r.device.max()) < n_devices
        and int(r.start.min()) >= 0
        and not (r.start % length_s).any()
        and int(r.observed.max()) <= length
        and bool((r.connected <= r.observed).all())
        and bool((states <= r.connected).all())
        and int(r.quantity_idle.min()) >= 0
        and bool((r.quantity_idle <= r.quantity).all())
        and not bool(((r.quantity_span == 0) & (r.quantity != 0)).any())
        and int(r.reading.min()) >= UNKNOWN_READING
    )


def local_day(start_s: NDArray[np.int64] | int) -> Any:
    """Number of the Asia/Shanghai day (days since 1970-01-01 local) that holds a UTC time in s."""
    return (start_s + LOCAL_DAY_OFFSET_S) // DAY_S


def local_day_start_s(day: int) -> int:
    """UTC time in s at which the Asia/Shanghai day number `day` begins."""
    return day * DAY_S - LOCAL_DAY_OFFSET_S
