"""A real broker that restarts, refuses, is cut off, or holds a great deal for a slow reader."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from collectors.model import Batch, LinkError
from collectors.mqtt.connection import KEEP_ALIVE_S, RECEIVE_MAXIMUM
from collectors.mqtt.json_collector import JsonCollector
from simulators.broker import Mosquitto
from simulators.ledger import Ledger
from simulators.mqtt_client import MachineClient
from simulators.mqtt_machine import BrokenJsonMachine
from simulators.sparkplug_node import SparkplugNode
from tests.collectors.mqtt.plants import json_collector, json_entry, machine, node_entry, sparkplug_host, until
from tests.contract.collector_contract import Watch
from tests.faults.test_mqtt_kill import GatewayProcess, Wire
from tests.gateway.county_stub import CountyStub

TOPIC = "plant/edm-1/status"
BACKLOG = 10_000
QUIET_LOG = ("log_type error", "log_type information")
"""Of ten thousand packets each would be a line."""


@asynccontextmanager
async def publisher(broker: Mosquitto) -> AsyncIterator[MachineClient]:
    client = MachineClient(broker.host, broker.port, "somebody")
    await client.connect()
    try:
        yield client
    finally:
        await client.disconnect()


@asynccontextmanager
async def reader(broker_address: str, folder: Path) -> AsyncIterator[JsonCollector]:
    collector = json_collector([json_entry("edm-1", broker_address)], folder)
    try:
        yield collector
    finally:
        await collector.close()


def document(number: int) -> bytes:
    """A document with a time of its own, as long as machines' documents are."""
    return b'{"ts":%d,"production":{"parts":%d},"note":"%s"}' % (1_795_460_000_000 + number, number, b"x" * 130)


async def read_parts(collector: JsonCollector, messages: int, timeout_s: float = 60.0) -> tuple[list[int], list[Batch]]:
    """Parts counters in the order of their arrival, until there are as many; every batch acknowledged at once."""
    parts: list[int] = []
    batches: list[Batch] = []
    async with asyncio.timeout(timeout_s):
        while len(parts) < messages:
            batch = await collector.read()
            batches.append(batch)
            for _, samples in batch.samples:
                parts += [int(value) for value in samples.value]
            if batch.ack:
                batch.ack()
    return parts, batches


async def read_to_the_end(collector: JsonCollector, parts: list[int]) -> None:
    """Add what still comes until the link's error is raised; nothing is acknowledged."""
    while True:
        for _, samples in (await collector.read()).samples:
            parts += [int(value) for value in samples.value]


def shed(batches: list[Batch]) -> dict[str, int]:
    total: dict[str, int] = {}
    for batch in batches:
        for reason, n in batch.shed.items():
            total[reason] = total.get(reason, 0) + n
    return total


async def test_ten_thousand_messages_of_backlog_come_once_each_and_in_order(tmp_path: Path, data_dir: Path) -> None:
    lines = (*QUIET_LOG, "max_queued_messages 20000", "max_inflight_messages 0")
    async with Mosquitto(tmp_path / "broker", config_lines=lines) as broker, reader(broker.address, data_dir) as one:
        await one.connect()
        await one.close()  # the broker keeps the session
        async with publisher(broker) as client:
            for number in range(BACKLOG):
                client.publish(TOPIC, document(number), qos=1)
            client.publish("done", b"1", qos=1)
            await one.connect()
            parts, batches = await read_parts(one, BACKLOG)
        assert parts == list(range(BACKLOG))
        assert shed(batches) == {}
        longest = max(sum(len(samples) for _, samples in batch.samples) for batch in batches)
        assert longest <= 1_000, "no batch holds the loop for long"


async def test_an_old_brokers_limit_in_flight_holds_messages_back_for_a_second_at_most(tmp_path: Path) -> None:
    """Four times as many messages as mosquitto lets under way by MQTT 3.1.1, and a checkpoint every 5 minutes."""
    messages = 80
    async with CountyStub() as county, Mosquitto(tmp_path / "broker") as broker, publisher(broker) as somebody:
        gateway = GatewayProcess(tmp_path, broker, county, checkpoint_s=300, version="3.1.1")
        wire = Wire(broker)
        await gateway.start()
        try:
            await wire.until("subscriptions", 1)
            for number in range(messages):
                somebody.publish(TOPIC, document(number), qos=1)
            await wire.until("acknowledged", messages)
        finally:
            await gateway.end(signal.SIGTERM)


