"""The simulated edge node keeps Sparkplug's rules of birth, sequence and death."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from simulators.broker import Mosquitto
from simulators.ledger import Ledger
from simulators.mqtt_client import MachineClient
from simulators.physics import Machine
from simulators.sparkplug_node import REBIRTH, SparkplugNode
from simulators.sparkplug_schema import DataType, Metric, decode, encode


class Listener:
    """Everything that a node says, decoded, in order: (kind, device, payload)."""

    def __init__(self, broker: Mosquitto) -> None:
        self.heard: list[tuple[str, str, Any]] = []
        self._news = asyncio.Event()
        self.client = MachineClient(broker.host, broker.port, "listener", self._note)

    def _note(self, topic: str, payload: bytes) -> None:
        _, _, kind, _, *device = topic.split("/")
        self.heard.append((kind, device[0] if device else "", decode(payload)))
        self._news.set()

    async def until(self, n: int) -> list[tuple[str, str, Any]]:
        async with asyncio.timeout(5):
            while len(self.heard) < n:
                self._news.clear()
                await self._news.wait()
        return self.heard


@pytest.fixture
async def listener(mosquitto: Mosquitto) -> AsyncIterator[Listener]:
    one = Listener(mosquitto)
    await one.client.connect(topics=["spBv1.0/plant/+/cell/#"])
    yield one
    await one.client.disconnect()


@pytest.fixture
async def node(mosquitto: Mosquitto) -> AsyncIterator[SparkplugNode]:
    machines = [Machine(name, "assembly", seed=2, serial=f"SN-{name}") for name in ("a", "b")]
    one = SparkplugNode("plant", "cell", machines, Ledger(), host=mosquitto.host, port=mosquitto.port, period_s=3600.0)
    yield one
    await one.stop()


def _metric(payload: Any, name: str) -> Any:
    return next(metric for metric in payload.metrics if metric.name == name)


async def test_births_come_first_and_the_sequence_never_breaks(node: SparkplugNode, listener: Listener) -> None:
    await node.start()
    for _ in range(130):
        node.publish_now()
    heard = await listener.until(3 + 260)
    assert [(kind, device) for kind, device, _ in heard[:5]] == [
        ("NBIRTH", ""), ("DBIRTH", "a"), ("DBIRTH", "b"), ("DDATA", "a"), ("DDATA", "b"),
    ]  # fmt: skip
    assert [payload.seq for _, _, payload in heard] == [n % 256 for n in range(263)]
    birth = heard[0][2]
    assert _metric(birth, "bdSeq").long_value == 0
    assert _metric(birth, REBIRTH).boolean_value is False
    assert _metric(heard[1][2], "Properties/Serial Number").string_value == "SN-a"
    aliases = {m.alias for _, _, payload in heard[1:3] for m in payload.metrics}
    assert len(aliases) == 16, "an alias is unique in the node"
    assert all(m.alias in aliases and not m.name for m in heard[3][2].metrics)


async def test_a_rebirth_is_the_same_session_again(node: SparkplugNode, listener: Listener) -> None:
    await node.start()
    await listener.until(3)
    command = encode([Metric(DataType.BOOLEAN, True, REBIRTH)], at_ms=1, seq=None)
    listener.client.publish(node.topic("NCMD"), command)
    heard = await listener.until(7)  # the command itself is heard too
    again = [item for item in heard[3:] if item[0] != "NCMD"]
    assert [(kind, device) for kind, device, _ in again] == [("NBIRTH", ""), ("DBIRTH", "a"), ("DBIRTH", "b")]
    assert again[0][2].seq == 0
    assert _metric(again[0][2], "bdSeq").long_value == 0
    assert node.rebirths == 1


async def test_the_will_carries_the_sessions_bdseq_and_the_next_birth_the_next(
    node: SparkplugNode, listener: Listener
) -> None:
    await node.start()
    await listener.until(3)
    await node.vanish()
    kind, _, death = (await listener.until(4))[3]
    assert kind == "NDEATH"
    assert _metric(death, "bdSeq").long_value == 0
    assert not death.HasField("seq")
    await node.come_back()
    heard = await listener.until(7)
    assert _metric(heard[4][2], "bdSeq").long_value == 1


async def test_a_lost_machine_is_a_device_death_and_its_return_a_birth(node: SparkplugNode, listener: Listener) -> None:
    await node.start()
    await node.unplug("a")
    await node.unplug("a")
    node.publish_now()
    await node.plug("a")
    heard = await listener.until(6)
    assert [(kind, device) for kind, device, _ in heard[3:]] == [("DDEATH", "a"), ("DDATA", "b"), ("DBIRTH", "a")]
    assert [payload.seq for _, _, payload in heard[3:]] == [3, 4, 5]
    with pytest.raises(KeyError):
        await node.unplug("c")


async def test_a_stop_in_order_says_so_and_a_rude_one_does_not(node: SparkplugNode, listener: Listener) -> None:
    await node.start()
    await listener.until(3)
    await node.stop(death=False)
    await node.start()
    await node.stop()
    heard = await listener.until(7)
    assert [kind for kind, _, _ in heard[3:]] == ["NBIRTH", "DBIRTH", "DBIRTH", "NDEATH"]


async def test_negative_integers_travel_as_twos_complement() -> None:
    sent = [Metric(DataType.INT16, -2, "short"), Metric(DataType.INT64, -3, "long")]
    short, long = decode(encode(sent, at_ms=1, seq=0)).metrics
    assert short.int_value == 2**32 - 2
    assert long.long_value == 2**64 - 3


async def test_a_node_that_stores_sends_it_as_history_after_its_births(
    mosquitto: Mosquitto, listener: Listener
) -> None:
    ledger, now_s = Ledger(), [1_795_460_000.0]
    physics = Machine("a", "assembly", seed=2)
    node = SparkplugNode(
        "plant", "cell", [physics], ledger, host=mosquitto.host, port=mosquitto.port, period_s=3600.0,
        now_s=lambda: now_s[0],
    )  # fmt: skip
    node.stores = True
    await node.start()
    try:
        await listener.until(2)
        await node.vanish()
        await listener.until(3)
        for _ in range(3):
            now_s[0] += 60.0
            node.publish_now()
        assert ledger.count("a") == 1, "nobody has heard it yet"
        now_s[0] += 60.0
        await node.come_back()
        node.publish_now()
        heard = await listener.until(9)
    finally:
        await node.stop()
    assert [kind for kind, _, _ in heard[2:]] == ["NDEATH", "NBIRTH", "DBIRTH", "DDATA", "DDATA", "DDATA", "DDATA"]
    assert [payload.seq for _, _, payload in heard[3:]] == [0, 1, 2, 3, 4, 5]
    history = [payload for _, _, payload in heard[5:8]]
    assert all(metric.is_historical for payload in history for metric in payload.metrics)
    assert [payload.metrics[0].timestamp for payload in history] == [1_795_460_060_000 + n * 60_000 for n in range(3)]
    assert not any(metric.is_historical for metric in heard[8][2].metrics)
    assert ledger.count("a") == 6
