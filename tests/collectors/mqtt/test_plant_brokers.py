"""What brokers and publishers of a plant do that nobody planned: full queues, overlapping topics, pictures, clones."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.model import LinkError
from collectors.mqtt.connection import MAXIMUM_PACKET_BYTES
from collectors.mqtt.inbox import Message
from collectors.mqtt.json_collector import JsonCollector
from collectors.mqtt.session import SessionMemory
from simulators.broker import Mosquitto
from simulators.mqtt_client import MachineClient
from simulators.sparkplug_schema import DataType, Metric, encode
from tests.collectors.mqtt.plants import json_collector, json_entry, node_entry, scripted_broker, sparkplug_host
from tests.contract.collector_contract import Log, Watch
from tests.waiting import until

TOPIC = "plant/edm-1/status"
START_MS = 1_795_460_000_000


def document(number: int, note: str = "") -> bytes:
    return b'{"ts":%d,"production":{"parts":%d},"note":"%s"}' % (START_MS + number, number, note.encode())


def parts_of(log: Log, device: str) -> list[int]:
    return [int(v) for batch in log.batches for name, s in batch.samples if name == device for v in s.value]


@pytest.fixture
async def publisher(mosquitto: Mosquitto) -> MachineClient:
    return MachineClient(mosquitto.host, mosquitto.port, "somebody")


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_what_the_broker_dropped_while_nobody_read_is_counted_and_told(
    tmp_path: Path, data_dir: Path, version: str
) -> None:
    def collector() -> JsonCollector:
        return json_collector([json_entry("edm-1", broker.address, mqtt_version=version)], data_dir)

    lines = ("max_queued_messages 10", "sys_interval 1")
    async with Mosquitto(tmp_path / "broker", config_lines=lines) as broker:
        somebody = MachineClient(broker.host, broker.port, "somebody")
        before, after = collector(), collector()
        try:
            await before.connect()
            await Watch(before).until(lambda log: SessionMemory.load(data_dir, before.link).dropped == 0)
            await before.close()
            await somebody.connect()
            for number in range(50):
                somebody.publish(TOPIC, document(number), qos=1)
            await until(lambda: broker.log_path.read_text().count("Sending PUBACK to somebody") == 50)
            after = collector()  # another process: it knows the count from the folder
            await after.connect()
            log = await Watch(after).until(lambda log: log.shed.get("broker_dropped", 0) > 0)
            came = parts_of(log, "edm-1")
            assert came == list(range(len(came)))
            assert 0 < len(came) < 50
            assert log.shed == {"broker_dropped": 50 - len(came)}, "what did not come is counted, and only that"
            [trouble] = [t for batch in log.batches for t in batch.troubles]
            assert (trouble.subject, trouble.code) == (after.link, "mqtt.broker-dropped")
            assert "max_queued_messages" in trouble.next_zh
            assert "max_queued_messages" in trouble.next_en
        finally:
            await somebody.disconnect()
            await before.close()
            await after.close()


@pytest.mark.parametrize(
    ("topics", "devices"),
    [
        ({"presses": "plant/+/status", "lines": "+/edm-1/status"}, ("presses/edm-1", "lines/plant")),
        ({"edm-1": TOPIC, "twin": TOPIC}, ("edm-1", "twin")),
    ],
)
async def test_entries_that_share_a_topic_get_every_message_once_each(
    mosquitto: Mosquitto, data_dir: Path, publisher: MachineClient, topics: dict[str, str], devices: tuple[str, ...]
) -> None:
    entries = [json_entry(name, mosquitto.address, topic=topic) for name, topic in topics.items()]
    collector = json_collector(entries, data_dir)
    try:
        await collector.connect()
        await publisher.connect()
        for number in range(6):
            publisher.publish(TOPIC, document(number), qos=1)
        log = await Watch(collector).until(lambda log: all(5 in parts_of(log, device) for device in devices))
        assert {device: parts_of(log, device) for device in devices} == {device: list(range(6)) for device in devices}
        assert set(log.devices) == set(devices)
    finally:
        await publisher.disconnect()
        await collector.close()


@pytest.mark.parametrize(("version", "arrives"), [("5", [2]), ("3.1.1", [1, 2])])
async def test_a_message_of_more_than_a_mebibyte_stops_nothing(
    mosquitto: Mosquitto, data_dir: Path, publisher: MachineClient, version: str, arrives: list[int]
) -> None:
    collector = json_collector([json_entry("edm-1", mosquitto.address, mqtt_version=version)], data_dir)
    try:
        await collector.connect()
        await publisher.connect()
        publisher.publish(TOPIC, document(1, "x" * (3 * MAXIMUM_PACKET_BYTES // 2)), qos=1)
        publisher.publish(TOPIC, document(2), qos=1)
        log = await Watch(collector).until(lambda log: 2 in parts_of(log, "edm-1"))
        assert parts_of(log, "edm-1") == arrives
    finally:
        await publisher.disconnect()
        await collector.close()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_two_gateways_of_one_copied_card_are_told_of_it_by_the_third_push(
    mosquitto: Mosquitto, data_dir: Path, version: str
) -> None:
    entry = json_entry("edm-1", mosquitto.address, mqtt_version=version)
    ours = json_collector([entry], data_dir)
    copy = ours
    told: list[LinkError] = []
    try:
        for _ in range(3):
            await ours.connect()
            copy = json_collector([entry], data_dir)
            await copy.connect()
            with pytest.raises(LinkError) as lost:
                await Watch(ours).until(lambda log: False)
            told.append(lost.value)
            await copy.close()
        # This mosquitto closes the connection without the word that MQTT 5 has for it.
        assert [error.code for error in told] == ["mqtt.link-lost", "mqtt.link-lost", "mqtt.link-unstable"]
        assert "mqtt-*.json" in told[-1].next_zh
        assert "mqtt-*.json" in told[-1].next_en
    finally:
        await ours.close()
        await copy.close()


async def test_a_subscription_that_an_old_broker_refuses_is_shown(data_dir: Path) -> None:
    # CONNACK and SUBACK of MQTT 3.1.1: the machine's topic refused (0x80), its status granted, the broker's own refused
    async with scripted_broker([b"\x20\x02\x00\x00", b"\x90\x05\x00\x01\x80\x01\x80"]) as port:
        entry = json_entry("edm-1", f"mqtt://127.0.0.1:{port}", mqtt_version="3.1.1")
        collector = json_collector([entry], data_dir)
        try:
            await collector.connect()
            [trouble] = (await collector.read()).troubles
            assert (trouble.subject, trouble.code) == ("edm-1", "mqtt.topic-refused")
            assert TOPIC in trouble.en
            assert "$SYS" not in trouble.en, "nobody needs that one"
        finally:
            await collector.close()


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_broker_that_forgot_our_session_is_counted_also_by_the_next_process(
    tmp_path: Path, data_dir: Path, version: str, restarts: bool
) -> None:
    async with Mosquitto(tmp_path / "broker") as broker:
        entry = json_entry("edm-1", broker.address, mqtt_version=version)
        collector = json_collector([entry], data_dir)
        try:
            await collector.connect()
            assert (await collector.read()).shed == {}
            await broker.kill()
            with pytest.raises(LinkError):
                await Watch(collector).until(lambda log: False)
            await broker.start()
            if restarts:
                await collector.close()
                collector = json_collector([entry], data_dir)
            await collector.connect()
            assert (await collector.read()).shed == {"session_lost": 1}
        finally:
            await collector.close()


async def test_births_that_somebody_retained_and_topics_of_nobody_are_counted_and_not_believed(
    mosquitto: Mosquitto, publisher: MachineClient
) -> None:
    old = encode([Metric(DataType.INT64, 3, "bdSeq")], at_ms=START_MS, seq=0)
    host = sparkplug_host(node_entry(mosquitto.address))
    try:
        await publisher.connect()
        publisher.publish("spBv1.0/plant/NBIRTH/assembly", old, qos=1, retain=True)
        publisher.publish("spBv1.0/plant/DBIRTH/assembly/asm-1", old, qos=1, retain=True)
        await until(lambda: mosquitto.log_path.read_text().count("Sending PUBACK to somebody") == 2)
        await host.connect()
        publisher.publish("spBv1.0/plant/DBIRTH/assembly/", old, qos=1)  # a device without a name
        for topic in ("", "spBv1.0"):  # what paho makes of a topic that is no text, from a broker that lets it pass
            host._broker.inbox.put(Message(topic, b"", START_MS * 10**6, False, False, False, 0))
        log = await Watch(host).until(lambda log: sum(log.shed.values()) >= 5)
        assert log.shed == {"retained": 2, "topic_unknown": 3}
        assert not log.devices
        assert not log.proofs
    finally:
        await publisher.disconnect()
        await host.close()