async def test_a_slow_reader_is_waited_for_and_loses_nothing(tmp_path: Path, data_dir: Path) -> None:
    most = RECEIVE_MAXIMUM + 1_000
    lines = (*QUIET_LOG, "max_queued_messages 20000", "max_inflight_messages 0")
    async with Mosquitto(tmp_path / "broker", config_lines=lines) as broker, reader(broker.address, data_dir) as one:
        await one.connect()
        async with publisher(broker) as client:
            for number in range(most):
                client.publish(TOPIC, document(number), qos=1)
            inbox = one._broker.inbox
            # One more is the broker's own count of what it dropped.
            await until(lambda: len(inbox) >= RECEIVE_MAXIMUM, timeout_s=30)
            await asyncio.sleep(0.2)  # nobody reads: the broker has to hold the rest
            assert len(inbox) <= RECEIVE_MAXIMUM + 1
            parts, batches = await read_parts(one, most)
        assert parts == list(range(most))
        assert shed(batches) == {}


async def test_what_the_broker_saved_over_its_restart_comes_afterwards(mosquitto: Mosquitto, data_dir: Path) -> None:
    async with reader(mosquitto.address, data_dir) as one:
        await one.connect()
        async with publisher(mosquitto) as client:
            client.publish(TOPIC, document(0), qos=1)
            assert (await read_parts(one, 1))[0] == [0]
            await one.close()
            for number in (1, 2, 3):
                client.publish(TOPIC, document(number), qos=1)
            await until(lambda: mosquitto.log_path.read_text().count("Sending PUBACK to somebody") == 4)
        await mosquitto.stop()
        await mosquitto.start()
        await one.connect()
        parts, batches = await read_parts(one, 3)
        assert parts == [1, 2, 3]
        assert shed(batches) == {}
        assert not [proof for batch in batches for proof in batch.proofs], "they are old"


async def test_a_broker_that_lost_its_sessions_is_counted(mosquitto: Mosquitto, data_dir: Path) -> None:
    async with reader(mosquitto.address, data_dir) as one:
        await one.connect()
        await mosquitto.kill()
        with pytest.raises(LinkError):
            await Watch(one).until(lambda log: False)
        await mosquitto.start()
        await one.close()
        await one.connect()
        assert (await one.read()).shed == {"session_lost": 1}
        async with publisher(mosquitto) as client:
            client.publish(TOPIC, document(9), qos=1)
            assert (await read_parts(one, 1))[0] == [9]


async def test_a_refused_login_is_cured_without_a_restart(tmp_path: Path, data_dir: Path) -> None:
    passwords, secret = tmp_path / "passwords", tmp_path / "secret"
    command = await asyncio.create_subprocess_exec("mosquitto_passwd", "-c", "-b", str(passwords), "reader", "right")
    await command.wait()
    secret.write_text("wrong")
    lines = ("allow_anonymous false", f"password_file {passwords}")
    async with Mosquitto(tmp_path / "broker", config_lines=lines) as broker:
        entry = json_entry("edm-1", broker.address, username="reader", password_file=secret)
        node = node_entry(broker.address, username="reader", password_file=secret)
        for one in (json_collector([entry], data_dir), sparkplug_host(node)):
            secret.write_text("wrong")
            with pytest.raises(LinkError) as refused:
                await one.connect()
            assert refused.value.code == "mqtt.login-refused"
            await one.close()
            secret.write_text("right")
            await one.connect()
            await one.close()


