"""Two counters of one meter as two devices, transformer ratios, scale registers, identity in registers, retry."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from collectors.base import AsksSilentDevices
from collectors.modbus.breaker import Breaker
from collectors.modbus.config import ModbusEntry
from collectors.modbus.device import PolledDevice, polled_device
from collectors.modbus.framing import DoubtError
from collectors.modbus.link import SilentError
from collectors.modbus.profile import load_modbus
from collectors.model import ConfigError, Quality, Role
from metrics.record import Evidence
from tests.collectors.modbus.scripted import ScriptedLink, Time, scripted_collector, write_profile
from tests.collectors.modbus.test_codec import decode, profile
from tests.collectors.modbus.test_collector_behaviour import ONE_WORD, Reader, connected, words_of_unit

TWO_WAY = """\
  - {tag: power, at: 0, type: i16, scale: 0.1}
  - {tag: energy_import, at: 2, type: u32, block: energy}
  - {tag: energy_export, at: 4, type: u32, block: energy}
"""
MEMORY = [0xFFF6, 0, 0, 4711, 0, 12]


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def link(time: Time) -> ScriptedLink:
    return ScriptedLink(time, words_of_unit)


async def two_way(link: ScriptedLink, time: Time, folder: Path, **more: Any) -> Reader:
    write_profile(folder, "two-way", TWO_WAY, more="identification: false\n")
    link.answer = lambda unit, at, n: MEMORY[at : at + n]
    return await connected(scripted_collector(folder, link, [("roof", "two-way", 1)], **more), time)


async def test_a_two_way_meter_counts_import_alone_under_its_own_id(
    link: ScriptedLink, time: Time, tmp_path: Path
) -> None:
    reader = await two_way(link, time, tmp_path)
    await reader.until_s(1.5)
    (device,) = [device for batch in reader.batches for device in batch.devices]
    assert (device.id, device.direction) == ("roof", "import")
    assert [(tag.name, tag.role) for tag in device.tags] == [
        ("power", Role.POWER),
        ("energy_import", Role.QUANTITY),
        ("energy_export", Role.GAUGE),
    ]


async def test_import_and_export_are_two_devices_of_one_meter(link: ScriptedLink, time: Time, tmp_path: Path) -> None:
    reader = await two_way(link, time, tmp_path, counts=["import", "export"])
    await reader.until_s(2.5)
    main, export = [device for batch in reader.batches for device in batch.devices]
    assert (main.id, main.entry, main.carrier, main.unit, main.direction) == (
        "roof/import",
        "roof",
        "electricity",
        "kWh",
        "import",
    )
    assert (export.id, export.entry, export.carrier, export.unit, export.direction) == (
        "roof/export",
        "roof",
        "electricity",
        "kWh",
        "export",
    )
    assert [(tag.name, tag.role) for tag in export.tags] == [("energy_export", Role.QUANTITY)]
    assert export.tags[0].modulus == 2**32
    assert set(reader.values("roof/export")) == {12.0}
    assert sorted(set(reader.values("roof/import"))) == [-1.0, 12.0, 4711.0]
    assert all(samples.tag.tolist() == [0] for samples in reader.samples("roof/export"))
    assert len(reader.proofs("roof/export")) == len(reader.proofs("roof/import")) == 3
    assert len(link.asked) == 3, "both are read by the same request"


async def test_a_silent_two_way_meter_makes_both_its_devices_bad(
    link: ScriptedLink, time: Time, tmp_path: Path
) -> None:
    reader = await two_way(link, time, tmp_path, counts=["import", "export"])
    link.answer = lambda *_: SilentError()
    await reader.until_s(1.5)
    for device in ("roof/import", "roof/export"):
        assert all((samples.quality == Quality.BAD).all() for samples in reader.samples(device))
        assert not reader.proofs(device)


async def test_export_alone_is_counted_under_the_entry_s_id(link: ScriptedLink, time: Time, tmp_path: Path) -> None:
    reader = await two_way(link, time, tmp_path, counts=["export"])
    await reader.until_s(1.5)
    (device,) = [device for batch in reader.batches for device in batch.devices]
    assert (device.id, device.direction) == ("roof", "export")
    index = device.tag_index(Role.QUANTITY)
    assert index is not None
    assert device.tags[index].name == "energy_export"


def polled(folder: Path, name: str, **more: Any) -> PolledDevice:
    entry = ModbusEntry(id="m", profile=name, address="modbus-tcp://192.0.2.1", **more)
    return polled_device(entry, load_modbus(name, [folder]), Breaker())


def test_what_a_profile_does_not_count_is_refused_with_what_it_does(tmp_path: Path) -> None:
    write_profile(tmp_path, "two-way", TWO_WAY)
    with pytest.raises(ConfigError) as failure:
        polled(tmp_path, "two-way", counts=["water"])
    assert failure.value.code == "modbus.counts-unknown"
    assert "import, export" in failure.value.next_en


def test_two_carriers_are_two_devices_without_being_asked_for(tmp_path: Path) -> None:
    both = "  - {tag: energy_import, at: 0, type: u32}\n  - {tag: water_volume, at: 2, type: u32}\n"
    write_profile(tmp_path, "both", both)
    assert [(d.id, d.carrier, d.unit) for d in polled(tmp_path, "both").devices] == [
        ("m/import", "electricity", "kWh"),
        ("m/water", "water", "m³"),
    ]


SECONDARY = """\
  - {tag: energy_import, at: 0, type: u32, scale: 0.01, times: [pt_ratio, ct_ratio]}
  - {tag: voltage_l1, at: 2, type: u16, scale: 0.1, times: [pt_ratio]}
