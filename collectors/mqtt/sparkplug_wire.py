"""Sparkplug B payloads on the wire: a protobuf decoder that knows this one message, and our only two messages out.

Field numbers are those of the public Sparkplug B schema (Eclipse Sparkplug Specification 3.0.0,
chapter 6): Payload timestamp 1, metrics 2, seq 3; Metric name 1, alias 2, timestamp 3, datatype 4,
is_historical 5, is_null 7, properties 9, int 10, long 11, float 12, double 13, boolean 14, string 15; bytes 16,
DataSet 17, Template 18 and extensions 19 are stepped over.
"""

from __future__ import annotations

import struct
from typing import Final

REBIRTH: Final = "Node Control/Rebirth"
INT, LONG, FLOAT, DOUBLE, BOOLEAN, STRING = 10, 11, 12, 13, 14, 15
"""Field numbers of a metric's value."""
BYTES, EXTENSION = 16, 19
"""From the first to the last of these a value is bytes, a DataSet, a Template or an extension: skipped."""
SIGNED_BITS: Final = {1: 8, 2: 16, 3: 32, 4: 64}
"""Datatypes Int8 to Int64, whose negative values travel as two's complement in an unsigned field."""
GOOD, STALE, BAD = 192, 500, 0
"""What the property `Quality` of a metric may be; without it a value is good."""
_BOOLEAN_TYPE: Final = 11
_U32, _U64 = (1 << 32) - 1, (1 << 64) - 1
_LONGEST_VARINT: Final = 63
_FLOAT_AT: Final = struct.Struct("<f").unpack_from
_DOUBLE_AT: Final = struct.Struct("<d").unpack_from


class WireError(ValueError):
    """Bytes that are not a Sparkplug B payload."""


class WireMetric:
    """One metric as it came. `kind` is the value's field number, 0 for none; `value` an int, float, bool or bytes."""

    __slots__ = (
        "alias",
        "datatype",
        "historical",
        "kind",
        "name",
        "null",
        "quality",
        "time_at",
        "time_end",
        "time_ms",
        "value",
        "value_at",
        "value_end",
    )  # fmt: skip

    def __init__(self) -> None:
        self.name: str | None = None
        self.alias: int | None = None
        self.time_ms = 0
        self.datatype = 0
        self.historical = False
        self.null = False
        self.quality = GOOD
        self.kind = 0
        self.value: int | float | bytes = 0
        # Where time and value lie in the payload: what a later message of the same shape may change.
        self.time_at = self.time_end = self.value_at = self.value_end = 0


class WirePayload:
    """One payload as it came; `seq` None where it has none."""

    __slots__ = ("metrics", "seq", "seq_at", "seq_end", "time_at", "time_end", "time_ms")

    def __init__(self) -> None:
        self.time_ms = 0
        self.seq: int | None = None
        self.metrics: list[WireMetric] = []
        self.time_at = self.time_end = self.seq_at = self.seq_end = 0


def decode(data: bytes) -> WirePayload:
    """Read a payload. Fields it does not know are skipped. Raises WireError."""
    payload = WirePayload()
    at, end = 0, len(data)
    try:
        while at < end:
            key, at = _varint(data, at)
            if key == 0x12:  # metrics
                length, at = _varint(data, at)
                if at + length > end:
                    raise WireError("a metric is cut off")
                payload.metrics.append(_metric(data, at, at + length))
                at += length
            elif key == 0x08:  # timestamp
                payload.time_at = at
                payload.time_ms, at = _varint(data, at)
                payload.time_end = at
            elif key == 0x18:  # seq
                payload.seq_at = at
                payload.seq, at = _varint(data, at)
                payload.seq_end = at
            else:
                at = _skip(data, at, end, key)
    except (IndexError, struct.error) as error:
        raise WireError("the payload is cut off") from error
    return payload


