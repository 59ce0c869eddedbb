"""The machine: data folder, disk, clock, files that hold secrets."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from api.clock import Clock
from api.doctor.finding import Finding, good
from api.settings import Settings

_FEW_BYTES: Final = 1_000_000_000
_SHARE_LOW: Final = 0.1
_BUILT_S: Final = 1_767_225_600
"""2026-01-01: before that no clock of this service can be right."""


def data_folder(settings: Settings) -> Finding:
    """Whether the data folder can be written to."""
    folder = settings.data_dir
    at = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(at, os.W_OK | os.X_OK):
        return Finding(
            "data_folder",
            "failed",
            f"{at} 不可写",
            f"{at} cannot be written to",
            f"以运行服务的用户执行，或执行 chown -R 服务用户 {folder}",
            f"run this as the service's user, or chown -R USER {folder}",
        )
    if not folder.is_dir():
        return good("data_folder", f"{folder} 尚不存在，首次运行时建立", f"{folder} is made by the first run")
    return good("data_folder", f"{folder} 可写", f"{folder} can be written to")


def disk(settings: Settings) -> Finding:
    """Whether there is room left."""
    folder = settings.data_dir
    at = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    total, _, free = shutil.disk_usage(at)
    zh, en = (
        f"{at} 剩余 {free / 1e9:.1f} GB（{free / total:.0%}）",
        f"{free / 1e9:.1f} GB ({free / total:.0%}) free at {at}",
    )
    if free < _FEW_BYTES:
        return Finding(
            "disk",
            "failed",
            zh,
            en,
            "立即清理或扩容，磁盘写满后不再接收数据",
            "make room now: a full disk takes no records",
        )
    if free / total < _SHARE_LOW:
        return Finding("disk", "warning", zh, en, "请安排清理或扩容", "plan for more room")
    return good("disk", zh, en)


def clock(now: Clock, newest_ns: int | None) -> Finding:
    """Whether the clock can be right, and whether somebody sets it."""
    now_ns = now.now_ns()
    if now_ns < _BUILT_S * 10**9 or (newest_ns is not None and now_ns < newest_ns - 60 * 10**9):
        return Finding(
            "clock",
            "failed",
            "系统时间早于已接收的数据",
            "the clock stands before what was received already",
            "校准时间并启用 NTP：timedatectl set-ntp true",
            "set the clock and have it kept: timedatectl set-ntp true",
        )
    synchronised = _synchronised()
    if synchronised is None:
        return Finding(
            "clock",
            "unknown",
            "没有 timedatectl，无法得知是否对时",
            "there is no timedatectl: nobody here can say whether the clock is synchronised",
            "请确认有 NTP 服务在校时（chronyc tracking，或容器所在主机的 timedatectl）",
            "see that NTP keeps it (chronyc tracking, or timedatectl on the host of a container)",
        )
    if not synchronised:
        return Finding(
            "clock",
            "warning",
            "系统时间没有与 NTP 同步",
            "the clock is not synchronised by NTP",
            "timedatectl set-ntp true，内网请指定时间服务器",
            "timedatectl set-ntp true; name a time server of your network",
        )
    return good("clock", "系统时间已与 NTP 同步", "the clock is synchronised by NTP")


def _synchronised() -> bool | None:
    tool = shutil.which("timedatectl")
    if tool is None:
        return None
    try:
        said = subprocess.run(  # noqa: S603 (found by its name, no input of anyone's)
            [tool, "show", "--property=NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(said.stdout.strip())


def secrets(settings: Settings) -> Iterator[Finding]:
    """Whether files with passwords and tokens are their owner's alone."""
    for name in ("register_password_file", "store_token_file"):
        path: Path | None = getattr(settings, name)
        if path is None:
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            yield Finding(
                name,
                "warning",
                f"{path} 权限 {mode:o}，其他用户可读",
                f"{path} has mode {mode:o}: others can read it",
                f"chmod 600 {path}",
                f"chmod 600 {path}",
            )
        else:
            yield good(name, f"{path} 只有属主可读", f"{path} is its owner's alone")
