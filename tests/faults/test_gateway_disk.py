"""Disks that fail under a real gateway: full, read-only, without power. Root, `unshare` and loop mounts."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = b"\x02\x00\x00\x00"

FILL = """
import sqlite3, sys
from pathlib import Path
from gateway.outbox import Outbox
from tests.gateway.test_outbox import batch
folder = Path(sys.argv[1])
box = Outbox(folder / "outbox.sqlite3", "g-1")
written = 0
try:
    while written < 100_000:
        box.commit([batch(written, rows=500)], b"c" * 2000, 1)
        written += 1
except sqlite3.OperationalError as error:
    assert "full" in str(error) or "I/O" in str(error), error
assert box.depth().unsent == written, (box.depth(), written)
for _ in range(3):
    try:
        box.commit([batch(0, rows=500)], b"c", 1)
    except sqlite3.OperationalError:
        pass
box.close()
(folder / "ballast").unlink()
box = Outbox(folder / "outbox.sqlite3", "g-1")
assert box.salvaged is None
before = box.depth().unsent
box.commit([batch(written, rows=500)], b"again", 1)
assert box.depth().unsent == before + 1
assert box.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
print("kept", before, "of", written)
"""

READ_ONLY = """
import asyncio, subprocess, sys
from pathlib import Path
import structlog
from gateway import data_folder, runner
from gateway.config import GatewayConfig, PlantConfig, UplinkConfig
from gateway.links import Link
from gateway.page.config import OFF, PageConfig
from collectors.entries import DeviceEntry
from tests.gateway.county_stub import CREDENTIAL, CountyStub
from tests.gateway.scripted import ScriptedCollector, steady
from tests.waiting import until

folder = Path(sys.argv[1])
(folder / "credential").write_text(CREDENTIAL)
data_folder.DISK_RETRY_S = 0.1
machine = steady()
made = []

def links(_, clock):
    made.append(ScriptedCollector(machine, clock))
    return [Link("modbus", made[-1])]

def mounted(how):
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)

def total(county):
    return county.total("m-1", "quantity"), county.total("m-1", "parts")

async def main():
    settings = GatewayConfig(data_dir=folder / "data", checkpoint_s=0.2, page=PageConfig(listen=OFF))
    async with CountyStub() as county:
        config = PlantConfig(file=folder / "p", site="g-1",
            gateway=settings.model_copy(update={"window_s": 1}),
            uplink=UplinkConfig(url=county.url, credential_file=folder / "credential"),
            entries={"modbus": (DeviceEntry(id="m-1", profile="p", address="modbus-tcp://h:1"),)})
        def gateway():
            return asyncio.create_task(runner.run(config, runner.Options(), links))
        async def end(task):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        task = gateway()
        await until(lambda: total(county)[0] > 0)
        await end(task)
        mounted("ro")
        counted, rows, seen = total(county), len(county.rows), len(county.live)
        with structlog.testing.capture_logs() as lines:
            task = gateway()
            await until(lambda: len(county.live) > seen + 2 and county.live[-1].devices[0].connected)
            await until(lambda: len(county.rows) > rows + 2)
            assert total(county) == counted, "counters are left alone"
            assert {line.get("code") for line in lines if line["event"] == "trouble"} == {"disk_not_usable"}, lines
            assert not task.done()
            await county.stop()
            await asyncio.sleep(2.5)  # windows that only memory has
            mounted("rw")
            await until(lambda: made[-2].acked >= 1)
            await county.start()
            await until(lambda: total(county)[0] > counted[0])
            await asyncio.sleep(1.5)
        await end(task)
        box = data_folder.open_outbox(config)
        from gateway import checkpoint
        saved = checkpoint.read(box.checkpoint()).accounts[0]
        assert county.doubled == [], county.doubled
        rows = sorted((r for (d, _, _), r in county.rows.items()), key=lambda r: (r["start"], r["part"]))
        starts = sorted({r["start"] for r in rows if r["observed"]})
        held = [s for s in range(starts[0], starts[-1]) if s not in starts]
        assert len(held) <= 6, (held, starts)  # where one run ended and the next began; memory was carried over
        first = next(r for r in rows if r["reading"] >= 0)
        waiting = sum(decode_rows(box))
        counted = first["reading"] - first["quantity"] + county.total("m-1", "quantity") + waiting
        open_now = sum(tally[2] for tally in saved.tallies.values())
        assert counted == saved.quantity.last - open_now, (counted, saved.quantity.last, open_now)
    print("shown meanwhile, nothing lost or doubled")

