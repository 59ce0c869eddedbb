"""Days of healthy plants as interval records, drawn from a seed: what no plausibility check may speak of.

Nothing is wrong, and much is untidy: breaks, faults, holidays, machines that hardly run, cutting power that
wanders, counters that count in steps of 1 Wh to 1 kWh, gateways that were down, machines that were silent and catch
up, counters reset and saying so, supplements, and records sent twice.
"""

from __future__ import annotations

import numpy as np

from metrics.plausibility import UNKNOWN, Devices
from metrics.record import RECORD_COLUMNS, Flag, Records
from tests.metrics.records import START_S

KINDS = 6
"""Devices of a plant: CNC, moulding machine, retrofit lathe, robot, main electricity meter, water meter."""

_CYCLE_S = np.array([(60, 400), (25, 60), (150, 900), (15, 60), (600, 1800), (120, 900)])
_GAP_S = np.array([(10, 60), (4, 20), (20, 180), (5, 30), (60, 400), (60, 600)])
_RUN_KW = np.array([(4, 20), (12, 60), (2, 9), (1.2, 5), (40, 300), (0.8, 6)])
_IDLE = np.array([(0.12, 0.4), (0.15, 0.5), (0.12, 0.5), (0.15, 0.4), (0.5, 0.8), (0.0, 0.05)])
_HAS_STATE = np.array([True, True, True, True, False, False])
_HAS_PARTS = np.array([True, True, False, True, False, False])


