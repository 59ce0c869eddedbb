"""A county's records and day states, seeded: what the benchmarks of metrics and county work on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.days import DAY_COLUMNS, DayStates
from metrics.rates import Assets
from metrics.record import DAY_S, RECORD_COLUMNS, Records, local_day_start_s
from metrics.rollup import NO_END, Bindings

DAY = 20_780
MINUTES = 1440
WINDOW_S = 60
DEVICES_PER_GATEWAY = 60


def day_of_records(n_devices: int, seed: int = 1) -> Records:
    """A day without trouble: every device has 1,440 records in order, by device and start."""
    rng = np.random.default_rng(seed)
    n = n_devices * MINUTES
    connected = np.where(rng.random(n) < 0.02, rng.integers(0, 600, n), 600)
    running = (rng.random(n) * connected).astype(np.int64)
    quantity = rng.integers(0, 3000, n)
    every_hour = np.arange(n) % 60 == 0
    columns: dict[str, NDArray[Any]] = {
        "device": np.repeat(np.arange(n_devices), MINUTES),
        "start": np.tile(local_day_start_s(DAY) + WINDOW_S * np.arange(MINUTES), n_devices),
        "length": np.full(n, WINDOW_S * 10),
        "observed": np.full(n, WINDOW_S * 10),
        "part": np.zeros(n),
        "connected": connected,
        "running": running,
        "idle": connected - running,
        "fault": np.zeros(n),
        "off": np.zeros(n),
        "quantity": quantity,
        "quantity_idle": quantity // 3,
        "quantity_span": np.full(n, WINDOW_S),
        "reading": np.where(every_hour, np.cumsum(quantity), -1),
        "parts": rng.integers(0, 3, n),
        "good": rng.integers(0, 2400, n),
        "bad": rng.integers(0, 5, n),
        "flags": rng.random(n) < 0.001,
    }
    return Records(**{c.name: columns[c.name].astype(c.dtype) for c in RECORD_COLUMNS})


def troubled(records: Records, seed: int = 2) -> Records:
    """The same with 1 % missing, 1 % supplements and 5 % out of order: late rows stand behind the others."""
    rng = np.random.default_rng(seed)
    kept = np.flatnonzero(rng.random(len(records)) >= 0.01)
    late = rng.random(len(kept)) < 0.05
    supplemented = np.flatnonzero(rng.random(len(records)) < 0.01)
    columns = {name: column.copy() for name, column in records.take(supplemented).columns().items()}
    columns["part"][:] = 1
    columns["observed"][:] = columns["connected"][:] = columns["idle"][:] = 0
    columns["running"][:] = 20
    columns["reading"][:] = -1
    whole = Records.concat([records.take(kept), Records(**columns)])
    behind = np.concatenate((late, np.ones(len(supplemented), np.bool_)))
    return whole.take(np.lexsort((whole.start, whole.device, behind)))


def month_of_states(n_devices: int, n_days: int, seed: int = 3) -> DayStates:
    """Day states of every device and day; three devices in ten never prove a connection."""
    rng = np.random.default_rng(seed)
    n = n_devices * n_days
    columns = {c.name: np.zeros(n, c.dtype) for c in DAY_COLUMNS}
    columns["day"][:] = np.repeat(np.arange(DAY, DAY + n_days), n_devices)
    columns["device"][:] = np.tile(np.arange(n_devices), n_days)
    columns["observed"][:] = rng.integers(700_000, DAY_S * 10, n)
    alive = (rng.random(n) < 0.9) & np.tile(rng.random(n_devices) < 0.7, n_days)
    columns["connected"][:] = np.where(alive, columns["observed"] - 10, 0)
    day_start_s = local_day_start_s(0) + columns["day"].astype(np.int64) * DAY_S
    columns["first_connected_s"][:] = np.where(alive, day_start_s, -1)
    columns["last_connected_s"][:] = np.where(alive, day_start_s + DAY_S, -1)
    columns["first_reading"][:] = columns["first_reading_s"][:] = -1
    columns["last_reading"][:] = columns["last_reading_s"][:] = -1
    return DayStates(**columns)


def register_of(n_assets: int, n_enterprises: int = 1200, seed: int = 4) -> tuple[Assets, Bindings]:
    """A register with one device bound to each asset, nine enterprises in ten confirmed."""
    rng = np.random.default_rng(seed)
    enterprise = np.sort(rng.integers(0, n_enterprises, n_assets))
    confirmed = rng.random(n_enterprises) < 0.9
    assets = Assets(
        in_scope=np.ones(n_assets, np.bool_),
        enterprise=enterprise,
        confirmed=confirmed[enterprise],
        control=rng.integers(0, 6, n_assets),
        evidence=rng.integers(0, 4, n_assets),
        value=rng.integers(0, 10**9, n_assets),
    )
    index = np.arange(n_assets)
    zeros = np.zeros(n_assets, np.int64)
    return assets, Bindings(index, index, zeros, zeros, zeros + NO_END)


def with_moves(bindings: Bindings, day: int, share: float = 0.02, seed: int = 6) -> Bindings:
    """The same, but on `day` a share of the assets pass their devices on, each to the next of them."""
    rng = np.random.default_rng(seed)
    moved = rng.permutation(len(bindings))[: int(len(bindings) * share)]
    to_day = bindings.to_day.copy()
    to_day[moved] = day
    return Bindings(
        np.append(bindings.object, bindings.object[moved]),
        np.append(bindings.device, np.roll(bindings.device[moved], 1)),
        np.append(bindings.series, bindings.series[moved]),
        np.append(bindings.from_day, np.full(len(moved), day)),
        np.append(to_day, np.full(len(moved), NO_END)),
    )
