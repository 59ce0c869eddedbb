"""Scan and read against a station, as the person at the cabinet uses them."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

from collectors.modbus.config import ModbusEntry
from collectors.modbus.tools import read_once, scan
from collectors.model import ConfigError, LinkError, Quality
from collectors.profiles.loader import BUILT_IN
from metrics.record import Evidence
from simulators.ledger import Ledger
from simulators.modbus_server import ModbusStation
from simulators.physics import Machine
from tests.collectors.modbus.plants import BAUDRATE


@pytest.fixture
async def simulator() -> AsyncIterator[ModbusStation]:
    plc = Machine("moulding-1", "moulding", seed=3, start_energy_kwh=100, manufacturer="示例机械", model="SM-160")
    units = {
        1: ("moulding-plc", plc),
        2: ("sdm630", Machine("m2", "meter-electricity", start_energy_kwh=200)),
        4: ("sdm120", Machine("m4", "meter-electricity")),
        5: ("dtsu666", Machine("m5", "meter-electricity")),
        6: ("dtsu666-401e", Machine("m6", "meter-electricity")),
        7: ("iem3000", Machine("m7", "meter-electricity")),
        8: ("pac3200", Machine("m8", "meter-electricity")),
        9: ("water-meter", Machine("m9", "meter-water")),
    }
    station = ModbusStation(units, Ledger())
    await station.start()
    yield station
    await station.stop()


def entry(address: str, profile: str, unit: int = 1) -> ModbusEntry:
    return ModbusEntry(id="it", profile=profile, address=address, unit=unit, timeout_ms=300)


async def test_read_brings_every_tag_with_its_unit_in_the_profile_s_order(simulator: ModbusStation) -> None:
    before_ns = time.time_ns()
    readings = await read_once(entry(simulator.address, "plc-moulding"), [], time.time_ns)
    assert [reading.tag for reading in readings][:3] == ["sheet_version", "state", "parts"]
    by_tag = {reading.tag: reading for reading in readings}
    assert by_tag["state"].value == simulator.units[1][1].state
    assert by_tag["energy_import"].value == pytest.approx(simulator.units[1][1].energy_kwh, abs=0.02)
    assert by_tag["energy_import"].unit == "kWh"
    assert by_tag["oil_temperature"].value is None
    assert by_tag["oil_temperature"].quality is Quality.BAD
    assert all(before_ns <= reading.received_ns <= time.time_ns() for reading in readings)
    assert all(reading.source_ns == 0 for reading in readings)


async def test_read_brings_only_the_tags_asked_for(simulator: ModbusStation) -> None:
    readings = await read_once(entry(simulator.address, "eastron-sdm630", 2), ["power", "frequency"], time.time_ns)
    assert [(reading.tag, reading.unit) for reading in readings] == [("power", "kW"), ("frequency", "Hz")]
    assert readings[1].value == pytest.approx(50.01, abs=1e-3)


async def test_read_goes_around_what_the_device_does_not_have(simulator: ModbusStation, tmp_path: Path) -> None:
    text = (BUILT_IN / "eastron-sdm630.yaml").read_text(encoding="utf-8")
    beyond = "  - {tag: energy_total, at: 30343, type: f32}\n  - {tag: more, unit: '1', at: 30345, type: f32}\n"
    odd = text.replace("profile: eastron-sdm630", "profile: odd") + beyond
    (tmp_path / "odd.yaml").write_text(odd, encoding="utf-8")
    readings = await read_once(entry(simulator.address, "odd", 2), [], time.time_ns, [tmp_path])
    assert [reading.tag for reading in readings if reading.quality is Quality.BAD] == ["more"]


async def test_a_tag_that_the_profile_lacks_is_named_with_those_it_has(simulator: ModbusStation) -> None:
    with pytest.raises(ConfigError) as failure:
        await read_once(entry(simulator.address, "eastron-sdm630", 2), ["volt"], time.time_ns)
    assert "voltage_l1" in failure.value.next_en


async def test_a_silent_unit_and_a_dead_address_are_link_errors(simulator: ModbusStation) -> None:
    with pytest.raises(LinkError) as silent:
        await read_once(entry(simulator.address, "eastron-sdm630", 99), [], time.time_ns)
    assert silent.value.code == "modbus.unit-silent"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"modbus-tcp://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(LinkError) as dead:
        await read_once(entry(nobody, "eastron-sdm630"), [], time.time_ns)
    assert dead.value.code == "modbus.refused"
    with pytest.raises(LinkError):
        await scan(nobody, 1, time.time_ns)


async def test_scan_finds_every_unit_and_tells_the_models_apart(simulator: ModbusStation) -> None:
    found = {one.unit: one for one in await scan(simulator.address, 2.5, time.time_ns)}
    assert {unit: (one.profile, one.device_class) for unit, one in found.items()} == {
        1: ("plc-moulding", "injection-moulding"),
        2: ("eastron-sdm630", "meter-electricity"),
        4: ("eastron-sdm120", "meter-electricity"),
        5: ("chint-dtsu666", "meter-electricity"),
        6: ("chint-dtsu666-401e", "meter-electricity"),
        7: ("schneider-iem3000", "meter-electricity"),
        8: ("siemens-pac3200", "meter-electricity"),
        9: ("", "plc"),
    }
    assert (found[1].identity.manufacturer, found[1].identity.model) == ("示例机械", "SM-160")
    assert found[1].evidence is Evidence.SELF_IDENTIFIED
    assert found[2].evidence is Evidence.NATIVE
    assert found[2].identity.manufacturer == "Eastron"
    assert simulator.writes == 0


async def test_scan_believes_a_device_that_names_its_model_and_reads_the_others() -> None:
    """Two maps that plausible readings cannot tell apart, and one that is dead: the name decides."""
    units = {
        1: ("iem3000", Machine("m1", "meter-electricity", manufacturer="Schneider Electric", model="METSEPM5110")),
        2: ("iem3000", Machine("m2", "meter-electricity", manufacturer="Schneider Electric", model="iEM3155")),
        3: ("iem3000", Machine("m3", "meter-electricity", manufacturer="Another", model="X1")),
    }
    station = ModbusStation(units, Ledger())
    await station.start()
    try:
        found = {one.unit: one for one in await scan(station.address, 1.5, time.time_ns)}
    finally:
        await station.stop()
    assert {unit: one.profile for unit, one in found.items()} == {
        1: "schneider-pm5000",
        2: "schneider-iem3000",
        3: "schneider-iem3000",
    }
    assert found[3].identity.manufacturer == "Another", "what it says of itself is shown as it is"


@pytest.mark.parametrize("framing", ["rtu", "serial"])
async def test_scan_finds_units_on_a_line(framing: Literal["rtu", "serial"]) -> None:
    units = {
        1: ("sdm630", Machine("m1", "meter-electricity")),
        3: ("dtsu666", Machine("m3", "meter-electricity", seed=3)),
    }
    station = ModbusStation(units, Ledger(), framing=framing)
    await station.start()
    try:
        found = await scan(station.address, 2.5, time.time_ns)
    finally:
        await station.stop()
    assert [(one.unit, one.profile) for one in found] == [(1, "eastron-sdm630"), (3, "chint-dtsu666")]
    assert station.writes == 0


async def test_scan_ends_in_time_and_refuses_an_address_that_is_none(simulator: ModbusStation) -> None:
    started = time.monotonic()
    await scan(simulator.address, 0.5, time.time_ns)
    assert time.monotonic() - started < 2
    with pytest.raises(ConfigError, match="host:port"):
        await scan("modbus-tcp://:502", 1, time.time_ns)


async def test_scan_goes_on_after_a_device_that_hangs_up_on_foreign_units() -> None:
    class Strict(ModbusStation):
        def answer(self, unit: int, pdu: bytes) -> bytes | None:
            if unit not in self.units:
                for writer in self._writers:
                    writer.transport.abort()
            return super().answer(unit, pdu)

    station = Strict({3: ("sdm630", Machine("m3", "meter-electricity"))}, Ledger())
    await station.start()
    try:
        found = await scan(station.address, 1.0, time.time_ns)
    finally:
        await station.stop()
    assert [one.unit for one in found] == [3]


async def test_scan_shows_a_host_that_answers_for_every_unit_id_once() -> None:
    station = ModbusStation({1: ("sdm630", Machine("m1", "meter-electricity"))}, Ledger())
    station.ignores_unit_ids = True
    await station.start()
    try:
        found = await scan(station.address, 5.0, time.time_ns)
    finally:
        await station.stop()
    assert [(one.unit, one.profile) for one in found] == [(1, "eastron-sdm630")]


@pytest.mark.parametrize("framing", ["tcp", "serial"])
async def test_scan_waits_for_devices_that_answer_late(framing: Literal["tcp", "serial"]) -> None:
    units = {
        1: ("sdm630", Machine("m1", "meter-electricity")),
        3: ("dtsu666", Machine("m3", "meter-electricity", seed=3)),
    }
    station = ModbusStation(units, Ledger(), framing=framing, baudrate=BAUDRATE)
    station.delay_s = {3: 0.35}
    await station.start()
    try:
        found = await scan(station.address, 4.0, time.time_ns)
    finally:
        await station.stop()
    assert [(one.unit, one.profile) for one in found] == [(1, "eastron-sdm630"), (3, "chint-dtsu666")]


async def test_scan_finds_what_hangs_behind_a_gateway_that_takes_long_to_call_a_unit_silent() -> None:
    station = ModbusStation({4: ("sdm630", Machine("m4", "meter-electricity"))}, Ledger())
    station.verdict_s = 0.5
    await station.start()
    try:
        found = await scan(station.address, 5.0, time.time_ns)
    finally:
        await station.stop()
    assert [(one.unit, one.profile) for one in found] == [(4, "eastron-sdm630")]


async def test_scan_tries_the_usual_speeds_of_a_line_whose_address_states_none() -> None:
    station = ModbusStation(
        {2: ("sdm630", Machine("m2", "meter-electricity"))}, Ledger(), framing="serial", baudrate=19200
    )
    await station.start()
    bare = station.address.partition("?")[0]
    try:
        found = await scan(bare, 6.0, time.time_ns)
        as_stated = await scan(f"{bare}?baudrate=9600", 1.0, time.time_ns)
    finally:
        await station.stop()
    (one,) = found
    assert (one.unit, one.profile) == (2, "eastron-sdm630")
    assert one.address == f"{bare}?baudrate=19200&parity=E", "as it is to be written into the plant's file"
    assert as_stated == []