class Cable:
    """Between a client and the broker: can be pulled (bytes stop, nobody is told) or cut (reset)."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._plugged = asyncio.Event()
        self._plugged.set()
        self._writers: list[asyncio.StreamWriter] = []
        self._pumps: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Cable:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await self._server.wait_closed()

    def pull(self) -> None:
        self._plugged.clear()

    def plug(self) -> None:
        self._plugged.set()

    def cut(self) -> None:
        """Both ends get a reset."""
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, there_writer]
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self._plugged.wait()
                sink.write(data)
                await sink.drain()
        sink.close()


async def test_a_cut_link_is_told_at_once_and_nothing_is_lost(mosquitto: Mosquitto, data_dir: Path) -> None:
    async with (
        Cable(mosquitto.port) as cable,
        reader(f"mqtt://127.0.0.1:{cable.port}", data_dir) as one,
        publisher(mosquitto) as client,
    ):
        await one.connect()
        got: list[int] = []
        for start in range(0, 50, 10):
            for number in range(start, start + 10):
                client.publish(TOPIC, document(number), qos=1)
            got += (await read_parts(one, 5))[0]
            cable.cut()
            with pytest.raises(LinkError) as lost:
                await read_to_the_end(one, got)
            assert lost.value.code in ("mqtt.link-lost", "mqtt.link-unstable")
            await one.close()
            await one.connect()
        while len(set(got)) < 50:
            got += (await read_parts(one, 1))[0]
        assert sorted(got) == list(range(50)), "each message once, whatever the broker sent again"


@pytest.mark.long
async def test_a_pulled_cable_is_noticed_within_two_keep_alives(mosquitto: Mosquitto, data_dir: Path) -> None:
    loop = asyncio.get_running_loop()
    async with Cable(mosquitto.port) as cable, reader(f"mqtt://127.0.0.1:{cable.port}", data_dir) as one:
        await one.connect()
        await one.read()
        cable.pull()
        began_s = loop.time()
        with pytest.raises(LinkError):
            await read_to_the_end(one, [])
        assert loop.time() - began_s < 2 * KEEP_ALIVE_S + 2
        await one.close()
        cable.plug()
        cable.cut()
        await one.connect()


async def test_a_machine_full_of_nonsense_harms_no_neighbour(mosquitto: Mosquitto, data_dir: Path) -> None:
    where = {"host": mosquitto.host, "port": mosquitto.port, "period_s": 0.02}
    ledger = Ledger()
    broken = BrokenJsonMachine(machine("edm-1"), ledger, seed=3, topic=TOPIC, **where)
    sound = machine("edm-2")
    one = json_collector([json_entry(name, mosquitto.address) for name in ("edm-1", "edm-2")], data_dir)
    neighbour = MachineClient(mosquitto.host, mosquitto.port, sound.id)
    try:
        await one.connect()
        await broken.start()
        await neighbour.connect()
        for number in range(20):
            neighbour.publish("plant/edm-2/status", document(number), qos=1)
        await until(lambda: sum(broken.sent.values()) >= 60)
        await broken.stop()
        good = sum(broken.sent[kind] for kind in ("null", "words-for-numbers", "no-time", "unset-clock"))
        unreadable = sum(broken.sent[kind] for kind in ("cut", "not-text", "nan", "nothing"))
        log = await Watch(one).until(
            lambda log: (
                log.shed.get("payload_broken", 0) == unreadable
                and log.shed.get("payload_without_values", 0) == broken.sent["another-document"]
            )
        )
        assert good > 0
        rows = [
            (samples.tag[i], samples.value[i])
            for batch in log.batches
            for device, samples in batch.samples
            if device == "edm-2"
            for i in range(len(samples))
        ]
        assert [int(value) for _, value in rows] == list(range(20))
    finally:
        await broken.stop()
        await neighbour.disconnect()
        await one.close()


async def test_what_a_node_stored_while_it_was_cut_off_arrives_as_history(mosquitto: Mosquitto) -> None:
    ledger = Ledger()
    node = SparkplugNode(
        "plant", "assembly", [machine("asm-1", "assembly")], ledger,
        host=mosquitto.host, port=mosquitto.port, period_s=3600.0,
    )  # fmt: skip
    node.stores = True
    host = sparkplug_host(node_entry(mosquitto.address))
    try:
        await host.connect()
        await node.start()
        watch = Watch(host)
        await watch.until(lambda log: log.has_proof_of("assembly/asm-1"))
        await node.vanish()
        await watch.until(lambda log: any(proof.lasts_s == 0 for proof in log.proofs))
        for _ in range(25):
            node.publish_now()
            await asyncio.sleep(0.002)  # another millisecond: another time
        born_after = len(ledger.as_dict()["asm-1"]["at_s"])
        await node.come_back()
        log = await watch.until(lambda log: log.good >= 4 * 26)
        rows = [samples for batch in log.batches for _, samples in batch.samples]
        times = {int(ns) for samples in rows for ns in samples.source_ns if ns}
        assert {round(at_s * 1000) * 10**6 for at_s in ledger.as_dict()["asm-1"]["at_s"][born_after + 1 :]} == times
        assert len(times) == 25
    finally:
        await node.stop()
        await host.close()
