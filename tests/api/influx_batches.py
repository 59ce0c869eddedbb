"""Journalled batches with everything that can happen to records, seeded, and what a store makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from api.day_rows import day_digest
from api.store.port import Append, IntervalStore
from metrics.days import day_states
from metrics.record import RECORD_COLUMNS, Records, local_day_start_s

DAY = 20_780
GATEWAYS = ("gw-1", "网关 二,=\\")
KEYS = [(gateway, day) for gateway in GATEWAYS for day in (DAY - 1, DAY, DAY + 1)]


def troubled_batches(seed: int, count: int = 12, rows: int = 120) -> list[Append]:
    """Batches in order of the journal: late, twice, contradicting one another, supplements; within a batch too."""
    rng = np.random.default_rng(seed)
    devices = ["cnc-1", "机床 2/轴, 甲", 'press="3"\\', "meter%204"]
    batches: list[Append] = []
    for position in range(1, count + 1):
        gateway = GATEWAYS[int(rng.integers(2))]
        earlier = [b for b in batches if b.gateway == gateway]
        if earlier and rng.random() < 0.3:  # sent again under another sequence: some rows alike, some not
            again = earlier[int(rng.integers(len(earlier)))]
            table, records = again.devices, again.records
            changed = records.columns() | {"parts": np.where(rng.random(len(records)) < 0.3, 9, records.parts)}
            records = Records.from_columns(changed)
        else:
            table = [devices[i] for i in rng.permutation(len(devices))]
            records = _records(rng, rows, len(devices))
        batches.append(Append(position, gateway, table, records))
    return batches


def _records(rng: np.random.Generator, n: int, n_devices: int) -> Records:
    part = np.where(rng.random(n) < 0.15, rng.integers(1, 4, n), 0)
    first = part == 0
    minute = rng.integers(-90, 90, n) + 1440 * (rng.random(n) < 0.1)
    connected = np.where(first, rng.integers(0, 601, n), 0)
    running = np.where(first, connected // 2, rng.integers(0, 300, n))
    span = rng.integers(0, 2, n) * 60
    quantity = rng.integers(0, 2**40, n) * (span > 0)
    columns = {c.name: np.zeros(n, c.dtype) for c in RECORD_COLUMNS} | {
        "device": rng.integers(0, n_devices, n),
        "start": local_day_start_s(DAY) + 60 * minute,
        "length": np.full(n, 600),
        "observed": np.where(first, 600, 0),
        "part": part,
        "connected": connected,
        "running": running,
        "idle": (connected - running) * first // 3,
        "quantity": quantity,
        "quantity_idle": quantity // 5,
        "quantity_span": span,
        "reading": np.where(rng.random(n) < 0.1, rng.integers(0, 2**50, n), -1),
        "parts": rng.integers(0, 5, n),
        "good": rng.integers(0, 2, n) * 60,
        "flags": np.where(first, 0, 16),
    }
    return Records.from_columns(columns)


def digests(store: IntervalStore, keys: Sequence[tuple[str, int]] = tuple(KEYS)) -> dict[tuple[str, int], str]:
    """The digest of every day's states, as the roll-up computes it."""
    return {
        (r.gateway, r.day): day_digest(
            r.gateway, r.day, r.devices, day_states(r.records, r.position, r.day, len(r.devices))
        )
        for r in store.read_days(list(keys))
    }


def append_in_groups(store: IntervalStore, batches: Sequence[Append], group: int) -> None:
    """Append what is not applied yet, `group` batches at a time."""
    left = [b for b in batches if b.position > store.applied()]
    for first in range(0, len(left), group):
        part = left[first : first + group]
        store.append(part, part[-1].position)
