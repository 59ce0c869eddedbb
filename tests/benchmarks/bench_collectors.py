"""Group collectors: what reading and decoding costs, against the libraries' documented fastest ways."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pymodbus
from pymodbus.client import AsyncModbusTcpClient

from collectors.modbus.address import parse_address
from collectors.modbus.breaker import Breaker
from collectors.modbus.collector import ModbusCollector
from collectors.modbus.config import ModbusEntry
from collectors.modbus.device import polled_device
from collectors.modbus.link import Link
from collectors.modbus.profile import load_modbus
from collectors.model import Role
from collectors.mqtt.config import MqttEntry
from collectors.mqtt.profile import SparkplugProfile
from collectors.mqtt.sparkplug_host import EdgeNode, Outcome
from collectors.profiles.vocabulary import VOCABULARY
from simulators.sparkplug_schema import DataType, Metric, Payload, encode
from tests.benchmarks.measure import Line, interleaved, ratio_at_most
from tests.benchmarks.modbus_block import FLOATS, REGISTERS

CONNECTIONS = 10
READS_PER_RUN = 200
"""Per connection."""
METRICS = 20
MESSAGES = 512
"""Two rounds of Sparkplug's sequence numbers, so that the same messages may follow themselves."""
_NS = 1_000_000_000


def modbus_read_decode(*, long: bool) -> Iterator[Line]:
    """10 connections, 125 registers to the float columns of a batch."""
    with _modbus_peer() as port, tempfile.TemporaryDirectory() as folder:
        ours_ns, theirs_ns = asyncio.run(_modbus(port, Path(folder), runs=25 if long else 9))
    reads = CONNECTIONS * READS_PER_RUN
    yield ratio_at_most(
        "collectors.modbus_read_decode",
        ours_ns / reads / 1000,
        "us CPU a read",
        theirs_ns / reads / 1000,
        f"pymodbus {pymodbus.__version__} async and convert_from_registers, 10 connections",
        0.75,
    )


def sparkplug_message(*, long: bool) -> Iterator[Line]:
    """DDATA with 20 metrics to columns."""
    node, data = _sparkplug_node()
    times_ms = itertools.count(1)

    def ours() -> None:
        out = Outcome()
        for payload in data:
            node.take("DDATA", "press", payload, next(times_ms), out)
        for rows in out.rows.values():
            assert len(rows.samples()) == MESSAGES * METRICS

    def theirs() -> None:
        alias: list[int] = []
        at_ms: list[int] = []
        value: list[float] = []
        for payload in data:
            message: Any = Payload.FromString(payload)
            for metric in message.metrics:
                alias.append(metric.alias)
                at_ms.append(metric.timestamp)
                value.append(metric.double_value)
        assert len(np.array(alias, np.uint16)) == MESSAGES * METRICS
        np.array(at_ms, np.int64)
        np.array(value, np.float64)

    ours_ns, theirs_ns = interleaved(25 if long else 11, ours, theirs)
    yield ratio_at_most(
        "collectors.sparkplug_message",
        ours_ns / MESSAGES / 1000,
        "us CPU a message",
        theirs_ns / MESSAGES / 1000,
        "the generated protobuf classes reading the same fields",
        0.5,
    )


# ------------------------------------------------------------------------------------------ modbus


@contextmanager
def _modbus_peer() -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.modbus_peer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as peer:
        assert peer.stdout is not None
        assert peer.stdin is not None
        try:
            yield int(peer.stdout.readline())
        finally:
            peer.stdin.close()


class _Beat:
    """A clock that the collector's own waiting moves on: it polls as fast as the other side answers."""

    def __init__(self) -> None:
        self._now_ns = time.time_ns()

    def now_ns(self) -> int:
        return self._now_ns

    async def sleep(self, seconds: float) -> None:
        self._now_ns += int(seconds * _NS) + 1


