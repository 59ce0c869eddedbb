"""Short ways to write interval records, assets and device days in tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metrics.days import DAY_COLUMNS, DayStates, merge
from metrics.rates import Assets, Control
from metrics.record import RECORD_COLUMNS, Records, local_day_start_s
from metrics.rollup import NO_END, Bindings

DAY = 20_780
START_S = local_day_start_s(DAY)
DAY_TENTHS = 864_000


def records(*rows: dict[str, int]) -> Records:
    """Records of 60 s windows; a row names what differs from a silent, watched first part."""
    silent = {c.name: 0 for c in RECORD_COLUMNS} | {"start": START_S, "length": 600, "reading": -1}
    full = [silent | ({"observed": 600} if row.get("part", 0) == 0 else {}) | row for row in rows]
    return Records.from_columns({c.name: [row[c.name] for row in full] for c in RECORD_COLUMNS})


def device_day(device: int, *, day: int = DAY, **columns: int) -> DayStates:
    """The state of one device on one day; times in 0.1 s. Without a proof unless `connected` is given."""
    row: dict[str, Any] = {c.name: 0 for c in DAY_COLUMNS}
    row |= {c.name: -1 for c in DAY_COLUMNS if c.name.startswith(("first_", "last_"))}
    if columns.get("connected"):
        row |= {"first_connected_s": local_day_start_s(day), "last_connected_s": local_day_start_s(day) + 60}
    row |= {"day": day, "device": device} | columns
    return DayStates(**{c.name: np.array([row[c.name]], c.dtype) for c in DAY_COLUMNS})


def all_days(*states: DayStates) -> DayStates:
    return merge(*states)


def bindings(*rows: tuple[int, int] | tuple[int, int, int] | tuple[int, int, int, int, int]) -> Bindings:
    """Rows of (object, device, series = 0, from_day = 0, to_day = never)."""
    full = [(*row, *(0, 0, NO_END)[len(row) - 2 :]) for row in rows]
    columns = np.array(full, np.int64).reshape(-1, 5).T
    return Bindings(*columns)


def assets(
    enterprise: Sequence[int],
    *,
    confirmed: Sequence[bool] | bool = True,
    control: Sequence[Control] | Control = Control.MANUAL,
    evidence: Sequence[int] | int = 1,
    value: Sequence[int] | int = -1,
    in_scope: Sequence[bool] | bool = True,
) -> Assets:
    """Assets of the given enterprises; one value for all, or one each."""
    n = len(enterprise)

    def column(given: Any, dtype: Any) -> np.ndarray:
        return np.broadcast_to(np.asarray(given, dtype), (n,)).copy()

    return Assets(
        in_scope=column(in_scope, np.bool_),
        enterprise=np.asarray(enterprise, np.int64),
        confirmed=column(confirmed, np.bool_),
        control=column(control, np.int64),
        evidence=column(evidence, np.int64),
        value=column(value, np.int64),
    )