def _metric(data: bytes, at: int, end: int) -> WireMetric:
    metric = WireMetric()
    while at < end:
        key, at = _varint(data, at)
        if key == 0x10:  # alias
            metric.alias, at = _varint(data, at)
        elif key == 0x18:  # timestamp
            metric.time_at = at
            metric.time_ms, at = _varint(data, at)
            metric.time_end = at
        elif key == 0x69:  # double
            (metric.value,) = _DOUBLE_AT(data, at)
            metric.kind, metric.value_at, metric.value_end = DOUBLE, at, at + 8
            at += 8
        elif key == 0x65:  # float
            (metric.value,) = _FLOAT_AT(data, at)
            metric.kind, metric.value_at, metric.value_end = FLOAT, at, at + 4
            at += 4
        elif key in (0x50, 0x58, 0x70):  # int, long, boolean
            metric.kind, metric.value_at = key >> 3, at
            value, at = _varint(data, at)
            metric.value = value & _U32 if key == 0x50 else value if key == 0x58 else value != 0
            metric.value_end = at
        elif key in (0x7A, 0x0A):  # string, name
            length, at = _varint(data, at)
            if at + length > end:
                raise WireError("a text is cut off")
            text = data[at : at + length]
            if key == 0x0A:
                metric.name = text.decode("utf-8", "replace")
            else:
                metric.kind, metric.value, metric.value_at, metric.value_end = STRING, text, at, at + length
            at += length
        elif key == 0x20:  # datatype
            metric.datatype, at = _varint(data, at)
        elif key == 0x28:  # is_historical
            flag, at = _varint(data, at)
            metric.historical = flag != 0
        elif key == 0x38:  # is_null
            flag, at = _varint(data, at)
            metric.null = flag != 0
        elif key == 0x4A:  # properties
            length, at = _varint(data, at)
            if at + length > end:
                raise WireError("properties are cut off")
            metric.quality = _quality(data, at, at + length)
            at += length
        else:
            if BYTES <= key >> 3 <= EXTENSION:
                metric.kind = key >> 3
            at = _skip(data, at, end, key)
    if at != end:
        raise WireError("a metric runs over its end")
    return metric


def _quality(data: bytes, at: int, end: int) -> int:
    """The property `Quality` of a property set: keys 1 and values 2 of the same order, in a value int 3."""
    keys: list[bytes] = []
    values: list[int | None] = []
    while at < end:
        key, at = _varint(data, at)
        if key not in (0x0A, 0x12):
            at = _skip(data, at, end, key)
            continue
        length, at = _varint(data, at)
        until = at + length
        if until > end:
            raise WireError("a property is cut off")
        if key == 0x0A:
            keys.append(data[at:until])
            at = until
            continue
        values.append(None)
        while at < until:
            key, at = _varint(data, at)
            if key == 0x18:
                values[-1], at = _varint(data, at)
            else:
                at = _skip(data, at, until, key)
        if at != until:
            raise WireError("a property runs over its end")
    found = dict(zip(keys, values, strict=False)).get(b"Quality")
    return GOOD if found is None else found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    if byte < 0x80:
        return byte, at
    value, shift = byte & 0x7F, 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _U64, at
        shift += 7
        if shift > _LONGEST_VARINT:
            raise WireError("a number without an end")


def _skip(data: bytes, at: int, end: int, key: int) -> int:
    kind = key & 7
    if kind == 0:
        _, at = _varint(data, at)
    elif kind == 1:
        at += 8
    elif kind == 2:
        length, at = _varint(data, at)
        at += length
    elif kind == 5:
        at += 4
    else:
        raise WireError(f"wire type {kind} is not in use")
    if at > end or key >> 3 == 0:
        raise WireError("a field is cut off")
    return at


def varint_value(data: bytes) -> int:
    """The number that exactly these varint bytes hold."""
    if len(data) == 1:
        return data[0]
    value = 0
    for byte in reversed(data):
        value = value << 7 | byte & 0x7F
    return value & _U64


def signed(value: int, bits: int) -> int:
    """Two's complement of the lowest `bits` bits; senders differ in how far they extend the sign."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def rebirth_request(at_ms: int) -> bytes:
    """The payload of the NCMD that asks an edge node for its births."""
    name = REBIRTH.encode()
    metric = b"\x0a" + _packed(len(name)) + name
    metric += b"\x18" + _packed(at_ms) + b"\x20" + _packed(_BOOLEAN_TYPE) + b"\x70\x01"
    return b"\x08" + _packed(at_ms) + b"\x12" + _packed(len(metric)) + metric


def _packed(value: int) -> bytes:
    packed = bytearray()
    while value > 0x7F:
        packed.append(value & 0x7F | 0x80)
        value >>= 7
    packed.append(value)
    return bytes(packed)
