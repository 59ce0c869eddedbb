"""A data folder that moves: what the old one holds goes into the new one before a gateway runs there.

The gateway that runs leaves a note in the folder that its file names now; the next start finds it. The outbox is
copied, synced, taken away from the old folder and only then put in its place: two gateways never send one backlog, and
whatever interrupts this, the next start goes on. The old folder gets a note in its turn: a file that names it again
while no gateway runs finds its way back.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import structlog

from collectors.causes import cause_of
from collectors.model import Trouble
from gateway.outbox import DiskError
from gateway.outbox.durable import put_in_place
from gateway.outbox.salvage import finish
from gateway.outbox_troubles import FOLDER

NOTE: Final = "moved-from"
OUTBOX: Final = "outbox.sqlite3"
_PARTIAL: Final = f"{OUTBOX}.moving"
_WHOLE: Final = f"{OUTBOX}.moved-in"
_CHUNK_BYTES: Final = 1 << 20
_MIB: Final = 1 << 20
_STAYS: Final = ("lock", NOTE, OUTBOX)
"""Names, or their beginnings, of what is not copied with the rest."""
_log = structlog.get_logger("gateway")


class NotMovedError(DiskError):
    """The old folder's outbox cannot be taken over now. It is never left behind silently."""

    def __init__(self, new: Path, old: Path, zh: str, en: str) -> None:
        super().__init__(f"{zh} / {en}")
        self.trouble = Trouble(
            FOLDER,
            "data_folder_not_moved",
            f"数据文件夹已改为 {new}，但 {old} 里的待发库还没能搬过来：{zh}。设备状态照常上报，记录暂存内存。",
            f"the data folder is {new} now, but the outbox in {old} could not be moved there: {en}. Machines are "
            "shown, records are held in memory.",
            f"请排除原因，网关会自动再试；若旧数据确实不要了，请删除 {new / NOTE}。",
            f"Put that right, the gateway tries again by itself. Where the old data is not wanted, delete "
            f"{new / NOTE}.",
        )


def leave_note(new: Path, old: Path) -> None:
    """Have the next start in `new` take over what is in `old`. Raises OSError."""
    new.mkdir(parents=True, exist_ok=True)
    partial = new / f"{NOTE}.part"
    partial.write_text(f"{old.absolute()}\n", encoding="utf-8")
    os.replace(partial, new / NOTE)


def take_note_back(new: Path) -> None:
    """Nothing is to be moved there after all."""
    with suppress(OSError):
        (new / NOTE).unlink(missing_ok=True)


def noted(new: Path) -> Path | None:
    """The folder that is to be moved there, None where there is none."""
    try:
        return Path((new / NOTE).read_text(encoding="utf-8").rstrip("\n"))
    except (OSError, UnicodeDecodeError):
        return None


def whereabouts(folder: Path) -> Path:
    """Where what belongs into a folder is now: there, or where its note leads, over folders that were left since.

    What looks at a gateway from outside finds it there before the restart that moves the folder, too.
    """
    seen = [folder]
    while (further := noted(seen[-1])) is not None and further not in seen:
        seen.append(further)
        if (further / OUTBOX).exists() or (further / _WHOLE).exists():
            break
    return seen[-1]


def take_over(
    new: Path, hold: Callable[[Path], AbstractContextManager[None]], on_progress: Callable[[], None]
) -> Path | None:
    """Move what a note names; returns where that was, None where there is nothing to move.

    `hold` holds a folder for this process; `on_progress` is called again and again. Raises NotMovedError, OutboxError.
    """
    old = whereabouts(new)
    if old == new:
        return None
    if not old.is_dir():
        raise NotMovedError(new, old, "旧文件夹不在（没挂上？）", "the old folder is not there (not mounted?)")
    try:
        if not new.samefile(old):
            with ExitStack() as held:
                with _read_only_is_no_reason():  # nobody can run a gateway there
                    held.enter_context(hold(old))
                _move(new, old, on_progress)
        (new / NOTE).unlink()
    except (OSError, sqlite3.Error) as error:
        cause = cause_of(error)
        raise NotMovedError(new, old, cause.zh, cause.en) from error
    _log.warning("the data folder was moved", to=str(new), outbox_kept_as=str(old))
    return old


