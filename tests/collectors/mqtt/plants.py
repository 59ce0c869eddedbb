"""Plants for the MQTT tests: a mosquitto of our own, simulated machines on it, and collectors that read them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from collectors.base import Collector
from collectors.mqtt.addresses import parse
from collectors.mqtt.config import MqttEntry
from collectors.mqtt.factory import collectors_for, json_profile, json_source, settings_of, sparkplug_profile
from collectors.mqtt.inbox import Inbox
from collectors.mqtt.json_collector import JsonCollector
from collectors.mqtt.session import SessionMemory, new_client_id
from collectors.mqtt.sparkplug_collector import SparkplugHost
from collectors.mqtt.sparkplug_host import EdgeNode
from simulators.broker import Mosquitto
from simulators.ledger import Ledger
from simulators.mqtt_machine import JsonMachine
from simulators.physics import Machine
from simulators.sparkplug_node import SparkplugNode
from tests.waiting import until

PERIOD_S = 0.1
SMALL_INBOX = 60
_OURS = re.compile(r"Received PUBLISH from (plantpulse-\w+) [^']*'([^']+)'")


def machine(name: str, kind: str = "edm") -> Machine:
    """A machine with counters in the middle of their range and an identity."""
    return Machine(
        name, kind, seed=5, start_energy_kwh=6020.5, start_parts=9320,
        manufacturer="示例", model="M-1", serial=f"SN-{name}", product_uri=f"urn:example.com:{name}",
    )  # fmt: skip


def json_entry(name: str, address: str, **keys: object) -> MqttEntry:
    """An entry of the built-in JSON profile."""
    return MqttEntry(id=name, profile="json-machine", address=address, **keys)  # type: ignore[arg-type]


def node_entry(address: str, **keys: object) -> MqttEntry:
    """An entry of the built-in Sparkplug profile."""
    given = {"id": "assembly", "group": "plant", "node": "assembly", "reorder_s": 0.1, **keys}
    return MqttEntry(profile="sparkplug-node", address=address, **given)  # type: ignore[arg-type]


def json_collector(
    entries: Sequence[MqttEntry], folder: Path, inbox: Inbox | None = None, clock: Callable[[], int] = time.time_ns
) -> JsonCollector:
    """The one collector of these entries, its identity kept in `folder`."""
    address = parse(entries[0].address)
    memory = SessionMemory.load(folder, str(address))
    sources = [json_source(entry, json_profile(entry, [folder])) for entry in entries]
    return JsonCollector(settings_of(entries, address, memory.client_id), sources, clock, memory, inbox)


def sparkplug_host(*entries: MqttEntry, inbox: Inbox | None = None, pause_s: float = 0.1) -> SparkplugHost:
    """The collector of these edge nodes that asks for rebirths at short intervals."""
    first = entries[0]
    settings = settings_of(entries, parse(first.address), new_client_id(), persistent=False)
    nodes = [EdgeNode(entry, sparkplug_profile(entry, []), pause_s=pause_s) for entry in entries]
    return SparkplugHost(settings, nodes, time.time_ns, first.host_id, inbox)


def published_by_us(broker: Mosquitto) -> list[str]:
    """Topics of everything that a gateway has published, from the broker's log."""
    return [found[2] for found in _OURS.finditer(broker.log_path.read_text(encoding="utf-8", errors="replace"))]


@asynccontextmanager
async def scripted_broker(answers: Sequence[bytes]) -> AsyncIterator[int]:
    """A port where each thing read is answered by the next of `answers`; after b"" it hangs up."""
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            for answer in answers:
                await reader.read(4096)
                writer.write(answer)
                await writer.drain()
            if b"" not in answers:
                while await reader.read(4096):
                    pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*handlers, return_exceptions=True)
        await server.wait_closed()


