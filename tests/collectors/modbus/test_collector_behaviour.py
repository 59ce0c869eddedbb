"""What a person can count on: beats, silent units, refusals, identification, cancellation. Time is scripted."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from collectors.base import Collector
from collectors.modbus.address import parse_address
from collectors.modbus.collector import ModbusCollector
from collectors.modbus.framing import DoubtError
from collectors.modbus.link import SilentError
from collectors.model import Batch, LinkError, Proof, Quality, Samples, Trouble
from metrics.record import Evidence
from tests.collectors.modbus.scripted import NS, START_NS, ScriptedLink, Time, scripted_collector, write_profile

ONE_WORD = "  - {tag: x, unit: '1', at: 0, type: u16}\n"
TEN = [(f"d{unit}", "word", unit) for unit in range(1, 11)]


def words_of_unit(unit: int, address: int, count: int) -> list[int]:
    return [unit * 1000 + address + offset for offset in range(count)]


class Reader:
    """Reads a collector and keeps what it brought."""

    def __init__(self, collector: Collector, time: Time) -> None:
        self.collector = collector
        self.time = time
        self.batches: list[Batch] = []

    async def until_s(self, seconds: float) -> None:
        """Read until the scripted time is so many seconds after the start; a read under way is cancelled."""
        self.time.end_ns = START_NS + round(seconds * NS)
        with suppress(asyncio.CancelledError):
            while True:
                self.batches.append(await self.collector.read())
        self.time.end_ns = None

    def samples(self, device: str) -> list[Samples]:
        return [samples for batch in self.batches for name, samples in batch.samples if name == device]

    def values(self, device: str) -> list[float]:
        return [value for samples in self.samples(device) for value in samples.value.tolist()]

    def proofs(self, device: str) -> list[Proof]:
        return [proof for batch in self.batches for proof in batch.proofs if proof.device == device]

    def troubles(self, device: str) -> list[Trouble]:
        return [trouble for batch in self.batches for trouble in batch.troubles if trouble.subject == device]

    def shed(self) -> dict[str, int]:
        total: dict[str, int] = {}
        for batch in self.batches:
            for reason, count in batch.shed.items():
                total[reason] = total.get(reason, 0) + count
        return total


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def link(time: Time) -> ScriptedLink:
    return ScriptedLink(time, words_of_unit)


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    write_profile(tmp_path, "word", ONE_WORD, more="identification: false\n")
    return tmp_path


async def connected(collector: ModbusCollector, time: Time) -> Reader:
    await collector.connect()
    return Reader(collector, time)


async def test_polls_fall_on_the_beat_of_the_clock(link: ScriptedLink, time: Time, profiles: Path) -> None:
    time.pass_s(0.3)
    reader = await connected(scripted_collector(profiles, link, [("d1", "word", 1)]), time)
    await reader.until_s(3.5)
    # the first at once, then on whole seconds whatever the requests take
    assert link.polls(1) == pytest.approx([0.3, 1.0, 2.0, 3.0])
    assert [s.received_ns[0] - START_NS for s in reader.samples("d1")] == pytest.approx(
        [0.31 * NS, 1.01 * NS, 2.01 * NS, 3.01 * NS]
    )


async def test_each_rate_has_its_own_beat(link: ScriptedLink, time: Time, profiles: Path) -> None:
    points = ONE_WORD + "  - {tag: slow, unit: '1', at: 500, type: u16, every_s: 3}\n"
    write_profile(profiles, "two-rates", points, more="identification: false\n")
    reader = await connected(scripted_collector(profiles, link, [("d1", "two-rates", 1)]), time)
    await reader.until_s(6.5)
    fast = [asked.at_s for asked in link.asked if asked.address == 0]
    slow = [asked.at_s for asked in link.asked if asked.address == 500]
    assert fast == pytest.approx([0, 1, 2, 3, 4, 5, 6])
    assert slow == pytest.approx([0, 3, 6], abs=0.02)


async def test_a_silent_unit_never_delays_the_others(link: ScriptedLink, time: Time, profiles: Path) -> None:
    link.answer = lambda unit, at, n: SilentError() if unit == 4 else words_of_unit(unit, at, n)
    reader = await connected(scripted_collector(profiles, link, TEN, timeout_ms=500), time)
    await reader.until_s(59.9)
    others = [unit for unit in range(1, 11) if unit != 4]
    for unit in others:
        times = np.array(link.polls(unit))
        assert len(times) == 60, "a poll was left out"
        # only the very first time-out, before anybody could know, came in between
        assert (times[1:] % 1.0).max() <= 0.01 * 10
    assert len(reader.samples("d5")) == 60


async def test_a_silent_unit_is_probed_after_the_others_and_once_a_cycle(
    link: ScriptedLink, time: Time, profiles: Path
) -> None:
    silent = {3, 6, 9}
    link.answer = lambda unit, at, n: SilentError() if unit in silent else words_of_unit(unit, at, n)
    reader = await connected(scripted_collector(profiles, link, TEN, timeout_ms=300), time)
    await reader.until_s(40.0)
    for second in range(1, 40):
        cycle = [asked.unit for asked in link.asked if second <= asked.at_s < second + 1]
        probes = [unit for unit in cycle if unit in silent]
        assert len(probes) <= 1
        assert [unit for unit in cycle if unit not in silent] == [1, 2, 4, 5, 7, 8, 10]
        assert not probes or cycle[-1] == probes[0]
    assert reader.shed() == {}


async def test_a_silent_unit_is_asked_less_and_less_up_to_five_minutes(
    link: ScriptedLink, time: Time, profiles: Path
) -> None:
    link.answer = lambda unit, at, n: SilentError() if unit == 1 else words_of_unit(unit, at, n)
    reader = await connected(scripted_collector(profiles, link, [("dead", "word", 1)], timeout_ms=200), time)
    await reader.until_s(26_000)
    waits = np.diff(link.polls(1))
    assert waits[:4] == pytest.approx([3, 4, 6, 8], abs=1.1)
    assert np.all(np.diff(waits) >= -1.1)
    assert waits[-3:] == pytest.approx([300, 300, 300], abs=1.5)


async def test_a_person_is_told_once_that_a_unit_is_silent_and_once_that_it_is_back(
    link: ScriptedLink, time: Time, profiles: Path
) -> None:
    link.answer = lambda unit, at, n: SilentError() if 5 < time.since_start_s < 40 else words_of_unit(unit, at, n)
    reader = await connected(scripted_collector(profiles, link, [("d1", "word", 1)]), time)
    await reader.until_s(80)
    assert [trouble.code for trouble in reader.troubles("d1")] == ["modbus.unit-silent", ""]
    told = reader.troubles("d1")[0]
    assert told.zh
    assert told.next_zh
    assert told.en
    assert told.next_en


async def test_one_missed_reply_alone_is_no_trouble_but_a_bad_sample(
    link: ScriptedLink, time: Time, profiles: Path
) -> None:
    link.answer = lambda unit, at, n: SilentError() if 3 <= time.since_start_s < 4 else words_of_unit(unit, at, n)
    reader = await connected(scripted_collector(profiles, link, [("d1", "word", 1)]), time)
    await reader.until_s(10)
    assert reader.troubles("d1") == []
    qualities = [samples.quality[0] for samples in reader.samples("d1")]
    assert qualities.count(Quality.BAD) == 1
    assert len(qualities) >= 8
    bad = next(samples for samples in reader.samples("d1") if samples.quality[0] == Quality.BAD)
    assert np.isnan(bad.value[0])


async def test_proofs_come_with_good_values_only_and_last_for_the_liveness(
    link: ScriptedLink, time: Time, profiles: Path
) -> None:
    write_profile(profiles, "state", "  - {tag: state, at: 0, type: u16, states: {1: running}}\n")
    word = 1
    link.answer = lambda unit, at, n: [word]
    reader = await connected(scripted_collector(profiles, link, [("d1", "state", 1)]), time)
    await reader.until_s(2.5)
    proofs = reader.proofs("d1")
    assert [p.at_ns for p in proofs] == [int(s.received_ns[0]) for s in reader.samples("d1")]
    assert {p.lasts_s for p in proofs} == {5.0}
    word = 9  # a state that nobody knows: the device answers, but nothing in it is valid
    await reader.until_s(6.5)
    assert len(reader.proofs("d1")) == len(proofs)
    assert len(reader.samples("d1")) > len(proofs)


async def test_a_refusal_makes_its_tags_bad_and_is_told(link: ScriptedLink, time: Time, profiles: Path) -> None:
    link.answer = lambda unit, at, n: 4
    reader = await connected(scripted_collector(profiles, link, [("d1", "word", 1)]), time)
    await reader.until_s(4.5)
    assert len(reader.samples("d1")) == 5, "a device that refuses is alive and asked on every beat"
    assert all(samples.quality[0] == Quality.BAD for samples in reader.samples("d1"))
    assert [trouble.code for trouble in reader.troubles("d1")] == ["modbus.exception-4"]
    assert reader.proofs("d1") == []


@pytest.mark.parametrize("code", [0x0A, 0x0B])
async def test_a_gateway_that_reports_its_unit_silent_is_believed(
    code: int, link: ScriptedLink, time: Time, profiles: Path
) -> None:
    link.answer = lambda unit, at, n: code if unit == 1 else words_of_unit(unit, at, n)
    reader = await connected(scripted_collector(profiles, link, [("d1", "word", 1), ("d2", "word", 2)]), time)
    await reader.until_s(29.9)
    assert len(link.polls(1)) < 8
    assert len(link.polls(2)) == 30
    assert [trouble.code for trouble in reader.troubles("d1")] == ["modbus.unit-silent"]


async def test_a_refused_gap_is_read_around_from_then_on(link: ScriptedLink, time: Time, profiles: Path) -> None:
    points = "  - {tag: a, unit: '1', at: 0, type: u16}\n  - {tag: b, unit: '1', at: 5, type: u16}\n"
    write_profile(profiles, "gap", points, more="identification: false\n")
    link.answer = lambda unit, at, n: 2 if at <= 3 < at + n else words_of_unit(unit, at, n)
    reader = await connected(scripted_collector(profiles, link, [("d1", "gap", 1)]), time)
    await reader.until_s(3.5)
    assert [(asked.address, asked.count) for asked in link.asked] == [(0, 6)] + [(0, 1), (5, 1)] * 3
    first, *later = reader.samples("d1")
    assert first.quality.tolist() == [Quality.BAD, Quality.BAD]
    assert all(samples.value.tolist() == [1000.0, 1005.0] for samples in later)
    assert [trouble.code for trouble in reader.troubles("d1")] == ["modbus.exception-2", ""]


async def test_a_register_that_does_not_exist_costs_only_its_own_tag(
    link: ScriptedLink, time: Time, profiles: Path
) -> None:
    points = "  - {tag: a, unit: '1', at: 0, type: u16}\n  - {tag: b, unit: '1', at: 5, type: u16}\n"
    write_profile(profiles, "gap", points, more="identification: false\n")
    link.answer = lambda unit, at, n: 2 if at <= 5 < at + n else words_of_unit(unit, at, n)
    reader = await connected(scripted_collector(profiles, link, [("d1", "gap", 1)]), time)
    await reader.until_s(4.5)
    last = reader.samples("d1")[-1]
    assert last.quality.tolist() == [Quality.GOOD, Quality.BAD]
    assert last.value[0] == 1000.0
    assert len(link.asked) == 1 + 2 * 4


async def test_a_missing_register_among_its_neighbours_costs_only_its_own_tag_and_is_remembered(
    link: ScriptedLink, time: Time, profiles: Path
) -> None:
    points = "".join(f"  - {{tag: t{n:02}, unit: '1', at: {n}, type: u16}}\n" for n in range(40))
    write_profile(profiles, "many", points, more="identification: false\n")
    link.answer = lambda unit, at, n: 2 if at <= 17 < at + n else words_of_unit(unit, at, n)
    reader = await connected(scripted_collector(profiles, link, [("d1", "many", 1)]), time)
    await reader.until_s(9.5)
    last = reader.samples("d1")[-1]
    assert sorted(last.tag[last.quality == Quality.BAD].tolist()) == [17]
    asked = [(a.address, a.count) for a in link.asked if a.at_s > 7.5]
    assert (17, 1) in asked
    assert len(asked) == 2 * len(set(asked)) <= 14, "the same few requests in each cycle"


async def test_a_silence_beside_a_refusal_cuts_nothing(link: ScriptedLink, time: Time, profiles: Path) -> None:
    points = "".join(f"  - {{tag: t{n}, unit: '1', at: {n}, type: u16}}\n" for n in (0, 1, 500, 501))
    write_profile(profiles, "two", points, more="identification: false\n")
    link.answer = lambda unit, at, n: (
        (2 if at == 0 else SilentError()) if time.since_start_s < 1 else words_of_unit(unit, at, n)
    )
    reader = await connected(scripted_collector(profiles, link, [("d1", "two", 1)]), time)
    await reader.until_s(8)
    assert {(a.address, a.count) for a in link.asked[-3:]} == {(0, 1), (1, 1), (500, 2)}


async def test_a_doubtful_reply_is_never_a_value_and_counted(link: ScriptedLink, time: Time, profiles: Path) -> None:
    link.answer = lambda unit, at, n: DoubtError("?") if 1 <= time.since_start_s < 2 else words_of_unit(unit, at, n)
    reader = await connected(scripted_collector(profiles, link, [("d1", "word", 1)]), time)
    await reader.until_s(8)
    assert reader.shed() == {"doubtful_replies": 1}
    assert [v for v in reader.values("d1") if not np.isnan(v)] == [1000.0] * (len(reader.values("d1")) - 1)


async def test_replies_that_stay_doubtful_are_told_with_the_reason(
    link: ScriptedLink, time: Time, profiles: Path
) -> None:
    link.answer = lambda unit, at, n: DoubtError("not a Modbus TCP header")
    reader = await connected(scripted_collector(profiles, link, [("d1", "word", 1)]), time)
    await reader.until_s(20)
    (trouble,) = reader.troubles("d1")
    assert trouble.code == "modbus.reply-doubtful"
    assert "not a Modbus TCP header" in trouble.en
    assert "modbus-rtu-tcp" in trouble.next_zh
    assert reader.proofs("d1") == []


async def test_polls_that_nobody_came_for_are_counted(link: ScriptedLink, time: Time, profiles: Path) -> None:
    reader = await connected(scripted_collector(profiles, link, [("d1", "word", 1), ("d2", "word", 2)]), time)
    await reader.until_s(2.5)
    time.pass_s(10)
    await reader.until_s(13.5)
    # beats at 3 … 12: one poll of each device is made late, nine of each were skipped
    assert reader.shed() == {"polls_skipped": 18}
    assert len(link.polls(1)) == 3 + 1 + 1


async def test_a_cancelled_read_loses_nothing_and_goes_on_where_it_was(
    link: ScriptedLink, time: Time, profiles: Path
) -> None:
    points = "".join(f"  - {{tag: t{n}, unit: '1', at: {1000 * n}, type: u16}}\n" for n in range(4))
    write_profile(profiles, "four", points, more="identification: false\n")
    collector = scripted_collector(profiles, link, [("d1", "four", 1)])
    reader = await connected(collector, time)
    reader.batches.append(await collector.read())
    cancelled_after: list[int] = []

    async def read_on() -> None:
        reader.batches.append(await collector.read())

    for steps in range(1, 12):
        task = asyncio.ensure_future(read_on())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        cancelled_after.append(len(link.asked))
    await reader.until_s(10)
    assert len(set(cancelled_after)) > 1, "the test cancelled nothing under way"
    for samples in reader.samples("d1"):
        assert samples.value.tolist() == [1000.0, 2000.0, 3000.0, 4000.0]


async def test_what_was_read_before_the_link_went_is_handed_over_first(
    link: ScriptedLink, time: Time, profiles: Path
) -> None:
    def answer(unit: int, at: int, n: int) -> list[int] | Exception:
        return LinkError("x", "断", "gone") if unit == 3 else words_of_unit(unit, at, n)

    link.answer = answer
    collector = scripted_collector(profiles, link, [(f"d{n}", "word", n) for n in (1, 2, 3, 4)])
    reader = await connected(collector, time)
    await collector.read()
    reader.batches.append(await collector.read())
    assert [name for name, _ in reader.batches[0].samples] == ["d1", "d2"]
    with pytest.raises(LinkError):
        await collector.read()
    await collector.close()
    link.answer = words_of_unit
    await collector.connect()
    await reader.until_s(2)
    assert reader.samples("d4")


async def test_a_slow_bus_hands_over_before_the_cycle_is_done(link: ScriptedLink, time: Time, profiles: Path) -> None:
    link.reply_s = 0.09
    reader = await connected(scripted_collector(profiles, link, TEN), time)
    await reader.until_s(0.99)
    first = next(batch for batch in reader.batches if batch.samples)
    assert 1 < len(first.samples) < 10


BASIC = bytes([0x2B, 0x0E, 0x01, 0x01, 0x00, 0x00, 0x03])
NAMED = BASIC + b"\x00\x05Maker" + b"\x01\x04M-42" + b"\x02\x031.0"


async def test_who_answers_43_14_is_announced_as_self_identified(
    link: ScriptedLink, time: Time, tmp_path: Path
) -> None:
    write_profile(tmp_path, "named", ONE_WORD)
    link.identities = {1: NAMED}
    devices = [("d1", "named", 1), ("d2", "named", 2)]
    reader = await connected(scripted_collector(tmp_path, link, devices), time)
    await reader.until_s(4)
    announced = [device for batch in reader.batches for device in batch.devices]
    assert [device.id for device in announced] == ["d1", "d2", "d1"]
    assert announced[0].evidence is Evidence.NATIVE
    assert announced[2].evidence is Evidence.SELF_IDENTIFIED
    assert (announced[2].identity.manufacturer, announced[2].identity.model) == ("Maker", "M-42")
    questions = [asked.unit for asked in link.asked if asked.function == 0x2B]
    assert sorted(questions) == [1, 2], "nobody is asked twice"


async def test_a_meter_clamped_on_an_old_machine_never_makes_it_self_identified(
    link: ScriptedLink, time: Time, tmp_path: Path
) -> None:
    more = "power_thresholds: {off_below_kw: 0.1, running_above_kw: 2, hysteresis_kw: 0.1, dwell_s: 5}\n"
    write_profile(tmp_path, "clamp", "  - {tag: power, at: 0, type: u16}\n", evidence="retrofit", more=more)
    link.identities = {1: NAMED}
    reader = await connected(scripted_collector(tmp_path, link, [("lathe", "clamp", 1)]), time)
    await reader.until_s(3)
    last = [device for batch in reader.batches for device in batch.devices][-1]
    assert last.evidence is Evidence.RETROFIT
    assert last.identity.model == "M-42"
    assert last.power_thresholds is not None
    assert last.power_thresholds.running_above_kw == 2


@pytest.mark.parametrize(
    "reply", [b"", NAMED[:-1], BASIC + b"\x00\xff", NAMED[:3], b"\x2b\x0d" + NAMED[2:], BASIC + b"\x00\x00" * 3]
)
async def test_a_malformed_identification_is_none(reply: bytes, link: ScriptedLink, time: Time, tmp_path: Path) -> None:
    write_profile(tmp_path, "named", ONE_WORD)
    link.identities = {1: reply or b"\x2b"}
    reader = await connected(scripted_collector(tmp_path, link, [("d1", "named", 1)]), time)
    await reader.until_s(3)
    assert [device.evidence for batch in reader.batches for device in batch.devices] == [Evidence.NATIVE]
    assert len(reader.samples("d1")) == 3


async def test_two_devices_of_one_unit_share_its_silence(link: ScriptedLink, time: Time, profiles: Path) -> None:
    link.answer = lambda unit, at, n: SilentError() if unit == 1 else words_of_unit(unit, at, n)
    devices = [("a", "word", 1), ("b", "word", 1), ("c", "word", 2)]
    reader = await connected(scripted_collector(profiles, link, devices), time)
    await reader.until_s(1.9)
    assert len(link.polls(1)) == 1, "the second device need not wait for a time-out of its own"
    assert len(link.polls(2)) == 2


async def test_a_line_without_a_lasting_name_is_told_once(time: Time, profiles: Path) -> None:
    link = ScriptedLink(time, words_of_unit)
    link.address = parse_address("modbus-rtu:///dev/ttyUSB0?baudrate=9600")
    collector = scripted_collector(profiles, link, [("d1", "word", 1)])
    reader = await connected(collector, time)
    await reader.until_s(1.5)
    await collector.close()
    await collector.connect()
    await reader.until_s(3.5)
    (told,) = reader.troubles("modbus-rtu:///dev/ttyUSB0?baudrate=9600")
    assert told.code == "modbus.unstable-path"
    assert "by-id" in told.next_en
