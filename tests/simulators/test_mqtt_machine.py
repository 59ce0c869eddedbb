"""The simulated JSON machine: what it publishes is what its machine and the ledger say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from simulators.broker import Mosquitto
from simulators.ledger import Ledger
from simulators.mqtt_client import MachineClient
from simulators.mqtt_machine import BREAKS, STATE_WORDS, BrokenJsonMachine, JsonMachine
from simulators.physics import Machine

TOPIC = "plant/edm-1/status"


class Listener:
    """Everything published on the broker."""

    def __init__(self, broker: Mosquitto) -> None:
        self.heard: list[tuple[str, Any]] = []
        self._news = asyncio.Event()
        self.client = MachineClient(broker.host, broker.port, "listener", self._note)

    def _note(self, topic: str, payload: bytes) -> None:
        self.heard.append((topic, json.loads(payload)))
        self._news.set()

    async def until(self, n: int, topic: str) -> list[Any]:
        async with asyncio.timeout(5):
            while len(found := [said for t, said in self.heard if t == topic]) < n:
                self._news.clear()
                await self._news.wait()
        return found


@pytest.fixture
async def listener(mosquitto: Mosquitto) -> AsyncIterator[Listener]:
    one = Listener(mosquitto)
    await one.client.connect(topics=["#"])
    yield one
    await one.client.disconnect()


def _machine(broker: Mosquitto, ledger: Ledger, period_s: float = 0.05) -> JsonMachine:
    physics = Machine("edm-1", "edm", seed=2, start_energy_kwh=10.0, start_parts=5)
    return JsonMachine(physics, ledger, host=broker.host, port=broker.port, topic=TOPIC, period_s=period_s)


async def test_the_ledger_holds_exactly_what_was_published(mosquitto: Mosquitto, listener: Listener) -> None:
    ledger = Ledger()
    machine = _machine(mosquitto, ledger)
    await machine.start()
    documents = await listener.until(5, TOPIC)
    await machine.stop()
    documents = await listener.until(ledger.count("edm-1"), TOPIC)
    rows = ledger.as_dict()["edm-1"]
    assert rows["quantity"] == [d["energy"]["total_kwh"] for d in documents]
    assert rows["parts"] == [d["production"]["parts"] for d in documents]
    assert [STATE_WORDS[s] for s in rows["state"]] == [d["machine"]["state"] for d in documents]
    assert rows["at_s"] == [d["ts"] / 1000 for d in documents]


async def test_an_unplugged_machine_leaves_its_will_and_comes_back(mosquitto: Mosquitto, listener: Listener) -> None:
    ledger = Ledger()
    machine = _machine(mosquitto, ledger)
    await machine.start()
    try:
        await listener.until(1, TOPIC)
        await machine.unplug("edm-1")
        status = await listener.until(2, f"{TOPIC}/online")
        assert status == [{"online": True}, {"online": False}]
        served = ledger.count("edm-1")
        await asyncio.sleep(0.2)  # four periods of silence
        assert ledger.count("edm-1") == served
        await machine.plug("edm-1")
        await listener.until(served + 1, TOPIC)
        with pytest.raises(KeyError):
            await machine.unplug("another")
    finally:
        await machine.stop()


async def test_a_broker_that_comes_back_finds_the_machine_again(mosquitto: Mosquitto) -> None:
    ledger = Ledger()
    machine = _machine(mosquitto, ledger)
    await machine.start()
    try:
        await mosquitto.stop()
        await mosquitto.start()
        listener = Listener(mosquitto)
        await listener.client.connect(topics=[TOPIC])
        await listener.until(2, TOPIC)
        await listener.client.disconnect()
    finally:
        await machine.stop()
        await machine.stop()


async def test_a_broken_machine_says_its_nonsense_between_good_documents(mosquitto: Mosquitto) -> None:
    ledger = Ledger()
    physics = Machine("edm-1", "edm", seed=2, start_energy_kwh=10.0, start_parts=5)
    heard: list[bytes] = []
    client = MachineClient(mosquitto.host, mosquitto.port, "listener", lambda _, payload: heard.append(payload))
    machine = BrokenJsonMachine(
        physics, ledger, seed=4, host=mosquitto.host, port=mosquitto.port, topic=TOPIC, period_s=3600.0
    )
    await client.connect(topics=[TOPIC])
    await machine.start()
    try:
        for kind in BREAKS:
            machine.publish_broken(kind)
        async with asyncio.timeout(5):
            while len(heard) < 2 + len(BREAKS):  # noqa: ASYNC110 - the listener has no event
                await asyncio.sleep(0.01)
        assert all(count >= 1 for count in machine.sent.values())
        assert sum(machine.sent.values()) == 1 + len(BREAKS)
        assert ledger.count("edm-1") == 1, "nonsense is not in the ledger"
        broken = dict(zip(BREAKS, heard, strict=False))
        for kind in ("cut", "not-text", "nothing"):
            with pytest.raises(ValueError, match=r"."):
                json.loads(broken[kind].decode("utf-8"))
        assert b"NaN" in broken["nan"]
        assert json.loads(broken["null"])["energy"]["total_kwh"] is None
        assert "ts" not in json.loads(broken["no-time"])
    finally:
        await machine.stop()
        await client.disconnect()
