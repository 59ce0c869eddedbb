"""kill -9 at any moment: no accepted record is lost, none is doubled, counters go on exactly."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from gateway import checkpoint
from gateway.outbox import Outbox
from gateway.wire import Ingest, decode
from metrics.record import UNKNOWN_READING, Flag
from tests.gateway.county_stub import CREDENTIAL, CountyStub
from tests.gateway.scripted_gateway import DEVICES
from tests.waiting import until

ROOT = Path(__file__).parents[2]


class Process:
    """A gateway process that can be killed and started again over the same folder."""

    def __init__(self, url: str, folder: Path, *settings: str, log: Path | None = None) -> None:
        folder.mkdir()
        (folder / "credential").write_text(CREDENTIAL)
        self.arguments = [url, str(folder), str(time.time()), *settings]
        self._log = log or folder / "log"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        log = self._log.open("ab")
        try:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "tests.gateway.scripted_gateway", *self.arguments),
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        finally:
            log.close()
        assert self.process.stdout is not None
        assert await self.process.stdout.readline() == b"started\n", self.log()

    async def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        assert self.process.returncode is None, self.log()
        self.process.send_signal(number)
        await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode

    def log(self) -> str:
        return self._log.read_text()


async def until_checkpoint(folder: Path) -> None:
    """Wait until the first readings are in a synced checkpoint: from there on they are accepted."""
    async with asyncio.timeout(20):
        while True:
            blob = saved_checkpoint(folder / "outbox.sqlite3")
            accounts = checkpoint.read(blob).accounts if blob else []
            if len(accounts) == len(DEVICES) and all(a.quantity.last is not None for a in accounts):
                return
            await asyncio.sleep(0.05)


def saved_checkpoint(path: Path) -> bytes | None:
    """The checkpoint as a reader beside the running gateway sees it."""
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    except sqlite3.OperationalError:
        return None
    try:
        row: tuple[bytes] | None = db.execute("SELECT body FROM checkpoint").fetchone()
        return row[0] if row else None
    except sqlite3.DatabaseError:
        return None
    finally:
        db.close()


async def kill_many(
    county: CountyStub,
    folder: Path,
    kills: int,
    seed: int,
    flap: bool = False,
    every_s: float = 0.9,
    settings: tuple[str, ...] = (),
) -> None:
    """Kill a gateway at random, up to `every_s` apart, and check that every accepted record came once."""
    rng = random.Random(seed)
    print(f"seed {seed}", file=sys.stderr)
    gateway = Process(county.url, folder, *settings)
    await gateway.start()
    await until_checkpoint(folder)
    for _ in range(kills):
        await asyncio.sleep(rng.uniform(0.0, every_s))
        if flap and rng.random() < 0.3:
            await county.stop()
        assert await gateway.end(signal.SIGKILL) == -signal.SIGKILL
        if county._runner is None:
            await county.start()
        await gateway.start()
    seen = len(county.live)
    await county.until(lambda: len(county.live) > seen)  # it has begun to work, and stops in order
    assert await gateway.end(signal.SIGTERM) == 0, gateway.log()
    everything_accepted_came_once(county, folder)


def everything_accepted_came_once(county: CountyStub, folder: Path) -> None:
    """Set the outbox of a gateway that has ended in order beside what the county has: batches and counters."""
    for account in every_batch_came_once(county, folder).accounts:
        exact(county, account)


def every_batch_came_once(county: CountyStub, folder: Path) -> checkpoint.SavedWindows:
    """Whether the county has every accepted batch, once, with its bytes; the checkpoint of a gateway that has ended."""
    box = Outbox(folder / "outbox.sqlite3", county.messages[0].gateway)
    saved = checkpoint.read(box.checkpoint() or b"")
    written = dict(box.db.execute("SELECT sequence, body FROM batches"))
    depth = box.depth()
    box.close()
    assert depth.unsent == depth.poisoned == depth.dropped_batches == 0
    assert {sequence: body for (_, sequence), body in county.bodies.items()} == written
    assert sorted(written) == list(range(1, len(written) + 1))
    assert county.doubled == []
    chain = sorted(decode(body, Ingest).previous or (0, 0) for body in written.values())
    assert [previous[1] for previous in chain] == list(range(len(written)))
    return saved


def exact(county: CountyStub, account: checkpoint.SavedAccount) -> None:
    """Quantities telescope from the first reading to the last one, window by window."""
    rows = sorted((row for (device, _, _), row in county.rows.items() if device == account.id), key=_start)
    counted: int | None = None
    resumed = 0
    for row in rows:
        resumed += bool(row["flags"] & Flag.RESUMED)
        assert not row["flags"] & (Flag.COUNTER_RESET | Flag.COUNTER_REPLACED)
        if counted is None:
            if row["reading"] != UNKNOWN_READING:
                counted = row["reading"]
            continue
        counted += row["quantity"]
        if row["reading"] != UNKNOWN_READING:
            assert row["reading"] == counted
    assert counted == account.quantity.last
    assert resumed > 0
    first = next(row for row in rows if row["reading"] != UNKNOWN_READING)
    elapsed_s = (first["reading"] - first["quantity"]) / 1000 - 100  # it counts 1 kWh and 5 pieces a second
    assert account.parts.last is not None
    assert abs(county.total(account.id, "parts") - (account.parts.last - int(elapsed_s * 5))) <= 1
    for row in rows:
        states = row["running"] + row["idle"] + row["fault"] + row["off"]
        assert states <= row["connected"] <= row["observed"] <= row["length"]


def _start(row: dict[str, int]) -> tuple[int, int]:
    return row["start"], row["part"]


async def test_a_killed_gateway_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async with CountyStub() as county:
        await kill_many(county, tmp_path / "data", kills=3, seed=11)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_hundred_kills_lose_and_double_nothing(tmp_path: Path, seed: int) -> None:
    async with CountyStub() as county:
        await kill_many(county, tmp_path / "data", kills=50, seed=seed, flap=seed == 2)


async def test_how_a_process_ended_is_known_at_its_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    async with CountyStub() as county:
        gateway = Process(county.url, folder)
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGTERM):
            before = len(starts_of(folder))
            await gateway.start()
            await until(lambda: len(starts_of(folder)) > before)  # noqa: B023 (awaited at once)
            await until_checkpoint(folder)
            await gateway.end(number)
    assert starts_of(folder) == ["first", "killed", "ordered"]


def starts_of(folder: Path) -> list[str]:
    """How the run before each start ended, as the file beside the outbox says."""
    try:
        return [start["cause"] for start in json.loads((folder / "starts.json").read_bytes())["starts"]]
    except FileNotFoundError:
        return []
