"""A gateway whose disk fails while it runs: `python -m tests.faults.failing_disk full|read-only FOLDER`.

The folder is a small tmpfs of the caller's, in a namespace of its own. Exits with 0 where nothing was lost or doubled.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from collectors.entries import DeviceEntry
from collectors.model import Clock
from gateway import checkpoint, data_folder, runner
from gateway.config import GatewayConfig, PlantConfig, UplinkConfig
from gateway.links import Link
from gateway.page.config import OFF, PageConfig
from gateway.wire import Ingest, decode, records_of
from metrics.record import UNKNOWN_READING
from tests.gateway.county_stub import CREDENTIAL, CountyStub
from tests.gateway.scripted import ScriptedCollector, steady
from tests.waiting import until

DEVICE = "m-1"


class Site:
    """A gateway of windows of 1 s over a data folder on the disk that fails; its county stands elsewhere."""

    def __init__(self, folder: Path, county: CountyStub) -> None:
        self.folder, self.county = folder, county
        self.collectors: list[ScriptedCollector] = []
        self._machine = steady()
        (folder / "credential").write_text(CREDENTIAL)
        settings = GatewayConfig(data_dir=folder / "data", checkpoint_s=0.2, page=PageConfig(listen=OFF))
        self.config = PlantConfig(
            file=folder / "p",
            site="g-1",
            gateway=settings.model_copy(update={"window_s": 1}),
            uplink=UplinkConfig(url=county.url, credential_file=folder / "credential"),
            entries={"modbus": (DeviceEntry(id=DEVICE, profile="p", address="modbus-tcp://h:1"),)},
        )

    def _links(self, _: PlantConfig, clock: Clock) -> list[Link]:
        self.collectors.append(ScriptedCollector(self._machine, clock, device_id=DEVICE))
        return [Link("modbus", self.collectors[-1])]

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[asyncio.Task[int]]:
        """A run, which is cut off when the block ends."""
        task = asyncio.create_task(runner.run(self.config, runner.Options(), self._links))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def total(self) -> tuple[int, int]:
        """What the county has counted: Wh and pieces."""
        return self.county.total(DEVICE, "quantity"), self.county.total(DEVICE, "parts")

    async def shown(self) -> None:
        """Wait until the county has heard time and again that the machine is connected."""
        seen = len(self.county.live)
        await until(lambda: len(self.county.live) > seen + 2 and self.county.live[-1].devices[0].connected)

    def observed_s(self) -> list[int]:
        """Starts of the windows in which the county knows that somebody watched."""
        return sorted({row["start"] for row in self.county.rows.values() if row["observed"]})

    def check(self) -> None:
        """Every counter is with the county to the last window that the disk knows, and nothing is there twice."""
        box = data_folder.open_outbox(self.config)
        saved = checkpoint.read(box.checkpoint() or b"").accounts[0]
        waiting = [decode(body, Ingest) for _, body in box.batches.unsent_after(0)]
        depth = box.depth()
        box.close()
        assert box.salvaged is None
        assert depth.dropped_rows == depth.poisoned == 0
        assert self.county.doubled == [], self.county.doubled
        assert not [gap for message in self.county.messages for gap in message.gaps]
        rows = sorted(self.county.rows.values(), key=lambda row: (row["start"], row["part"]))
        first = next(row for row in rows if row["reading"] != UNKNOWN_READING)
        open_now = sum(tally[2] for tally in saved.tallies.values())
        # what was cut off before the county's answer to it was noted waits, and is there
        waiting = [message for message in waiting if (message.epoch, message.sequence) not in self.county.bodies]
        unsent = sum(int(records_of(message).quantity.sum()) for message in waiting)
        counted = first["reading"] - first["quantity"] + self.county.total(DEVICE, "quantity") + unsent
        last = saved.quantity.last
        assert last is not None
        assert counted == last - open_now, (counted, last, open_now)


def codes(lines: list[Any]) -> set[str]:
    """The troubles that people were told of."""
    return {line["code"] for line in lines if line["event"] == "trouble"}


def is_open(code: str, lines: list[Any]) -> bool:
    """Whether people are told of a trouble now."""
    return [line["event"] for line in lines if line.get("code") == code][-1:] == ["trouble"]


async def reads(site: Site, times: int) -> None:
    """Wait until the machine was read so often."""
    begun = site.collectors[-1].read_batches
    await until(lambda: site.collectors[-1].read_batches > begun + times)


def fill(ballast: Path) -> None:
    """Take all room that a disk has left."""
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


async def full(site: Site) -> None:
    """Others fill the disk while the gateway runs, and make room again."""
    ballast = site.folder / "ballast"
    with structlog.testing.capture_logs() as lines:
        async with site.gateway() as task:
            await until(lambda: site.total()[0] > 0)
            assert codes(lines) == set()

            async def nothing_is_accepted() -> bool:
                fill(ballast)  # what the gateway frees by itself is taken as well
                acked = site.collectors[0].acked
                await reads(site, 50)  # windows that only memory has
                return acked == site.collectors[0].acked

            await until(nothing_is_accepted)
            assert is_open("disk_not_writable", lines)
            await site.shown()
            assert not task.done()
            acked, rows = site.collectors[0].acked, len(site.county.rows)
            counted = site.total()
            ballast.unlink()
            await until(lambda: site.collectors[0].acked > acked)
            await until(lambda: site.total()[0] > counted[0] and site.total()[1] > counted[1])
            await until(lambda: len(site.county.rows) > rows + 4)
            assert not is_open("disk_not_writable", lines)
            assert codes(lines) == {"disk_not_writable"}, lines
    site.check()
    starts = site.observed_s()
    assert starts == list(range(starts[0], starts[-1] + 1)), "it never ceased to watch"


async def read_only(site: Site) -> None:
    """The disk cannot be written when the gateway starts, and later can."""

    def mounted(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(site.folder)], check=True)

    async with site.gateway():
        await until(lambda: site.total()[0] > 0)
    mounted("ro")
    counted, rows = site.total(), len(site.county.rows)
    with structlog.testing.capture_logs() as lines:
        async with site.gateway() as task:
            await site.shown()
            await until(lambda: len(site.county.rows) > rows + 2)
            assert site.total() == counted, "counters are left alone"
            assert codes(lines) == {"disk_not_usable"}, lines
            assert not task.done()
            await site.county.stop()
            await reads(site, 50)  # windows that only memory has
            mounted("rw")
            await until(lambda: site.collectors[-2].acked)
            await site.county.start()
            await until(lambda: site.total()[0] > counted[0])
            rows = len(site.county.rows)
            await until(lambda: len(site.county.rows) > rows)
    site.check()
    starts = site.observed_s()
    held = [s for s in range(starts[0], starts[-1]) if s not in starts]
    assert len(held) <= 6, (held, starts)  # where one run ended and the next began; memory was carried over


async def main(scene: Callable[[Site], Coroutine[Any, Any, None]], folder: Path) -> None:
    """Play a scene on a disk."""
    data_folder.DISK_RETRY_S = 0.1  # type: ignore[misc]
    async with CountyStub() as county:
        await scene(Site(folder, county))


if __name__ == "__main__":
    asyncio.run(main({"full": full, "read-only": read_only}[sys.argv[1]], Path(sys.argv[2])))
