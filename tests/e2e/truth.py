"""What the plant's ledger says happened, in the county's own terms, to set beside its records."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from api.store.open import open_store
from metrics.record import STATE_COLUMNS, Records

SILENT_AFTER_S: Final = 3.0
"""Machines serve about once a second; a longer pause in the ledger is a machine that served nothing."""


@dataclass(slots=True)
class Timeline:
    """One device's states as served: `states[i]` holds from `at_s[i]` on, None while it served nothing."""

    at_s: list[float] = field(default_factory=list)
    states: list[str | None] = field(default_factory=list)
    served_s: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, page: dict[str, Any]) -> Timeline:
        """From one page of the ledger, and the plugs that were pulled."""
        line = cls()
        cuts = [at_s for at_s, up in page["links"] if not up]
        for at_s, state in zip(page["at_s"], page["state"], strict=True):
            if line.served_s and at_s - line.served_s[-1] > SILENT_AFTER_S:
                line._add(line.served_s[-1] + SILENT_AFTER_S, None)
            line.served_s.append(at_s)
            if state is not None:
                line._add(at_s, state)
        for cut_s in cuts:
            i = bisect_right(line.at_s, cut_s)
            before = line.states[i - 1] if i else None
            if before is not None:
                line.at_s.insert(i, cut_s)
                line.states.insert(i, None)
        if line.served_s:
            line._add(line.served_s[-1] + SILENT_AFTER_S, None)
        return line

    def _add(self, at_s: float, state: str | None) -> None:
        if not self.states or self.states[-1] != state:
            self.at_s.append(at_s)
            self.states.append(state)

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
    """A counter reading as a gateway keeps it."""
    return int(np.rint(value * 1000))


def first_and_last(page: dict[str, Any], column: str) -> tuple[float, float]:
    """The first and the last value served of a column."""
    values = [v for v in page[column] if v is not None]
    return values[0], values[-1]


def state_seconds(records: Records, row: int) -> dict[str, float]:
    """State times of one record in s."""
    return {name: float(getattr(records, name)[row]) / 10 for name in STATE_COLUMNS}
