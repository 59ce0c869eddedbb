"""Sums that must hold whatever happens: any order of readings, outages, kills and restarts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.model import Proof, Samples
from gateway import checkpoint
from metrics.record import Flag, MachineState, local_day
from tests.gateway.driver import ENERGY, PARTS, STATE, Driver, ns
from tests.gateway.scripted import device

RATE_KWH = 0.0137


@dataclass(frozen=True)
class Step:
    """Something that happens `after_s` after the step before."""

    after_s: float
    what: str
    state: int


steps = st.lists(
    st.builds(
        Step,
        st.floats(0.05, 40).map(lambda s: round(s, 2)),
        st.sampled_from(["read"] * 8 + ["save", "save", "kill", "silence", "death"]),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=60,
)


class Truth:
    """What must come out, kept beside the driver: first reading that counts, and time watched."""

    def __init__(self, start_s: float) -> None:
        self.start_s = self.run_s = self.saved_s = start_s
        self.first: float | None = None
        self.saved_first: float | None = None
        self.last = 0.0
        self.watched_s = 0.0

    def save(self, now_s: float) -> None:
        self.saved_first, self.saved_s = self.first, now_s

    def kill(self, now_s: float) -> None:
        self.watched_s += self.saved_s - self.run_s
        self.first, self.run_s = self.saved_first, now_s
        self.saved_s = now_s

    def reading(self, at_s: float) -> float:
        return 1000 + (at_s - self.start_s) * RATE_KWH


def play(driver: Driver, truth: Truth, script: list[Step]) -> float:
    now_s = truth.start_s
    for step in script:
        end_s = round(now_s + step.after_s, 2)
        while now_s < end_s:  # the runtime looks at its windows all the time
            now_s = min(round(now_s + 1, 2), end_s)
            if driver.tick(now_s):
                truth.save(now_s)
        if step.what == "read":
            truth.last = truth.reading(now_s)
            truth.first = truth.last if truth.first is None else truth.first
            driver.samples(now_s, [(STATE, step.state), (ENERGY, truth.last), (PARTS, int(now_s - truth.start_s))])
        elif step.what == "save":
            driver.save(now_s)
            truth.save(now_s)
        elif step.what == "death":
            driver.prove(now_s, 0)
        elif step.what == "kill":
            driver.kill_and_restart(now_s)
            truth.kill(now_s)
            driver.save(now_s)  # the first tick after a start
            truth.save(now_s)
    truth.watched_s += now_s - truth.run_s
    return now_s


@settings(max_examples=150, deadline=None)
@given(steps, st.sampled_from([10, 60]), st.sampled_from([0.0, 12 * 3600 - 200.0]))
def test_no_quantity_is_lost_or_doubled_under_any_order_of_kills(
    script: list[Step], window_s: int, start_s: float
) -> None:
    driver, truth = Driver(window_s=window_s, at_s=start_s), Truth(start_s)
    now_s = play(driver, truth, [*script, Step(1, "read", 1)])
    driver.finish(now_s)
    driver.assert_valid()
    counter = driver.windows.accounts["m-1"].quantity
    assert truth.first is not None
    assert driver.total("quantity") == counter.rounded(truth.last) - counter.rounded(truth.first)
    assert not any(r.flags & (Flag.COUNTER_RESET | Flag.COUNTER_REPLACED) for r in driver.rows)
    for row in driver.rows:  # no record reaches into another local day
        assert local_day(row.start) == local_day(row.start + row.length // 10 - max(row.quantity_span, 1))
    observed_s = driver.total("observed") / 10
    assert truth.watched_s - 0.1 * len(driver.rows) - 0.2 * len(script) <= observed_s <= truth.watched_s + 0.01


@settings(max_examples=60, deadline=None)
@given(steps, st.lists(st.integers(1, 5), min_size=1, max_size=20))
def test_how_readings_are_batched_changes_nothing(script: list[Step], sizes: list[int]) -> None:
    one_by_one, together = Driver(), Driver()
    now_s, waiting = 0.0, []
    size = iter(sizes * 60)
    room = next(size)
    for step in script:
        now_s = round(now_s + min(step.after_s, 50 / len(script)), 2)
        values = [(STATE, float(step.state)), (ENERGY, now_s * RATE_KWH), (PARTS, float(int(now_s)))]
        one_by_one.samples(now_s, values)
        waiting.append((now_s, values))
        if len(waiting) >= room:
            hand_over(together, waiting)
            waiting, room = [], next(size)
    hand_over(together, waiting)
    assert one_by_one.tick(62) == together.tick(62)


def hand_over(driver: Driver, readings: list[tuple[float, list[tuple[int, float]]]]) -> None:
    if not readings:
        return
    tags = [tag for _, values in readings for tag, _ in values]
    numbers = [value for _, values in readings for _, value in values]
    received = np.array([ns(at_s) for at_s, values in readings for _ in values])
    proofs = [Proof("m-1", ns(at_s), 3.0) for at_s, _ in readings]
    driver.windows.take(proofs, [("m-1", Samples.of(tags, numbers, received))])


@settings(max_examples=60, deadline=None)
@given(steps)
def test_a_checkpoint_says_all_that_the_windows_knew(script: list[Step]) -> None:
    """Saving, reading and going on at the same instant changes only what must not outlive a process."""
    driver = Driver()
    now_s = play(driver, Truth(0.0), [s for s in script if s.what != "kill"])
    again = Driver()
    again.saved = checkpoint.save(driver.windows, ns(now_s))
    again.kill_and_restart(now_s)
    before, after = driver.windows.close_short(ns(now_s)), again.windows.close_short(ns(now_s))
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        for name in ("start", "quantity", "quantity_span", "parts", "good", "bad"):
            assert getattr(one, name) == getattr(other, name), name
        for name in ("observed", "connected", "running", "idle", "fault", "off"):
            assert abs(getattr(one, name) - getattr(other, name)) <= 1, name  # times are kept in ms
        assert other.flags & ~Flag.RESUMED == one.flags
    assert not after or after[-1].flags & Flag.RESUMED


def test_fifty_devices_fit_into_a_checkpoint_of_3_kb() -> None:
    devices = [device(f"machine-{i:02}") for i in range(50)]
    driver = Driver(devices=devices)
    rng = np.random.default_rng(4)
    for s in range(47):
        for i, found in enumerate(devices):
            state = MachineState.RUNNING if (s // 20 + i) % 3 else MachineState.IDLE
            values = [(STATE, float(state)), (ENERGY, 1e5 * i + s * rng.random()), (PARTS, 1000.0 * i + s)]
            at_s = s + i * 0.013
            driver.samples(at_s, values, device_id=found.id, source_s=at_s - rng.random() if i % 2 else None)
    size = len(checkpoint.save(driver.windows, ns(47.7)))
    assert size <= 3000
