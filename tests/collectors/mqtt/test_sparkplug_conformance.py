"""What the specification asks of a host on the wire, seen in the broker's log and by another client."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from collectors.model import LinkError
from collectors.mqtt.factory import collectors_for
from collectors.mqtt.sparkplug_collector import SparkplugHost
from collectors.mqtt.tools import scan
from simulators.broker import Mosquitto
from simulators.ledger import Ledger
from simulators.mqtt_client import MachineClient
from simulators.sparkplug_node import SparkplugNode
from simulators.sparkplug_schema import decode
from tests.collectors.mqtt.plants import json_entry, machine, node_entry, published_by_us, sparkplug_host
from tests.contract.collector_contract import Watch
from tests.waiting import until

TABLE = Path(__file__).parents[3] / "docs" / "developers" / "sparkplug.md"
STATE = "spBv1.0/STATE/county-1"
NCMD = "spBv1.0/plant/NCMD/assembly"


class Spy:
    """Hears everything, in order, and knows what was retained."""

    def __init__(self, broker: Mosquitto) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.client = MachineClient(
            broker.host, broker.port, "spy", lambda topic, payload: self.heard.append((topic, payload))
        )

    def states(self) -> list[dict[str, Any]]:
        return [json.loads(payload) for topic, payload in self.heard if topic == STATE]


@pytest.fixture
async def spy(mosquitto: Mosquitto) -> AsyncIterator[Spy]:
    one = Spy(mosquitto)
    await one.client.connect(topics=["#"])
    yield one
    await one.client.disconnect()


@asynccontextmanager
async def announced_host(broker: Mosquitto, **keys: Any) -> AsyncIterator[SparkplugHost]:
    host = sparkplug_host(node_entry(broker.address, host_id="county-1", **keys))
    try:
        await host.connect()
        yield host
    finally:
        await host.close()


def ours(broker: Mosquitto) -> list[str]:
    """The packets of our client that the broker logged, in order, from CONNECT on."""
    lines = broker.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.split(": ", 1)[-1] for line in lines if "plantpulse-" in line]


@pytest.mark.parametrize(("version", "clean"), [("5", "(p5, c1, k"), ("3.1.1", "(p2, c1, k")])
async def test_the_host_connects_clean_subscribes_then_says_state_then_commands(
    mosquitto: Mosquitto, spy: Spy, version: str, clean: str
) -> None:
    async with announced_host(mosquitto, mqtt_version=version) as host:
        await until(lambda: NCMD in published_by_us(mosquitto))
        assert not host._broker.session_present
    packets = ours(mosquitto)
    assert clean in next(line for line in packets if "New client connected" in line)
    kinds = [line.split(" ")[1] for line in packets if line.startswith("Received ")]
    assert kinds[:1] == ["SUBSCRIBE"]
    assert published_by_us(mosquitto)[:2] == [STATE, NCMD], "STATE is the first message"
    subscribed = (
        mosquitto.log_path.read_text().split("Received SUBSCRIBE from plantpulse-")[1].split("Sending SUBACK")[0]
    )
    for kind in ("NBIRTH", "NDATA", "NDEATH"):
        assert f"\tspBv1.0/plant/{kind}/assembly (" in subscribed
    for kind in ("DBIRTH", "DDATA", "DDEATH"):
        assert f"\tspBv1.0/plant/{kind}/assembly/+ (" in subscribed
    assert f"\t{STATE} (QoS 1)" in subscribed


async def test_by_mqtt_5_the_host_asks_for_no_session_expiry() -> None:
    asked = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set_result(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host = sparkplug_host(node_entry(f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}", host_id="county-1"))
    try:
        with pytest.raises(LinkError):
            await host.connect()
        packet = await asked
        flags, properties_at = packet[9], 13
        assert flags & 0x02, "clean start"
        properties = packet[properties_at : properties_at + packet[12]]
        assert properties[0:1] == b"\x21", "Receive Maximum"
        assert properties[3:4] == b"\x27", "Maximum Packet Size"
        assert len(properties) == 8, "and no Session Expiry Interval, which means 0"
    finally:
        await host.close()
        server.close()
        await server.wait_closed()


async def test_state_and_will_have_the_form_of_3_0_and_one_timestamp(mosquitto: Mosquitto, spy: Spy) -> None:
    before_ms = time.time_ns() // 10**6
    async with announced_host(mosquitto):
        await until(lambda: len(spy.states()) == 1)
    await until(lambda: len(spy.states()) == 2)
    born, died = spy.states()
    after_ms = time.time_ns() // 10**6
    assert set(born) == set(died) == {"online", "timestamp"}
    assert (born["online"], died["online"]) == (True, False)
    assert before_ms <= born["timestamp"] <= died["timestamp"] <= after_ms
    await until(lambda: any("Received DISCONNECT" in line for line in ours(mosquitto)))
    packets = ours(mosquitto)
    states = [line for line in packets if line.startswith("Received PUBLISH") and STATE in line]
    assert all("(d0, q1, r1, " in line for line in states)
    assert packets.index(states[-1]) < next(n for n, line in enumerate(packets) if "Received DISCONNECT" in line)


async def test_a_host_that_vanishes_is_declared_offline_with_its_births_timestamp(
    mosquitto: Mosquitto, spy: Spy
) -> None:
    async with announced_host(mosquitto) as host:
        await until(lambda: len(spy.states()) == 1)
        assert host._broker._socket is not None
        host._broker._socket._socket.shutdown(2)  # gone without a word
        await until(lambda: len(spy.states()) == 2)
    born, died = spy.states()
    assert died == {"online": False, "timestamp": born["timestamp"]}
    assert "(r1, q1)." in mosquitto.log_path.read_text().split("Will message specified")[1].splitlines()[0]


async def test_each_broker_has_a_state_of_its_own_time(tmp_path: Path) -> None:
    now_ns = [1_795_460_000_000_000_000]
    async with Mosquitto(tmp_path / "one") as one, Mosquitto(tmp_path / "two") as two:
        spies = [Spy(one), Spy(two)]
        entries = [
            node_entry(one.address, host_id="county-1"),
            node_entry(two.address, host_id="county-1", id="second"),
        ]
        hosts = collectors_for(entries, lambda: now_ns[0], [], tmp_path)
        assert len(hosts) == 2
        try:
            for spy, host in zip(spies, hosts, strict=True):
                now_ns[0] += 10**9
                await spy.client.connect(topics=[STATE])
                await host.connect()
                await until(lambda spy=spy: len(spy.states()) == 1)  # type: ignore[misc]
            first, second = (spy.states()[0]["timestamp"] for spy in spies)
            assert second - first == 1_000
        finally:
            for host in hosts:
                await host.close()
            for spy in spies:
                await spy.client.disconnect()


async def test_a_rebirth_request_is_one_ncmd_of_qos_0_without_seq_not_retained(mosquitto: Mosquitto, spy: Spy) -> None:
    host = sparkplug_host(node_entry(mosquitto.address))
    try:
        await host.connect()
        await until(lambda: any(topic == NCMD for topic, _ in spy.heard))
    finally:
        await host.close()
    [line] = [line for line in ours(mosquitto) if line.startswith("Received PUBLISH")]
    assert "(d0, q0, r0, " in line
    request = decode(next(payload for topic, payload in spy.heard if topic == NCMD))
    assert not request.HasField("seq")
    assert abs(request.timestamp - time.time() * 1000) < 60_000
    [metric] = request.metrics
    assert (metric.name, metric.boolean_value) == ("Node Control/Rebirth", True)
    assert not metric.HasField("alias")


async def test_without_a_host_id_nothing_is_said_of_a_host(mosquitto: Mosquitto, spy: Spy) -> None:
    host = sparkplug_host(node_entry(mosquitto.address))
    await host.connect()
    await until(lambda: NCMD in published_by_us(mosquitto))
    await host.close()
    assert "Will message specified" not in "\n".join(ours(mosquitto))
    assert set(published_by_us(mosquitto)) == {NCMD}


async def test_scan_has_no_will_no_state_and_asks_for_no_birth(mosquitto: Mosquitto, spy: Spy) -> None:
    node = SparkplugNode(
        "plant", "assembly", [machine("asm-1", "assembly")], Ledger(),
        host=mosquitto.host, port=mosquitto.port, period_s=0.05,
    )  # fmt: skip
    await node.start()
    try:
        assert [found.name for found in await scan(mosquitto.address, 0.4, time.time_ns)] == ["plant/assembly/asm-1"]
    finally:
        await node.stop()
    await until(lambda: any("Received DISCONNECT" in line for line in ours(mosquitto)))
    assert published_by_us(mosquitto) == []
    assert "Will message specified" not in "\n".join(ours(mosquitto))
    assert not spy.states()
    assert node.rebirths == 0


async def test_several_groups_and_nodes_share_one_connection_and_keep_apart(mosquitto: Mosquitto) -> None:
    where = {"host": mosquitto.host, "port": mosquitto.port, "period_s": 3600.0}
    ids = [("a", "plant", "one"), ("b", "plant", "two"), ("c", "other", "one")]
    entries = [node_entry(mosquitto.address, id=entry, group=group, node=name) for entry, group, name in ids]
    nodes = [SparkplugNode(group, name, [machine("asm-1", "assembly")], Ledger(), **where) for _, group, name in ids]
    host = sparkplug_host(*entries)
    try:
        for node in nodes:
            await node.start()
        await host.connect()
        watch = Watch(host)
        await watch.until(lambda log: log.has_proof_of("a/asm-1", "b/asm-1", "c/asm-1"))
        nodes[1].lose_one()
        nodes[1].publish_now()
        await watch.until(lambda log: log.has_proof_of("b/asm-1"))
        assert [node.rebirths for node in nodes] == [1, 2, 1], "a gap of one is no matter of the others"
        await nodes[2].vanish()
        log = await watch.until(lambda log: bool(log.proofs))
        assert [(p.device, p.lasts_s) for p in log.proofs] == [("c/asm-1", 0.0)]
    finally:
        for node in nodes:
            await node.stop()
        await host.close()
    connected = re.findall(r"New client connected from \S+ as plantpulse-", mosquitto.log_path.read_text())
    assert len(connected) == 1


async def test_json_devices_and_nodes_of_one_broker_have_a_client_each(mosquitto: Mosquitto, tmp_path: Path) -> None:
    entries = [json_entry("edm-1", mosquitto.address), node_entry(mosquitto.address)]
    collectors = collectors_for(entries, time.time_ns, [], tmp_path)
    for collector in collectors:
        await collector.connect()
    for collector in collectors:
        await collector.close()
    connected = re.findall(
        r"New client connected from \S+ as (plantpulse-\w+) \((\w+), (c\d)", "\n".join(ours(mosquitto))
    )
    assert [(version, clean) for _, version, clean in connected] == [("p5", "c0"), ("p5", "c1")]
    assert len({name for name, _, _ in connected}) == 2


def test_every_statement_of_the_table_names_a_test_that_exists() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in TABLE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `tck-id-")
    ]
    assert len(rows) >= 20
    ids: list[str] = []
    for names, what, tests in rows:
        ids += re.findall(r"`(tck-id-[a-z0-9A-Z-]+)`", names)
        assert what
        shown_by = re.findall(r"`(\w+\.py)::(\w+)`", tests)
        assert shown_by, names
        for file, test in shown_by:
            text = (Path(__file__).parent / file).read_text(encoding="utf-8")
            assert f"def {test}(" in text, f"{file}::{test}"
    assert len(ids) == len(set(ids)), "each statement once"
