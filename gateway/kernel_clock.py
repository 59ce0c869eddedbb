"""What the kernel says of its clock: whether something (NTP, PTP) keeps it synchronised."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Final

_UNSYNCHRONISED: Final = 0x0040
_ADJTIMEX: Final = getattr(ctypes.CDLL(None), "adjtimex", None)
_US_PER_S: Final = 1_000_000


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2), as far as it is read; the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


@dataclass(frozen=True, slots=True)
class KernelClock:
    """`synchronised`: a time service keeps the clock. `max_error_s`: how wrong it may be, as that service says."""

    synchronised: bool
    max_error_s: float


def kernel_clock() -> KernelClock | None:
    """Ask the kernel; nothing is set. None where it does not say."""
    read = _Timex()  # all zero it asks and sets nothing
    if _ADJTIMEX is None or _ADJTIMEX(ctypes.byref(read)) < 0:
        return None
    return KernelClock(not read.status & _UNSYNCHRONISED, read.maxerror / _US_PER_S)


def is_ntp_synchronised() -> bool:
    """Whether the kernel says that a time service keeps the system clock right."""
    found = kernel_clock()
    return found is not None and found.synchronised