"""
READABLE = SECONDARY + "  - {tag: pt_ratio, at: 3, type: u16}\n  - {tag: ct_ratio, at: 4, type: u16}\n"


def test_ratios_that_only_the_entry_knows_must_be_stated(tmp_path: Path) -> None:
    write_profile(tmp_path, "secondary", SECONDARY)
    with pytest.raises(ConfigError) as failure:
        polled(tmp_path, "secondary", ct_ratio=50)
    assert failure.value.code == "modbus.ratio-missing"
    assert "pt_ratio" in failure.value.en
    stated = polled(tmp_path, "secondary", ct_ratio=50, pt_ratio=100)
    assert decode(stated.profile, bytes.fromhex("00000064 08FE")) == {
        "energy_import": pytest.approx(5000.0),
        "voltage_l1": pytest.approx(23020.0),
    }
    assert stated.device.tags[0].modulus == pytest.approx(2**32 * 0.01 * 5000)


def test_ratios_that_the_meter_tells_are_read_with_its_values(tmp_path: Path) -> None:
    write_profile(tmp_path, "readable", READABLE)
    read = polled(tmp_path, "readable")
    assert read.device.tags[0].modulus is None, "it wraps where its ratio says"
    assert decode(read.profile, bytes.fromhex("00000064 08FE 0002 0014")) == {
        "energy_import": pytest.approx(40.0),
        "voltage_l1": pytest.approx(460.4),
        "pt_ratio": 2.0,
        "ct_ratio": 20.0,
    }
    overruled = polled(tmp_path, "readable", ct_ratio=30)
    assert decode(overruled.profile, bytes.fromhex("00000064 08FE 0002 0014"))["energy_import"] == pytest.approx(60.0)


def test_a_ratio_for_a_profile_of_primary_values_is_refused(tmp_path: Path) -> None:
    write_profile(tmp_path, "two-way", TWO_WAY)
    with pytest.raises(ConfigError) as failure:
        polled(tmp_path, "two-way", ct_ratio=50)
    assert failure.value.code == "modbus.ratio-not-used"


@pytest.mark.parametrize(
    ("exponent", "expected"), [("FFFE", 12.34), ("0000", 1234.0), ("0003", 1_234_000.0), ("8000", None)]
)
def test_a_scale_register_moves_the_decimal_point(exponent: str, expected: float | None) -> None:
    points = [
        {"tag": "power", "at": 0, "type": "i16", "exponent": "power_sf"},
        {"tag": "power_sf", "unit": "1", "at": 1, "type": "i16"},
    ]
    found = decode(profile(points), bytes.fromhex("04D2" + exponent))["power"]
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("word", ["0000", "FFFF"])
def test_a_ratio_that_is_none_makes_no_value(word: str) -> None:
    points = [
        {"tag": "power", "at": 0, "type": "u16", "times": ["ct_ratio"]},
        {"tag": "ct_ratio", "at": 1, "type": "u16", "absent": [0xFFFF]},
    ]
    assert decode(profile(points), bytes.fromhex("04D2" + word))["power"] is None


SERIAL = """\
identification: false
identity:
  - {field: serial, at: 100, type: string, registers: 4}
  - {field: model, at: 110, type: u32}
