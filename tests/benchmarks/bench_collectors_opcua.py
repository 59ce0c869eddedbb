"""Group collectors, OPC UA: what a value costs from the server's socket to a batch's columns; a cut link's way back."""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import asyncua
import numpy as np
from asyncua import Client, ua

from collectors.model import LinkError
from collectors.opcua.collector import OpcuaCollector
from collectors.opcua.config import OpcuaEntry
from collectors.opcua.profile import OpcuaProfile
from collectors.opcua.session import quieten_asyncua
from simulators.opcua_load import NAMESPACE, STEP, name
from tests.benchmarks.measure import Line, at_most, ratio_at_most
from tests.collectors.opcua.relay import cuttable

VARIABLES = 5_000
PERIOD_S = 1.0
ROUNDS = 5
"""Of all variables, counted in one run of one side."""
CUT_S = 30.0
_PATIENCE_S = 60.0


def opcua_value(*, long: bool) -> Iterator[Line]:
    """5,000 values at 1 s; and nothing lost where the reader stalls 1 s in 5."""
    quieten_asyncua()
    with _peer(VARIABLES, PERIOD_S) as port:
        ours_ns, theirs_ns = asyncio.run(_value(port, runs=7 if long else 3))
        lost = asyncio.run(_stalling(port, seconds=30.0 if long else 11.0))
    yield ratio_at_most(
        "collectors.opcua_value",
        ours_ns / 1000,
        "us CPU a value",
        theirs_ns / 1000,
        f"asyncua {asyncua.__version__} subscription with a handler, {VARIABLES} values at {PERIOD_S:g} s",
        0.25,
    )
    yield at_most("collectors.opcua_value", lost, "values lost, reader stalling 1 s in 5", 0)


def opcua_recover(*, long: bool) -> Iterator[Line]:
    """A cable pulled for 30 s, reconnecting as the gateway's runner does."""
    quieten_asyncua()
    with _peer(100, 0.5) as port:
        first_s, per_5_s = asyncio.run(_recover(port))
    yield at_most("collectors.opcua_recover", first_s, "s from the link to the first data", 10)
    yield at_most("collectors.opcua_recover", per_5_s, "session attempts in 5 s", 1)


