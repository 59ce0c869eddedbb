"""Group gateway: what a record weighs on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.wire import DeviceRef, encode, ingest_message
from metrics.record import RECORD_COLUMNS, Records
from tests.benchmarks.measure import Line, at_most

EPOCH = 0x9E3779B97F4A7C15
START_S = 1_795_449_600
WINDOW_S = 60
TAGS = 40


def record_bytes(*, long: bool) -> Iterator[Line]:
    """A batch of 1,000 records (50 devices, 20 minutes), and a live minute of 14 devices; HTTP apart."""
    for n_devices, n_minutes, limit, what in (
        (50, 20, 8, "a batch of 1,000: 50 devices, 20 minutes"),
        (14, 1, 40, "a live minute of 14 devices"),
    ):
        sizes = []
        for seed in range(20):
            records = plant_minutes(n_devices, n_minutes, seed)
            table = [DeviceRef(f"device-{i}", i + 1) for i in range(n_devices)]
            message = ingest_message("gw-hall-1", EPOCH, 1000 + seed, table, records, previous=(EPOCH, 999 + seed))
            sizes.append(len(encode(message)) / len(records))
        yield at_most("gateway.record_bytes", float(np.median(sizes)), "bytes a record", limit, what)


def plant_minutes(n_devices: int, n_minutes: int, seed: int) -> Records:
    """Minutes of a plant as its outbox holds them, minute by minute: some machines idle or stand still, half of
    the devices count energy with a few watts of noise, a third count pieces, one in fifty misses a reply."""
    rng = np.random.default_rng(seed)
    n = n_devices * n_minutes
    device = np.tile(np.arange(n_devices), n_minutes)
    minute = np.repeat(np.arange(n_minutes), n_devices)
    whole = WINDOW_S * 10
    connected = np.where(rng.random(n) < 0.02, rng.integers(0, whole, n), whole)
    habit = rng.choice([1.0, 1.0, 0.7, 0.0], n_devices)[device]
    running = (connected * np.where(rng.random(n) < 0.8, habit, rng.random(n))).astype(np.int64)
    counts_energy = device % 2 == 0
    power_w = rng.integers(200, 30_000, n_devices)[device]
    quantity = np.where(counts_energy, power_w * WINDOW_S // 3600 + rng.integers(0, 16, n), 0)
    cycle_s = rng.integers(15, 60, n_devices)[device]
    columns: dict[str, NDArray[Any]] = {
        "device": device,
        "start": START_S + WINDOW_S * minute,
        "length": np.full(n, whole),
        "observed": np.full(n, whole),
        "part": np.zeros(n),
        "connected": connected,
        "running": running,
        "idle": connected - running,
        "fault": np.zeros(n),
        "off": np.zeros(n),
        "quantity": quantity,
        "quantity_idle": np.where(running == connected, 0, quantity // 4),
        "quantity_span": np.where(counts_energy, WINDOW_S, 0),
        "reading": np.full(n, -1),
        "parts": np.where(device % 3 == 0, running // 10 // cycle_s, 0),
        "good": np.where(connected == whole, TAGS * WINDOW_S, TAGS * connected // 10),
        "bad": TAGS * (whole - connected) // 10,
        "flags": np.zeros(n),
    }
    return Records(**{c.name: columns[c.name].astype(c.dtype) for c in RECORD_COLUMNS})


BENCHMARKS = (record_bytes,)
