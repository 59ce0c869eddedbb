"""Disks that fail under a real gateway: full, read-only. Root and `unshare`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

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


def in_namespace(folder: Path, size: str, program: str, ballast: int = 0) -> str:
    """Run a program of Python's command line over a small tmpfs of its own, which ends with it."""
    fill = f"head -c {ballast} /dev/zero > {folder}/ballast && " if ballast else ""
    script = f"mount -t tmpfs -o size={size} tmpfs {folder} && {fill}exec {sys.executable} {program} {folder}"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_full_disk_keeps_what_was_accepted_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    assert "kept" in in_namespace(tmp_path, "3m", f"-c '{FILL}'", ballast=1_000_000)


def test_a_disk_that_others_fill_ends_no_gateway_and_loses_nothing(tmp_path: Path) -> None:
    in_namespace(tmp_path, "16m", "-m tests.faults.failing_disk full")


def test_with_a_read_only_disk_machines_are_shown_and_counted_when_it_can_be_used(tmp_path: Path) -> None:
    in_namespace(tmp_path, "16m", "-m tests.faults.failing_disk read-only")
