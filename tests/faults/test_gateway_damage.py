"""A damaged outbox under the gateway's own command, over a simulated meter: told to people, and the work goes on."""

from __future__ import annotations

import html
import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import pytest

from gateway import checkpoint
from gateway.outbox import Outbox
from simulators.ledger import Ledger
from simulators.modbus_server import ModbusStation
from simulators.physics import Machine
from simulators.processes import Processes, Program
from tests.faults.test_gateway_kill import saved_checkpoint
from tests.gateway.county_stub import CREDENTIAL, CountyStub
from tests.gateway.test_outbox import batch
from tests.gateway.test_watchdog_behaviour import Manager
from tests.waiting import until

PAGE_BYTES, PIECE_BYTES = 4096, 32
KEPT = 40
"""Batches that wait from before, each of several pages that nobody reads until they are sent."""
ROWS = 2_000
METER = "meter-1"
SPOILED = (4, 11, 12, 25)
Bodies = dict[int, bytes]


class Site:
    """A meter on a socket, a county, and the folder of the gateway between them."""

    def __init__(self, folder: Path, county: CountyStub, address: str) -> None:
        self.county, self.file = county, folder / "data" / "outbox.sqlite3"
        self.status_file = folder / "status.json"
        self.manager = Manager(str(folder / "notify"))
        self._config = folder / "plant.yaml"
        (folder / "credential").write_text(CREDENTIAL)
        self._config.write_text(
            f"site: g-1\n"
            f"uplink: {{url: '{county.url}', credential_file: credential}}\n"
            f"gateway: {{window_s: 10, checkpoint_s: 0.5, data_dir: data, page: {{listen: '127.0.0.1:0'}}}}\n"
            f"devices:\n"
            f"  - {{id: {METER}, profile: eastron-sdm630, address: '{address}', unit: 1}}\n"
        )
        self.processes = Processes(folder / "logs", {**os.environ, "NOTIFY_SOCKET": str(folder / "notify")})
        self._gateway: Program | None = None
        self._session = aiohttp.ClientSession()

    async def start(self) -> None:
        """Start the gateway; it is ready, has its meter's counter in a checkpoint and shows the meter to the county."""
        self.manager.listen().clear()
        self.status_file.unlink(missing_ok=True)
        before = self.counter()
        self._gateway = await self.processes.start(
            "gateway",
            ["gateway.cli", "run", "--config", str(self._config), "--status-file", str(self.status_file)],
        )

        def is_at_work() -> bool:
            self.processes.check()
            return "READY=1" in self.manager.listen() and (self.counter() or 0) > (before or 0)

        await until(is_at_work)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the gateway; its exit code."""
        assert self._gateway is not None
        self.processes.check()
        found, self._gateway = self._gateway, None
        return await self.processes.stop_one(found, number, timeout_s=30.0)

    def counter(self) -> int | None:
        """The meter's counter as last accepted, in Wh; None where the disk holds none."""
        blob = saved_checkpoint(self.file)
        accounts = checkpoint.read(blob).accounts if blob else []
        return next((account.quantity.last for account in accounts if account.id == METER), None)

    async def is_told(self) -> bool:
        """Whether people are told of the damage: on the page, and in the status file."""
        if not self.status_file.exists():
            return False
        status = json.loads(self.status_file.read_text())
        told = [trouble for trouble in status["troubles"] if trouble["code"] == "outbox_damaged"]
        if not told or not status["page_url"]:
            return False
        async with self._session.get(status["page_url"], headers={"Accept-Language": "zh"}) as answer:
            page = html.unescape(await answer.text())
        (aside,) = self.damaged_files()
        return told[0]["zh"] in page and aside.name in told[0]["zh"]

    def damaged_files(self) -> list[Path]:
        """The databases that were set aside."""
        return sorted(p for p in self.file.parent.glob("*.damaged-*") if not p.name.endswith(("-wal", "-shm")))

    async def close(self) -> None:
        await self.processes.stop()
        await self._session.close()
        self.manager.close()


@asynccontextmanager
async def site(folder: Path, county: CountyStub) -> AsyncIterator[Site]:
    meter = Machine(METER, "meter-electricity", seed=3, start_energy_kwh=812.5)
    station = ModbusStation({1: ("sdm630", meter)}, Ledger(), period_s=0.2)
    await station.start()
    made = Site(folder, county, station.address)
    try:
        yield made
    finally:
        await made.close()
        await station.stop()