@contextmanager
def _peer(variables: int, period_s: float) -> Iterator[int]:
    command = [sys.executable, "-m", "simulators.opcua_load", str(variables), str(period_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdout is not None
        assert peer.stdin is not None
        try:
            yield int(peer.stdout.readline())
        finally:
            peer.stdin.close()


def _collector(address: str, variables: int, publishing_s: float) -> OpcuaCollector:
    profile = OpcuaProfile.model_validate(
        {
            "profile": "bench-load",
            "protocol": "opcua",
            "device_class": "plc",
            "evidence": "native",
            "title_zh": "基准",
            "title_en": "benchmark",
            "source": {"document": "tests/benchmarks"},
            "liveness_s": 6,
            "recognise": "nodes",
            "subscription": {"publishing_s": publishing_s, "sampling_s": publishing_s},
            "nodes": [{"tag": name(n), "node": f"nsu={NAMESPACE};s={name(n)}"} for n in range(variables)],
        }
    )
    entry = OpcuaEntry(id="bench", profile=profile.profile, address=address, security="none")
    return OpcuaCollector([(entry, profile)], time.time_ns)


async def _value(port: int, runs: int) -> tuple[float, float]:
    """Median CPU in ns of a value, ours and asyncua's, in turns."""
    address = f"opc.tcp://127.0.0.1:{port}"
    ours, theirs = [], []
    for _ in range(runs):
        ours.append(await _our_run(address))
        theirs.append(await _their_run(address))
    return statistics.median(ours), statistics.median(theirs)


async def _our_run(address: str) -> float:
    collector = _collector(address, VARIABLES, PERIOD_S)
    await collector.connect()
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await _read(collector, VARIABLES)  # the state now
            before_ns = time.process_time_ns()
            values = await _read(collector, ROUNDS * VARIABLES)
            return (time.process_time_ns() - before_ns) / values
    finally:
        await collector.close()


async def _read(collector: OpcuaCollector, wanted: int) -> int:
    values = 0
    while values < wanted:
        batch = await collector.read()
        assert not batch.shed
        values += sum(len(samples) for _, samples in batch.samples)
    return values


class _Handler:
    """asyncua's documented way: one call a value."""

    def __init__(self) -> None:
        self.values = 0
        self.wanted = VARIABLES
        self.enough = asyncio.Event()

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        self.values += 1
        if self.values >= self.wanted:
            self.enough.set()


async def _their_run(address: str) -> float:
    handler = _Handler()
    async with Client(address) as client:
        index = await client.get_namespace_index(NAMESPACE)
        subscription = await client.create_subscription(PERIOD_S * 1000, handler)
        nodes = [client.get_node(ua.NodeId(name(n), index)) for n in range(VARIABLES)]
        for start in range(0, VARIABLES, 500):
            await subscription.subscribe_data_change(nodes[start : start + 500], queuesize=60)
        async with asyncio.timeout(_PATIENCE_S):
            await handler.enough.wait()
            handler.enough.clear()
            handler.values, handler.wanted = 0, ROUNDS * VARIABLES
            before_ns = time.process_time_ns()
            await handler.enough.wait()
            taken_ns = (time.process_time_ns() - before_ns) / handler.values
        await subscription.delete()
    return taken_ns


async def _stalling(port: int, seconds: float) -> int:
    """Values that did not arrive, of a reader that does nothing for 1 s in every 5."""
    collector = _collector(f"opc.tcp://127.0.0.1:{port}", VARIABLES, PERIOD_S)
    await collector.connect()
    columns: list[tuple[Any, Any]] = []
    shed = 0
    began = stalled = time.monotonic()
    try:
        while time.monotonic() - began < seconds:
            batch = await collector.read()
            shed += sum(batch.shed.values())
            columns.extend((samples.tag, samples.value) for _, samples in batch.samples)
            if time.monotonic() - stalled >= 4.0:
                await asyncio.sleep(1.0)
                stalled = time.monotonic()
    finally:
        await collector.close()
    tag = np.concatenate([tag for tag, _ in columns])
    turn = (np.concatenate([value for _, value in columns]) // STEP).astype(np.int64)
    order = np.lexsort((turn, tag))
    same = tag[order][1:] == tag[order][:-1]
    missed = (np.diff(turn[order]) - 1)[same]
    return shed + int(missed.clip(0).sum())


async def _recover(port: int) -> tuple[float, float]:
    """Seconds from the cable's return to the first data, and session attempts in the densest 5 s."""
    attempts_s: list[float] = []
    async with cuttable(f"opc.tcp://127.0.0.1:{port}") as relay:
        collector = _collector(relay.address, 100, 0.5)
        await collector.connect()
        mended_s = 0.0

        def mend() -> None:
            nonlocal mended_s
            relay.mend()
            mended_s = time.monotonic()

        try:
            await _read(collector, 100)
            relay.cut()
            asyncio.get_running_loop().call_later(CUT_S, mend)
            async with asyncio.timeout(CUT_S + _PATIENCE_S):
                while True:
                    with suppress(LinkError):
                        while not mended_s:
                            await collector.read()
                        await _read(collector, 1)
                        break
                    await collector.close()
                    await asyncio.sleep(collector.reconnect_s * random.uniform(1.0, 1.3))
                    attempts_s.append(time.monotonic())
                    with suppress(LinkError):
                        await collector.connect()
            first_s = time.monotonic() - mended_s
        finally:
            await collector.close()
    apart_s = [b - a for a, b in itertools.pairwise(attempts_s)]
    return first_s, 5.0 / min(apart_s)


BENCHMARKS = (opcua_value, opcua_recover)