def _move(new: Path, old: Path, on_progress: Callable[[], None]) -> None:
    source, whole = old / OUTBOX, new / _WHOLE
    finish(source)  # mending it may have been interrupted
    if not source.exists():
        if whole.exists():  # it was taken away from there already
            put_in_place(whole, new / OUTBOX)
        if (new / OUTBOX).exists():
            return
        if not (old / _WHOLE).exists():
            raise NotMovedError(
                new,
                old,
                "旧文件夹里没有待发库（盘没挂上？）",
                "there is no outbox in the old folder (its disk not mounted?)",
            )
        put_in_place(old / _WHOLE, source)  # it was on its way there when the file named this folder again
    if (new / OUTBOX).exists():
        raise NotMovedError(
            new, old, "两个文件夹里都有待发库，不知道要哪一个", "both folders hold an outbox: which one is meant?"
        )
    _make_sure_of_room(new, old)
    _copy_the_rest(new, old, on_progress)
    with closing(sqlite3.connect(source)) as db, suppress(sqlite3.DatabaseError):  # a damaged one is mended later
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    log = old / f"{OUTBOX}-wal"
    if log.exists():  # it could not be written into the file: the disk is read-only, or the file damaged
        _copy(log, new / log.name, on_progress)
    _copy(source, new / _PARTIAL, on_progress)
    put_in_place(new / _PARTIAL, whole)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    with _read_only_is_no_reason():
        leave_note(old, new)
        put_in_place(source, old / f"{OUTBOX}.moved-{stamp}")
    put_in_place(whole, new / OUTBOX)


def _make_sure_of_room(new: Path, old: Path) -> None:
    """A disk that is too small is not filled again and again. Raises NotMovedError."""
    for unfinished in (_PARTIAL, _WHOLE):
        (new / unfinished).unlink(missing_ok=True)
    needed_bytes = sum(path.stat().st_size for path in (old / OUTBOX, *_the_rest(old)) if path.is_file())
    free_bytes = shutil.disk_usage(new).free
    if needed_bytes > free_bytes:
        needed_mb, free_mb = -(-needed_bytes // _MIB), free_bytes // _MIB
        raise NotMovedError(
            new,
            old,
            f"需要 {needed_mb} MiB，新盘只剩 {free_mb} MiB",
            f"{needed_mb} MiB are needed, {free_mb} MiB are free on the new disk",
        )


@contextmanager
def _read_only_is_no_reason() -> Iterator[None]:
    """A card that became read-only is why a folder moves: it is left as it is, and no gateway can use it."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        _log.warning("the old data folder is read-only: left as it is", error=str(error))


def _copy_the_rest(new: Path, old: Path, on_progress: Callable[[], None]) -> None:
    """Certificates, approvals and the like: what the gateway keeps beside its outbox."""
    for path in _the_rest(old):
        where = path.relative_to(old)
        if path.is_dir():
            (new / where).mkdir(exist_ok=True)
            shutil.copystat(path, new / where)
        elif path.is_file():
            partial = new / where.parent / f".{where.name}.part"
            _copy(path, partial, on_progress)
            os.replace(partial, new / where)


def _the_rest(old: Path) -> list[Path]:
    return [p for p in sorted(old.rglob("*")) if not p.relative_to(old).parts[0].startswith(_STAYS)]


def _copy(source: Path, target: Path, on_progress: Callable[[], None]) -> None:
    """A copy with the same owner's rights, synced."""
    target.unlink(missing_ok=True)
    with source.open("rb") as read, open(target, "xb", opener=_private) as written:
        while chunk := read.read(_CHUNK_BYTES):
            written.write(chunk)
            on_progress()
        written.flush()
        os.fsync(written.fileno())
    shutil.copystat(source, target)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
