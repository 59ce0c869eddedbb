"""Group collectors, MQTT: what a JSON message of QoS 1 costs from the broker's socket to a batch's columns."""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import paho.mqtt
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from collectors.mqtt.config import MqttEntry
from collectors.mqtt.connection import RECEIVE_MAXIMUM
from collectors.mqtt.factory import collectors_for
from simulators.broker import Mosquitto
from tests.benchmarks.measure import Line, ratio_at_most
from tests.benchmarks.mqtt_peer import DOCUMENT_BYTES, document

MESSAGES = 5_000
"""Per run and side; read by one side after the other, so that each has the machine for itself."""
CHECKPOINT_MESSAGES = 1_000
_OURS, _THEIRS = "plant/ours/status", "plant/theirs/status"


def mqtt_message(*, long: bool) -> Iterator[Line]:
    """QoS 1, 200-byte JSON, acknowledged when a checkpoint's worth of messages is safe."""
    assert len(document(0)) == len(document(MESSAGES)) == DOCUMENT_BYTES
    with tempfile.TemporaryDirectory() as folder:
        ours_ns, theirs_ns = asyncio.run(_measure(Path(folder), runs=15 if long else 5))
    yield ratio_at_most(
        "collectors.mqtt_message",
        ours_ns / MESSAGES / 1000,
        "us CPU a message",
        theirs_ns / MESSAGES / 1000,
        f"paho {paho.mqtt.__version__} and msgspec {msgspec.__version__} JSON (for orjson), acknowledged at once",
        1.2,
    )


async def _measure(folder: Path, runs: int) -> tuple[float, float]:
    lines = ("log_type error", "log_type information", "max_queued_messages 0", "max_inflight_messages 0")
    async with Mosquitto(folder / "broker", config_lines=lines) as broker:
        command = (sys.executable, "-m", "tests.benchmarks.mqtt_peer", broker.host, str(broker.port))
        entry = MqttEntry(id="ours", profile="json-machine", address=broker.address)
        [collector] = collectors_for([entry], time.time_ns, [], folder / "state")
        theirs = _Theirs(broker.host, broker.port)
        peer = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
        assert peer.stdin is not None
        taken: list[list[float]] = [[], []]
        try:
            await collector.connect()
            await collector.read()  # announces its device
            for run in range(runs + 1):
                for side, topic in enumerate((_OURS, _THEIRS)):
                    before_ns = time.process_time_ns()
                    peer.stdin.write(f"{topic} {MESSAGES}\n".encode())
                    await peer.stdin.drain()
                    if side == 0:
                        await _read_ours(collector)
                    else:
                        theirs.read()
                    if run:  # the first warms up
                        taken[side].append(time.process_time_ns() - before_ns)
        finally:
            theirs.close()
            await collector.close()
            peer.stdin.close()
            await peer.wait()
    return statistics.median(taken[0]), statistics.median(taken[1])


async def _read_ours(collector: Any) -> None:
    values = messages = 0
    acks: list[Callable[[], None]] = []
    while values < 4 * MESSAGES:
        batch = await collector.read()
        assert not batch.shed
        for _, samples in batch.samples:
            values += len(samples)
        if batch.ack is not None:
            acks.append(batch.ack)
        if values // 4 - messages >= CHECKPOINT_MESSAGES or values == 4 * MESSAGES:
            messages = values // 4
            for ack in acks:
                ack()
            acks.clear()
    assert values == 4 * MESSAGES


class _Theirs:
    """paho's own loop with a callback that decodes each document and keeps the same values."""

    def __init__(self, host: str, port: int) -> None:
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="theirs", protocol=MQTTProtocolVersion.MQTTv5)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        self._subscribed = False
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.connect(host, port, properties=properties)
        self._client.subscribe(_THEIRS, qos=1)
        while not self._subscribed:
            self._client.loop(0.1)
        self._clear()

    def read(self) -> None:
        """Until every message has come; then the columns."""
        while len(self._parts) < MESSAGES:
            self._client.loop(1.0)
        columns = [np.array(column, np.float64) for column in (self._energy, self._power, self._parts)]
        assert columns[2].tolist() == list(range(MESSAGES))
        assert len(self._state) == len(np.array(self._at_ms, np.int64)) == MESSAGES
        self._clear()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop(0.1)

    def _clear(self) -> None:
        self._at_ms: list[int] = []
        self._state: list[str] = []
        self._energy: list[float] = []
        self._power: list[float] = []
        self._parts: list[int] = []

    def _on_subscribe(self, *_: object) -> None:
        self._subscribed = True

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        said = msgspec.json.decode(message.payload)
        self._at_ms.append(said["ts"])
        self._state.append(said["machine"]["state"])
        self._energy.append(said["energy"]["total_kwh"])
        self._power.append(said["energy"]["power_kw"])
        self._parts.append(said["production"]["parts"])


BENCHMARKS = (mqtt_message,)
