"""Slow lines, crowded lines, slow gateways, and meters that are exchanged while nobody answers. Time is scripted."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from collectors.modbus.link import SilentError
from collectors.model import Samples
from tests.collectors.modbus.scripted import ScriptedLink, Time, scripted_collector, write_profile
from tests.collectors.modbus.test_collector_behaviour import ONE_WORD, TEN, connected, words_of_unit

QUIET = "identification: false\n"
AT_2400_BAUD = 11 / 2400


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def link(time: Time) -> ScriptedLink:
    return ScriptedLink(time, words_of_unit)


async def test_the_time_limit_leaves_room_for_the_characters_on_the_line(
    link: ScriptedLink, time: Time, tmp_path: Path
) -> None:
    points = ONE_WORD + "  - {tag: y, unit: '1', at: 99, type: u16}\n"
    write_profile(tmp_path, "long", points, more=QUIET + "gap_limit: 120\n")
    link.character_s = AT_2400_BAUD
    reader = await connected(scripted_collector(tmp_path, link, [("d1", "long", 1)], timeout_ms=300), time)
    await reader.until_s(0.5)
    # request 8, reply 5 and 200 characters of 11 bits
    assert link.asked[0].limit_s == pytest.approx(0.3 + 213 * AT_2400_BAUD)


async def test_a_line_too_slow_for_its_devices_keeps_them_connected_and_is_told(
    link: ScriptedLink, time: Time, tmp_path: Path
) -> None:
    """Ten devices of 0.9 s each: a cycle of nine seconds, where a reply proves five."""
    write_profile(tmp_path, "word", ONE_WORD, more=QUIET)
    link.reply_s = 0.9
    collector = scripted_collector(tmp_path, link, TEN, timeout_ms=2000)
    reader = await connected(collector, time)
    await reader.until_s(100)
    for device, _, unit in TEN:
        proofs = reader.proofs(device)
        assert len(proofs) >= 10
        for before, after in pairwise(proofs[1:]):
            assert after.at_ns <= before.at_ns + before.lasts_s * 1e9, f"unit {unit} seemed lost"
    (told,) = reader.troubles(f"{collector.link}/load")
    assert told.code == "modbus.link-overloaded"
    assert "9.0" in told.zh
    assert "every_s" in told.next_en
    link.reply_s = 0.01
    await reader.until_s(120)
    assert [trouble.code for trouble in reader.troubles(f"{collector.link}/load")] == ["modbus.link-overloaded", ""]
    assert reader.proofs("d1")[-1].lasts_s == 5.0


async def test_a_slow_line_is_known_before_the_first_cycle_is_over(
    link: ScriptedLink, time: Time, tmp_path: Path
) -> None:
    write_profile(tmp_path, "word", ONE_WORD, more=QUIET)
    link.character_s = 0.06  # 15 characters a device and cycle
    link.reply_s = 0.9
    reader = await connected(scripted_collector(tmp_path, link, TEN), time)
    await reader.until_s(12)
    first, second = reader.proofs("d1")[:2]
    assert second.at_ns <= first.at_ns + first.lasts_s * 1e9


async def test_nobody_reading_for_a_while_is_no_slow_line(link: ScriptedLink, time: Time, tmp_path: Path) -> None:
    write_profile(tmp_path, "word", ONE_WORD, more=QUIET)
    collector = scripted_collector(tmp_path, link, TEN)
    reader = await connected(collector, time)
    for end_s in range(10, 70, 10):
        await reader.until_s(end_s - 5)
        time.pass_s(5)
    assert reader.troubles(f"{collector.link}/load") == []
    assert {proof.lasts_s for proof in reader.proofs("d1")} == {5.0}


@pytest.mark.parametrize(("every_s", "lasts_s"), [(2, 5.0), (10, 25.0)])
async def test_an_entry_may_slow_its_device_down(
    every_s: float, lasts_s: float, link: ScriptedLink, time: Time, tmp_path: Path
) -> None:
    points = ONE_WORD + "  - {tag: slow, unit: '1', at: 500, type: u16, every_s: 60}\n"
    write_profile(tmp_path, "two-rates", points, more=QUIET)
    reader = await connected(scripted_collector(tmp_path, link, [("d1", "two-rates", 1)], every_s=every_s), time)
    await reader.until_s(119)
    assert np.diff([asked.at_s for asked in link.asked if asked.address == 0][1:]) == pytest.approx(every_s)
    assert len([asked for asked in link.asked if asked.address == 500]) == 2
    assert {proof.lasts_s for proof in reader.proofs("d1")} == {lasts_s}


async def test_a_probe_waits_for_the_verdict_of_the_gateway_before_the_unit(
    link: ScriptedLink, time: Time, tmp_path: Path
) -> None:
    write_profile(tmp_path, "word", ONE_WORD, more=QUIET)
    link.answer = lambda unit, at, n: SilentError() if unit == 4 else words_of_unit(unit, at, n)
    reader = await connected(scripted_collector(tmp_path, link, TEN, timeout_ms=300), time)
    await reader.until_s(10)
    assert {asked.limit_s for asked in link.asked} == {0.3}
    link.verdicts_s = {4: 3.0}
    await reader.until_s(100)
    later = [asked for asked in link.asked if asked.at_s > 10]
    assert {asked.limit_s for asked in later if asked.unit == 4} == {3.75}
    assert {asked.limit_s for asked in later if asked.unit != 4} == {0.3}


async def test_a_reply_that_came_only_to_a_patient_probe_tells_to_raise_the_time_limit(
    link: ScriptedLink, time: Time, tmp_path: Path
) -> None:
    write_profile(tmp_path, "word", ONE_WORD, more=QUIET)
    link.answer = lambda unit, at, n: SilentError() if link.asked[-1].limit_s < 0.8 else words_of_unit(unit, at, n)
    reader = await connected(scripted_collector(tmp_path, link, [("d1", "word", 1)], timeout_ms=300), time)
    link.verdicts_s, link.reply_s = {1: 0.8}, 0.8
    await reader.until_s(60)
    (told,) = reader.troubles("d1")
    assert told.code == "modbus.unit-slow"
    assert "timeout_ms" in told.next_zh
    assert "1200" in told.next_en


NUMBERED = """\
identification: false
identity:
  - {field: serial, at: 100, type: u32}
