"""What people are told of the outbox and its disk."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from collectors.causes import cause_of
from collectors.model import Trouble
from gateway.outbox.salvage import Salvaged

DISK: Final = "outbox"
FOLDER: Final = "outbox/folder"
ROOM: Final = "outbox/room"
DAMAGE: Final = "outbox/damage"
CHECKPOINT: Final = "outbox/checkpoint"
FULL_SOON_DAYS: Final = 7


def not_writable(error: Exception) -> Trouble:
    """The disk takes nothing now."""
    return Trouble(
        DISK,
        "disk_not_writable",
        f"无法写入待发库（{cause_of(error).zh}）。数据暂存内存。",
        f"the outbox cannot be written ({cause_of(error).en}). Records are held in memory.",
        "请检查磁盘空间和存储卡。",
        "Check disk space and the card.",
    )


def not_there(folder: Path) -> Trouble:
    """The disk cannot be used at the start."""
    return Trouble(
        FOLDER,
        "disk_not_usable",
        f"数据文件夹 {folder} 无法使用。设备状态照常上报，记录暂存内存，计数在磁盘恢复后补计。",
        f"the data folder {folder} cannot be used. Machines are shown, records are held in memory; what counters grow "
        "by is counted when the disk is back.",
        "请检查存储卡、磁盘空间和挂载方式（只读？）。",
        "Check the card, the disk's space and how it is mounted (read-only?).",
    )


def opening(folder: Path) -> Trouble:
    """The outbox takes long to open at the start."""
    return Trouble(
        FOLDER,
        "outbox_opening",
        f"数据文件夹 {folder} 里的待发库正在打开或修复。设备状态照常上报，记录暂存内存，计数在完成后补计。",
        f"the outbox in {folder} is being opened or mended. Machines are shown, records are held in memory; what "
        "counters grow by is counted when that is done.",
        "请等待，不要断电。若经常出现，请更换存储卡。",
        "Wait, and leave the power on. If it happens often, replace the card.",
    )


def room(days_to_full: float | None) -> Trouble:
    """The outbox is full in less than a week; a closed trouble where it is not, or nobody knows."""
    if days_to_full is None or days_to_full >= FULL_SOON_DAYS:
        return Trouble(ROOM, "")
    return Trouble(
        ROOM,
        "outbox_full_soon",
        f"按目前的速度，待发库约 {days_to_full:.1f} 天后写满，之后最旧的记录会被丢弃并计数。",
        f"at this rate the outbox is full in {days_to_full:.1f} days; then the oldest records are dropped and counted.",
        "请恢复上行连接，或增大 outbox_limit_mb、清理磁盘。",
        "Restore the uplink, raise outbox_limit_mb or make room on the disk.",
    )


def damaged(found: Salvaged) -> Trouble:
    """A damaged file was set aside."""
    return Trouble(
        DAMAGE,
        "outbox_damaged",
        found.zh,
        found.en,
        "请更换存储卡；把搁置的文件交给软件维护方查看。",
        "Replace the card; have the maintainers look at the file that was set aside.",
    )


def checkpoint_damaged(error: str, kept: str) -> Trouble:
    """The last run's open windows and counters cannot be read. `kept`: the file that holds them, blank: none."""
    return Trouble(
        CHECKPOINT,
        "checkpoint_damaged",
        f"检查点无法读取（{error}）：未结束的窗口丢失，计数器从新读数开始；已写入的记录不受影响。"
        + (f"原内容保存在 {kept}。" if kept else ""),
        f"the checkpoint cannot be read ({error}): windows that were open are lost and counters start anew; records "
        "that were written are not touched." + (f" What it held is kept as {kept}." if kept else ""),
        "若刚换过程序版本，请换回原版本或升级；否则请更换存储卡，并把保存的文件交给软件维护方。",
        "After a change of the program's version, go back or upgrade; else replace the card, and have the maintainers "
        "look at the file that was kept.",
    )
