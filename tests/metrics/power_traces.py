"""Seeded power traces of old machines with the state that was true in each second."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metrics.record import MachineState

RUNNING, IDLE, OFF = int(MachineState.RUNNING), int(MachineState.IDLE), int(MachineState.OFF)


@dataclass(frozen=True)
class Trace:
    """One sample a second. `state` is what the machine did, which a meter does not say."""

    at_s: np.ndarray
    power_kw: np.ndarray
    state: np.ndarray


def old_machine(
    seed: int,
    *,
    hours: float = 10.0,
    idle_ratio: tuple[float, float] = (2.5, 8.0),
    light_share: tuple[float, float] = (0.0, 0.2),
    noise: float = 0.04,
    always_on: bool = False,
) -> Trace:
    """A day of a lathe, mill or press under a clamp meter.

    It is switched on with an inrush, warms up (idle power decaying over minutes), then works in cycles of heavy and
    some light cuts (1.35 to 1.8 times idle) with pauses between them, long idle breaks and an end of the shift.
    Cutting power wanders (first-order, 15 %), the meter adds noise and a step of 1 W to 10 W.
    `idle_ratio`: power of a heavy cut over idle; `light_share`: of the cycles.
    """
    rng = np.random.default_rng([seed, 20])
    n = int(hours * 3600)
    state = np.full(n, OFF)
    idle_kw = float(np.exp(rng.uniform(np.log(0.3), np.log(4.0))))
    heavy_kw = idle_kw * rng.uniform(*idle_ratio)
    off_kw = 0.0 if rng.random() < 0.4 else idle_kw * rng.uniform(0.01, 0.1)
    power = np.full(n, off_kw)
    on = 0 if always_on else int(rng.uniform(600, 3600))
    end = n if always_on else n - int(rng.uniform(600, 5400))
    power[on:end] = idle_kw
    state[on:end] = IDLE

    at = on
    warm_s = 0 if always_on else int(rng.uniform(120, 900))
    if warm_s:
        rise = rng.uniform(0.1, 0.6)
        power[on : on + warm_s] = idle_kw * (1 + rise * np.exp(-np.arange(warm_s) / (warm_s / 3)))
        power[on : on + 2] = idle_kw * rng.uniform(2, 6)  # inrush
        at += warm_s
    share = rng.uniform(*light_share)
    cycle_s = rng.uniform(40, 400)
    gap_s = rng.uniform(10, 90)
    while at < end:
        if rng.random() < 0.02:
            at += int(rng.uniform(300, 2400))  # a break
        length = max(10, int(cycle_s * rng.uniform(0.6, 1.4)))
        stop = min(at + length, end)
        if at >= end:
            break
        if rng.random() < share:
            level = idle_kw * rng.uniform(1.35, 1.8)
            wander = 0.04
        else:
            level = heavy_kw * rng.uniform(0.8, 1.2)
            wander = 0.15
        drive = rng.normal(0, 1, stop - at)
        slow = np.convolve(np.concatenate([rng.normal(0, 1, 10), drive]), np.full(11, 1 / np.sqrt(11)), "valid")
        power[at:stop] = np.maximum(level * (1 + wander * slow), idle_kw * 1.02)
        power[at : min(at + 2, stop)] *= rng.uniform(1.0, 2.0)  # spindle start
        state[at:stop] = RUNNING
        at = stop + max(3, int(gap_s * rng.uniform(0.5, 1.5)))
    power *= 1 + noise * rng.normal(0, 1, n)
    step_kw = 0.001 if rng.random() < 0.5 else 0.01
    power = np.maximum(np.round(power / step_kw) * step_kw, 0.0)
    return Trace(1_700_000_000 + np.arange(n), power, state)


def overlapping(seed: int, ratio: float = 1.08) -> Trace:
    """A machine whose cutting hardly draws more than idling."""
    return old_machine(seed, idle_ratio=(ratio, ratio), light_share=(0.0, 0.0), noise=0.06)
