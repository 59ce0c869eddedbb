"""What the plant's ledger says happened, in the county's own terms, to set beside its records."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from api.store.open import open_store
from metrics.record import STATE_COLUMNS, Records
from simulators.scenario import MachineSpec


@dataclass(slots=True)
class Timeline:
    """One device's states as served: `states[i]` holds from `at_s[i]` on, None while it was unplugged.

    A machine that reports by exception serves nothing while nothing changes: what it served last holds.
    """

    at_s: list[float] = field(default_factory=list)
    states: list[str | None] = field(default_factory=list)

    @classmethod
    def of(cls, page: dict[str, Any]) -> Timeline:
        """From one page of the ledger, and the plugs that were pulled."""
        served = [(at_s, state) for at_s, state in zip(page["at_s"], page["state"], strict=True) if state is not None]
        cuts = [(at_s, None) for at_s, up in page["links"] if not up]
        line = cls()
        for at_s, state in sorted([*served, *cuts], key=lambda row: row[0]):
            if not line.states or line.states[-1] != state:
                line.at_s.append(at_s)
                line.states.append(state)
        return line

    def seconds(self, start_s: float, end_s: float) -> dict[str | None, float]:
        """How long each state held in `[start_s, end_s)`."""
        total: dict[str | None, float] = {}
        edges = [start_s, *(t for t in self.at_s if start_s < t < end_s), end_s]
        for first_s, last_s in pairwise(edges):
            i = bisect_right(self.at_s, first_s) - 1
            state = self.states[i] if i >= 0 else None
            total[state] = total.get(state, 0.0) + last_s - first_s
        return total

    def changes(self, start_s: float, end_s: float) -> int:
        """Changes of state in `[start_s, end_s)`."""
        return sum(start_s <= t < end_s for t in self.at_s)


def stored_records(data_dir: Path, gateway: str) -> dict[str, Records]:
    """Every record of a gateway in the county's store, by device. The service must not be running."""
    store = open_store(f"duckdb:///{data_dir / 'store' / 'records.duckdb'}")
    try:
        found: dict[str, list[Records]] = {}
        for day in store.read_days([(gateway, d) for d in store.gateway_days(gateway)]):
            for index, device in enumerate(day.devices):
                found.setdefault(device, []).append(day.records.take(day.records.device == index))
    finally:
        store.close()
    return {device: Records.concat(parts) for device, parts in found.items()}


def keys_are_unique(records: Records) -> bool:
    """Whether no (start, part) stands twice in one device's records."""
    keys = np.stack([records.start, records.part.astype(np.int64)], axis=1)
    return len(np.unique(keys, axis=0)) == len(records)


def thousandths(value: float) -> int:
    """A counter reading as a record keeps it: rounded to 1/1000, halves up (a meter's f32 does stand on halves)."""
    return math.floor(value * 1000 + 0.5)


def first_and_last(page: dict[str, Any], column: str, from_s: float) -> tuple[float, float]:
    """The value of a column that stood on the socket at an instant, or came first after it, and the last served."""
    rows = [(at_s, v) for at_s, v in zip(page["at_s"], page[column], strict=True) if v is not None]
    standing = [v for at_s, v in rows if at_s <= from_s]
    return standing[-1] if standing else rows[0][1], rows[-1][1]


def grown(spec: MachineSpec, before: dict[str, Any], after: dict[str, Any], from_s: float) -> dict[str, int]:
    """What records of a machine must add up to, by column: from an instant on page `before` to the end of `after`."""
    kinds: dict[str, Callable[[float], int]] = {"quantity": thousandths} if spec.counts else {}
    kinds |= {"parts": int} if spec.counts_parts else {}
    totals = {}
    for column, units in kinds.items():
        first, _ = first_and_last(before, column, from_s)
        _, last = first_and_last(after, column, from_s)
        totals[column] = units(last) - units(first)
    return totals


def state_seconds(records: Records, row: int) -> dict[str, float]:
    """State times of one record in s."""
    return {name: float(getattr(records, name)[row]) / 10 for name in STATE_COLUMNS}
