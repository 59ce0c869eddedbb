"""How a run goes on from the last one: its time line, its windows, its counters."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from collectors.model import Trouble
from gateway import checkpoint, outbox_troubles
from gateway.clock import NS_PER_S, TimeLine, boot_id
from gateway.config import PlantConfig
from gateway.dating import Dating
from gateway.outbox import Outbox
from gateway.row import Row
from gateway.windows import Windows

MAX_DAMAGED: Final = 5
_DAMAGED: Final = "checkpoint.damaged-"
_log = structlog.get_logger("gateway")


@dataclass(frozen=True, slots=True)
class Resumed:
    """What a run begins with."""

    windows: Windows
    rows: list[Row]
    """Records of windows that were open and cannot go on."""
    boot: str = ""
    """Which boot of the machine this is; blank where nobody knows."""
    undated_from_s: int = 0
    """Where the time is not known: windows from that start on may bear wrong dates."""
    dated_until_s: int = 0
    """Where the windows with right dates end."""
    to_mark_s: int | None = None
    """Where it became unknown with this run: from that start on windows were made since the machine was switched on."""
    trouble: Trouble | None = None
    """What kept it from going on as it was."""


def read_checkpoint(outbox: Outbox, folder: Path) -> tuple[checkpoint.SavedWindows | None, Trouble | None]:
    """The last run's checkpoint. A damaged one is put into `folder` to be looked at, and told; a new one is begun."""
    blob = outbox.checkpoint()
    if blob is None:
        return None, None
    try:
        return checkpoint.read(blob), None
    except checkpoint.CheckpointError as error:
        kept = ""
        try:
            kept = str(_keep_aside(blob, folder))
        except OSError as failure:
            _log.error("the damaged checkpoint cannot be kept", error=str(failure))
        return None, outbox_troubles.checkpoint_damaged(str(error), kept)


def _keep_aside(blob: bytes, folder: Path) -> Path:
    """Put a damaged checkpoint into a file of its own, of which the latest are kept. Raises OSError."""
    earlier = sorted(folder.glob(f"{_DAMAGED}*"))
    for path in earlier[: max(0, len(earlier) - MAX_DAMAGED + 1)]:
        path.unlink()
    path = folder / f"{_DAMAGED}{time.time_ns():020}"
    path.write_bytes(blob)
    return path


def go_on(
    outbox: Outbox,
    config: PlantConfig,
    clock: TimeLine,
    dating: Dating,
    boot: str | None = None,
    written_until_ns: int = 0,
) -> Resumed:
    """Windows that go on where the last run ended; those before `written_until_ns` have records already.

    Within one boot of the machine the time line goes on as it was. After another one it starts at the system's
    clock, never before the last run's end. Where that clock is not known to be right, windows of the last run are
    closed where they stood, so that none holds both a time that is known and one that is not.
    """
    (saved, trouble), rows, mark = read_checkpoint(outbox, config.gateway.data_dir), list[Row](), outbox.undated()
    boot = boot_id() if boot is None else boot
    if dating.is_known:  # while the disk was waited for
        is_undated = False
    elif saved is not None and saved.clock is not None and saved.clock.boot == boot != "":
        clock.go_on(saved.clock.ahead_ns)
        dating.is_known = saved.clock.is_known
        is_undated = False
    else:
        if saved is not None:
            ended_ns = (saved.saved_ms + 1) * 1_000_000
            clock.start_no_earlier(ended_ns) if mark is None else clock.start_at(ended_ns)
        is_undated = mark is not None or not dating.start_is_known()
    if saved is not None and (is_undated or written_until_ns or saved.window_s != config.gateway.window_s):
        rows, saved = checkpoint.close_old(saved)
        if is_undated:
            clock.start_no_earlier(saved.closed_s * NS_PER_S)
    now_ns = clock()
    windows = Windows(config.gateway.window_s, config.entry_ids, now_ns)
    windows.links_behind_ns = clock.corrected_ns
    if saved is not None:
        checkpoint.resume(saved, windows, now_ns)
        if is_undated or written_until_ns:
            windows.skip_to(now_ns)
    windows.come_again_until(written_until_ns)
    for known in outbox.announced.latest():
        windows.remember(known.device, known.number, known.serial, now_ns)
    begins_s = windows.closed_ns // NS_PER_S
    dated_until_s = 0 if saved is None else saved.closed_s
    since = (begins_s, dated_until_s) if mark is None else (mark.from_s, mark.dated_until_s)
    if not is_undated:
        return Resumed(windows, rows, boot, *since, trouble=trouble)
    windows.begin_undated(since_known=mark is None)
    return Resumed(windows, rows, boot, *since, begins_s, trouble)
