"""The shape of a data message, learnt once: messages of the same shape are not decoded, but read.

An edge node repeats itself: the same aliases in the same order, only times, values and the sequence
number change. A layout masks those bytes out and compares the rest with the message it was learnt from;
plain numbers of many messages are then read together. Whatever differs is decoded in full and becomes
a layout of its own.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from collectors.model import Quality
from collectors.mqtt.rows import Rows
from collectors.mqtt.sparkplug_wire import (
    BAD,
    BOOLEAN,
    DOUBLE,
    FLOAT,
    GOOD,
    INT,
    LONG,
    SIGNED_BITS,
    STALE,
    STRING,
    WireMetric,
    WirePayload,
    signed,
    varint_value,
)

MOST_LAYOUTS: Final = 8
"""Per device; a node that varies more is decoded in full."""
_NS_PER_MS: Final = 1_000_000
_EARLIEST_MS: Final = 946_684_800_000
_LATEST_MS: Final = 4_102_444_800_000
"""Times before 2000 or after 2100 are a clock that was never set: as good as none."""
_GOOD, _UNCERTAIN, _BAD = int(Quality.GOOD), int(Quality.UNCERTAIN), int(Quality.BAD)
_MOST_REMEMBERED: Final = 16
_TIME_BYTES: Final = 6
"""A varint of any time from 2^35 ms (1971) to 2^42 ms (2109)."""
_BLANK_TIME: Final = bytes(_TIME_BYTES)
_FEW: Final = 8
"""Up to here messages are read one by one; from here on it is cheaper to read them column by column."""
_VARINTS: Final = (INT, LONG, BOOLEAN)


@dataclass(frozen=True, slots=True)
class Bound:
    """A metric of a birth that is a tag: how its value becomes the tag's."""

    index: int
    datatype: int
    scale: float
    states: Mapping[bytes, int] | None
    """For the tag of role state: the node's words."""


def value_of(metric: WireMetric, bound: Bound) -> tuple[float, int]:
    """A metric's value in the tag's unit and its quality. Null, stale, or what is no number, is BAD."""
    if metric.quality == GOOD:
        return _good_value_of(metric, bound)
    if metric.quality in (BAD, STALE):
        return 0.0, _BAD
    value, quality = _good_value_of(metric, bound)
    return value, max(quality, _UNCERTAIN)


def _good_value_of(metric: WireMetric, bound: Bound) -> tuple[float, int]:
    if metric.null or not INT <= metric.kind <= STRING:
        return 0.0, _BAD
    value = metric.value
    if metric.kind in (INT, LONG) and bound.datatype in SIGNED_BITS:
        value = signed(int(value), SIGNED_BITS[bound.datatype])
    if bound.states is not None:
        word = value if isinstance(value, bytes) else _word(value)
        state = bound.states.get(word)
        return (0.0, _UNCERTAIN) if state is None else (float(state), _GOOD)
    try:
        return float(value) * bound.scale, _GOOD
    except ValueError:
        return 0.0, _BAD


def source_ns(metric_ms: int, payload_ms: int) -> int:
    """The device's own time in ns UTC, 0 where it has none or an unset clock."""
    ms = metric_ms or payload_ms
    return ms * _NS_PER_MS if _EARLIEST_MS <= ms <= _LATEST_MS else 0


