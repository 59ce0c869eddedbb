"""How worn the card or disk is that holds the data folder, where the system tells it, and what we write to it.

eMMC tells it (JEDEC eMMC 5.0: DEVICE_LIFE_TIME_EST, PRE_EOL_INFO), in steps of a tenth, read by the kernel at boot. SD
cards tell nothing; what other disks tell needs rights that a gateway does not have. Unknown is not worn.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from collectors.model import Trouble
from gateway.troubles import Troubles

SUBJECT: Final = "disk/life"
LOOK_S: Final = 600.0
WORN_PERCENT: Final = 80
BEYOND_PERCENT: Final = 110
"""Said of a card that is beyond its rated life."""
_ROOT: Final = Path("/")
_PERCENT_A_STEP: Final = 10
_MOST_STEPS: Final = 11
_MOST_LAYERS: Final = 8
PreEol = Literal["", "normal", "warning", "urgent"]
_PRE_EOL: Final[dict[int, PreEol]] = {1: "normal", 2: "warning", 3: "urgent"}


@dataclass(frozen=True, slots=True)
class DiskLife:
    """What is known of a disk's life."""

    device: str = ""
    """The kernel's name of the disk, blank where the folder is on none that it names."""
    used_percent: int | None = None
    """So much of the rated life is used at most; `BEYOND_PERCENT`: all of it. None: not known."""
    pre_eol: PreEol = ""
    """How far the spare blocks are used up: `warning` 80 %, `urgent` 90 %; blank: not known."""

    @property
    def is_known(self) -> bool:
        """Whether the disk says anything of its life."""
        return self.used_percent is not None or bool(self.pre_eol)

    @property
    def is_worn(self) -> bool:
        """Whether it should be replaced soon."""
        return (self.used_percent or 0) >= WORN_PERCENT or self.pre_eol in ("warning", "urgent")

    def as_json(self) -> dict[str, Any]:
        """For the status."""
        return {"device": self.device, "life_used_percent": self.used_percent, "pre_eol": self.pre_eol or None}


def disk_life(folder: Path, root: Path = _ROOT) -> DiskLife:
    """The life of the disk that holds a folder, which need not exist yet. `root`: where `sys` is found."""
    try:
        number = _device_number(folder)
    except OSError:
        return DiskLife()
    found = DiskLife()
    for disk in _disks(root / "sys/dev/block" / number):
        found = _life_of(disk)
        if found.is_known:
            break
    return found


def written_bytes(root: Path = _ROOT) -> int | None:
    """What this process has had written to disks since it began; None where the system does not say."""
    try:
        lines = (root / "proc/self/io").read_text(encoding="ascii").splitlines()
        return next(int(line.partition(":")[2]) for line in lines if line.startswith("write_bytes:"))
    except (OSError, ValueError, StopIteration):
        return None


def trouble(life: DiskLife) -> Trouble:
    """The disk is worn; a closed trouble where it is not, or nobody knows."""
    if not life.is_worn:
        return Trouble(SUBJECT, "")
    zh, en = told(life)
    return Trouble(SUBJECT, "disk_worn", f"存储快到寿命终点：{zh}", f"the disk nears the end of its life: {en}", *STEP)


STEP: Final = (
    "请尽快更换存储卡或硬盘：停下网关，把数据文件夹原样复制到新盘；旧盘不要再用。",
    "Replace the card or disk soon: stop the gateway, copy the data folder as it is, and use the old one no more.",
)


def told(life: DiskLife) -> tuple[str, str]:
    """What is known, as sentences in Chinese and English."""
    if not life.is_known:
        return "系统没有告知它的寿命。", "the system does not tell its life."
    used = life.used_percent
    if used is None:
        zh, en = f"{life.device} 已用寿命未知", f"{life.device}: life used is not known"
    elif used >= BEYOND_PERCENT:
        zh, en = f"{life.device} 已超过额定寿命", f"{life.device} is beyond its rated life"
    else:
        zh, en = f"{life.device} 已用寿命最多 {used} %", f"{life.device} has used at most {used} % of its life"
    spare = {"warning": 80, "urgent": 90}.get(life.pre_eol)
    more_zh = "" if spare is None else f"，备用块已用 {spare} %"
    more_en = "" if spare is None else f", {spare} % of its spare blocks are used"
    return f"{zh}{more_zh}。", f"{en}{more_en}."


class DiskWatch:
    """Looks at the disk now and then; `run` is a part of the runtime."""

    def __init__(self, folder: Path, troubles: Troubles, root: Path = _ROOT) -> None:
        self._folder, self._troubles, self._root = folder, troubles, root
        self.life = DiskLife()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.life = await asyncio.to_thread(disk_life, self._folder, self._root)
            self._troubles.report(trouble(self.life))
            await asyncio.sleep(LOOK_S)

    def as_json(self) -> dict[str, Any]:
        """For the status."""
        return {**self.life.as_json(), "written_bytes": written_bytes(self._root)}


def _device_number(folder: Path) -> str:
    """MAJOR:MINOR of the file system's device, of the nearest folder that exists. Raises OSError."""
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    device = folder.stat().st_dev
    return f"{os.major(device)}:{os.minor(device)}"


def _disks(node: Path, layers: int = _MOST_LAYERS) -> Iterator[Path]:
    """The disks below a block device: of a partition its disk, of a mapped or encrypted device what it lies on."""
    try:
        device = node.resolve(strict=True)
    except OSError:  # a file system without a device of its own
        return
    disk = device.parent if (device / "partition").exists() else device
    below = sorted((device / "slaves").iterdir()) if (device / "slaves").is_dir() else []
    if not below or not layers:
        yield disk
    for layer in below if layers else ():
        yield from _disks(layer, layers - 1)


def _life_of(disk: Path) -> DiskLife:
    steps = [step for step in _numbers(disk / "device/life_time") if 0 < step <= _MOST_STEPS]
    pre_eol = _numbers(disk / "device/pre_eol_info")
    return DiskLife(
        disk.name,
        max(steps) * _PERCENT_A_STEP if steps else None,
        _PRE_EOL.get(pre_eol[0], "") if pre_eol else "",
    )


def _numbers(path: Path) -> list[int]:
    """Numbers such as `0x01 0x02`; empty where there is no such file, or something else in it."""
    try:
        return [int(word, 16) for word in path.read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return []