async def _modbus(port: int, folder: Path, runs: int) -> tuple[float, float]:
    """Median CPU in ns of CONNECTIONS × READS_PER_RUN reads by our collector and by pymodbus."""
    (folder / "bench-block.yaml").write_text(_block_profile(), encoding="utf-8")
    profile = load_modbus("bench-block", [folder])
    address = f"modbus-tcp://127.0.0.1:{port}"
    collectors = []
    for number in range(CONNECTIONS):
        entry = ModbusEntry(id=f"unit-{number}", profile=profile.profile, address=address, unit=1)
        beat = _Beat()
        device = polled_device(entry, profile, Breaker())
        device.wants_identification = False
        collectors.append(ModbusCollector(Link(parse_address(address)), [device], beat.now_ns, beat.sleep))
    clients = [AsyncModbusTcpClient("127.0.0.1", port=port) for _ in range(CONNECTIONS)]
    for collector in collectors:
        await collector.connect()
        await collector.read()  # announces its devices
    for client in clients:
        assert await client.connect()

    async def ours(collector: ModbusCollector) -> None:
        for _ in range(READS_PER_RUN):
            batch = await collector.read()
        ((_, samples),) = batch.samples
        by_tag = samples.value[np.argsort(samples.tag)]
        assert by_tag[: len(FLOATS)].tolist() == list(FLOATS)

    async def theirs(client: AsyncModbusTcpClient) -> None:
        for _ in range(READS_PER_RUN):
            reply = await client.read_holding_registers(0, count=REGISTERS, device_id=1)
            values = client.convert_from_registers(reply.registers[:-1], client.DATATYPE.FLOAT32)
        assert values == list(FLOATS)

    try:
        return await _interleaved_async(
            runs,
            lambda: asyncio.gather(*map(ours, collectors)),
            lambda: asyncio.gather(*map(theirs, clients)),
        )
    finally:
        for collector in collectors:
            await collector.close()
        for client in clients:
            client.close()


def _block_profile() -> str:
    points = [f"  - {{tag: value_{i}, at: {2 * i}, type: f32, unit: V, block: all}}" for i in range(len(FLOATS))]
    points.append(f"  - {{tag: word, at: {2 * len(FLOATS)}, type: u16, unit: V, block: all}}")
    return "\n".join(
        [
            "profile: bench-block",
            "protocol: modbus",
            "device_class: meter-electricity",
            "evidence: native",
            "title_zh: 基准",
            "title_en: benchmark",
            "source: {document: tests/benchmarks/modbus_block.py}",
            "liveness_s: 5",
            "count_from: 0",
            "table: holding",
            "points:",
            *points,
        ]
    )


async def _interleaved_async(runs: int, *sides: Callable[[], Awaitable[Any]]) -> tuple[float, ...]:
    taken: list[list[float]] = [[] for _ in sides]
    for run in range(runs + 1):
        for side, times in zip(sides, taken, strict=True):
            before = time.process_time_ns()
            await side()
            if run:  # the first warms up
                times.append(time.process_time_ns() - before)
    return tuple(statistics.median(times) for times in taken)


# --------------------------------------------------------------------------------------- sparkplug


def _sparkplug_node() -> tuple[EdgeNode, list[bytes]]:
    """A node born with a device of METRICS metrics, and MESSAGES data messages of it, which may be repeated."""
    gauges = [name for name, quantity in VOCABULARY.items() if quantity.role is Role.GAUGE][:METRICS]
    names = [f"Measure/{name}" for name in gauges]
    profile = SparkplugProfile.model_validate(
        {
            "profile": "bench-node",
            "protocol": "sparkplug",
            "device_class": "machine",
            "evidence": "self-identified",
            "title_zh": "基准",
            "title_en": "benchmark",
            "source": {"document": "tests/benchmarks"},
            "liveness_s": 6,
            "tags": [{"tag": tag, "metric": name} for tag, name in zip(gauges, names, strict=True)],
        }
    )
    entry = MqttEntry(id="bench", profile=profile.profile, address="mqtt://127.0.0.1:1883", group="plant", node="edge")
    node, out, at_ms = EdgeNode(entry, profile), Outcome(), time.time_ns() // 1_000_000
    birth = [Metric(DataType.DOUBLE, 0.0, name, alias) for alias, name in enumerate(names, 1)]
    bd_seq = [Metric(DataType.INT64, 0, "bdSeq")]
    node.take("NBIRTH", "", encode(bd_seq, at_ms=at_ms, seq=0), at_ms * 1_000_000, out)
    node.take("DBIRTH", "press", encode(birth, at_ms=at_ms, seq=1), at_ms * 1_000_000, out)
    data = []
    for number in range(MESSAGES):
        metrics = [
            Metric(DataType.DOUBLE, number * 0.37 + alias, alias=alias, with_datatype=False)
            for alias in range(1, METRICS + 1)
        ]
        data.append(encode(metrics, at_ms=at_ms + number, seq=(number + 2) % 256))
    return node, data


BENCHMARKS = (modbus_read_decode, sparkplug_message)
