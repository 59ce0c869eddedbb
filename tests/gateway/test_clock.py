from __future__ import annotations

import pytest

from collectors.model import Proof, Samples
from gateway import checkpoint
from gateway.clock import COUNTY_NOTICED_NS, NS_PER_S, TimeLine
from gateway.row import Row
from gateway.windows import Windows
from metrics.record import Flag, MachineState
from tests.gateway.driver import ENERGY, NOON_S, PARTS, STATE
from tests.gateway.scripted import device


class Clocks:
    wall_ns = NOON_S * NS_PER_S
    monotonic_ns = 5 * NS_PER_S

    def line(self) -> TimeLine:
        return TimeLine(wall_ns=lambda: self.wall_ns, monotonic_ns=lambda: self.monotonic_ns)

    def run(self, seconds: float, wall_steps_s: float = 0) -> None:
        self.monotonic_ns += round(seconds * NS_PER_S)
        self.wall_ns += round((seconds + wall_steps_s) * NS_PER_S)


def test_the_line_starts_at_the_systems_clock_and_follows_the_monotonic_one() -> None:
    clocks = Clocks()
    line = clocks.line()
    assert line() == NOON_S * NS_PER_S
    clocks.run(3.5)
    assert line() == NOON_S * NS_PER_S + 3_500_000_000
    assert line.flags() == 0


def test_a_step_of_the_system_clock_is_noticed_and_not_followed() -> None:
    for step_s in (3600, -3600, -1e9):
        clocks = Clocks()
        line = clocks.line()
        clocks.run(1, wall_steps_s=step_s)
        assert line() == (NOON_S + 1) * NS_PER_S
        assert line.step_ns() == step_s * NS_PER_S
        assert line.flags() == Flag.CLOCK_UNSYNCHRONISED


def test_the_line_never_runs_backwards_over_a_restart() -> None:
    clocks = Clocks()
    line = clocks.line()
    line.start_no_earlier((NOON_S + 1_000) * NS_PER_S)
    assert line() == (NOON_S + 1_000) * NS_PER_S
    assert line.flags() == Flag.CLOCK_UNSYNCHRONISED
    line = clocks.line()
    line.start_no_earlier((NOON_S - 500) * NS_PER_S)
    assert line() == NOON_S * NS_PER_S


def test_a_clock_that_was_never_set_and_one_that_differs_from_the_countys_are_flagged() -> None:
    clocks = Clocks()
    clocks.wall_ns = 100 * NS_PER_S  # 1970: no battery
    assert clocks.line().flags() == Flag.CLOCK_UNSYNCHRONISED
    line = Clocks().line()
    for ahead_ns, flags in ((None, 0), (COUNTY_NOTICED_NS, 0), (-COUNTY_NOTICED_NS - 1, Flag.CLOCK_UNSYNCHRONISED)):
        line.county_ahead_ns = ahead_ns
        assert line.flags() == flags


class Plant:
    """A machine that counts with true time, read by a gateway whose clocks are the test's own."""

    def __init__(self) -> None:
        self.clocks = Clocks()
        self.true_s = 0
        self.rows: list[Row] = []
        self.line = self.clocks.line()
        self.windows = self.opened()
        self.saved = b""

    def opened(self) -> Windows:
        windows = Windows(60, ["m-1"], self.line())
        windows.introduce(device(), 1, self.line())
        return windows

    def live(self, seconds: int, wall_steps_s: float = 0) -> None:
        """Read once a second; the step of the system clock comes first."""
        self.clocks.run(0, wall_steps_s)
        for _ in range(seconds):
            self.clocks.run(1)
            self.true_s += 1
            self.read()

    def read(self) -> None:
        now_ns = self.line()
        self.rows += self.windows.close_due(now_ns, self.line.flags())
        values = [float(MachineState.RUNNING), self.true_s * 0.01, float(self.true_s)]
        samples = Samples.of([STATE, ENERGY, PARTS], values, now_ns)
        self.windows.take([Proof("m-1", now_ns, 3.0)], [("m-1", samples)])
        self.saved = checkpoint.save(self.windows, now_ns)

    def stand_still(self, seconds: int) -> None:
        """The process is stopped: no time passes for it, all time passes for the machine."""
        before_ns = self.line()
        self.clocks.run(seconds)
        self.true_s += seconds
        self.windows.blind(before_ns, self.line())

    def restart(self) -> None:
        saved = checkpoint.read(self.saved)
        self.line = self.clocks.line()
        self.line.start_no_earlier((saved.saved_ms + 1) * 1_000_000)
        windows = Windows(60, ["m-1"], self.line())
        checkpoint.resume(saved, windows, self.line())
        windows.introduce(device(), 1, self.line())
        self.windows = windows

    def check(self) -> None:
        self.rows += self.windows.close_short(self.line())
        assert sum(r.quantity for r in self.rows) == (self.true_s - 1) * 10
        assert sum(r.parts for r in self.rows) == self.true_s - 1
        keys = [(r.device, r.start, r.part) for r in self.rows]
        assert len(keys) == len(set(keys))
        for r in self.rows:
            assert r.running + r.idle + r.fault + r.off <= r.connected <= r.observed <= r.length


@pytest.mark.parametrize("step_s", [3600, -3600, -NOON_S])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_jump_of_the_clock_and_back_loses_and_doubles_nothing(step_s: float, restarted: bool) -> None:
    plant = Plant()
    plant.live(100)
    plant.live(100, wall_steps_s=step_s)
    if restarted:
        plant.restart()
    plant.live(200)
    plant.live(150, wall_steps_s=-step_s)
    if restarted:
        plant.restart()
    plant.live(150)
    plant.check()
    flagged = [r.start for r in plant.rows if r.flags & Flag.CLOCK_UNSYNCHRONISED]
    assert flagged
    assert plant.rows[0].flags == 0


def test_a_process_that_stood_still_loses_and_doubles_nothing() -> None:
    plant = Plant()
    plant.live(100)
    plant.stand_still(1000)
    plant.live(200)
    plant.check()
    assert sum(r.observed for r in plant.rows) <= 3010
    spans = {r.quantity_span for r in plant.rows}
    assert max(spans) >= 1000
