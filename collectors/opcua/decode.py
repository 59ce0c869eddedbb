"""A publish response's bytes as columns: the one seam at which we decode instead of asyncua.

asyncua makes four objects of every value. Here values of one layout that follow one another (the same
encoding mask and the same number type, as nearly all of a machine's do) are one numpy view; layouts that
change from value to value are walked by `struct`; a value that is no scalar number is decoded by asyncua
and handed on as it is. What this module does not understand, asyncua decodes as a whole: the result is
the same, which `tests/collectors/opcua/test_decode.py` holds for every built-in type, status and time.

Layouts: OPC 10000-6, 5.2.2.16 (Variant), 5.2.2.17 (DataValue); OPC 10000-4, 7.25 (NotificationMessage).
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from asyncua import ua
from asyncua.common.utils import Buffer, NotEnoughData
from asyncua.ua.ua_binary import extensionobject_from_binary, struct_from_binary, variant_from_binary
from numpy.typing import NDArray

from collectors.opcua.values import NAN, source_ns_of

GOOD_STATUS: Final = 0
_FILETIME_1970: Final = 116_444_736_000_000_000
"""1970 in steps of 100 ns since 1601."""
_FILETIME_LATEST: Final = _FILETIME_1970 + (2**63 - 1) // 100
"""The last moment that fits ns since 1970 (2262): a later one is no time."""
_FILETIME_PER_US: Final = 10
_NS_PER_US: Final = 1000

_HAS_VALUE: Final = 0x01
_FIELDS: Final = (
    (0x02, "status", "I", "<u4"),
    (0x04, "source", "q", "<i8"),
    (0x10, "source_ps", "H", "<u2"),
    (0x08, "server", "q", "<i8"),
    (0x20, "server_ps", "H", "<u2"),
)
"""What follows the value, in order: bit of the mask, name, struct and numpy format."""
_KNOWN_BITS: Final = 0x3F
_NUMBERS: Final = {
    0: ("", ""),  # Null: a value that is not there
    1: ("?", "?"),
    2: ("b", "<i1"),
    3: ("B", "<u1"),
    4: ("h", "<i2"),
    5: ("H", "<u2"),
    6: ("i", "<i4"),
    7: ("I", "<u4"),
    8: ("q", "<i8"),
    9: ("Q", "<u8"),
    10: ("f", "<f4"),
    11: ("d", "<f8"),
}
"""Struct and numpy format of the built-in types that are one number, by the Variant's encoding byte."""
_DATA_CHANGE: Final = b"\x01\x00" + struct.pack("<H", ua.ObjectIds.DataChangeNotification_Encoding_DefaultBinary)
_HEAD: Final = struct.Struct("<IB")
_RUN_BEFORE_VIEW: Final = 8
"""So many values of one layout in a row before a numpy view is tried on what follows."""
_FIRST_VIEW: Final = 64

_Undecodable = (struct.error, IndexError, ValueError, NotEnoughData, OverflowError)


class Changes(NamedTuple):
    """Data changes as columns of equal length; the order is the server's."""

    handle: NDArray[np.uint32]
    value: NDArray[np.float64]
    """NaN where there is no number, or one that is not finite."""
    status: NDArray[np.uint32]
    source_ns: NDArray[np.int64]
    """Source timestamp, ns UTC, to the µs; 0 where there is none."""
    others: dict[int, ua.DataValue]
    """By row: what is neither a scalar number nor Null."""


@dataclass(slots=True)
class Publication:
    """One publish response."""

    subscription: int
    sequence: int
    """Of this message; of the next one where this is a keep-alive."""
    changes: list[Changes] = field(default_factory=list)
    ended: ua.StatusCode | None = None
    """Set where the server says that the subscription is over."""
    is_keep_alive: bool = False
    available: tuple[int, ...] = ()
    """Messages that the server still keeps for sending again."""
    more: bool = False
    """Whether the server has more to send at once."""
    by_asyncua: bool = False
    """Whether asyncua had to decode it."""


def publication(body: Buffer) -> Publication:
    """Decode the body of a PublishResponse. Raises UaError where it says so or neither of us can read it."""
    try:
        return _quick(body.copy())
    except _Undecodable:
        response = struct_from_binary(ua.PublishResponse, body)
        response.ResponseHeader.ServiceResult.check()
        parameters = response.Parameters
        made = message(parameters.SubscriptionId, parameters.NotificationMessage)
        made.available = tuple(parameters.AvailableSequenceNumbers or ())
        made.more, made.by_asyncua = bool(parameters.MoreNotifications), True
        return made


