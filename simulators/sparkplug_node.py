"""A simulated Sparkplug B 3.0 edge node with machines behind it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from simulators.ledger import Ledger
from simulators.mqtt_client import MachineClient
from simulators.physics import Machine
from simulators.sparkplug_schema import DataType, Metric, decode, encode

STATE_WORDS: Final = {"running": "Running", "idle": "Idle", "fault": "Fault", "off": "Off"}
REBIRTH: Final = "Node Control/Rebirth"
_STATE, _ENERGY, _POWER, _PARTS = "State", "Energy/Total kWh", "Power kW", "Parts"
_LIVE: Final = (_STATE, _ENERGY, _POWER, _PARTS)
_RETRY_S: Final = 0.5
_SEQ_END: Final = 256
MOST_STORED: Final = 10_000
"""Messages a node keeps while it is cut off; older ones go, counted in `dropped`."""


class _Stored(NamedTuple):
    """What a node could not send when it was said."""

    machine: str
    at_ms: int
    live: list[tuple[str, DataType, object]]
    state: str
    energy_kwh: float
    parts: int


class SparkplugNode:
    """One edge node, one device per machine (named by the machine's id); births, data by alias, deaths.

    `unplug` is the node losing a machine: DDEATH. `vanish` pulls the node's own cable: the broker
    sends its will. It answers rebirth requests; `rebirths` counts them. With `stores` it keeps what it
    cannot send, and sends it after its next births as historical data. `now_s` gives s UTC.
    """

    def __init__(
        self,
        group: str,
        node: str,
        machines: Sequence[Machine],
        ledger: Ledger,
        *,
        host: str,
        port: int,
        period_s: float = 1.0,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.group, self.node = group, node
        self.address = f"mqtt://{host}:{port}"
        self.machines = {machine.id: machine for machine in machines}
        self.rebirths = 0
        self.bd_seq = -1
        self.alias_base = 1
        """First alias of the next birth: a node may deal them anew each time."""
        self.answers_rebirth = True
        self.stores = False
        self.dropped = 0
        self._stored: deque[_Stored] = deque()
        self._ledger = ledger
        self._period_s = period_s
        self._now_s = now_s
        self._client = MachineClient(host, port, f"node-{group}-{node}", self._received)
        self._aliases: dict[tuple[str, str], int] = {}
        self._seq = 0
        self._unplugged: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._gone = False

    async def start(self) -> None:
        """Connect, give birth, publish from now on. Raises OSError where the broker is not there."""
        if self._task is not None:
            return
        self._gone = False
        await self._connect()
        self._task = asyncio.create_task(self._run())

    async def stop(self, *, death: bool = True) -> None:
        """End in order: NDEATH (unless `death` is False), then goodbye, which keeps the will back. Safe twice."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if death:
            self._client.publish(self.topic("NDEATH"), self.death_payload())
        await self._client.disconnect()

    async def vanish(self) -> None:
        """Pull the node's cable; `come_back` plugs it in."""
        self._gone = True
        await self._client.vanish()

    async def come_back(self) -> None:
        """Connect again with the next bdSeq."""
        self._gone = False
        await self._connect()

    async def unplug(self, machine_id: str) -> None:
        """The node loses this machine: DDEATH. Raises KeyError for an unknown id."""
        self._known(machine_id)
        if machine_id not in self._unplugged:
            self._unplugged.add(machine_id)
            payload = encode([], at_ms=self._now_ms(), seq=self._next_seq())
            self._client.publish(self.topic("DDEATH", machine_id), payload)

    async def plug(self, machine_id: str) -> None:
        """The machine is back: DBIRTH."""
        self._known(machine_id)
        if machine_id in self._unplugged:
            self._unplugged.discard(machine_id)
            self._birth_of(machine_id)

    def topic(self, kind: str, device: str = "") -> str:
        """The topic of a message kind of this node, or of one of its devices."""
        tail = f"/{device}" if device else ""
        return f"spBv1.0/{self.group}/{kind}/{self.node}{tail}"

    def alias_of(self, machine_id: str, name: str) -> int:
        """The alias that the last birth gave to a metric."""
        return self._aliases[machine_id, name]

    def lose_one(self) -> None:
        """Use up a sequence number without sending, as when a message is lost."""
        self._next_seq()

    def send(self, kind: str, machine_id: str, metrics: Sequence[Metric], *, with_seq: bool = True) -> None:
        """Publish any metrics, numbered as the next message; not noted in the ledger."""
        payload = encode(metrics, at_ms=self._now_ms(), seq=self._next_seq() if with_seq else None)
        self._client.publish(self.topic(kind, machine_id), payload)

    def send_raw(self, kind: str, machine_id: str, payload: bytes) -> None:
        """Publish any bytes."""
        self._client.publish(self.topic(kind, machine_id), payload)

    def death_payload(self, bd_seq: int | None = None) -> bytes:
        """What an NDEATH carries: bdSeq and no seq."""
        number = self.bd_seq if bd_seq is None else bd_seq
        return encode([Metric(DataType.INT64, number, "bdSeq")], at_ms=self._now_ms(), seq=None)

    def give_birth(self) -> None:
        """NBIRTH, then DBIRTH for every machine that is there."""
        self._seq = 0
        self._aliases.clear()
        at_ms = self._now_ms()
        metrics = [
            Metric(DataType.INT64, self.bd_seq, "bdSeq"),
            Metric(DataType.BOOLEAN, False, REBIRTH),
            Metric(DataType.STRING, "simulated edge node", "Properties/Hardware Make"),
        ]
        self._client.publish(self.topic("NBIRTH"), encode(metrics, at_ms=at_ms, seq=self._next_seq()))
        for machine_id in self.machines:
            if machine_id not in self._unplugged:
                self._birth_of(machine_id)

    def publish_now(self) -> None:
        """One DDATA for each machine that is there, noted in the ledger; kept where it cannot be sent."""
        for machine_id in self.machines:
            if machine_id not in self._unplugged:
                at_ms = self._advance(machine_id)
                if self.stores and not self._client.connected:
                    self._store(machine_id, at_ms)
                    continue
                metrics = [
                    Metric(datatype, value, alias=self._aliases[machine_id, name], with_datatype=False)
                    for name, datatype, value in self._live(machine_id)
                ]
                self._publish_noted("DDATA", machine_id, metrics, at_ms)

    async def _connect(self) -> None:
        self.bd_seq = (self.bd_seq + 1) % _SEQ_END
        will = (self.topic("NDEATH"), self.death_payload(), False)
        await self._client.connect(will=will, topics=[self.topic("NCMD")])
        self.give_birth()
        self._forward()

    def _store(self, machine_id: str, at_ms: int) -> None:
        if len(self._stored) >= MOST_STORED:
            self._stored.popleft()
            self.dropped += 1
        m = self.machines[machine_id]
        self._stored.append(
            _Stored(machine_id, at_ms, self._live(machine_id), m.state, round(m.energy_kwh, 3), m.parts)
        )

    def _forward(self) -> None:
        """What was kept, oldest first, each with its own time."""
        while self._stored:
            kept = self._stored.popleft()
            metrics = [
                Metric(datatype, value, alias=self._aliases[kept.machine, name], at_ms=kept.at_ms, historical=True)
                for name, datatype, value in kept.live
            ]
            self.send("DDATA", kept.machine, metrics)
            at_s = kept.at_ms / 1000
            self._ledger.served(kept.machine, at_s, state=kept.state, quantity=kept.energy_kwh, parts=kept.parts)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            due_s += self._period_s
            if (now_s := loop.time()) >= due_s:
                due_s = now_s + self._period_s
            await asyncio.sleep(due_s - now_s)
            if self._gone:
                if self.stores:
                    self.publish_now()
                continue
            if not self._client.connected:
                try:
                    await self._connect()
                except (OSError, TimeoutError):
                    if self.stores:
                        self.publish_now()
                    await asyncio.sleep(_RETRY_S)
                    continue
            self.publish_now()

    def _birth_of(self, machine_id: str) -> None:
        m = self.machines[machine_id]
        at_ms = self._advance(machine_id)
        described = [
            ("Properties/Manufacturer", DataType.STRING, m.manufacturer),
            ("Properties/Model", DataType.STRING, m.model),
            ("Properties/Serial Number", DataType.STRING, m.serial),
            ("Properties/Product URI", DataType.STRING, m.product_uri),
        ]
        metrics = []
        for name, datatype, value in [*self._live(machine_id), *described]:
            alias = self._aliases.setdefault((machine_id, name), self.alias_base + len(self._aliases))
            metrics.append(Metric(datatype, value, name, alias))
        self._publish_noted("DBIRTH", machine_id, metrics, at_ms)

    def _live(self, machine_id: str) -> list[tuple[str, DataType, object]]:
        m = self.machines[machine_id]
        return [
            (_STATE, DataType.STRING, STATE_WORDS[m.state]),
            (_ENERGY, DataType.DOUBLE, round(m.energy_kwh, 3)),
            (_POWER, DataType.FLOAT, m.power_kw),
            (_PARTS, DataType.INT64, m.parts),
        ]

    def _publish_noted(self, kind: str, machine_id: str, metrics: Sequence[Metric], at_ms: int) -> None:
        payload = encode(metrics, at_ms=at_ms, seq=self._next_seq())
        if self._client.publish(self.topic(kind, machine_id), payload):
            m = self.machines[machine_id]
            self._ledger.served(machine_id, at_ms / 1000, state=m.state, quantity=round(m.energy_kwh, 3), parts=m.parts)

    def _received(self, topic: str, payload: bytes) -> None:
        if topic != self.topic("NCMD"):
            return
        with contextlib.suppress(DecodeError):
            if any(metric.name == REBIRTH and metric.boolean_value for metric in decode(payload).metrics):
                self.rebirths += 1
                if self.answers_rebirth:
                    self.give_birth()

    def _advance(self, machine_id: str) -> int:
        at_ms = self._now_ms()
        self.machines[machine_id].advance(at_ms / 1000)
        return at_ms

    def _next_seq(self) -> int:
        seq, self._seq = self._seq, (self._seq + 1) % _SEQ_END
        return seq

    def _now_ms(self) -> int:
        return int(self._now_s() * 1000)

    def _known(self, machine_id: str) -> None:
        if machine_id not in self.machines:
            raise KeyError(machine_id)
