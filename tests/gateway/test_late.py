"""Late data: what counts, what is a duplicate, and that nothing is counted or stated twice."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.model import FOREVER_S, Proof, Quality, Samples
from gateway import checkpoint
from gateway.supplements import MAX_PART
from metrics.record import DAY_S, Flag, MachineState
from tests.gateway.driver import ENERGY, NOON_S, PARTS, STATE, Driver, ns
from tests.gateway.scripted import device

RUNNING, IDLE, FAULT = (float(s) for s in (MachineState.RUNNING, MachineState.IDLE, MachineState.FAULT))


class Publisher(Driver):
    """A machine that publishes every 2 s with its own time; `source` lets its clock be off."""

    ahead_s = 0.0

    def publish(self, at_s: float, state: float = RUNNING, *, arrives_s: float | None = None) -> None:
        """A message of a time; without `arrives_s` it arrives live, and proves."""
        values = [(STATE, state), (ENERGY, at_s * 0.01), (PARTS, float(int(at_s)))]
        if arrives_s is None:
            self.samples(at_s, values, source_s=at_s + self.ahead_s, lasts_s=3.0)
        else:
            self.samples(arrives_s, values, source_s=at_s + self.ahead_s, lasts_s=0)

    def run(self, start_s: int, end_s: int, state: float = RUNNING) -> None:
        for s in range(start_s, end_s, 2):
            self.tick(s)
            self.publish(s, state)

    def pass_time(self, start_s: float, end_s: float) -> None:
        at_s = start_s
        while at_s < end_s:
            self.tick(at_s)
            at_s += 5
        self.tick(end_s)


def outage(start_s: int = 30, end_s: int = 600, ahead_s: float = 0.0) -> Publisher:
    """Live until `start_s`, then cut off until `end_s`, when live messages come again."""
    driver = Publisher()
    driver.ahead_s = ahead_s
    driver.run(0, start_s + 1)
    driver.pass_time(start_s + 1, end_s - 1)
    driver.publish(end_s)
    return driver


def stated(driver: Driver, start_s: int) -> int:
    rows = [r for r in driver.rows if r.start == NOON_S + start_s]
    return sum(r.running + r.idle + r.fault + r.off for r in rows)


@pytest.mark.parametrize("ahead_s", [0.0, 3600.0, -3600.0])
def test_what_was_queued_states_the_gap_and_counts_nothing_twice(ahead_s: float) -> None:
    driver = outage(ahead_s=ahead_s)
    for s in range(32, 600, 2):
        driver.publish(s, IDLE if s < 300 else RUNNING, arrives_s=601)
    driver.tick(660)
    assert not [r for r in driver.rows if r.part and r.flags & Flag.HISTORICAL]  # gathered for 60 s
    driver.run(662, 700)
    driver.assert_valid()
    late = [r for r in driver.rows if r.part == 1]
    assert {(r.observed, r.connected, r.quantity, r.quantity_span, r.parts) for r in late} == {(0, 0, 0, 0, 0)}
    assert {r.flags for r in late} == {Flag.HISTORICAL}
    assert sum(r.good for r in late) == 3 * len(range(32, 540, 2))  # the last window was still open
    assert (driver.row(120, part=1).idle, driver.row(360, part=1).running) == (600, 600)
    # The outage's energy and pieces came with the first value in order, over the span it covers.
    assert (driver.row(600).quantity, driver.row(600).quantity_span) == (5700, 570)
    assert driver.row(600).parts == 570
    assert all(stated(driver, s) <= 600 for s in range(0, 660, 60))
    assert stated(driver, 120) == stated(driver, 480) == 600
    assert driver.windows.shed["late"] == 0


def test_part_0_and_its_supplement_state_no_time_twice() -> None:
    driver = outage(start_s=30, end_s=50)
    for s in range(32, 50, 2):
        driver.publish(s, IDLE, arrives_s=51)
    driver.run(52, 130)
    driver.assert_valid()
    # The proof of second 30 lasts for 3 s; part 0 knows what was said of them, the supplement begins after them.
    assert (driver.row(0).running, driver.row(0).idle) == (320 + 100, 10)
    assert driver.row(0).good == 3 * 30  # the window was open: they count there
    supplement = driver.row(0, part=1)
    assert (supplement.idle, supplement.running, supplement.good) == (150, 0, 0)
    assert driver.row(0).quantity == 580


def test_a_sample_outside_every_gap_or_sent_again_is_a_counted_duplicate() -> None:
    driver = outage()
    for s in (100, 102, 104):
        driver.publish(s, arrives_s=601)
    assert driver.windows.shed["late"] == 0
    for s in (10, 20, 102, 104):  # before the gap, and what was counted
        driver.publish(s, arrives_s=602)
    assert driver.windows.shed["late"] == 12
    driver.publish(103, arrives_s=603)  # not beyond the watermark
    assert driver.windows.shed["late"] == 15
    driver.run(610, 760)
    driver.assert_valid()
    assert sum(r.good for r in driver.rows if r.part == 1) == 9


def test_a_message_that_came_slowly_hides_none_that_was_sent_right_after_it() -> None:
    """The smallest delay seen places source times. One that is found after the gap moves what was queued in it to
    before the last thing heard, by the time line; by the machine's own clock it is later."""
    driver = Publisher()
    values = [(STATE, RUNNING), (ENERGY, 1.0), (PARTS, 1.0)]
    driver.samples(0.2, values, source_s=0.0)
    driver.pass_time(1, 19)
    driver.samples(20.01, values, source_s=20.0)
    for at_s in (0.05, 0.1, 0.15, 2.0):
        driver.samples(20.02, values, source_s=at_s, lasts_s=0)
    assert driver.windows.shed["late"] == 0
    for at_s in (0.0, 0.05, 2.0):
        driver.samples(20.03, values, source_s=at_s, lasts_s=0)
    assert driver.windows.shed["late"] == 9
    driver.finish(60)
    driver.assert_valid()
    assert driver.total("good") == 3 * 6