def decode_rows(box):
    from gateway.wire import Ingest, decode, records_of
    for _, body in box.batches.unsent_after(0):
        yield int(records_of(decode(body, Ingest)).quantity.sum())

asyncio.run(main())
"""


def in_namespace(folder: Path, size: str, program: str, ballast: int = 0) -> str:
    """Run a program over a small tmpfs of its own, which ends with it."""
    fill = f"head -c {ballast} /dev/zero > {folder}/ballast && " if ballast else ""
    script = f"mount -t tmpfs -o size={size} tmpfs {folder} && {fill}exec {sys.executable} -c '{program}' {folder}"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def quoted(program: str) -> str:
    assert "'" not in program
    return program


def test_a_full_disk_keeps_what_was_accepted_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    assert "kept" in in_namespace(tmp_path, "3m", quoted(FILL), ballast=1_000_000)


def test_with_a_read_only_disk_machines_are_shown_and_counted_when_it_can_be_used(tmp_path: Path) -> None:
    assert "shown meanwhile" in in_namespace(tmp_path, "16m", quoted(READ_ONLY))


# Power cut ---------------------------------------------------------------------------------------

WRITER = """
import sys, sqlite3
from pathlib import Path
from gateway.outbox import Outbox
from tests.gateway.test_outbox import batch
box = Outbox(Path(sys.argv[1]) / "outbox.sqlite3", "g-1")
box.db.execute("PRAGMA synchronous=" + sys.argv[2])
n = box.depth().unsent
while True:
    box.commit([batch(n, rows=20)], str(n).encode(), 1)
    n += 1
    print(n, flush=True)
"""


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def cut_power(image: Path, folder: Path, synchronous: str, seconds: float) -> tuple[int, int]:
    """Write until the power is cut. Returns (batches acknowledged, batches there afterwards)."""
    with mounted(image, folder):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), synchronous],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert writer.stdout is not None
        pipe = writer.stdout.fileno()
        said = os.read(pipe, 1 << 16)  # the first batch is in
        time.sleep(seconds)
        handle = os.open(folder, os.O_RDONLY)
        try:
            # What it says after this is no promise: unlike a real one, this cut lets the process live on.
            said += os.read(pipe, 1 << 16)
            fcntl.ioctl(handle, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH)
        finally:
            os.close(handle)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    with mounted(image, folder):
        began_s = time.monotonic()
        path = folder / "outbox.sqlite3"
        db = sqlite3.connect(path)
        found = db.execute("SELECT count(*) FROM batches").fetchone()[0]
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.close()
        assert time.monotonic() - began_s < 10
    return int(said.split()[-1]), found


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_power_cut_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    image, folder = tmp_path / "disk", tmp_path / "mount"
    folder.mkdir()
    subprocess.run(["truncate", "-s", "64M", str(image)], check=True)
    subprocess.run([shutil.which("mkfs.ext4") or "mkfs.ext4", "-q", "-F", str(image)], check=True)
    for k in range(10):
        accepted, found = cut_power(image, folder, "FULL", 0.2 + 0.05 * k)
        assert found >= accepted > 0
    lost = 0
    for _ in range(5):  # the same without sync loses: the test can tell
        accepted, found = cut_power(image, folder, "OFF", 0.3)
        lost += max(0, accepted - found)
    assert lost > 0
