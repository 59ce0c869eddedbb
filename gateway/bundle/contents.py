"""What goes into a support archive: texts about the gateway, before secrets are taken out."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from gateway.doctor.examination import Examination
from gateway.doctor.findings import report_text
from gateway.doctor.running import ask_page
from gateway.moving import whereabouts
from gateway.outbox.set_aside import refused
from gateway.outbox.view import OutboxView, look
from gateway.page import token
from gateway.starts import FILE as STARTS

MAX_FILE_BYTES: Final = 2 * 1024 * 1024
"""Of a longer file the end is taken."""
MAX_PROFILES: Final = 100
UNIT: Final = "plantpulse-gateway"
_JOURNAL_LINES: Final = 5000
_JOURNAL_TIMEOUT_S: Final = 15
_SHOWN_VARIABLES: Final = (
    "PLANTPULSE_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "LANG",
    "LC_",
    "TZ",
    "PATH",
)
_PAGE: Final = {
    "health.json": "/health",
    "ready.json": "/ready",
    "metrics.txt": "/metrics",
    "status.json": "/api/status",
}
_SHOWN_STATUSES: Final = (200, 503)
_NOTHING: Final = "-- No entries --"
_NOT_SHOWN: Final = """\
本地页面没有给出全部内容：本命令读不到数据文件夹里的 page-token。
请用网关的用户再执行一次：sudo -u 用户 plantpulse-gateway bundle …
The local page did not show everything: this command cannot read page-token in the data folder. Run it again as the
gateway's user: sudo -u USER plantpulse-gateway bundle …
"""
_README: Final = """\
厂脉网关支持存档。密码、凭证、密钥已去除，显示为 ***；设备地址和型号保留，交出前可以打开查看。
PlantPulse gateway support archive. Passwords, credentials and keys are removed, shown as ***; addresses and models of
devices are left. Look inside before you give it away.

manifest.json     版本与机器 / versions and the machine
plant.yaml        工厂文件，注释已去除 / the plant's file, without comments
doctor.*          体检报告 / what doctor found
outbox.json       待发库统计 / the outbox in numbers
set-aside.json    县级拒收的批次及其内容（有才附上） / what the county refused, row by row (where there is any)
starts.json       历次启动与上次运行的结束（有才附上） / starts, and how each run before ended (where they are kept)
devices.json      设备公告 / what devices said of themselves
status.json       run --status-file 写的运行摘要 / the summary that run --status-file writes
page/             本地页面的健康、指标与运行摘要 / health, metrics and summary as the local page shows them
environment.json  环境变量 / the environment
logs/             日志 / logs
profiles/         站点自己的型号 / the site's own profiles
"""


def manifest() -> dict[str, Any]:
    """Versions, machine and load."""
    found = {d.metadata["Name"]: d.version for d in distributions()}
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "plantpulse": found.get("plantpulse", ""),
        "python": platform.python_version(),
        "system": " ".join(platform.uname()),
        "os_release": _first_lines(Path("/etc/os-release"), 8),
        "model": _first_lines(Path("/sys/firmware/devicetree/base/model"), 1),
        "uptime_s": int(time.clock_gettime(time.CLOCK_BOOTTIME)),
        "load": os.getloadavg(),
        "memory": _first_lines(Path("/proc/meminfo"), 3),
        "disk": _first_lines(Path("/proc/mounts"), 40),
        "packages": dict(sorted(found.items())),
    }


def plant_text(file: Path, tree: Any) -> tuple[str, str]:
    """(name, text) of the plant's file without comments: in them people note what the keys do not take."""
    if tree is not None:
        return "plant.yaml", yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)
    lines = _tail(file).decode("utf-8", "replace").splitlines()
    return "plant.yaml.txt", "\n".join(line.split("#")[0].rstrip() for line in lines)


def stored(data_dir: Path) -> OutboxView | None:
    """The outbox as it is, also where the plant's file cannot be used; None where there is none to read."""
    try:
        return look(data_dir / "outbox.sqlite3")
    except (OSError, sqlite3.Error, ValueError):
        return None


def refused_rows(data_dir: Path) -> list[dict[str, Any]]:
    """What the county refused for ever, row by row; empty where there is nothing, or it cannot be read."""
    try:
        return [one.as_json() for one in refused(data_dir / "outbox.sqlite3")]
    except (OSError, sqlite3.Error):
        return []


def starts(data_dir: Path) -> Any:
    """When the gateway started, and how each run before ended; None where that is not kept."""
    try:
        return msgspec.json.decode((data_dir / STARTS).read_bytes())
    except (OSError, msgspec.DecodeError):
        return None


def outbox_trees(view: OutboxView) -> dict[str, Any]:
    """What an outbox holds, as JSON trees by name."""
    found: dict[str, Any] = msgspec.to_builtins(view)
    return {"devices.json": found.pop("announcements"), "outbox.json": found}


async def page_texts(seen: Examination) -> dict[str, str]:
    """What the running gateway shows on its local page, by name; why not, where it does not show it to us."""
    found: dict[str, str] = {}
    if seen.plant is None:
        return found
    settings = seen.plant.gateway
    shown = (
        await asyncio.to_thread(token.kept, whereabouts(settings.data_dir))
        if settings.page.password_file is not None
        else ""
    )
    for name, path in _PAGE.items():
        answered = await ask_page(settings.page, path, shown)
        if answered is not None and answered[0] in _SHOWN_STATUSES:
            found[f"page/{name}"] = answered[1].decode("utf-8", "replace")
        elif answered is not None:
            found["page/missing.txt"] = _NOT_SHOWN
    return found


def texts(seen: Examination, logs: Iterable[Path]) -> dict[str, str]:
    """Plain texts by name."""
    found = {"README.txt": _README, "doctor.txt": report_text(seen.findings) + "\n"}
    if journal := _journal():
        found["logs/journal.txt"] = journal
    for index, path in enumerate(logs):
        found[f"logs/{index}-{path.name}"] = _tail(path).decode("utf-8", "replace")
    folders = seen.plant.gateway.profile_folders if seen.plant is not None else ()
    own = [path for folder in folders for path in sorted(folder.glob("*.yaml"))]
    for path in own[:MAX_PROFILES]:
        found[f"profiles/{path.name}"] = _tail(path).decode("utf-8", "replace")
    return found


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that change how a gateway works."""
    return {name: value for name, value in sorted(variables.items()) if name.upper().startswith(_SHOWN_VARIABLES)}


def status(path: Path) -> Any:
    """The summary that a running gateway writes. Raises OSError, msgspec.DecodeError."""
    return msgspec.json.decode(path.read_bytes())


def _journal() -> str:
    """What systemd kept of the gateway's log; blank where there is no systemd."""
    program = shutil.which("journalctl")
    if program is None:
        return ""
    call = [program, "-u", UNIT, "-n", str(_JOURNAL_LINES), "--no-pager", "-o", "short-iso"]
    try:
        done = subprocess.run(call, capture_output=True, timeout=_JOURNAL_TIMEOUT_S, check=False)  # noqa: S603 (ours)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    text = done.stdout[-MAX_FILE_BYTES:].decode("utf-8", "replace")
    return "" if text.startswith(_NOTHING) else text


def _tail(path: Path) -> bytes:
    """The end of a file. Raises OSError."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - MAX_FILE_BYTES))
        return file.read()


def _first_lines(path: Path, most: int) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\x00").splitlines()[:most]
    except OSError:
        return []
