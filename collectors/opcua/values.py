"""A data value of OPC UA as number, quality and time. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from asyncua import ua

from collectors.model import Quality

NAN: Final = float("nan")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NS_PER_US: Final = 1000
_SEVERITY: Final = 0xC0000000
_UNCERTAIN: Final = 0x40000000
_OVERFLOW: Final = 0x0480
"""InfoType DataValue and its Overflow bit (OPC 10000-4, 7.39)."""


def reading(value: ua.DataValue, convert: Callable[[Any], float]) -> tuple[float, Quality]:
    """Number and quality; NaN and BAD where the status is bad, or where there is no number."""
    severity = value.StatusCode.value & _SEVERITY
    held = value.Value.Value if value.Value is not None else None
    if severity & ~_UNCERTAIN or held is None:
        return NAN, Quality.BAD
    try:
        number = convert(held)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return NAN, Quality.BAD
    if number != number:
        return NAN, Quality.BAD
    return number, Quality.UNCERTAIN if severity else Quality.GOOD


def source_ns_of(value: ua.DataValue) -> int:
    """The source timestamp, ns UTC; 0 where there is none."""
    moment: datetime | None = value.SourceTimestamp
    if moment is None:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0, (moment - _EPOCH) // _MICROSECOND * _NS_PER_US)


def has_overflowed(value: ua.DataValue) -> bool:
    """Whether the server's queue for this node lost values before this one."""
    return bool(value.StatusCode.value & _OVERFLOW == _OVERFLOW)