def plant_days(seed: int, plants: int, window_s: int = 60) -> tuple[Records, Devices]:
    """One day of so many plants; device `KINDS * plant + kind`. Columns as a gateway would fill them."""
    rng = np.random.default_rng([seed, 33])
    d, w = plants * KINDS, 86_400 // window_s
    kind = np.arange(d) % KINDS
    t = np.arange(w) * float(window_s)

    def draw(table: np.ndarray) -> np.ndarray:
        low, high = table[kind].T
        return (low * (high / np.maximum(low, 1e-9)) ** rng.random(d) if low.min() > 0 else rng.uniform(low, high))[
            :, None
        ]

    # Work: shifts, holidays, machines that run minutes a day, breaks and faults.
    pattern = rng.integers(0, 4, plants).repeat(KINDS)[:, None]
    hour = t / 3600
    on = np.where(
        pattern == 0, (hour >= 8) & (hour < 17), np.where(pattern == 1, (hour >= 8) | (hour < 1.5), pattern == 2)
    )
    hardly = rng.random((d, 1)) < 0.05
    at = rng.uniform(8, 15, (d, 1))
    on = np.where(hardly, (hour >= at) & (hour < at + rng.uniform(0.1, 1.0, (d, 1))), on)
    standing = np.zeros((d, w), np.bool_)
    faulty = np.zeros((d, w), np.bool_)
    for _ in range(5):
        first, long = rng.integers(0, w, (d, 1)), rng.integers(5, 60, (d, 1)) * 60 // window_s
        index = np.arange(w)
        standing |= (index >= first) & (index < first + long)
    first, long = rng.integers(0, w, (d, 1)), rng.integers(0, 40, (d, 1)) * 60 // window_s
    faulty |= (np.arange(w) >= first) & (np.arange(w) < first + long)

    cycle, gap = draw(_CYCLE_S.astype(float)), draw(_GAP_S.astype(float))
    phase = rng.uniform(0, 3600, (d, 1))
    edge = np.append(t, 86_400.0) + phase
    ran_s = np.floor(edge / (cycle + gap)) * cycle + np.minimum(edge % (cycle + gap), cycle)
    run_s = np.clip(np.diff(ran_s, axis=1), 0, window_s) * (on & ~standing & ~faulty)
    fault_s = window_s * (on & faulty)
    idle_s = window_s * on - run_s - fault_s
    off_s = window_s * ~on
    done = np.floor((edge - cycle) / (cycle + gap)).astype(np.int64)
    parts = np.diff(done, axis=1) * (run_s > 0) * np.where(rng.random((d, 1)) < 0.3, 4, 1) * _HAS_PARTS[kind][:, None]

    # Power and counters.
    run_kw = draw(_RUN_KW)
    idle_kw = run_kw * rng.uniform(*_IDLE[kind].T)[:, None]
    off_kw = run_kw * rng.choice([0.0, 0.005, 0.03], (d, 1)) + (kind == 4)[:, None] * run_kw * rng.uniform(
        0.1, 0.4, (d, 1)
    )
    level = np.exp(rng.normal(0, 0.2, (d, w // 10 + 1))).repeat(10, axis=1)[:, :w]  # programs, for ten windows each
    kwh = (run_s * run_kw * level + idle_s * idle_kw + fault_s * 0.8 * idle_kw + off_s * off_kw) / 3600
    kwh *= 1 + 0.012 * rng.normal(size=(d, w))
    step = rng.choice([1, 1, 1, 10, 100, 1000], (d, 1))
    counter = np.cumsum(kwh, axis=1) * 1000 + rng.uniform(0, 10**8, (d, 1))
    counter = np.floor(counter / step).astype(np.int64) * step

    # What the gateway saw: holes of its own, silent machines, both caught up with by one long span.
    missing = np.zeros((d, w), np.bool_)
    silent = np.zeros((d, w), np.bool_)
    for hidden, chance, longest in ((missing, 0.15, 300), (silent, 0.2, 400)):
        hit = rng.random((d, 1)) < chance
        first = rng.integers(1, w, (d, 1))
        hidden |= hit & (np.arange(w) >= first) & (np.arange(w) < first + rng.integers(1, longest, (d, 1)))
    seen = ~(missing | silent)
    seen[:, 0] = True
    missing[:, 0] = silent[:, 0] = False
    last_seen = np.maximum.accumulate(np.where(seen, np.arange(w), 0), axis=1)
    before = np.concatenate((np.zeros((d, 1), np.int64), last_seen[:, :-1]), axis=1)
    quantity = np.where(seen, counter - np.take_along_axis(counter, before, axis=1), 0)
    span_s = np.where(seen, (np.arange(w) - before) * window_s, 0)
    reset = (rng.random((d, 1)) < 0.03) & (np.arange(w) == rng.integers(1, w, (d, 1))) & seen
    reading = np.where(np.cumsum(reset, axis=1) > 0, counter - counter[:, :1] // step * step, counter)
    quantity[reset] = span_s[reset] = 0
    stated = seen & _HAS_STATE[kind][:, None]
    columns = {
        "device": np.arange(d)[:, None] + np.zeros((1, w), np.int64),
        "start": START_S + np.arange(w) * window_s + np.zeros((d, 1), np.int64),
        "length": np.full((d, w), window_s * 10),
        "observed": np.full((d, w), window_s * 10),
        "part": np.zeros((d, w), np.int64),
        "connected": seen * window_s * 10,
        "quantity": quantity,
        "quantity_idle": np.where(seen & (span_s == window_s), quantity * (idle_s + fault_s) // window_s, 0),
        "quantity_span": span_s,
        "reading": np.where(seen & ((np.arange(w) * window_s % 3600 == 0) | reset), reading, -1),
        "parts": parts * seen,
        "good": seen * window_s,
        "bad": np.zeros((d, w), np.int64),
        "flags": reset * int(Flag.COUNTER_RESET),
    }  # fmt: skip
    left = np.full((d, w), window_s * 10)
    for name, seconds in (("running", run_s), ("idle", idle_s), ("fault", fault_s), ("off", off_s)):
        columns[name] = np.minimum(np.floor(seconds * 10 * stated + 1e-6).astype(np.int64), left)
        left = left - columns[name]
    records = Records.from_columns({c.name: columns[c.name][~missing] for c in RECORD_COLUMNS})
    records = Records.concat([records, _late(rng, records), records.take(rng.integers(0, len(records), plants))])
    known = rng.random(d) < 0.5
    rated = np.where(known, (run_kw[:, 0] * 1000 * rng.uniform(2.2, 4.0, d)).astype(np.int64), UNKNOWN)
    return records, Devices(rated_max=rated, is_energy=kind < 4)


def _late(rng: np.random.Generator, records: Records) -> Records:
    """Some windows of silent machines said later what they did: supplements without energy."""
    silent = np.flatnonzero((records.connected == 0) & (rng.random(len(records)) < 0.1))
    late = records.take(silent)
    columns = late.columns()
    zero = np.zeros(len(late), np.int64)
    return Records.from_columns(
        columns
        | {"part": zero + 1, "observed": zero, "connected": zero, "idle": late.length // 2, "reading": zero - 1}
        | {"flags": zero + int(Flag.HISTORICAL)}
    )
