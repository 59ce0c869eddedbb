"""A data value of OPC UA as number, quality and time. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from asyncua import ua

from collectors.model import Quality

NAN: Final = float("nan")
BAD_BIT: Final = 0x80000000
UNCERTAIN_BIT: Final = 0x40000000
"""A status is good where neither of these bits is set (OPC 10000-4, 7.39)."""
OVERFLOW_BITS: Final = 0x0480
"""InfoType DataValue and its Overflow bit (OPC 10000-4, 7.39): the server's queue lost values before this one."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NS_PER_US: Final = 1000
_TOO_LATE_NS: Final = 2**63

Convert = Callable[[Any], float]


@dataclass(frozen=True, slots=True)
class Scaled:
    """A number times `factor`, divided by `divisor`: dividing by 1000 gives the nearest number, multiplying
    by 0.001 does not always."""

    factor: float
    divisor: float

    def __call__(self, value: Any) -> float:
        return float(value) * self.factor / self.divisor


AS_IT_IS: Final = Scaled(1.0, 1.0)


def scale_of(convert: Convert) -> Scaled | None:
    """How whole columns are converted; None where it takes a call for each value."""
    if convert is float:
        return AS_IT_IS
    return convert if isinstance(convert, Scaled) else None


def reading(value: ua.DataValue, convert: Convert) -> tuple[float, Quality]:
    """Number and quality; NaN and BAD where the status is bad, or where there is no finite number."""
    held = value.Value.Value if value.Value is not None else None
    return converted(held, value.StatusCode.value, convert)


def converted(held: Any, status: int, convert: Convert) -> tuple[float, Quality]:
    """The same of what a value holds (None: nothing) and its status code."""
    if status & BAD_BIT or held is None:
        return NAN, Quality.BAD
    try:
        number = convert(held)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return NAN, Quality.BAD
    if not math.isfinite(number):
        return NAN, Quality.BAD
    return number, Quality.UNCERTAIN if status & UNCERTAIN_BIT else Quality.GOOD


def source_ns_of(value: ua.DataValue) -> int:
    """The source timestamp, ns UTC; 0 where there is none, or one before 1970 or beyond 2262."""
    moment: datetime | None = value.SourceTimestamp
    if moment is None:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    ns = (moment - _EPOCH) // _MICROSECOND * _NS_PER_US
    return ns if 0 < ns < _TOO_LATE_NS else 0
