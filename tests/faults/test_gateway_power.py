"""Power cuts: what was accepted is there afterwards, opened by our own outbox, unaided."""

from __future__ import annotations

import asyncio
import os
import random
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.outbox import Outbox
from tests.faults.power import Card
from tests.faults.test_gateway_kill import Process, everything_accepted_came_once, until_checkpoint
from tests.gateway.county_stub import CountyStub

ROOT = Path(__file__).parents[2]
CUTS = 100
CUTS_UNDER_A_GATEWAY = 12

WRITER = """
import sqlite3, sys
from pathlib import Path
from gateway.outbox import Outbox
from tests.gateway.test_outbox import batch
for synchronous in sys.stdin:
    box = Outbox(Path(sys.argv[1]) / "outbox.sqlite3", "g-1")
    box.db.execute("PRAGMA synchronous=" + synchronous)
    written = box.depth().unsent
    step = int((box.checkpoint() or b"0").split()[0])
    try:
        while True:
            step += 1
            if step % 3:
                written += 1
                box.commit([batch(written, rows=20)], b"%d %d" % (step, written), 1)
            else:
                box.save_checkpoint(b"%d %d" % (step, written))
            print("%d %d" % (step, written), flush=True)
    except sqlite3.Error:
        pass
    try:
        box.close()
    except sqlite3.Error:
        pass
    print("cut", flush=True)
"""
"""For each line of input: writes batches and checkpoints, and says so once each is accepted, until the disk fails."""


class Held(NamedTuple):
    """How far a writer is: checkpoints saved and batches written."""

    checkpoints: int
    batches: int


class Writer:
    """A process that writes into an outbox on a card."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(card.folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._pipe = self._process.stdin, self._process.stdout.fileno()

    def write_until_cut(self, synchronous: str, seconds: float) -> Held:
        """Write for so long; what was accepted by then."""
        self._orders.write(synchronous.encode() + b"\n")
        self._orders.flush()
        said = self._hear(b"\n")  # the first is in
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            if select.select([self._pipe], [], [], left_s)[0]:
                said += os.read(self._pipe, 1 << 16)
        self._card.cut_power()
        accepted = said[: said.rindex(b"\n")].split(b"\n")[-1]  # what it says after this is no promise
        self._hear(b"cut\n")
        return Held(*map(int, accepted.split()))

    def _hear(self, what: bytes) -> bytes:
        """Everything that it says up to this."""
        said = b""
        while what not in said:
            more = os.read(self._pipe, 1 << 16)
            assert more, "the writer has ended"
            said += more
        return said

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def writing(card: Card) -> Iterator[Writer]:
    writer = Writer(card)
    try:
        yield writer
    finally:
        writer.end()


def found(card: Card) -> tuple[Held, bool]:
    """What our own outbox finds, and whether it opened without mending anything."""
    began_s = time.monotonic()
    box = Outbox(card.folder / "outbox.sqlite3", "g-1")
    assert time.monotonic() - began_s < 10
    try:
        checkpoints, batches = map(int, (box.checkpoint() or b"0 0").split())
        held, unaided = Held(checkpoints, box.depth().unsent), box.salvaged is None
        if unaided:
            assert batches == held.batches, "a checkpoint and its batch are there together or not at all"
            assert box.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            sequences = [sequence for (sequence,) in box.db.execute("SELECT sequence FROM batches ORDER BY ordinal")]
            assert sequences == list(range(1, held.batches + 1))
    finally:
        box.close()
    return held, unaided


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_hundred_power_cuts_lose_nothing_that_was_accepted(tmp_path: Path) -> None:
    card, rng = Card(tmp_path), random.Random(17)
    print("seed 17", file=sys.stderr)
    with writing(card) as writer:
        for cut in range(CUTS):
            with card.mounted():
                accepted = writer.write_until_cut("FULL", rng.choice([0.0, 0.02, rng.uniform(0.0, 0.6)]))
            with card.mounted():
                held, unaided = found(card)
                assert unaided, f"cut {cut}"
                assert held.checkpoints >= accepted.checkpoints, f"cut {cut}"
                assert held.batches >= accepted.batches > 0, f"cut {cut}"
        lost = 0
        for _ in range(5):  # the same without sync loses: the test can tell
            with card.mounted():
                accepted = writer.write_until_cut("OFF", 0.3)
            with card.mounted():
                held, _ = found(card)
                lost += max(0, accepted.batches - held.batches)
                for file in card.folder.glob("outbox.sqlite3*"):
                    file.unlink()
        assert lost > 0


async def is_at_work(gateway: Process, county: CountyStub) -> None:
    """Start the gateway; it has sent more than the county had."""
    seen = len(county.bodies)
    await gateway.start()
    await county.until(lambda: len(county.bodies) > seen)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_power_cuts_under_a_running_gateway_lose_and_double_nothing(tmp_path: Path) -> None:
    card, rng = Card(tmp_path), random.Random(5)
    print("seed 5", file=sys.stderr)
    folder = card.folder / "data"
    async with CountyStub() as county:
        with card.mounted():
            gateway = Process(county.url, folder, log=tmp_path / "log")
            card.sync()
        for cut in range(CUTS_UNDER_A_GATEWAY):
            with card.mounted():
                try:
                    await is_at_work(gateway, county)
                    await until_checkpoint(folder)
                    await asyncio.sleep(rng.uniform(0.0, 1.0))
                    if cut % 3 == 1:
                        await county.stop()  # so that batches wait when the power goes
                        await asyncio.sleep(rng.uniform(0.5, 1.5))
                    card.cut_power()
                finally:
                    assert await gateway.end(signal.SIGKILL) == -signal.SIGKILL
            if cut % 3 == 1:
                await county.start()
        with card.mounted():
            await is_at_work(gateway, county)
            assert await gateway.end(signal.SIGTERM) == 0, gateway.log()
            everything_accepted_came_once(county, folder)
        assert not re.findall(r"outbox_damaged|checkpoint_damaged", gateway.log())
