"""Checks of the machine that the gateway runs on: its clock, its disk, its user, and whether the gateway runs."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

from collectors.causes import cause_of
from gateway import disk_life
from gateway.clock import EARLIEST_NS
from gateway.config import GatewayConfig
from gateway.doctor.findings import Finding, Verdict
from gateway.kernel_clock import KernelClock
from gateway.moving import whereabouts

OFFSET_NOTICED_S: Final = 2.0
OFFSET_BAD_S: Final = 10.0
SLOW_SYNC_S: Final = 1.0
_MIB: Final = 1024 * 1024
_VOLATILE: Final = frozenset({"tmpfs", "ramfs"})


def clock(kernel: KernelClock | None, wall_ns: int, county_ahead_s: float | None) -> Finding:
    """Whether the clock can be trusted: set, kept by a time service, and near the county's."""
    values: dict[str, object] = {"county_ahead_s": None if county_ahead_s is None else round(county_ahead_s, 3)}
    if kernel is not None:
        values |= {"synchronised": kernel.synchronised, "max_error_s": round(kernel.max_error_s, 3)}
    step_zh = (
        "请启用时间同步：sudo timedatectl set-ntp true；没有外网时，在 /etc/systemd/timesyncd.conf 写厂内时间服务器。"
    )
    step_en = (
        "Turn time synchronisation on: sudo timedatectl set-ntp true; without internet name the plant's time server in "
        "/etc/systemd/timesyncd.conf."
    )
    if wall_ns < EARLIEST_NS:
        return Finding("clock", "fail", "系统时钟从未设置。", "the clock was never set.", step_zh, step_en, "", values)
    away_s = abs(county_ahead_s) if county_ahead_s is not None else 0.0
    offset_zh = "" if county_ahead_s is None else f"与县级服务相差 {county_ahead_s:+.1f} 秒。"
    offset_en = "" if county_ahead_s is None else f" The county's clock stands {county_ahead_s:+.1f} s from it."
    synchronised = kernel is None or kernel.synchronised
    if synchronised and away_s <= OFFSET_NOTICED_S:
        zh, en = ("时钟已同步。", "the clock is synchronised.") if kernel else ("时钟可用。", "the clock will do.")
        return Finding("clock", "ok", zh + offset_zh, en + offset_en, values=values)
    if synchronised:
        zh, en = (
            "时钟已同步，但与县里不一致，请县级管理员也检查服务器时钟。",
            ("the clock is synchronised, yet differs from the county's: have the county's server looked at as well."),
        )
    else:
        zh, en = "没有时间服务在校准系统时钟。", "no time service keeps the clock."
    verdict: Verdict = "fail" if away_s > OFFSET_BAD_S else "warn"
    return Finding("clock", verdict, zh + offset_zh, en + offset_en, step_zh, step_en, "", values)


def disk_space(settings: GatewayConfig) -> Finding:
    """Whether the outbox has the room that it is promised."""
    folder, outbox = _existing(settings.data_dir), settings.data_dir / "outbox.sqlite3"
    usage, found = shutil.disk_usage(folder), os.statvfs(folder)
    reserve, limit = settings.reserve_mb * _MIB, settings.outbox_limit_mb * _MIB
    used = outbox.stat().st_size if outbox.exists() else 0
    kind = _file_system(folder)
    values = {
        "free_mb": usage.free // _MIB,
        "total_mb": usage.total // _MIB,
        "reserve_mb": settings.reserve_mb,
        "outbox_limit_mb": settings.outbox_limit_mb,
        "outbox_mb": used // _MIB,
        "file_system": kind,
    }
    clear_zh = "请清理磁盘，或在网关运行时把 data_dir 改到更大的盘上，再重启网关：数据会跟过去。"
    clear_en = (
        "Make room, or let data_dir name a folder on a larger disk while the gateway runs, and restart it: the data "
        "follows."
    )
    subject = str(settings.data_dir)
    if usage.free <= reserve or (found.f_files and not found.f_favail):
        what = (
            "no more files fit"
            if usage.free > reserve
            else f"{usage.free // _MIB} MiB free, reserve {settings.reserve_mb}"
        )
        zh = f"磁盘已满（剩余 {usage.free // _MIB} MiB，须保留 {settings.reserve_mb} MiB）：最旧的记录会被丢弃并计数。"
        en = f"the disk is full ({what}): the oldest records are dropped and counted."
        return Finding("disk.space", "fail", zh, en, clear_zh, clear_en, subject, values)
    if kind in _VOLATILE:
        zh, en = (
            f"data_dir 在内存盘（{kind}）上，断电即失。",
            f"data_dir lies in memory ({kind}): a power cut loses it.",
        )
        step_zh = "请在网关运行时把 data_dir 改到磁盘或存储卡上，再重启网关：数据会跟过去。"
        step_en = (
            "Let data_dir name a folder on a disk or card while the gateway runs, and restart it: the data follows."
        )
        return Finding("disk.space", "warn", zh, en, step_zh, step_en, subject, values)
    if used + usage.free - reserve < limit:
        zh = f"剩余 {usage.free // _MIB} MiB，待发库长不到上限 {settings.outbox_limit_mb} MiB。"
        en = f"{usage.free // _MIB} MiB free: the outbox cannot grow to its limit of {settings.outbox_limit_mb} MiB."
        step_zh = f"{clear_zh}或调小 gateway.outbox_limit_mb。"
        return Finding(
            "disk.space", "warn", zh, en, step_zh, f"{clear_en} Or lower gateway.outbox_limit_mb.", subject, values
        )
    zh, en = f"剩余 {usage.free // _MIB} MiB。", f"{usage.free // _MIB} MiB free."
    return Finding("disk.space", "ok", zh, en, subject=subject, values=values)


