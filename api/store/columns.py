"""Records as the embedded store keeps them, in columns, and as its readers get them: one answer a gateway and day."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api.store.port import DayRecords
from metrics.record import RECORD_COLUMNS, Records

STORED_COLUMNS: Final = tuple(c for c in RECORD_COLUMNS if c.name != "device")
ROW: Final = ", ".join(["position", "series", *(c.name for c in STORED_COLUMNS)])
"""The columns of a row, as SQL lists them."""

_NAMES: Final = tuple(c.name for c in STORED_COLUMNS)

Part = tuple[list[tuple[str, str]], dict[str, NDArray[Any]]]
"""(gateway, device) of series, and the columns of ROW, whose `series` points into it."""


def by_gateway(day: int, parts: list[Part]) -> Iterator[DayRecords]:
    """One answer a gateway, its records by device, start, part and position."""
    if not parts:
        return
    # one place per series in the order (gateway, device), so that one sort does everything
    names = sorted({name for part_names, _ in parts for name in part_names})
    place = {name: i for i, name in enumerate(names)}
    columns = {name: np.concatenate([part[name] for _, part in parts]) for name in ("position", *_NAMES)}
    at = np.concatenate([np.array([place[n] for n in part_names])[part["series"]] for part_names, part in parts])
    order = np.lexsort((columns["position"], columns["part"], columns["start"], at))
    at = at[order]
    gateways = [gateway for gateway, _ in names]
    first = 0
    while first < len(names):
        last = first
        while last < len(names) and gateways[last] == gateways[first]:
            last += 1
        begin, end = np.searchsorted(at, first), np.searchsorted(at, last)
        rows = order[begin:end]
        yield DayRecords(
            gateway=gateways[first],
            day=day,
            devices=[device for _, device in names[first:last]],
            records=Records.from_columns(
                {"device": (at[begin:end] - first).astype(np.uint32)} | {name: columns[name][rows] for name in _NAMES}
            ),
            position=columns["position"][rows].astype(np.int64, copy=False),
        )
        first = last