def test_what_comes_before_the_gap_is_over_counts_as_well() -> None:
    driver = Publisher()
    driver.run(0, 31)
    driver.pass_time(31, 200)
    for s in range(32, 190, 2):
        driver.publish(s, FAULT, arrives_s=200)
    driver.publish(202)
    driver.run(204, 300)
    driver.finish(300)
    driver.assert_valid()
    assert driver.row(60, part=1).fault == 600
    assert driver.total("quantity") == 2980
    assert driver.total("parts") == 298
    assert driver.row(180).quantity == 2380 - 300  # the window of the first value in order carries the gap's


def test_a_late_counter_value_moves_no_counter() -> None:
    driver = outage()
    before = driver.windows.accounts["m-1"].quantity.last
    driver.publish(500, arrives_s=601)
    assert driver.windows.accounts["m-1"].quantity.last == before
    driver.publish(602)
    driver.run(604, 700)
    driver.finish(700)
    assert driver.total("quantity") == 6980


def test_late_samples_say_nothing_of_the_clock_offset() -> None:
    driver = outage()
    lows = list(driver.windows.accounts["m-1"].offset.lows)
    driver.samples(603, [(STATE, RUNNING)], source_s=900, lasts_s=0)  # a clock set forward, without proof
    assert driver.windows.accounts["m-1"].offset.lows == lows


def test_a_state_holds_between_late_samples_for_the_liveness_only() -> None:
    driver = outage()
    for s in (120, 122, 130, 132):  # eight seconds of silence within: the device lives for three
        driver.publish(s, IDLE, arrives_s=601)
    driver.run(602, 760)
    assert driver.row(120, part=1).idle == 40


def test_a_machine_that_reports_by_exception_is_stated_between_its_late_samples() -> None:
    driver = Publisher(devices=[device(liveness_s=FOREVER_S)])
    driver.prove(0)
    driver.samples(10, [(STATE, RUNNING)], source_s=10, lasts_s=FOREVER_S)
    driver.prove(20, 0)
    driver.pass_time(20, 600)
    driver.prove(600)
    for at_s, state in ((70, IDLE), (400, RUNNING), (500, IDLE)):
        driver.samples(602, [(STATE, state)], source_s=at_s, lasts_s=0)
    driver.pass_time(603, 700)
    driver.assert_valid()
    assert driver.row(0).running == 100
    assert driver.row(0, part=1).running == 400  # from the death on, up to the first late sample
    assert (driver.row(60, part=1).running, driver.row(60, part=1).idle) == (100, 500)
    assert driver.row(420, part=1).running == 600
    assert driver.row(480, part=1).running == 200  # and nothing is known beyond the last
    assert not [r for r in driver.rows if r.part and r.start >= NOON_S + 540]