class Layout:
    """How to read messages of one shape. `learn` makes one; `read` refuses what it cannot read exactly."""

    __slots__ = (
        "_convert",
        "_converted_columns",
        "_mask",
        "_order",
        "_pattern",
        "_payload_time",
        "_plain",
        "_seq",
        "_time",
        "_unpack",
        "_unpack_plain",
        "tags",
    )  # fmt: skip

    def __init__(
        self, pattern: int, mask: int, size: int, payload: WirePayload, bounds: Sequence[tuple[Bound, WireMetric]]
    ) -> None:
        self._pattern, self._mask = pattern, mask
        self.tags = array("H", [bound.index for bound, _ in bounds])
        converters = [_converter(bound, metric.kind) for bound, metric in bounds]
        metrics = [metric for _, metric in bounds]
        plain = [n for n, convert in enumerate(converters) if convert is None]
        self._convert = [convert for convert in converters if convert is not None]
        self._converted_columns = [n for n, convert in enumerate(converters) if convert is not None]
        self._plain = [(n, metrics[n].value_at, "<f8" if metrics[n].kind == DOUBLE else "<f4") for n in plain]
        columns = [*plain, *self._converted_columns]
        self._order = [columns.index(n) for n in range(len(columns))]
        self._unpack_plain = struct.Struct(_codes([_field(metrics[n]) for n in plain], size)).unpack
        wanted = [_field(metrics[n]) for n in self._converted_columns]
        self._unpack = struct.Struct(_codes(wanted, size)).unpack
        self._seq = slice(payload.seq_at, payload.seq_end)
        self._time = slice(metrics[0].time_at, metrics[0].time_end)
        self._payload_time = slice(payload.time_at, payload.time_end)

    @classmethod
    def learn(cls, data: bytes, payload: WirePayload, bound_of: Sequence[Bound | None]) -> Layout | None:
        """From one decoded message; None for shapes that are not worth it: history, nulls, fields out of order."""
        bounds: list[tuple[Bound, WireMetric]] = []
        mask = bytearray(b"\xff" * len(data))
        blank = bytearray(data)
        if payload.seq is None or payload.time_end - payload.time_at != _TIME_BYTES:
            return None
        _open(mask, payload.seq_at, payload.seq_end, varint=True)
        _open(mask, payload.time_at, payload.time_end, varint=False)  # `read` checks it by itself
        for metric, bound in zip(payload.metrics, bound_of, strict=True):
            if metric.quality != GOOD:
                return None
            if metric.historical or metric.null or not INT <= metric.kind <= STRING or not metric.time_end:
                return None
            if metric.time_end - metric.time_at != _TIME_BYTES:
                return None
            blank[metric.time_at : metric.time_end] = bytes(_TIME_BYTES)
            _open(mask, metric.value_at, metric.value_end, varint=metric.kind in _VARINTS)
            if bound is not None:
                bounds.append((bound, metric))
        if not bounds:
            return None
        starts = [metric.value_at for _, metric in bounds]
        if [*starts, payload.seq_at] != sorted([*starts, payload.seq_at]):
            return None
        masked = int.from_bytes(mask, "little")
        return cls(int.from_bytes(blank, "little") & masked, masked, len(data), payload, bounds)

    def read(self, data: bytes, received_ns: int, expected_seq: int | None, rows: Rows) -> bool:
        """Add the message's samples to `rows`. False, and nothing added, where its shape is another, its
        metrics differ in time, it is not the next in sequence, or it holds a state nobody knows: then it
        has to be decoded in full."""
        # The first metric's time is blanked wherever it stands: what then still differs from the blanked
        # pattern is another shape, or a metric with another time.
        time = data[self._time]
        if int.from_bytes(data.replace(time, _BLANK_TIME), "little") & self._mask != self._pattern:
            return False
        payload_time = data[self._payload_time]
        if payload_time != time and not (payload_time[-1] < 0x80 <= min(payload_time[:-1])):
            return False
        if varint_value(data[self._seq]) != expected_seq:
            return False
        converted: list[float] = []
        if self._convert:
            for convert, raw in zip(self._convert, self._unpack(data), strict=True):
                value = convert(raw)
                if value is None:
                    return False
                converted.append(value)
        rows.add_message(self, data, converted, source_ns(_time_ms(time), 0), received_ns)
        return True

    def values(self, data: Sequence[bytes], converted: array[float]) -> array[float]:
        """See `rows.Shape`."""
        values, width = array("d"), len(self._convert)
        if len(data) < _FEW:
            for n, message in enumerate(data):
                both = [*self._unpack_plain(message), *converted[n * width : (n + 1) * width]]
                values.extend([both[column] for column in self._order])
            return values
        n, joined, size = len(data), b"".join(data), len(data[0])
        table = np.empty((n, len(self.tags)))
        for column, at, dtype in self._plain:
            table[:, column] = np.ndarray((n,), dtype, joined, at, (size,))
        if width:
            table[:, self._converted_columns] = np.frombuffer(converted, np.float64).reshape(n, width)
        values.frombytes(table.tobytes())
        return values


def _field(metric: WireMetric) -> tuple[int, int, str]:
    """Where a value lies and how `struct` reads it."""
    return metric.value_at, metric.value_end, {DOUBLE: "d", FLOAT: "f"}.get(metric.kind, "s")


def _codes(fields: Sequence[tuple[int, int, str]], size: int) -> str:
    """What `struct` needs to pick these fields, in their order, out of `size` bytes."""
    codes, at = "<", 0
    for start, end, code in fields:
        codes += f"{start - at}x" if start > at else ""
        codes += f"{end - start}s" if code == "s" else code
        at = end
    return codes + (f"{size - at}x" if at < size else "")


def _time_ms(raw: bytes) -> int:
    """What a varint of _TIME_BYTES bytes holds, without a loop."""
    a, b, c, d, e, f = raw
    return a & 0x7F | (b & 0x7F) << 7 | (c & 0x7F) << 14 | (d & 0x7F) << 21 | (e & 0x7F) << 28 | f << 35


def _open(mask: bytearray, start: int, end: int, *, varint: bool) -> None:
    """Let these bytes vary; a varint's continuation bits are part of the shape."""
    mask[start:end] = (b"\x80" if varint else b"\x00") * (end - start)


class _Memo(dict[bytes, "float | None"]):
    """Conversions of recent raw values: counters and states repeat far more often than they change."""

    def __init__(self, compute: Callable[[bytes], float | None]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, raw: bytes) -> float | None:
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        value = self[raw] = self._compute(raw)
        return value


def _converter(bound: Bound, kind: int) -> Callable[[Any], float | None] | None:
    """From what `struct` gives to the tag's value; None where it is the value already. Unknown states give None."""
    scale, states = bound.scale, bound.states
    if kind in (DOUBLE, FLOAT):
        if states is not None:
            return lambda value: states.get(_word(value))
        return None if scale == 1.0 else lambda value: value * scale
    if kind == STRING:
        return _Memo(lambda raw: _text_number(raw, scale)).__getitem__ if states is None else states.get
    bits = SIGNED_BITS.get(bound.datatype, 0) if kind != BOOLEAN else 0
    if states is not None:
        return _Memo(lambda raw: states.get(_word(_integer(raw, bits, kind)))).__getitem__
    return _Memo(lambda raw: _integer(raw, bits, kind) * scale).__getitem__


def _integer(raw: bytes, bits: int, kind: int) -> int:
    value = varint_value(raw)
    if kind == BOOLEAN:
        return value != 0
    if kind == INT:
        value &= 0xFFFFFFFF
    return signed(value, bits) if bits else value


def _word(value: float) -> bytes:
    """A number or boolean as profiles write states."""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    return str(int(value) if float(value).is_integer() else value).encode()


def _text_number(raw: bytes, scale: float) -> float:
    try:
        return float(raw) * scale
    except ValueError:
        return float("nan")
