"""Roll-up: from day states to what assets and meters did in a period, and on to scopes.

Only integers are added here, so any order and any split of days, devices and scopes gives the same
bits. Times are tenths of seconds and quantities thousandths of their unit, as in the record.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.days import DayStates

NO_END: Final = 2**31 - 1
"""`to_day` of a binding that still holds."""

PeriodKind = Literal["day", "month", "quarter", "year"]


class Period(NamedTuple):
    """Whole local days `[from_day, to_day)`, as days since 1970-01-01 in Asia/Shanghai."""

    id: str
    kind: PeriodKind
    from_day: int
    to_day: int

    @property
    def start_s(self) -> int:
        """Start of the period, s UTC."""
        raise NotImplementedError

    @property
    def end_s(self) -> int:
        """End of the period, s UTC, not in it."""
        raise NotImplementedError


def period(period_id: str) -> Period:
    """The period named `2026-11-23`, `2026-11`, `2026-Q4` or `2026`. Raises ValueError for another text."""
    raise NotImplementedError


class Series(IntEnum):
    """What a binding shows of its asset or meter. One binding per object, series and time.

    A quantity series is one carrier and direction: QUANTITY plus any number the caller gives it.
    """

    STATE = 0
    QUANTITY = 1


@dataclass(frozen=True, slots=True)
class Bindings:
    """Which device showed which object (asset or meter), dated. Arrays of equal length b."""

    object: NDArray[np.int64]
    """Index of the asset or meter in the caller's table."""
    device: NDArray[np.int64]
    """Index of the device in the table that the day states use."""
    series: NDArray[np.int64]
    """Series.STATE, or Series.QUANTITY and above, one number per carrier and direction."""
    from_day: NDArray[np.int64]
    """First local day."""
    to_day: NDArray[np.int64]
    """Local day after the last one, or NO_END."""

    def __len__(self) -> int:
        return len(self.object)


@dataclass(frozen=True, slots=True)
class AssetPeriod:
    """What an asset showed in a period. Arrays of length a, one row per asset of the caller's table."""

    bound: NDArray[np.int64]
    """Time bound to a device, over the series in `observed`, 0.1 s. 0: never bound."""
    observed: NDArray[np.int64]
    """Time watched, of the series watched least for its bound time, 0.1 s; at most `bound`."""
    shown: NDArray[np.bool_]
    """Proven connected at least once, by any device bound to it."""
    connected: NDArray[np.int64]
    """Time proven connected by the state device, 0.1 s."""
    state_bound: NDArray[np.int64]
    """Time bound to a state device, 0.1 s."""
    state_observed: NDArray[np.int64]
    """Time its state device was watched, 0.1 s; at most `state_bound`."""
    running: NDArray[np.int64]
    idle: NDArray[np.int64]
    fault: NDArray[np.int64]
    off: NDArray[np.int64]
    """States by the state device, 0.1 s."""
    first_connected_s: NDArray[np.int64]
    last_connected_s: NDArray[np.int64]
    """First and last proof by any device bound to it, s UTC; -1: none."""
    parts: NDArray[np.int64]
    """Pieces counted by the state device."""

    def __len__(self) -> int:
        return len(self.bound)


@dataclass(frozen=True, slots=True)
class MeterPeriod:
    """What a meter counted in a period. Arrays of length m, one row per meter of the caller's table."""

    bound_s: NDArray[np.int64]
    """Time bound to a device, s."""
    span_s: NDArray[np.int64]
    """Time that the quantity covers, s; may exceed `bound_s` by the rounding of windows."""
    quantity: NDArray[np.int64]
    quantity_idle: NDArray[np.int64]
    quantity_estimated: NDArray[np.int64]
    """0.001 of the meter's unit."""
    observed: NDArray[np.int64]
    connected: NDArray[np.int64]
    """0.1 s."""
    first_connected_s: NDArray[np.int64]
    last_connected_s: NDArray[np.int64]
    """s UTC; -1: none."""
    flags: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.bound_s)


def asset_period(
    states: DayStates, bindings: Bindings, n_assets: int, from_day: int, to_day: int, as_of_s: int
) -> AssetPeriod:
    """Credit device days to the assets that the devices were bound to on those days.

    Parameters: `states` day states of all devices, any days (those outside `[from_day, to_day)` do not
    count); `bindings` into `n_assets` assets; `as_of_s` the time of computation, s UTC: bound time ends
    there in a period that is not over.
    Raises ValueError where two bindings of one asset and series overlap.
    """
    raise NotImplementedError


def meter_period(
    states: DayStates, bindings: Bindings, n_meters: int, from_day: int, to_day: int, as_of_s: int
) -> MeterPeriod:
    """Credit device days to the meters that the devices were bound to; as `asset_period`, any series."""
    raise NotImplementedError


def add_scopes(values: NDArray[np.int64], scope: NDArray[np.int64], n_scopes: int) -> NDArray[np.int64]:
    """Exact sums per scope (n_scopes,) of `values` (x,); `scope` (x,) in [0, n_scopes), -1: in none.

    Raises OverflowError where a sum leaves 63 bits.
    """
    raise NotImplementedError