def message(subscription: int, given: ua.NotificationMessage) -> Publication:
    """The same from asyncua's objects, as a republished message comes."""
    made = Publication(subscription, given.SequenceNumber)
    for notification in given.NotificationData or ():
        if isinstance(notification, ua.DataChangeNotification):
            made.changes.append(changes_of((n.ClientHandle, n.Value) for n in notification.MonitoredItems or ()))
        elif isinstance(notification, ua.StatusChangeNotification):
            made.ended = notification.Status
    made.is_keep_alive = not given.NotificationData
    return made


def changes_of(pairs: Iterable[tuple[int, ua.DataValue]]) -> Changes:
    """Columns from asyncua's data values, each with its client handle."""
    columns = _Columns()
    for handle, value in pairs:
        held = value.Value.Value if value.Value is not None else None
        status = GOOD_STATUS if value.StatusCode is None else value.StatusCode.value
        if held is not None and (value.Value.is_array or not isinstance(held, int | float)):
            columns.others[len(columns)] = value
            held = None
        columns.add(handle, NAN if held is None else float(held), status, source_ns_of(value))
    return columns.changes()


class _Columns:
    """Columns in the making: parts that are arrays already, and rows since the last of them."""

    def __init__(self) -> None:
        self._parts: list[tuple[NDArray[Any], ...]] = []
        self._rows: list[tuple[int, float, int, int]] = []
        self._n = 0
        self.others: dict[int, ua.DataValue] = {}

    def __len__(self) -> int:
        return self._n

    def add(self, handle: int, value: float, status: int, source_ns: int) -> None:
        self._rows.append((handle, value, status, source_ns))
        self._n += 1

    def extend(self, part: tuple[NDArray[Any], ...]) -> None:
        self._flush()
        self._parts.append(part)
        self._n += len(part[0])

    def changes(self) -> Changes:
        self._flush()
        if len(self._parts) == 1:
            handle, value, status, source_ns = self._parts[0]
        else:
            none: list[tuple[NDArray[Any], ...]] = [tuple(np.zeros(0) for _ in range(4))]
            handle, value, status, source_ns = (np.concatenate(c) for c in zip(*(self._parts or none), strict=True))
        value = np.asarray(value, np.float64)
        return Changes(
            np.asarray(handle, np.uint32),
            np.where(np.isfinite(value), value, NAN),
            np.asarray(status, np.uint32),
            np.asarray(source_ns, np.int64),
            self.others,
        )

    def _flush(self) -> None:
        if self._rows:
            handle, value, status, source_ns = zip(*self._rows, strict=True)
            self._rows = []
            self._parts.append(
                (
                    np.array(handle, np.uint32),
                    np.array(value, np.float64),
                    np.array(status, np.uint32),
                    np.array(source_ns, np.int64),
                )
            )


