"""What a person can count on with Sparkplug B edge nodes, against a real broker."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from collectors.model import FOREVER_S, LinkError
from collectors.mqtt.sparkplug_collector import SparkplugHost
from simulators.broker import Mosquitto
from simulators.ledger import Ledger
from simulators.mqtt_client import MachineClient
from simulators.sparkplug_node import REBIRTH, SparkplugNode
from simulators.sparkplug_schema import DataType, Metric, decode
from tests.collectors.mqtt.plants import machine, node_entry, published_by_us, sparkplug_host
from tests.contract.collector_contract import Log, Watch
from tests.waiting import until

ONE, TWO = "assembly/asm-1", "assembly/asm-2"


@pytest.fixture
async def node(mosquitto: Mosquitto) -> AsyncIterator[SparkplugNode]:
    """An edge node that publishes data only when a test says so."""
    machines = [machine("asm-1", "assembly"), machine("asm-2", "assembly")]
    one = SparkplugNode(
        "plant", "assembly", machines, Ledger(), host=mosquitto.host, port=mosquitto.port, period_s=3600.0
    )
    yield one
    await one.stop()


@asynccontextmanager
async def _host(broker: Mosquitto, host_id: str | None = None) -> AsyncIterator[SparkplugHost]:
    host = sparkplug_host(node_entry(broker.address, host_id=host_id))
    try:
        await host.connect()
        yield host
    finally:
        await host.close()


def _born(log: Log) -> bool:
    return log.has_proof_of(ONE, TWO)


async def test_a_gateway_that_starts_later_asks_for_births_and_gets_them(
    mosquitto: Mosquitto, node: SparkplugNode
) -> None:
    await node.start()
    async with _host(mosquitto) as host:
        log = await Watch(host).until(_born)
        assert node.rebirths == 1
        assert {p.lasts_s for p in log.proofs} == {FOREVER_S}
        assert log.devices[ONE].identity.serial == "SN-asm-1"
        assert log.devices[TWO].identity.product_uri == "urn:example.com:asm-2"


async def test_what_the_node_served_arrives_exactly(mosquitto: Mosquitto, node: SparkplugNode) -> None:
    await node.start()
    async with _host(mosquitto) as host:
        watch = Watch(host)
        await watch.until(_born)
        for _ in range(5):
            node.publish_now()
        log = await watch.until(lambda log: log.good >= 40)
        served = node.machines["asm-1"]
        rows = [
            (int(tag), float(value))
            for batch in log.batches
            for device, samples in batch.samples
            if device == ONE
            for tag, value in zip(samples.tag, samples.value, strict=True)
        ]
        assert (1, round(served.energy_kwh, 3)) in rows
        assert (3, float(served.parts)) in rows
        assert len(rows) == 20


async def test_a_lost_message_leads_to_a_rebirth_and_then_all_is_well(
    mosquitto: Mosquitto, node: SparkplugNode
) -> None:
    await node.start()
    async with _host(mosquitto) as host:
        watch = Watch(host)
        await watch.until(_born)
        node.alias_base = 50  # the next birth deals other aliases
        node.lose_one()
        node.publish_now()
        log = await watch.until(_born)
        assert node.rebirths == 2
        assert sum(batch.shed.get("awaiting_rebirth", 0) for batch in log.batches) >= 1
        assert not [p for p in log.proofs if p.lasts_s == 0], "a rebirth is no death"
        node.publish_now()
        log = await watch.until(lambda log: log.good >= 8)
        assert not log.shed


async def test_a_node_that_vanishes_is_gone_by_its_will_and_an_old_will_changes_nothing(
    mosquitto: Mosquitto, node: SparkplugNode
) -> None:
    await node.start()
    async with _host(mosquitto) as host:
        watch = Watch(host)
        await watch.until(_born)
        await node.vanish()
        log = await watch.until(lambda log: len(log.proofs) == 2)
        assert {(p.device, p.lasts_s) for p in log.proofs} == {(ONE, 0.0), (TWO, 0.0)}
        await node.come_back()
        await watch.until(_born)
        node.send_raw("NDEATH", "", node.death_payload(node.bd_seq - 1))
        log = await watch.until(lambda log: log.shed.get("death_of_earlier_session", 0) == 1)
        assert not log.proofs


async def test_a_node_that_says_goodbye_is_gone_at_once(mosquitto: Mosquitto, node: SparkplugNode) -> None:
    await node.start()
    async with _host(mosquitto) as host:
        watch = Watch(host)
        await watch.until(_born)
        await node.stop()
        log = await watch.until(lambda log: len(log.proofs) == 2)
        assert {p.lasts_s for p in log.proofs} == {0.0}


async def test_loss_of_the_broker_withdraws_every_birth_before_the_error(
    mosquitto: Mosquitto, node: SparkplugNode
) -> None:
    await node.start()
    async with _host(mosquitto) as host:
        watch = Watch(host)
        await watch.until(_born)
        await mosquitto.kill()
        log = await watch.until(lambda log: len(log.proofs) == 2)
        assert {(p.device, p.lasts_s) for p in log.proofs} == {(ONE, 0.0), (TWO, 0.0)}
        with pytest.raises(LinkError):
            await host.read()
        await host.close()
        await mosquitto.start()
        await host.connect()
        await node.come_back()
        await watch.until(_born)


async def test_history_is_handed_over_with_its_time_and_without_proof(
    mosquitto: Mosquitto, node: SparkplugNode
) -> None:
    await node.start()
    async with _host(mosquitto) as host:
        watch = Watch(host)
        await watch.until(_born)
        alias = node.alias_of("asm-1", "Parts")
        node.send("DDATA", "asm-1", [Metric(DataType.INT64, 5, alias=alias, at_ms=1_795_000_000_000, historical=True)])
        log = await watch.until(lambda log: log.good == 1)
        [(device, samples)] = log.batches[-1].samples
        assert (device, samples.source_ns.tolist()) == (ONE, [1_795_000_000_000 * 10**6])
        assert not log.proofs


async def test_the_host_announces_itself_only_when_it_has_an_id(mosquitto: Mosquitto) -> None:
    state = "spBv1.0/STATE/county-1"
    heard: list[dict[str, object]] = []
    spy = MachineClient(mosquitto.host, mosquitto.port, "spy", lambda _, payload: heard.append(json.loads(payload)))
    await spy.connect(topics=[state])
    try:
        async with _host(mosquitto):
            pass
        await until(lambda: "Received DISCONNECT from plantpulse-" in mosquitto.log_path.read_text())
        assert published_by_us(mosquitto) == ["spBv1.0/plant/NCMD/assembly"]
        host = sparkplug_host(node_entry(mosquitto.address, host_id="county-1"))
        await host.connect()
        await until(lambda: len(heard) >= 1)
        assert heard[0]["online"] is True
        await host.close()
        await until(lambda: any(said["online"] is False for said in heard))
    finally:
        await spy.disconnect()
    log = mosquitto.log_path.read_text()
    sent = re.findall(r"Received PUBLISH from plantpulse-\w+ \(d0, q1, r1, m\d+, 'spBv1.0/STATE/county-1'", log)
    assert sent, "STATE is retained, at QoS 1"


async def test_the_host_that_dies_leaves_its_will_and_one_that_is_called_offline_objects(
    mosquitto: Mosquitto,
) -> None:
    state = "spBv1.0/STATE/county-1"
    heard: list[dict[str, object]] = []
    spy = MachineClient(mosquitto.host, mosquitto.port, "spy", lambda _, payload: heard.append(json.loads(payload)))
    await spy.connect(topics=[state])
    try:
        async with _host(mosquitto, host_id="county-1") as host:
            await until(lambda: len(heard) == 1)
            born = heard[0]
            spy.publish(state, b'{"online":false,"timestamp":1}', qos=1, retain=True)
            reading = asyncio.ensure_future(host.read())
            await until(lambda: heard[-1] == born and len(heard) >= 3)
            reading.cancel()
        log = mosquitto.log_path.read_text()
        assert f"Will message specified ({len(json.dumps(born, separators=(',', ':'))) + 1} bytes) (r1, q1)." in log
    finally:
        await spy.disconnect()


async def test_nothing_is_published_but_rebirth_requests_and_state(mosquitto: Mosquitto, node: SparkplugNode) -> None:
    heard: list[tuple[str, bytes]] = []
    spy = MachineClient(mosquitto.host, mosquitto.port, "spy", lambda topic, payload: heard.append((topic, payload)))
    await spy.connect(topics=["#"])
    try:
        await node.start()
        async with _host(mosquitto, host_id="county-1") as host:
            watch = Watch(host)
            await watch.until(_born)
            node.lose_one()
            node.publish_now()
            await watch.until(_born)
            await node.unplug("asm-1")
            await node.plug("asm-1")
            await watch.until(lambda log: any(p.device == ONE and p.lasts_s > 0 for p in log.proofs))
        await until(lambda: json.loads(_last(heard, "spBv1.0/STATE/county-1"))["online"] is False)
    finally:
        await spy.disconnect()
    ours = set(published_by_us(mosquitto))
    assert ours == {"spBv1.0/plant/NCMD/assembly", "spBv1.0/STATE/county-1"}
    commands = [payload for topic, payload in heard if topic == "spBv1.0/plant/NCMD/assembly"]
    assert len(commands) >= 2
    for payload in commands:
        assert [(m.name, m.boolean_value) for m in decode(payload).metrics] == [(REBIRTH, True)]
    for topic, payload in heard:
        if topic == "spBv1.0/STATE/county-1":
            assert set(json.loads(payload)) == {"online", "timestamp"}


def _last(heard: list[tuple[str, bytes]], topic: str) -> bytes:
    return next((payload for t, payload in reversed(heard) if t == topic), b'{"online":null}')
