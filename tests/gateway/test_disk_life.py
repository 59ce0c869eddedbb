"""How worn a card is: from a tree of files as the kernel shows them, and from the machine that runs this."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.disk_life import BEYOND_PERCENT, DiskLife, DiskWatch, disk_life, told, trouble, written_bytes
from gateway.doctor.machine import disk_wear
from gateway.troubles import Troubles
from tests.waiting import until


def emmc(root: Path, folder: Path, life_time: str = "", pre_eol: str = "", *, layers: int = 0) -> Path:
    """A tree with an eMMC whose second partition holds a folder, below so many mapped devices."""
    disk = root / "sys/devices/platform/mmc_host/mmc1/mmc1:0001/block/mmcblk1"
    (disk / "mmcblk1p2").mkdir(parents=True)
    (disk / "mmcblk1p2" / "partition").write_text("2\n")
    (disk / "slaves").mkdir()
    (disk / "device").symlink_to("../..")
    for name, content in (("life_time", life_time), ("pre_eol_info", pre_eol)):
        if content:
            (disk / "device" / name).write_text(content + "\n")
    below = disk / "mmcblk1p2"
    for k in range(layers):
        mapped = root / f"sys/devices/virtual/block/dm-{k}"
        (mapped / "slaves").mkdir(parents=True)
        (mapped / "slaves" / below.name).symlink_to(below)
        below = mapped
    device = folder.stat().st_dev
    nodes = root / "sys/dev/block"
    nodes.mkdir(parents=True)
    (nodes / f"{os.major(device)}:{os.minor(device)}").symlink_to(below)
    return root


@pytest.mark.parametrize(
    ("life_time", "pre_eol", "used", "spare", "is_worn"),
    [
        ("0x01 0x01", "0x01", 10, "normal", False),
        ("0x02 0x07", "0x01", 70, "normal", False),  # of its two kinds of cells the one that is worn more
        ("0x08 0x01", "0x01", 80, "normal", True),
        ("0x0a 0x01", "0x01", 100, "normal", True),
        ("0x0b 0x01", "0x01", BEYOND_PERCENT, "normal", True),
        ("0x00 0x00", "0x02", None, "warning", True),
        ("0x01 0x01", "0x03", 10, "urgent", True),
        ("0x00 0x00", "0x00", None, "", False),
        ("0xff 0xff", "0x09", None, "", False),
        ("nonsense", "", None, "", False),
        ("", "", None, "", False),  # a card that does not tell
    ],
)
@pytest.mark.parametrize("layers", [0, 2])
def test_the_life_of_an_emmc_is_read_below_partitions_and_mapped_devices(
    tmp_path: Path, life_time: str, pre_eol: str, used: int | None, spare: str, is_worn: bool, layers: int
) -> None:
    root = emmc(tmp_path / "root", tmp_path, life_time, pre_eol, layers=layers)
    life = disk_life(tmp_path / "not" / "made" / "yet", root)
    assert (life.device, life.used_percent, life.pre_eol, life.is_worn) == ("mmcblk1", used, spare, is_worn)
    assert bool(trouble(life).code) == is_worn
    found = disk_wear(tmp_path, root)
    assert (found.verdict, bool(found.next_zh), bool(found.next_en)) == ("warn" if is_worn else "ok", is_worn, is_worn)
    assert found.values["life_used_percent"] == used


def test_a_disk_that_says_nothing_is_unknown_and_not_new(tmp_path: Path) -> None:
    life = disk_life(tmp_path, tmp_path / "no-sys")
    assert life == DiskLife()
    assert (life.as_json()["life_used_percent"], life.as_json()["pre_eol"]) == (None, None)
    assert "does not tell" in told(life)[1]
    assert written_bytes(tmp_path / "no-proc") is None


def test_this_machine_is_read_without_a_mistake(tmp_path: Path) -> None:
    life = disk_life(tmp_path)
    assert life.used_percent is None or 0 < life.used_percent <= BEYOND_PERCENT
    before = written_bytes()
    with (tmp_path / "file").open("wb") as file:
        file.write(os.urandom(1 << 20))
        file.flush()
        os.fsync(file.fileno())
    after = written_bytes()
    assert (before is None) == (after is None)
    if before is not None and after is not None:  # a file system in memory writes nothing
        assert after >= before


async def looking(watch: DiskWatch, seen: Callable[[], bool]) -> None:
    """Let it look until something is seen and told."""
    task = asyncio.create_task(watch.run())
    try:
        await until(seen)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_worn_card_is_told_until_it_is_another_one(tmp_path: Path) -> None:
    troubles = Troubles()
    root = emmc(tmp_path / "root", tmp_path, "0x09 0x01", "0x01")
    watch = DiskWatch(tmp_path, troubles, root)
    await looking(watch, lambda: watch.life.is_known)
    (worn,) = troubles.listed()
    assert (worn.code, "mmcblk1" in worn.zh, "90 %" in worn.en) == ("disk_worn", True, True)
    assert worn.next_zh
    assert worn.next_en
    (tmp_path / "root/sys/devices/platform/mmc_host/mmc1/mmc1:0001/life_time").write_text("0x01 0x01\n")
    await looking(watch, lambda: watch.life.used_percent == 10)
    assert troubles.listed() == []
