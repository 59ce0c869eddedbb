"""Group county: taking records in, from the socket to the interval store."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import aiohttp

from gateway.wire import CONTENT_TYPE_MSGPACK, DeviceRef, encode, ingest_message
from metrics.record import Records
from tests.benchmarks.bench_gateway import EPOCH, START_S, plant_minutes
from tests.benchmarks.measure import Line, at_most

CONNECTIONS = 8
GATEWAYS = 64
DEVICES = 50
MINUTES = 20
WARM_UP_BATCHES = GATEWAYS


def ingest(*, long: bool) -> Iterator[Line]:
    """Batches of 1,000 from 64 gateways over 8 connections; the service is a process of its own."""
    batches = GATEWAYS * (20 if long else 5)
    bodies = _bodies(WARM_UP_BATCHES + batches)
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.county_peer", folder, str(GATEWAYS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as peer,
    ):
        assert peer.stdin is not None
        assert peer.stdout is not None
        try:
            hello = json.loads(peer.stdout.readline())

            def order(word: str) -> dict[str, int]:
                print(word, file=peer.stdin, flush=True)
                answer: dict[str, int] = json.loads(peer.stdout.readline())  # type: ignore[union-attr]
                return answer

            asyncio.run(_send(hello, bodies[:WARM_UP_BATCHES]))
            before = order("settle")
            began = time.perf_counter()
            asyncio.run(_send(hello, bodies[WARM_UP_BATCHES:]))
            acknowledged_s = time.perf_counter() - began
            after = order("settle")
        finally:
            peer.stdin.close()
            try:
                peer.wait(30)
            except subprocess.TimeoutExpired:
                peer.kill()
    records = batches * DEVICES * MINUTES
    acknowledged_ns = after["before_answer_ns"] - before["before_answer_ns"]
    stored_ns = after["process_ns"] - before["process_ns"]
    rate = f"{records / acknowledged_s / 1000:.0f},000 records/s acknowledged"
    yield at_most("county.ingest", stored_ns / records / 1000, "us CPU a record", 1.5, f"into the store; {rate}")
    yield at_most("county.ingest", acknowledged_ns / records / 1000, "us CPU a record", 0.6, "to the acknowledgement")


def _bodies(n: int) -> list[tuple[str, bytes]]:
    """Gateway and body of each batch: the minutes of the last hours, each gateway's from the latest back."""
    newest_s = int(time.time()) // 60 * 60 - 60 * MINUTES
    bodies = []
    sequences = dict.fromkeys(range(GATEWAYS), 0)
    for i in range(n):
        gateway = i % GATEWAYS
        sequences[gateway] += 1
        sequence = sequences[gateway]
        minutes = plant_minutes(DEVICES, MINUTES, seed=i)
        start = minutes.start - START_S + newest_s - 60 * MINUTES * (sequence - 1)
        records = Records(**{**minutes.columns(), "start": start})
        table = [DeviceRef(f"device-{k}") for k in range(DEVICES)]
        previous = (EPOCH, sequence - 1) if sequence > 1 else None
        message = ingest_message(f"gw-{gateway}", EPOCH, sequence, table, records, previous=previous)
        bodies.append((message.gateway, encode(message)))
    return bodies


async def _send(hello: dict[str, Any], bodies: list[tuple[str, bytes]]) -> None:
    """All bodies, each connection taking the next one."""
    queue = iter(bodies)
    url = f"http://127.0.0.1:{hello['port']}/api/v1/ingest"

    async def work(session: aiohttp.ClientSession) -> None:
        for gateway, body in queue:
            headers = {
                "authorization": f"Bearer {hello['credentials'][gateway]}",
                "content-type": CONTENT_TYPE_MSGPACK,
            }
            while True:
                async with session.post(url, data=body, headers=headers) as answer:
                    text = await answer.text()
                    if answer.status != 503:  # busy: sent again, as a gateway does
                        break
                await asyncio.sleep(0.05)
            assert answer.status == 200, text
            assert json.loads(text)["accepted"] == DEVICES * MINUTES, text

    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        await asyncio.gather(*(work(session) for _ in range(CONNECTIONS)))


BENCHMARKS = (ingest,)