"""


async def test_another_meter_says_who_it_is_before_its_readings_are_counted(
    link: ScriptedLink, time: Time, tmp_path: Path
) -> None:
    write_profile(tmp_path, "numbered", "  - {tag: energy_import, at: 0, type: u32}\n", more=NUMBERED)
    meter = [(0, 4711), (0, 500)]  # serial number, reading

    def answer(unit: int, at: int, n: int) -> list[int] | Exception:
        if 10 < time.since_start_s < 30:
            return SilentError()
        return list(meter[0] if at == 100 else meter[1])

    link.answer = answer
    reader = await connected(scripted_collector(tmp_path, link, [("d1", "numbered", 1)]), time)
    await reader.until_s(20)
    meter[:] = [(0, 4712), (0, 900)]
    await reader.until_s(60)
    serials = [(n, d.identity.serial) for n, batch in enumerate(reader.batches) for d in batch.devices]
    assert [serial for _, serial in serials] == ["", "4711", "4712"]

    def first_with(value: float) -> int:
        return next(n for n, batch in enumerate(reader.batches) if value in values_of(batch.samples))

    assert serials[1][0] <= first_with(500)
    assert serials[2][0] <= first_with(900)
    assert sum(asked.address == 100 for asked in link.asked) == 2, "asked once, and once after the silence"


def values_of(samples: object) -> list[float]:
    assert isinstance(samples, list)
    return [value for _, columns in samples if isinstance(columns, Samples) for value in columns.value.tolist()]


async def test_an_identification_left_unanswered_rests_the_unit_and_is_not_repeated(
    link: ScriptedLink, time: Time, tmp_path: Path
) -> None:
    """Its reply may still come: on a line it could pass for the next one."""
    write_profile(tmp_path, "word", ONE_WORD)
    ask = link.ask

    async def deaf_to_identification(unit: int, pdu: bytes, reply_bytes: int | None, timeout_s: float) -> bytes:
        if pdu[0] == 0x2B:
            link.identified_s.append(time.since_start_s)
            await time.sleep(timeout_s)
            raise SilentError
        return await ask(unit, pdu, reply_bytes, timeout_s)

    link.ask = deaf_to_identification  # type: ignore[method-assign]
    reader = await connected(scripted_collector(tmp_path, link, [("d1", "word", 1)], timeout_ms=900), time)
    await reader.until_s(10)
    assert len(link.identified_s) == 1
    given_up_s = link.identified_s[0] + 0.9
    assert min(at_s for at_s in link.polls(1) if at_s > link.identified_s[0]) >= given_up_s + 0.9
    assert reader.troubles("d1") == []
