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
import asyncio, os, subprocess, sys
from pathlib import Path
import structlog
from gateway import data_folder, runner
from tests.gateway.scripted import ScriptedCollector, steady
from collectors.entries import DeviceEntry
from gateway.config import GatewayConfig, PlantConfig, UplinkConfig
from gateway.links import Link
folder = Path(sys.argv[1])
(folder / "credential").write_text("x")
settings = GatewayConfig(data_dir=folder / "data", checkpoint_s=0.2, page={"listen": "off"})
config = PlantConfig(file=folder / "p", site="g-1", gateway=settings,
    uplink=UplinkConfig(url="http://127.0.0.1:9", credential_file=folder / "credential"),
    entries={"modbus": (DeviceEntry(id="m-1", profile="p", address="modbus-tcp://h:1"),)})
data_folder.DISK_RETRY_S = 0.1
made = []
def links(config, clock):
    made.append(ScriptedCollector(steady(), clock))
    return [Link("modbus", made[0])]
async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.05)
async def main():
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    with structlog.testing.capture_logs() as lines:
        task = asyncio.create_task(runner.run(config, runner.Options(), links))
        await until(lambda: lines)
        assert "cannot be used: waiting" in lines[0]["event"], lines
        await asyncio.sleep(0.5)
        assert len(lines) == 1 and not task.done(), lines
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        await until(lambda: made[0].acked >= 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    print("waited and went on")
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


def test_a_read_only_disk_is_waited_for(tmp_path: Path) -> None:
    assert "waited and went on" in in_namespace(tmp_path, "16m", quoted(READ_ONLY))


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