def disk_write(data_dir: Path) -> Finding:
    """Whether a file can be written and synced there, and how long that takes."""
    folder, subject = _existing(data_dir), str(data_dir)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"\0" * 65_536)
            before_s = time.monotonic()
            file.flush()
            os.fsync(file.fileno())
            took_s = time.monotonic() - before_s
    except OSError as error:
        return Finding(
            "disk.write",
            "fail",
            f"无法写入（{cause_of(error).zh}）。",
            f"cannot be written ({cause_of(error).en}).",
            "请检查文件夹权限、是否只读挂载；存储卡损坏时会变成只读。",
            "Check the folder's permissions and whether it is mounted read-only; a worn card becomes read-only.",
            subject,
        )
    values = {"sync_ms": round(took_s * 1000, 1)}
    if took_s > SLOW_SYNC_S:
        return Finding(
            "disk.write",
            "warn",
            f"写入并落盘用了 {took_s:.1f} 秒。",
            f"writing and syncing 64 KiB took {took_s:.1f} s.",
            "存储卡可能太慢或将坏：请换工业级卡或 SSD。",
            "The card may be too slow or wearing out: use an industrial card or an SSD.",
            subject,
            values,
        )
    return Finding("disk.write", "ok", "可以写入并落盘。", "can be written and synced.", subject=subject, values=values)


def disk_wear(data_dir: Path, root: Path = Path("/")) -> Finding:
    """How worn the card or disk is, where the system tells it."""
    life = disk_life.disk_life(data_dir, root)
    zh, en = disk_life.told(life)
    values = life.as_json()
    if not life.is_worn:
        return Finding("disk.life", "ok", zh, en, subject=str(data_dir), values=values)
    return Finding("disk.life", "warn", zh, en, *disk_life.STEP, str(data_dir), values)


def user(data_dir: Path) -> Finding:
    """Whether this command runs as the gateway does: rights and files are those of its user."""
    owner, me = _existing(data_dir).stat().st_uid, os.geteuid()
    if owner == me:
        return Finding("user", "ok", f"以 {_name(me)} 运行。", f"running as {_name(me)}.")
    return Finding(
        "user",
        "warn",
        f"本命令以 {_name(me)} 运行，数据文件夹属于 {_name(owner)}：权限的检查结果可能不同。",
        f"this command runs as {_name(me)}, the data folder belongs to {_name(owner)}: rights may differ.",
        f"请用 sudo -u {_name(owner)} 再运行一次。",
        f"Run it again with sudo -u {_name(owner)}.",
    )


def process(data_dir: Path) -> Finding:
    """Whether a gateway holds the data folder, or the one that is to be moved there."""
    pid = holder(data_dir / "lock") or holder(whereabouts(data_dir) / "lock")
    if pid is None:
        return Finding(
            "process",
            "warn",
            "网关没有在运行。",
            "the gateway is not running.",
            "请启动：sudo systemctl start plantpulse-gateway，或 plantpulse-gateway run --config …。",
            "Start it: sudo systemctl start plantpulse-gateway, or plantpulse-gateway run --config ….",
        )
    return Finding("process", "ok", f"网关正在运行（进程 {pid}）。", f"the gateway runs (process {pid}).")


def holder(lock: Path, locks: Path = Path("/proc/locks")) -> int | None:
    """The process that holds a lock file, None for nobody. Read from the kernel's table: it is not tried."""
    try:
        inode = str(lock.stat().st_ino)
        lines = locks.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:  # 6: FLOCK  ADVISORY  WRITE 8684 fe:00:9977981 0 EOF
        words = line.split()
        if len(words) >= 6 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
            return int(words[4])
    return None


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists: there it will be made."""
    folder = folder.absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _file_system(folder: Path) -> str:
    """The kind of file system that a folder lies on, blank where the kernel does not say."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    device = os.stat(folder).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in reversed(lines):  # 25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw
        words = line.split()
        if words[2] == number and "-" in words:
            return words[words.index("-") + 1]
    return ""