def test_bad_late_samples_count_as_bad_and_end_the_state() -> None:
    driver = outage()
    driver.publish(120, IDLE, arrives_s=601)
    driver.samples(601, [(STATE, IDLE)], source_s=122, lasts_s=0, quality=Quality.BAD)
    driver.publish(124, IDLE, arrives_s=601)
    driver.publish(126, IDLE, arrives_s=601)
    driver.run(602, 760)
    row = driver.row(120, part=1)
    assert (row.idle, row.good, row.bad) == (40, 9, 1)


def test_a_window_has_255_parts_and_what_comes_after_them_is_counted() -> None:
    driver = outage()
    driver.windows.accounts["m-1"].later.used[NOON_S + 120] = MAX_PART - 1
    driver.publish(120, IDLE, arrives_s=601)
    driver.run(602, 700)
    driver.publish(130, IDLE, arrives_s=700)
    driver.run(702, 800)
    driver.assert_valid()
    assert [r.part for r in driver.rows if r.start == NOON_S + 120] == [0, MAX_PART]
    assert driver.windows.shed["past_last_part"] == 1


def test_later_gatherings_are_later_parts_also_over_a_restart() -> None:
    driver = outage()
    for k, s in enumerate((120, 130, 140)):
        driver.publish(s, arrives_s=610 + k * 100)
        driver.pass_time(611 + k * 100, 690 + k * 100)
        driver.save(690 + k * 100)
        driver.kill_and_restart(695 + k * 100)
    driver.assert_valid()
    assert [r.part for r in driver.rows if r.start == NOON_S + 120] == [0, 1, 2, 3]


def test_gaps_and_watermarks_outlive_the_process() -> None:
    driver = outage()
    for s in range(32, 300, 2):
        driver.publish(s, IDLE, arrives_s=601)
    driver.save(602)
    driver.kill_and_restart(610)
    for s in range(32, 600, 2):  # the broker sends all of it again
        driver.publish(s, IDLE, arrives_s=611)
    driver.run(612, 700)
    driver.assert_valid()
    assert driver.windows.shed["late"] == 3 * len(range(32, 300, 2))
    assert sum(r.good for r in driver.rows if r.start < NOON_S + 600) == 3 * 300
    assert stated(driver, 240) == stated(driver, 300) == 600


def test_the_gateways_own_outage_is_a_gap() -> None:
    driver = Publisher()
    driver.run(0, 31)
    driver.save(31)
    driver.kill_and_restart(300)
    for s in range(26, 300, 2):
        driver.publish(s, IDLE, arrives_s=301)
    driver.publish(302)
    driver.run(304, 400)
    driver.finish(400)
    driver.assert_valid()
    assert driver.windows.shed["late"] == 9  # what the checkpoint held
    assert driver.row(60, part=1).idle == 600
    assert driver.total("quantity") == 3980


def test_a_gap_is_forgotten_after_14_days() -> None:
    driver = outage()
    account = driver.windows.accounts["m-1"]
    assert len(account.late.gaps) == 1
    account.late.expire(ns(600 + 14 * DAY_S))
    assert len(account.late.gaps) == 1
    account.late.expire(ns(601 + 14 * DAY_S))
    assert account.late.gaps == []


def test_a_device_without_a_clock_keeps_no_gaps() -> None:
    driver = Driver()
    driver.samples(0, [(STATE, RUNNING)])
    driver.samples(100, [(STATE, RUNNING)])
    assert driver.windows.accounts["m-1"].late.gaps == []


