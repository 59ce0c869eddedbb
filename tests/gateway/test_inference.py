from __future__ import annotations

from collectors.model import PowerThresholds
from gateway.clock import NS_PER_S
from gateway.inference import PowerState
from metrics.record import MachineState

LIMITS = PowerThresholds(off_below_kw=0.1, running_above_kw=1.0, hysteresis_kw=0.2, dwell_s=3)


def states(powers: list[float]) -> list[tuple[int, int] | None]:
    power = PowerState()
    return [power.take(kw, s * NS_PER_S, LIMITS) for s, kw in enumerate(powers)]


def test_the_first_reading_gives_the_state_at_once() -> None:
    assert states([0.05])[0] == (0, MachineState.OFF)
    assert states([0.5])[0] == (0, MachineState.IDLE)
    assert states([5.0])[0] == (0, MachineState.RUNNING)


def test_a_new_state_needs_its_dwell_and_counts_from_its_first_reading() -> None:
    found = states([0.5, 0.5, 2.0, 2.0, 2.0, 2.0])
    assert found[2:5] == [None, None, None]
    assert found[5] == (2 * NS_PER_S, MachineState.RUNNING)


def test_a_short_peak_changes_nothing() -> None:
    assert states([0.5, 2.0, 2.0, 0.5, 2.0, 2.0, 0.5])[1:] == [None] * 6


def test_power_that_wanders_about_a_threshold_does_not_flap() -> None:
    assert states([2.0] + [0.9, 1.05] * 20)[1:] == [None] * 40
    assert states([0.05] + [0.25, 0.15] * 20)[1:] == [None] * 40


def test_after_an_unknown_time_the_state_is_found_anew() -> None:
    power = PowerState()
    power.take(5.0, 0, LIMITS)
    power.forget()
    assert power.take(0.5, NS_PER_S, LIMITS) == (NS_PER_S, MachineState.IDLE)