"""


async def test_a_serial_in_registers_is_announced_and_asked_once(
    link: ScriptedLink, time: Time, tmp_path: Path
) -> None:
    write_profile(tmp_path, "told", ONE_WORD, more=SERIAL)
    texts = {100: [0x3231, 0x3042, 0x3700, 0x4141], 110: [0x0001, 0xE240]}
    link.answer = lambda unit, at, n: texts.get(at, [7] * n)
    reader = await connected(scripted_collector(tmp_path, link, [("d1", "told", 1)]), time)
    await reader.until_s(3.5)
    announced = [device for batch in reader.batches for device in batch.devices]
    assert [(d.identity.serial, d.identity.model) for d in announced] == [("", ""), ("210B7", "123456")]
    assert announced[-1].evidence is Evidence.NATIVE, "registers named by the profile are no identification"
    assert [asked.address for asked in link.asked if asked.address >= 100] == [100, 110]


@pytest.mark.parametrize("words", [[0] * 4, [0xFFFF] * 4, [0x2020] * 4])
async def test_a_blank_serial_is_none(words: list[int], link: ScriptedLink, time: Time, tmp_path: Path) -> None:
    write_profile(tmp_path, "told", ONE_WORD, more=SERIAL)
    link.answer = lambda unit, at, n: words if at == 100 else 2 if at == 110 else [7] * n
    reader = await connected(scripted_collector(tmp_path, link, [("d1", "told", 1)]), time)
    await reader.until_s(2.5)
    assert [device.identity.serial for batch in reader.batches for device in batch.devices] == [""]


async def test_a_silent_unit_is_asked_at_once_when_a_person_says_so(
    link: ScriptedLink, time: Time, tmp_path: Path
) -> None:
    write_profile(tmp_path, "word", ONE_WORD, more="identification: false\n")
    is_dead = True
    link.answer = lambda unit, at, n: SilentError() if unit == 1 and is_dead else words_of_unit(unit, at, n)
    collector = scripted_collector(tmp_path, link, [("d1", "word", 1), ("d2", "word", 2)])
    reader = await connected(collector, time)
    await reader.until_s(200)
    asked = len(link.polls(1))
    is_dead = False
    assert isinstance(collector, AsksSilentDevices)
    assert (collector.retry("d2"), collector.retry("nobody")) == (0, 0)
    assert collector.retry() == 1
    began_s = time.since_start_s
    await reader.until_s(began_s + 2)
    assert link.polls(1)[asked] <= began_s + 1.1
    assert collector.retry() == 0, "it answers again"


async def test_a_retry_takes_the_id_of_an_entry_or_of_any_device_in_it(
    link: ScriptedLink, time: Time, tmp_path: Path
) -> None:
    write_profile(tmp_path, "two-way", TWO_WAY, more="identification: false\n")
    link.answer = lambda *_: SilentError()
    collector = scripted_collector(tmp_path, link, [("roof", "two-way", 1)], counts=["import", "export"])
    reader = await connected(collector, time)
    await reader.until_s(20)
    assert [collector.retry(name) for name in ("roof", "roof/import", "roof/export", "roof/gas")] == [1, 1, 1, 0]


async def test_a_retry_does_not_wait_for_a_slow_poll(link: ScriptedLink, time: Time, tmp_path: Path) -> None:
    slow = "identification: false\nevery_s: 600\n"
    write_profile(tmp_path, "slow", ONE_WORD, more=slow)
    text = (tmp_path / "slow.yaml").read_text(encoding="utf-8").replace("liveness_s: 5", "liveness_s: 1800")
    (tmp_path / "slow.yaml").write_text(text, encoding="utf-8")
    link.answer = lambda *_: SilentError()
    collector = scripted_collector(tmp_path, link, [("d1", "slow", 1)])
    reader = await connected(collector, time)
    await reader.until_s(30)
    asked = len(link.polls(1))
    assert collector.retry("d1") == 1
    await reader.until_s(32)
    assert len(link.polls(1)) == asked + 1
    assert link.polls(1)[-1] < 31.5


async def test_a_retry_that_finds_nobody_starts_the_waits_anew(link: ScriptedLink, time: Time, tmp_path: Path) -> None:
    write_profile(tmp_path, "word", ONE_WORD, more="identification: false\n")
    link.answer = lambda unit, at, n: SilentError() if unit == 1 else words_of_unit(unit, at, n)
    collector = scripted_collector(tmp_path, link, [("d1", "word", 1), ("d2", "word", 2)])
    reader = await connected(collector, time)
    await reader.until_s(400)
    collector.retry("d1")
    await reader.until_s(430)
    after = [at for at in link.polls(1) if at > 399]
    assert len(after) >= 4, "2 s, 4 s, 6 s … as for a unit that has just gone silent"


async def test_a_probe_waits_for_a_cycle_with_room_for_its_time_limit(
    link: ScriptedLink, time: Time, tmp_path: Path
) -> None:
    """A line that is busy most of the cycle: the dead unit is not asked where it would delay the next beat."""
    write_profile(tmp_path, "word", ONE_WORD, more="identification: false\n")
    link.reply_s = 0.09
    link.answer = lambda unit, at, n: SilentError() if unit == 10 else words_of_unit(unit, at, n)
    devices = [(f"d{unit}", "word", unit) for unit in range(1, 11)]
    reader = await connected(scripted_collector(tmp_path, link, devices, timeout_ms=500), time)
    await reader.until_s(600)
    beats = [at for at in link.polls(1) if at > 3]
    late = [at for at in beats if not math.isclose(at % 1, 0, abs_tol=0.001)]
    probes = [at for at in link.polls(10) if at > 3]
    assert 10 <= len(probes) <= 20, "put off, but not for ever"
    assert len(late) <= 2 * len(probes)
    assert len(late) < 0.05 * len(beats)


async def test_one_spoilt_reply_costs_one_cycle_and_two_in_a_row_a_rest(
    link: ScriptedLink, time: Time, tmp_path: Path
) -> None:
    write_profile(tmp_path, "word", ONE_WORD, more="identification: false\n")
    spoilt = {3.0}
    link.answer = lambda unit, at, n: (
        DoubtError("noise") if round(time.since_start_s) in spoilt else words_of_unit(unit, at, n)
    )
    reader = await connected(scripted_collector(tmp_path, link, [("d1", "word", 1)]), time)
    await reader.until_s(6.5)
    assert [round(at) for at in link.polls(1)] == [0, 1, 2, 3, 4, 5, 6]
    spoilt |= {8.0, 9.0}
    await reader.until_s(14.5)
    assert [round(at) for at in link.polls(1) if at > 6.5] == [7, 8, 9, 12, 13, 14]