def test_gaps_of_fifty_devices_stay_within_the_checkpoint_of_3_kb() -> None:
    devices = [device(f"machine-{i:02}") for i in range(50)]
    driver, rng = Driver(devices=devices), random.Random(6)
    for k in range(30):  # fifty devices, cut off again and again
        for found in devices:
            at_s = k * 60 + 20 + rng.uniform(0, 30)
            driver.samples(at_s, [(STATE, RUNNING), (ENERGY, at_s)], device_id=found.id, source_s=at_s - 0.01)
        driver.tick(k * 60 + 60)
    size = len(checkpoint.save(driver.windows, ns(1805)))
    kept = [g for a in driver.windows.accounts.values() for g in a.late.gaps]
    assert size <= 3000
    assert len(kept) >= 50
    assert driver.windows.shed["gap_forgotten"] + len(kept) == 29 * 50


# Any order of outages, kills and repeated messages -----------------------------------------------


@dataclass(frozen=True)
class Step:
    """For `seconds` the machine publishes once a second; what happens to its messages and to us."""

    seconds: int
    what: str
    state: int


scripts = st.lists(
    st.builds(
        Step,
        st.integers(1, 90),
        st.sampled_from(["live", "live", "live", "queued", "queued", "lost", "kill", "save"]),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=25,
)


@dataclass
class Broker:
    """Keeps messages that were not acknowledged; what it delivers after an outage comes before live ones."""

    queue: list[tuple[int, int]] = field(default_factory=list)
    unacked: list[tuple[int, int]] = field(default_factory=list)


@settings(max_examples=120, deadline=None)
@given(scripts, st.sampled_from([10, 60]), st.sampled_from([0.0, 900.0, -40.0]))
def test_nothing_is_lost_or_doubled_by_late_data(script: list[Step], window_s: int, ahead_s: float) -> None:
    driver, broker = Driver(window_s=window_s), Broker()
    now_s = 0
    published: dict[int, int] = {}
    got: set[int] = set()

    def deliver(messages: list[tuple[int, int]], live: bool) -> None:
        for at_s, state in messages:
            rows = [(STATE, float(state)), (ENERGY, at_s * 0.01), (PARTS, float(at_s))]
            tags, values = zip(*rows, strict=True)
            columns = Samples.of(tags, values, ns(now_s), source_ns=ns(at_s + ahead_s))
            driver.windows.take([Proof("m-1", ns(now_s), 3.0)] if live else [], [("m-1", columns)])
            broker.unacked.append((at_s, state))
            got.add(at_s)

    def tick() -> None:
        if driver.tick(now_s):
            broker.unacked.clear()

    deliver([(0, 1)], live=True)
    driver.save(0)
    broker.unacked.clear()
    published[0] = 1
    for step in [*script, Step(5, "live", 1)]:
        if step.what == "kill":
            driver.kill_and_restart(now_s)
            broker.queue = broker.unacked + broker.queue
            broker.unacked = []
        elif step.what == "save":
            driver.save(now_s)
            broker.unacked.clear()
        if step.what != "queued" and broker.queue:
            queued, broker.queue = broker.queue, []
            deliver(queued, live=False)
        for _ in range(step.seconds):
            now_s += 1
            tick()
            published[now_s] = step.state
            if step.what == "queued":
                broker.queue.append((now_s, step.state))
            elif step.what != "lost":
                deliver([(now_s, step.state)], live=True)
    for _ in range(70):
        now_s += 1
        tick()
    driver.finish(now_s)
    driver.assert_valid()
    # Every delivered sample counts once, every repeated one is a duplicate; nothing else is dropped.
    assert driver.total("good") == 3 * len(got)
    last = max(got)
    assert driver.total("quantity") == last * 10
    assert driver.total("parts") == last
    length = window_s * 10
    by_window: dict[int, int] = {}
    for r in driver.rows:
        by_window[r.start] = by_window.get(r.start, 0) + r.running + r.idle + r.fault + r.off
    assert max(by_window.values()) <= length
    # Each second of a known message states what that message said, up to the next one or the liveness.
    said = dict.fromkeys(range(1, 5), 0.0)
    for at_s in sorted(got):
        until_s = min((s for s in got if s > at_s), default=at_s)
        said[published[at_s]] += min(until_s - at_s, 3)
    for state, name in ((1, "running"), (2, "idle"), (3, "fault"), (4, "off")):
        assert driver.total(name) / 10 <= said[state] + 3 + 0.2 * len(driver.rows)