class _Layout:
    """How values of one encoding mask and number type lie in memory, client handle and mask included."""

    def __init__(self, mask: int, kind: int) -> None:
        number, number_type = _NUMBERS[kind] if mask & _HAS_VALUE else ("", "")
        walked, viewed = "<IB", [("handle", "<u4"), ("mask", "u1")]
        names = ["handle", "mask"]
        if mask & _HAS_VALUE:
            walked, names = walked + "B", [*names, "kind"]
            viewed.append(("kind", "u1"))
        if number:
            walked, names = walked + number, [*names, "value"]
            viewed.append(("value", number_type))
        for bit, name, code, dtype in _FIELDS:
            if mask & bit:
                walked, names = walked + code, [*names, name]
                viewed.append((name, dtype))
        self.mask, self.kind = mask, kind
        self._struct = struct.Struct(walked)
        self.size = self._struct.size
        self._dtype = np.dtype(viewed)
        self._value, self._status, self._source = (
            names.index(name) if name in names else None for name in ("value", "status", "source")
        )

    def row(self, data: bytes, at: int) -> tuple[int, float, int, int]:
        """Handle, number, status and source time of the value at `at`."""
        read = self._struct.unpack_from(data, at)
        return (
            read[0],
            NAN if self._value is None else float(read[self._value]),
            GOOD_STATUS if self._status is None else read[self._status],
            0 if self._source is None else _ns_of_filetime(read[self._source]),
        )

    def view(self, data: bytes, at: int, most: int) -> tuple[NDArray[Any], ...]:
        """Columns of the values of this layout from `at` on, up to the first of another."""
        most = min(most, (len(data) - at) // self.size)
        rows = np.frombuffer(data, self._dtype, most, at)
        same = rows["mask"] == self.mask
        if self.mask & _HAS_VALUE:
            same &= rows["kind"] == self.kind
        if not same.all():
            rows = rows[: int(same.argmin())]
        n = len(rows)
        return (
            rows["handle"],
            np.full(n, NAN) if self._value is None else rows["value"].astype(np.float64),
            np.zeros(n, np.uint32) if self._status is None else rows["status"],
            np.zeros(n, np.int64) if self._source is None else _ns_of_filetimes(rows["source"]),
        )


@functools.cache
def _layout(mask: int, kind: int) -> _Layout | None:
    """None where the value is not one number."""
    if mask & ~_KNOWN_BITS:
        raise ValueError(f"encoding mask {mask:#x}")
    return None if mask & _HAS_VALUE and kind not in _NUMBERS else _Layout(mask, kind)


def _ns_of_filetime(moment: int) -> int:
    if not _FILETIME_1970 < moment < _FILETIME_LATEST:
        return 0
    return (moment - _FILETIME_1970) // _FILETIME_PER_US * _NS_PER_US


def _ns_of_filetimes(moments: NDArray[np.int64]) -> NDArray[np.int64]:
    known = (moments > _FILETIME_1970) & (moments < _FILETIME_LATEST)
    return np.where(known, (moments - _FILETIME_1970) // _FILETIME_PER_US * _NS_PER_US, 0)


def _quick(body: Buffer) -> Publication:
    body.skip(4)  # the response's own type, which its request implies
    struct_from_binary(ua.ResponseHeader, body).ServiceResult.check()
    data = body.read(len(body))
    reader = _Reader(data)
    subscription = reader.take("<I")
    available = reader.array("I")
    more = reader.take("<?")
    made = Publication(subscription, reader.take("<I"), available=available, more=more)
    reader.take("<q")
    notifications = max(0, reader.take("<i"))
    for _ in range(notifications):
        if data[reader.at : reader.at + 4] == _DATA_CHANGE:
            reader.at += 4
            encoding, size = reader.take("<B"), reader.take("<i")
            if encoding != 1 or size < 0 or reader.at + size > len(data):
                raise ValueError("a data change without a body")
            made.changes.append(_data_changes(data[reader.at : reader.at + size]))
            reader.at += size
        else:
            rest = Buffer(data, reader.at)
            other = extensionobject_from_binary(rest)
            reader.at = rest.cur_pos
            if isinstance(other, ua.StatusChangeNotification):
                made.ended = other.Status
    made.is_keep_alive = not notifications
    return made


class _Reader:
    """Single fields, in order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, layout: str) -> Any:
        (value,) = struct.unpack_from(layout, self._data, self.at)
        self.at += struct.calcsize(layout)
        return value

    def array(self, code: str) -> tuple[int, ...]:
        n = max(0, self.take("<i"))
        values = struct.unpack_from(f"<{n}{code}", self._data, self.at)
        self.at += struct.calcsize(f"<{n}{code}")
        return values


def _data_changes(data: bytes) -> Changes:
    (n,) = struct.unpack_from("<i", data)
    at, columns = 4, _Columns()
    run, view, before = 0, _FIRST_VIEW, (-1, -1)
    while len(columns) < n:
        _, mask = _HEAD.unpack_from(data, at)
        kind = data[at + _HEAD.size] if mask & _HAS_VALUE else 0
        layout = _layout(mask, kind)
        if layout is None:
            at = _other(data, at, mask, columns)
            run = 0
            continue
        run, before = (run + 1 if (mask, kind) == before else 1), (mask, kind)
        if run <= _RUN_BEFORE_VIEW:
            columns.add(*layout.row(data, at))
            at += layout.size
            continue
        part = layout.view(data, at, min(view, n - len(columns)))
        columns.extend(part)
        at += len(part[0]) * layout.size
        view = view * 2 if len(part[0]) == view else _FIRST_VIEW
    return columns.changes()


def _other(data: bytes, at: int, mask: int, columns: _Columns) -> int:
    """One value that is not a scalar number, through asyncua. Returns where the next one begins."""
    handle, _ = _HEAD.unpack_from(data, at)
    rest = Buffer(data, at + _HEAD.size)
    variant = variant_from_binary(rest)
    status, moment = GOOD_STATUS, 0
    for bit, name, code, _ in _FIELDS:
        if mask & bit:
            (read,) = struct.unpack(f"<{code}", rest.read(struct.calcsize(f"<{code}")))
            status, moment = (read if name == "status" else status), (read if name == "source" else moment)
    source = ua.win_epoch_to_datetime(moment) if mask & 0x04 else None
    if variant.Value is not None:
        columns.others[len(columns)] = ua.DataValue(variant, ua.StatusCode(status), SourceTimestamp=source)
    columns.add(handle, NAN, status, _ns_of_filetime(moment))
    return int(rest.cur_pos)
