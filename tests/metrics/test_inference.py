"""State from power: thresholds by hand where they can be, accuracy on seeded traces where they cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from collectors.modbus.profile import Thresholds
from gateway.inference import PowerState
from metrics.inference import DWELL_S, MAX_GAP_S, PowerLevels, Reason, Verdict, infer_states, learn_levels
from metrics.record import MachineState
from tests.metrics.power_traces import IDLE, OFF, RUNNING, Trace, old_machine, overlapping

UNKNOWN = int(MachineState.UNKNOWN)
RIGHT = 0.95
"""Share of seconds that must be right."""


def right(trace: Trace) -> float:
    """Share of seconds right with thresholds learnt from the trace itself; unknown counts as wrong."""
    levels = learn_levels(trace.at_s, trace.power_kw)
    return float((infer_states(trace.at_s, trace.power_kw, levels) == trace.state).mean())


@pytest.mark.parametrize("seed", range(60))
def test_seconds_are_right_with_noise_warm_up_and_light_cuts(seed: int) -> None:
    assert right(old_machine(seed)) >= RIGHT


@pytest.mark.parametrize(
    "hard",
    [
        {"noise": 0.12},
        {"light_share": (0.2, 0.4)},
        {"light_share": (1.0, 1.0)},
        {"idle_ratio": (2.0, 2.0)},
        {"idle_ratio": (12.0, 20.0)},
        {"always_on": True},
        {"hours": 4.0},
    ],
    ids=str,
)
def test_seconds_are_right_on_harder_machines(hard: dict[str, float]) -> None:
    shares = [right(old_machine(seed, **hard)) for seed in range(5000, 5008)]
    assert min(shares) >= RIGHT, shares


@pytest.mark.long
def test_seconds_are_right_on_a_thousand_machines() -> None:
    shares = np.array([right(old_machine(seed)) for seed in range(10_000, 11_000)])
    print(
        f"seconds right: least {shares.min():.4f}, 1 % {np.quantile(shares, 0.01):.4f}, median {np.median(shares):.4f}"
    )
    assert (shares >= RIGHT).all(), np.flatnonzero(shares < RIGHT) + 10_000


@pytest.mark.parametrize("ratio", [1.0, 1.08, 1.25])
def test_overlapping_levels_cannot_be_told(ratio: float) -> None:
    for seed in range(8):
        trace = overlapping(seed, ratio)
        levels = learn_levels(trace.at_s, trace.power_kw)
        assert levels.verdict is Verdict.OFF_ONLY
        assert np.isnan([levels.running_above_kw, levels.running_confidence]).all()
        states = infer_states(trace.at_s, trace.power_kw, levels)
        assert set(states.tolist()) == {OFF, UNKNOWN}
        # What is said of off is right.
        assert float(((states == OFF) == (trace.state == OFF)).mean()) >= 0.99


def test_a_machine_that_never_changes_cannot_be_told() -> None:
    at_s = np.arange(7200)
    steady = 2.0 * (1 + 0.03 * np.random.default_rng(4).normal(size=7200))
    for power, words in ((steady, "no levels"), (np.zeros(7200), "was 0"), (np.full(7200, np.nan), "less than 3600 s")):
        levels = learn_levels(at_s, power)
        assert levels.verdict is Verdict.CANNOT_TELL
        assert words in levels.reason.en
        assert levels.reason.zh.startswith("无法判断")
        assert set(infer_states(at_s, power, levels).tolist()) == {UNKNOWN}


def test_levels_are_where_the_power_was() -> None:
    # 1 h off at 0.05 kW, then by turns 60 s idle at 1 kW and 120 s running at 5 kW, each with 2 % of noise.
    rng = np.random.default_rng(1)
    cycle = np.concatenate([np.full(60, 1.0), np.full(120, 5.0)])
    power = np.concatenate([np.full(3600, 0.05), np.tile(cycle, 60)])
    at_s = np.arange(len(power))
    levels = learn_levels(at_s, power * (1 + 0.02 * rng.normal(size=len(power))))
    assert levels.verdict is Verdict.ALL
    assert (levels.off_kw, levels.idle_kw, levels.running_kw) == pytest.approx((0.05, 1.0, 5.0), rel=0.02)
    assert 0.06 < levels.off_below_kw < 0.9
    assert 1.1 < levels.running_above_kw < 2.3  # nearer to idle, so that light cuts are running
    assert min(levels.off_confidence, levels.running_confidence) > 0.98
    assert "1.00 kW" in levels.reason.zh


def test_a_reversed_clamp_and_another_unit_of_size_change_nothing() -> None:
    trace = old_machine(7)
    levels = learn_levels(trace.at_s, trace.power_kw)
    states = infer_states(trace.at_s, trace.power_kw, levels)
    assert infer_states(trace.at_s, -trace.power_kw, learn_levels(trace.at_s, -trace.power_kw)).tolist() == (
        states.tolist()
    )
    large = learn_levels(trace.at_s, trace.power_kw * 1024)
    assert large.running_above_kw == pytest.approx(levels.running_above_kw * 1024)


def test_slow_polling_and_holes_leave_the_known_seconds_right() -> None:
    trace = old_machine(11)
    rng = np.random.default_rng(11)
    kept = np.flatnonzero(rng.random(len(trace.at_s)) < 0.5)  # about every other second, by chance
    kept = kept[(kept < 9000) | (kept > 10_800)]  # and half an hour that nobody saw
    at_s, power, state = trace.at_s[kept], trace.power_kw[kept].copy(), trace.state[kept]
    power[5000:5050] = np.nan
    states = infer_states(at_s, power, learn_levels(at_s, power))
    assert set(states[5000:5050].tolist()) == {UNKNOWN}
    assert float((states == state)[np.isfinite(power)].mean()) >= RIGHT


LEVELS = PowerLevels(
    Verdict.ALL, off_below_kw=0.2, running_above_kw=2.0, hysteresis_kw=0.3, off_kw=0.0, idle_kw=1.0, running_kw=5.0,
    off_confidence=1.0, running_confidence=1.0, reason=Reason("", ""),
)  # fmt: skip


def states_of(*power: float, step_s: int = 1, dwell_s: float = 0.0, levels: PowerLevels = LEVELS) -> list[int]:
    at_s = np.arange(len(power)) * step_s
    return infer_states(at_s, np.array(power), levels, dwell_s).tolist()


def test_hysteresis_by_hand() -> None:
    # Running begins above 2.0 and ends below 1.7; off begins below 0.2 and ends above 0.5.
    assert states_of(1.0, 1.9, 2.1, 1.8, 1.75, 1.6, 1.9) == [IDLE, IDLE, RUNNING, RUNNING, RUNNING, IDLE, IDLE]
    assert states_of(0.1, 0.4, 0.6, 0.4, 0.1, 0.4) == [OFF, OFF, IDLE, IDLE, OFF, OFF]
    assert states_of(5.0, 0.3, 1.0) == [RUNNING, IDLE, IDLE]


def test_dwell_by_hand() -> None:
    # A peak of 2 s is nothing; one of 4 s counts from its first second.
    assert states_of(1, 1, 5, 5, 1, 1, 1, 1, dwell_s=4) == [IDLE] * 8
    assert states_of(1, 1, 5, 5, 5, 5, 1, 1, 1, 1, dwell_s=4) == [IDLE] * 2 + [RUNNING] * 4 + [IDLE] * 4
    # The first state after an unknown one counts at once.
    assert states_of(np.nan, 5, 1, 1, 1, 1, dwell_s=4) == [UNKNOWN, RUNNING] + [IDLE] * 4


def test_a_gap_forgets() -> None:
    gap = int(MAX_GAP_S) + 1
    assert states_of(5.0, 1.8, step_s=1) == [RUNNING, RUNNING]
    assert states_of(5.0, 1.8, step_s=gap) == [RUNNING, IDLE]


def test_off_only_says_nothing_of_what_is_on() -> None:
    off_only = replace(LEVELS, verdict=Verdict.OFF_ONLY, running_above_kw=np.nan)
    assert states_of(0.1, 1.0, 5.0, 0.1, levels=off_only) == [OFF, UNKNOWN, UNKNOWN, OFF]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_gateway_with_these_thresholds_says_the_same(seed: int) -> None:
    """The gateway applies thresholds live, sample by sample; what was learnt here serves there."""
    trace = old_machine(seed, hours=3)
    levels = learn_levels(trace.at_s, trace.power_kw)
    limits = Thresholds(
        off_below_kw=levels.off_below_kw,
        running_above_kw=levels.running_above_kw,
        hysteresis_kw=levels.hysteresis_kw,
        dwell_s=DWELL_S,
    ).as_model()
    live = PowerState()
    states = np.zeros(len(trace.at_s), np.int64)
    for at_s, power_kw in zip(trace.at_s.tolist(), trace.power_kw.tolist(), strict=True):
        changed = live.take(power_kw, at_s * 1_000_000_000, limits)
        if changed is not None:
            states[changed[0] // 1_000_000_000 - trace.at_s[0] :] = changed[1]
    assert float((states == trace.state).mean()) >= RIGHT
    assert float((states == infer_states(trace.at_s, trace.power_kw, levels)).mean()) >= 0.99


def test_wrong_times_are_refused() -> None:
    with pytest.raises(ValueError, match="sample 1 is not later"):
        learn_levels(np.array([5, 5]), np.array([1.0, 1.0]))
    with pytest.raises(ValueError, match="3 times for 2"):
        infer_states(np.arange(3), np.array([1.0, 1.0]), LEVELS)
    assert infer_states(np.empty(0), np.empty(0), LEVELS).tolist() == []
