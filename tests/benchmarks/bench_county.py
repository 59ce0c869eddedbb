"""Group county: taking records in, from the socket to the interval store."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from api.store.duckdb import DuckDBStore
from api.store.port import Append
from gateway.wire import CONTENT_TYPE_MSGPACK, DeviceRef, encode, ingest_message
from metrics.record import Records, local_day_start_s
from tests.benchmarks.bench_gateway import EPOCH, START_S, plant_minutes
from tests.benchmarks.county_data import DAY
from tests.benchmarks.county_process import serving
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
    with tempfile.TemporaryDirectory() as folder, serving(folder, GATEWAYS) as (hello, order):
        asyncio.run(_send(hello, bodies[:WARM_UP_BATCHES]))
        before = order("compute")  # a first computation of today belongs to the warm-up
        began = time.perf_counter()
        asyncio.run(_send(hello, bodies[WARM_UP_BATCHES:]))
        acknowledged_s = time.perf_counter() - began
        after = order("settle")
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


def record_disk(*, long: bool) -> Iterator[Line]:
    """A whole day of a plant's records: bytes each in the open file and in the sealed one."""
    devices = 500 if long else 100
    batches = 1440 // MINUTES
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.duckdb"
        store = DuckDBStore(path)
        for i in range(batches):
            minutes = plant_minutes(devices, MINUTES, seed=i)
            start = minutes.start - START_S + local_day_start_s(DAY) + 60 * MINUTES * i
            records = Records(**{**minutes.columns(), "start": start})
            store.append([Append(i + 1, "gw-0", [f"device-{k}" for k in range(devices)], records)], i + 1)
        store.close()  # writes the write-ahead file into the database
        n = devices * 1440
        open_bytes = path.stat().st_size / n
        store = DuckDBStore(path)
        began = time.process_time()
        store.seal(DAY + 1)
        seal_us = (time.process_time() - began) / n * 1e6
        store_rows = store.rows()
        sealed_bytes = sum(file.stat().st_size for file in path.with_name("records-sealed").iterdir()) / n
        store.close()
    assert store_rows == n
    yield at_most("county.record_disk", sealed_bytes, "bytes", 4.0, f"sealed Parquet; {seal_us:.2f} us CPU a record")
    yield at_most("county.record_disk", open_bytes, "bytes", 13.0, "open day")


def rebuild(*, long: bool) -> Iterator[Line]:
    """A county whose store was lost: how long until it takes a batch, and until its days are as they were. One with 14
    days of journal and its store: how long until it takes a batch. A county of 1,000 gateways has 20 million batches
    in 14 days; the long run has 2.7 million, which take minutes to make."""
    records = 20_000_000 if long else 1_000_000
    told = _told("county_rebuild", records)
    assert told["same"], "the digests differ"
    made = f"{records / 1e6:.0f} million records applied again, same digests after {told['rebuilt_s']:.1f} s"
    yield at_most("county.rebuild", told["ingest_s"], "s", 60.0, f"until a batch is acknowledged; {made}")
    told = _told("county_restart", 200_000 if long else 2_000)
    held = (
        f"{told['days']} days of journal, {told['batches']:,} batches, {told['compared']:,} of them compared with the"
        f" store; nothing cached; memory at most {told['peak_bytes'] / 1e6:.0f} MB"
    )
    yield at_most("county.rebuild", told["ingest_s"], "s", 60.0, f"the store is there, until acknowledged; {held}")


def _told(module: str, size: int) -> dict[str, Any]:
    """What a module of the benchmarks prints of a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", f"tests.benchmarks.{module}", folder, str(size)]
        told: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return told


BENCHMARKS = (ingest, record_disk, rebuild)
