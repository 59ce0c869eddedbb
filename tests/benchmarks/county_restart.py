"""A county that starts again with all its journal's days: `python -m tests.benchmarks.county_restart FOLDER BATCHES`.

`BATCHES` a full day, each of one minute of 60 devices; a minute before local midnight, when most is not sealed.
Finished days are sealed; of those that are not, the store has every record. What was written is put out of the
system's cache before the start, as after a power cut. One line of JSON: `days`, `batches`, `compared` (batches of days
that are not sealed), `fill_s`, `ingest_s` (from the start until a batch is acknowledged), `peak_bytes` (of memory).
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog

from api.ingest import Sender
from api.journal.batch import Batch
from api.journal.files import FileJournal
from api.runtime import County
from api.settings import Settings
from api.store.duckdb import DuckDBStore
from api.store.port import Append
from gateway.wire import DeviceRef, encode, ingest_message
from metrics.record import DAY_S, Records, local_day, local_day_start_s
from tests.api.county_fixtures import HandClock
from tests.benchmarks.bench_gateway import EPOCH, plant_minutes
from tests.benchmarks.county_data import DAY
from tests.benchmarks.measure import peak_rss_bytes

GATEWAYS: Final = 1000
DEVICES: Final = [f"device-{k}" for k in range(60)]
JOURNAL_DAYS: Final = 14
NOW_S: Final = local_day_start_s(DAY + 1) - 60
_GROUP: Final = 256
_START: Final = "start"


def _records(pattern: Records, minute_s: int) -> Records:
    return Records(**{**pattern.columns(), "start": pattern.start - pattern.start[0] + minute_s})


def _batches(per_day: int, first_s: int, last_s: int) -> Iterator[tuple[int, Batch]]:
    """Time of arrival and batch. The bodies have the size of real ones; that of a batch that the store has is not
    read."""
    patterns = [plant_minutes(len(DEVICES), 1, seed) for seed in range(16)]
    table = [DeviceRef(name) for name in DEVICES]
    bodies = [encode(ingest_message("gw-0", EPOCH, 1, table, records)) for records in patterns]
    n = per_day * (last_s - first_s) // DAY_S
    for i in range(n):
        arrived_s = first_s + i * DAY_S // per_day
        sequence = i // GATEWAYS + 1
        yield (
            arrived_s,
            Batch(
                position=i + 1,
                gateway=f"gw-{i % GATEWAYS}",
                epoch=EPOCH,
                sequence=sequence,
                previous=(EPOCH, sequence - 1) if sequence > 1 else None,
                digest=sha256(i.to_bytes(8, "big")).digest(),
                is_json=False,
                rows=len(DEVICES),
                refused=b"",
                held=b"",
                arrived_ns=arrived_s * 1_000_000_000,
                body=bodies[i % len(bodies)],
                days=((int(local_day(_minute(arrived_s))), len(DEVICES)),),
            ),
        )


def _minute(arrived_s: int) -> int:
    return arrived_s // 60 * 60 - 60


async def _fill(folder: Path, per_day: int) -> dict[str, float]:
    """Journal and store as a county leaves them that has run for all the journal's days."""
    began = time.perf_counter()
    now_s = NOW_S
    first_s = (now_s // DAY_S - JOURNAL_DAYS + 1) * DAY_S
    today = int(local_day(now_s))
    patterns = [plant_minutes(len(DEVICES), 1, seed) for seed in range(16)]
    clock = HandClock(first_s)
    journal = FileJournal(folder / "journal", clock)
    store = DuckDBStore(folder / "store" / "records.duckdb")
    waiting: list[Append] = []
    sealed: set[int] = set()
    compared = rows = n = 0
    group: list[Batch] = []

    async def write() -> None:
        outcomes = await asyncio.gather(*map(journal.commit, group))
        assert [o.result for o in outcomes] == ["journalled"] * len(group)
        group.clear()

    for arrived_s, batch in _batches(per_day, first_s, now_s):
        if len(group) == _GROUP or arrived_s // DAY_S != clock.now_ns() // 1_000_000_000 // DAY_S:
            await write()
        clock.at_ns = arrived_s * 1_000_000_000
        group.append(batch)
        n += 1
        ((day, _),) = batch.days
        if day < today - 1 and day in sealed:
            continue  # one batch is enough to seal a day
        sealed.add(day)
        compared += day >= today - 1
        records = _records(patterns[n % len(patterns)], _minute(arrived_s))
        waiting.append(Append(batch.position, batch.gateway, DEVICES, records))
        rows += len(records)
        if rows >= 240_000:
            store.append(waiting, batch.position)
            waiting.clear()
            rows = 0
    await write()
    assert journal.position == n
    store.append(waiting, n)
    store.seal(today - 1)
    days = journal.size().days
    store.close()
    journal.close()
    return {"days": days, "batches": n, "compared": compared, "fill_s": time.perf_counter() - began}


def _forget(folder: Path) -> None:
    """Put the files out of the system's cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


async def _start(folder: Path) -> dict[str, float]:
    """Start, and send one batch."""
    settings = Settings(_env_file=None, data_dir=folder, log_level="error")
    minute_s = NOW_S - 60
    table = [DeviceRef(name) for name in DEVICES]
    records = _records(plant_minutes(len(DEVICES), 1, 0), minute_s)
    body = encode(ingest_message("gw-new", EPOCH, 1, table, records))
    began = time.perf_counter()
    async with County.running(settings, HandClock(NOW_S), "0") as county:
        applied = county.store.applied()
        answer = await county.ingest.take(Sender("gw-new"), body, False)
        ingest_s = time.perf_counter() - began
        assert answer.result == "journalled"
        assert applied == county.journal.position - 1, "nothing differs"
    return {"ingest_s": ingest_s, "peak_bytes": peak_rss_bytes()}


def main(folder: Path, what: str) -> None:
    """Fill, then start in a process of its own, whose memory is that of the start alone."""
    if what == _START:
        print(json.dumps(asyncio.run(_start(folder))))
        return
    told = asyncio.run(_fill(folder, int(what)))
    _forget(folder)
    command = [sys.executable, "-m", "tests.benchmarks.county_restart", str(folder), _START]
    started = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(json.dumps(told | json.loads(started.stdout)))


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    main(Path(sys.argv[1]), sys.argv[2])
