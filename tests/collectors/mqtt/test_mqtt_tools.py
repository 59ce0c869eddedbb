"""Scan and read once, as the person at the cabinet uses them, against a real broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from collectors.findings import ToolReading
from collectors.model import ConfigError, LinkError, Quality
from collectors.mqtt.tools import read_once, scan
from metrics.record import Evidence
from simulators.broker import Mosquitto
from simulators.ledger import Ledger
from simulators.mqtt_client import MachineClient
from simulators.mqtt_machine import JsonMachine
from simulators.sparkplug_node import SparkplugNode
from tests.collectors.mqtt.plants import json_entry, machine, node_entry, published_by_us
from tests.waiting import until

PERIOD_S = 0.1


@pytest.fixture
async def plant(mosquitto: Mosquitto) -> AsyncIterator[Mosquitto]:
    """A broker with a JSON machine, an edge node of two, and something nobody knows."""
    where = {"host": mosquitto.host, "port": mosquitto.port}
    edm = JsonMachine(machine("edm-1"), Ledger(), topic="plant/edm-1/status", period_s=PERIOD_S, **where)
    assembly = [machine("asm-1", "assembly"), machine("asm-2", "assembly")]
    node = SparkplugNode("plant", "assembly", assembly, Ledger(), period_s=PERIOD_S, **where)
    stranger = MachineClient(mosquitto.host, mosquitto.port, "stranger")
    await edm.start()
    await node.start()
    await stranger.connect()
    stranger.publish("old/news", b'{"n": 1}', retain=True)

    async def chatter() -> None:
        while True:
            stranger.publish("building/door", b'{"open": true}')
            stranger.publish("building/noise", b"\xff\x00")
            await asyncio.sleep(PERIOD_S)

    task = asyncio.create_task(chatter())
    yield mosquitto
    task.cancel()
    await stranger.disconnect()
    await edm.stop()
    await node.stop()


async def test_scan_lists_who_publishes_and_publishes_nothing(plant: Mosquitto) -> None:
    found = await scan(plant.address, 0.5, time.time_ns)
    assert [(f.name, f.device_class, f.profile) for f in found] == [
        ("building/door", "mqtt-device", ""),
        ("plant/edm-1/status", "mqtt-device", "json-machine"),
        ("plant/assembly/asm-1", "sparkplug-device", "sparkplug-node"),
        ("plant/assembly/asm-2", "sparkplug-device", "sparkplug-node"),
    ]
    assert {f.address for f in found} == {plant.address}
    await until(lambda: "Received DISCONNECT from plantpulse-" in plant.log_path.read_text())
    assert published_by_us(plant) == []


async def test_scan_hears_births_and_says_who_was_born(mosquitto: Mosquitto) -> None:
    scanning = asyncio.ensure_future(scan(mosquitto.address, 0.5, time.time_ns))
    await until(lambda: "Sending SUBACK to plantpulse-" in mosquitto.log_path.read_text())
    node = SparkplugNode(
        "plant", "n", [machine("asm-1", "assembly")], Ledger(), host=mosquitto.host, port=mosquitto.port, period_s=60
    )
    await node.start()
    [found] = await scanning
    await node.stop()
    assert found.evidence is Evidence.SELF_IDENTIFIED
    assert (found.identity.manufacturer, found.identity.serial) == ("示例", "SN-asm-1")


async def test_scan_of_a_silent_broker_finds_nothing(mosquitto: Mosquitto) -> None:
    assert await scan(mosquitto.address, 0.2, time.time_ns) == []


async def test_scan_of_a_dead_address_is_a_link_error() -> None:
    with pytest.raises(LinkError):
        await scan("mqtt://127.0.0.1:1", 0.2, time.time_ns)
    with pytest.raises(ConfigError):
        await scan("mqtt://b/topic", 0.2, time.time_ns)


def _by_tag(readings: list[ToolReading]) -> dict[str, ToolReading]:
    return {reading.tag: reading for reading in readings}


async def test_read_gives_every_tag_with_its_unit_and_time(plant: Mosquitto) -> None:
    readings = _by_tag(await read_once(json_entry("read", plant.address, topic="plant/edm-1/status"), [], time.time_ns))
    assert list(readings) == ["state", "energy_import", "power", "parts"]
    assert readings["state"].value in ("running", "idle", "fault", "off")
    energy = readings["energy_import"]
    assert isinstance(energy.value, float)
    assert energy.value >= 6020.5
    assert energy.unit == "kWh"
    assert 0 < energy.received_ns - energy.source_ns < 2 * 10**9
    assert energy.quality is Quality.GOOD


async def test_read_of_a_node_names_its_devices(plant: Mosquitto) -> None:
    readings = await read_once(node_entry(plant.address), ["asm-2/parts", "asm-1/state"], time.time_ns)
    assert sorted(reading.tag for reading in readings) == ["asm-1/state", "asm-2/parts"]
    assert set(published_by_us(plant)) <= {"spBv1.0/plant/NCMD/assembly"}


async def test_read_of_a_wildcard_names_its_devices(plant: Mosquitto) -> None:
    entry = json_entry("read", plant.address, topic="plant/+/status")
    [energy] = await read_once(entry, ["edm-1/energy_import"], time.time_ns)
    assert energy.tag == "edm-1/energy_import"
    assert isinstance(energy.value, float)


async def test_read_of_nothing_says_what_to_check(plant: Mosquitto) -> None:
    with pytest.raises(LinkError) as silent:
        await read_once(json_entry("read", plant.address, topic="no/such"), [], time.time_ns, timeout_s=0.3)
    assert "scan" in silent.value.next_en
    entry = json_entry("read", plant.address, topic="plant/edm-1/status")
    with pytest.raises(ConfigError) as unknown:
        await read_once(entry, ["partz"], time.time_ns, timeout_s=0.3)
    assert "parts" in unknown.value.next_en


async def test_read_leaves_no_session_behind(plant: Mosquitto) -> None:
    await read_once(json_entry("read", plant.address, topic="plant/edm-1/status"), ["parts"], time.time_ns)
    assert "(p5, c1, k4)" in plant.log_path.read_text(), "a clean session, without expiry"
