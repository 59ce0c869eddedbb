from __future__ import annotations

from gateway.clock import NS_PER_S, TimeLine
from metrics.record import Flag


class Clocks:
    wall_ns = 1_000 * NS_PER_S
    monotonic_ns = 5 * NS_PER_S

    def line(self) -> TimeLine:
        return TimeLine(wall_ns=lambda: self.wall_ns, monotonic_ns=lambda: self.monotonic_ns)

    def run(self, seconds: float, wall_steps_s: float = 0) -> None:
        self.monotonic_ns += round(seconds * NS_PER_S)
        self.wall_ns += round((seconds + wall_steps_s) * NS_PER_S)


def test_the_line_starts_at_the_systems_clock_and_follows_the_monotonic_one() -> None:
    clocks = Clocks()
    line = clocks.line()
    assert line() == 1_000 * NS_PER_S
    clocks.run(3.5)
    assert line() == round(1_003.5 * NS_PER_S)
    assert line.flags() == 0


def test_a_step_of_the_system_clock_is_noticed_and_not_followed() -> None:
    for step_s in (3600, -3600, -1e9):
        clocks = Clocks()
        line = clocks.line()
        clocks.run(1, wall_steps_s=step_s)
        assert line() == 1_001 * NS_PER_S
        assert line.step_ns() == step_s * NS_PER_S
        assert line.flags() == Flag.CLOCK_UNSYNCHRONISED


def test_the_line_never_runs_backwards_over_a_restart() -> None:
    clocks = Clocks()
    line = clocks.line()
    line.start_no_earlier(2_000 * NS_PER_S)
    assert line() == 2_000 * NS_PER_S
    assert line.flags() == Flag.CLOCK_UNSYNCHRONISED
    line = clocks.line()
    line.start_no_earlier(500 * NS_PER_S)
    assert line() == 1_000 * NS_PER_S
