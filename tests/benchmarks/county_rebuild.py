"""A county that loses its store: `python -m tests.benchmarks.county_rebuild FOLDER RECORDS` prints what it took.

One line of JSON: `ingest_s` (from the start until a batch is acknowledged), `rebuilt_s` (until every day is
computed again), `same` (whether the day digests are those of before).
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from pathlib import Path

import structlog
from sqlalchemy import delete, select

from api.clock import SystemClock
from api.ingest import Sender
from api.register.database import writing
from api.register.models import DeviceDay
from api.runtime import County
from api.settings import Settings
from gateway.wire import DeviceRef, encode, ingest_message
from metrics.record import Records
from tests.benchmarks.bench_gateway import EPOCH, START_S, plant_minutes

DEVICES = 50
MINUTES = 20
GATEWAYS = 8


def _bodies(n: int) -> list[tuple[str, bytes]]:
    """Batches of 1,000 records, each gateway's from two hours ago back; the same minutes over and over but for time."""
    newest_s = int(time.time()) // 60 * 60 - 7200
    table = [DeviceRef(f"device-{k}") for k in range(DEVICES)]
    patterns = [plant_minutes(DEVICES, MINUTES, seed) for seed in range(16)]
    bodies = []
    for i in range(n):
        gateway, sequence = i % GATEWAYS, i // GATEWAYS + 1
        minutes = patterns[i % len(patterns)]
        start = minutes.start - START_S + newest_s - 60 * MINUTES * sequence
        records = Records(**{**minutes.columns(), "start": start})
        previous = (EPOCH, sequence - 1) if sequence > 1 else None
        message = ingest_message(f"gw-{gateway}", EPOCH, sequence, table, records, previous=previous)
        bodies.append((message.gateway, encode(message)))
    return bodies


async def _send(county: County, bodies: list[tuple[str, bytes]]) -> None:
    for first in range(0, len(bodies), 64):
        group = bodies[first : first + 64]
        await asyncio.gather(*(county.ingest.take(Sender(gateway), body, False) for gateway, body in group))


def _digests(county: County) -> dict[tuple[str, int], str]:
    with county.engine.connect() as connection:
        rows = connection.execute(select(DeviceDay.gateway, DeviceDay.day, DeviceDay.digest)).all()
    return {(gateway, day): digest for gateway, day, digest in rows}


async def _settle(county: County) -> None:
    assert await asyncio.to_thread(county.applier.wait_applied, county.journal.position, 600.0)
    assert await asyncio.to_thread(county.rollup.wait_clean, 600.0)


async def main(folder: Path, records: int) -> None:
    """Fill, lose, start, send, wait."""
    settings = Settings(_env_file=None, data_dir=folder, log_level="error")
    bodies = _bodies(records // (DEVICES * MINUTES) + 1)
    async with County.running(settings, SystemClock(), "0") as county:
        await _send(county, bodies[:-1])
        await _settle(county)
        before = _digests(county)
        with writing(county.engine) as connection:
            connection.execute(delete(DeviceDay))
    shutil.rmtree(folder / "store")
    began = time.perf_counter()
    async with County.running(settings, SystemClock(), "0") as county:
        await _send(county, [bodies[0]])  # sent again: acknowledged, and adds nothing
        ingest_s = time.perf_counter() - began
        await _settle(county)
        rebuilt_s = time.perf_counter() - began
        same = _digests(county) == before
    print(json.dumps({"ingest_s": ingest_s, "rebuilt_s": rebuilt_s, "same": same}))


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