class JsonPlant:
    """Two JSON machines on one broker, as the contract suite wants them."""

    devices = ("edm-1", "stamping-1")
    settles_s = 1.0
    longest_gap_s = 1.0

    def __init__(self, broker: Mosquitto, folder: Path, machines: dict[str, JsonMachine], version: str) -> None:
        self.broker, self.machines, self.version = broker, machines, version
        self._folder = folder
        # By MQTT 3.1.1 mosquitto has at most 20 messages of QoS 1 under way.
        self._inbox = Inbox(SMALL_INBOX if version == "5" else 10)

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path, version: str = "5") -> AsyncIterator[JsonPlant]:
        async with Mosquitto(folder / "mosquitto") as broker:
            ledger = Ledger()
            machines = {
                name: JsonMachine(
                    machine(name, name.split("-")[0]),
                    ledger,
                    host=broker.host,
                    port=broker.port,
                    topic=f"plant/{name}/status",
                    period_s=PERIOD_S,
                )
                for name in cls.devices
            }
            plant = cls(broker, folder, machines, version)
            try:
                for one in machines.values():
                    await one.start()
                yield plant
            finally:
                for one in machines.values():
                    await one.stop()

    def _entries(self, address: str) -> list[MqttEntry]:
        return [json_entry(name, address, mqtt_version=self.version) for name in self.devices]

    def make_collector(self) -> Collector:
        return json_collector(self._entries(self.broker.address), self._folder, self._inbox)

    def make_dead_collector(self) -> Collector:
        return collectors_for(self._entries("mqtt://127.0.0.1:1"), time.time_ns, [], self._folder)[0]

    def make_hanging_collector(self, port: int) -> Collector:
        return collectors_for(self._entries(f"mqtt://127.0.0.1:{port}"), time.time_ns, [], self._folder)[0]

    async def unplug(self, device: str) -> None:
        await self.machines[device].unplug(device)

    async def plug(self, device: str) -> None:
        await self.machines[device].plug(device)

    async def cut(self) -> None:
        await self.broker.stop()

    async def overload(self, collector: Collector) -> None:
        for _ in range(2 * SMALL_INBOX):
            self.machines["stamping-1"].publish_now()
        await until(lambda: self._inbox.shed > 0)

    def writes(self) -> int:
        return len(published_by_us(self.broker))


class SparkplugPlant:
    """One edge node with two machines, as the contract suite wants them."""

    devices = ("assembly/asm-1", "assembly/asm-2")
    settles_s = 1.0
    longest_gap_s = 1.0

    def __init__(self, broker: Mosquitto, node: SparkplugNode) -> None:
        self.broker, self.node = broker, node
        self._inbox = Inbox(SMALL_INBOX)

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path) -> AsyncIterator[SparkplugPlant]:
        async with Mosquitto(folder / "mosquitto") as broker:
            machines = [machine(name.split("/")[1], "assembly") for name in cls.devices]
            node = SparkplugNode(
                "plant", "assembly", machines, Ledger(), host=broker.host, port=broker.port, period_s=PERIOD_S
            )
            try:
                await node.start()
                yield cls(broker, node)
            finally:
                await node.stop()

    def make_collector(self) -> Collector:
        return sparkplug_host(node_entry(self.broker.address), inbox=self._inbox)

    def make_dead_collector(self) -> Collector:
        return sparkplug_host(node_entry("mqtt://127.0.0.1:1"))

    def make_hanging_collector(self, port: int) -> Collector:
        return sparkplug_host(node_entry(f"mqtt://127.0.0.1:{port}"))

    async def unplug(self, device: str) -> None:
        await self.node.unplug(device.split("/")[1])

    async def plug(self, device: str) -> None:
        await self.node.plug(device.split("/")[1])

    async def cut(self) -> None:
        await self.broker.stop()

    async def overload(self, collector: Collector) -> None:
        for _ in range(2 * SMALL_INBOX):
            self.node.publish_now()
        await until(lambda: self._inbox.shed > 0)

    def writes(self) -> int:
        print(published_by_us(self.broker))
        return sum(topic != self.node.topic("NCMD") for topic in published_by_us(self.broker))