def what_waits(path: Path) -> Bodies:
    """An outbox with batches that the county does not have yet, by sequence."""
    box = Outbox(path, "g-1")
    for start in range(KEPT):
        box.commit([batch(start, rows=ROWS)], b"", time.time_ns())
    box.db.execute("DELETE FROM checkpoint")
    bodies = dict(box.db.execute("SELECT sequence, body FROM batches"))
    box.close()
    return bodies


def spoil(path: Path, at: int) -> None:
    """Overwrite the page around an offset, as a dying card does."""
    with path.open("r+b") as file:
        file.seek(at - at % PAGE_BYTES)
        file.write(random.Random(at).randbytes(PAGE_BYTES))


def places(path: Path, bodies: Bodies) -> list[int]:
    """Offsets in the file of something in the middle of batches that no other batch holds."""
    content, found = path.read_bytes(), []
    for sequence in SPOILED:
        body = bodies[sequence]
        middle = len(body) // 2
        pieces = (body[at : at + PIECE_BYTES] for at in range(middle, middle + PAGE_BYTES, PIECE_BYTES))
        found.append(content.index(next(piece for piece in pieces if content.count(piece) == 1)))
    return found


def spoil_links(path: Path, bodies: Bodies) -> None:
    """Pages in the middle of batches: the database notices when it reads them."""
    for place in places(path, bodies):
        spoil(path, place)


def spoil_content(path: Path, bodies: Bodies) -> None:
    """Bits in the middle of batches: the database notices nothing."""
    for place in places(path, bodies):
        with path.open("r+b") as file:
            file.seek(place)
            changed = bytes(byte ^ 0x55 for byte in file.read(PIECE_BYTES))
            file.seek(place)
            file.write(changed)


def spoil_a_root(path: Path, _: Bodies) -> None:
    """The page at which a table begins: the file cannot be opened as it is."""
    with closing(sqlite3.connect(path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'announcements'").fetchone()
    spoil(path, (root - 1) * PAGE_BYTES)


def spoil_the_header(path: Path, _: Bodies) -> None:
    """The first page: nothing of it can be read as a database."""
    spoil(path, 0)


def arrived(county: CountyStub) -> set[int]:
    """Sequences of the batches that came and of those that are told as gaps."""
    return {s for _, s in county.bodies} | {gap.sequence for message in county.messages for gap in message.gaps}


@pytest.mark.parametrize("harm", [spoil_links, spoil_content])
async def test_damage_under_a_running_gateway_is_told_and_costs_what_was_on_it(
    tmp_path: Path, harm: Callable[[Path, Bodies], None]
) -> None:
    async with CountyStub() as county, site(tmp_path, county) as plant:
        bodies = what_waits(plant.file)
        await county.stop()
        await plant.start()
        harm(plant.file, bodies)
        await county.start()
        await until(lambda: {sequence for _, sequence in county.bodies} >= set(bodies) - set(SPOILED), 60)
        await until(plant.is_told)
        seen = county.total(METER, "good")
        await until(lambda: county.total(METER, "good") > seen)  # and the work goes on
        assert arrived(county) >= set(bodies), "what was lost is told as a gap"
        for (_, sequence), body in county.bodies.items():
            assert bodies.get(sequence, body) == body, "nothing came that was not written"
        assert await plant.stop() == 0
        assert county.doubled == []


@pytest.mark.parametrize("harm", [spoil_a_root, spoil_the_header])
async def test_a_start_over_a_damaged_outbox_is_up_and_the_next_one_finds_it_mended(
    tmp_path: Path, harm: Callable[[Path, Bodies], None]
) -> None:
    async with CountyStub() as county, site(tmp_path, county) as plant:
        bodies = what_waits(plant.file)
        await county.stop()
        await plant.start()
        assert await plant.stop() == 0
        harm(plant.file, bodies)
        await plant.start()
        await until(plant.is_told)
        assert await plant.stop(signal.SIGKILL) == -signal.SIGKILL
        await plant.start()
        assert len(plant.damaged_files()) == 1
        await county.start()
        if harm is spoil_a_root:  # every batch could be read
            await until(lambda: {sequence for _, sequence in county.bodies} >= set(bodies), 60)
        await until(lambda: county.total(METER, "good") > 0)
        assert await plant.stop() == 0
        assert county.doubled == []
