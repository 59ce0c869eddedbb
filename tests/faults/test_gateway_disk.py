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


MOVED_FROM_A_DYING_CARD = """
import os, subprocess, sys
from pathlib import Path
from gateway.data_folder import only_one
from gateway.moving import leave_note, noted, take_over
from gateway.outbox import Outbox
from tests.gateway.test_outbox import batch, pending_only

folder = Path(sys.argv[1])
card, new = folder / "card", folder / "new"
card.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(card)], check=True)
written = os.fork()
if not written:
    box = Outbox(card / "outbox.sqlite3", "g-1")
    for start in range(20):
        box.commit([batch(start, rows=20)], b"checkpoint", 1)
    os._exit(0)  # killed: its last commits are in the log only
os.waitpid(written, 0)
assert (card / "outbox.sqlite3-wal").stat().st_size > 0
leave_note(new, card)
subprocess.run(["mount", "-o", "remount,ro", str(card)], check=True)
assert take_over(new, only_one, lambda: None) == card
box = Outbox(new / "outbox.sqlite3", "g-1")
assert box.salvaged is None
assert [p.sequence for p in pending_only(box)] == list(range(1, 21))
assert box.checkpoint() == b"checkpoint"
assert noted(new) is None
box.close()
print("everything is in the new folder")
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


def test_an_outbox_moves_away_from_a_card_that_became_read_only(tmp_path: Path) -> None:
    assert "everything is in" in in_namespace(tmp_path, "32m", f"-c '{MOVED_FROM_A_DYING_CARD}'")
