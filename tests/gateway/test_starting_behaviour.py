"""A start that takes long, or cannot be: what is shown meanwhile, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway import data_folder
from gateway.config import PlantConfig
from gateway.links import Link
from gateway.outbox import Outbox
from gateway.runner import Options, run
from tests.gateway.county_stub import CountyStub
from tests.gateway.scripted import ScriptedCollector, steady
from tests.gateway.test_watchdog_behaviour import Make, Manager, manager
from tests.waiting import until

__all__ = ["manager"]


class Opening:
    """The thread that opens the outbox, held up until `go_on` is set: by mending it, or by a disk that hangs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, hangs: bool = False) -> None:
        self.go_on, self.began = threading.Event(), threading.Event()
        self._open, self._hangs = data_folder.open_outbox, hangs
        monkeypatch.setattr(data_folder, "open_outbox", self)
        monkeypatch.setattr(data_folder, "SLOW_S", 0.2)
        monkeypatch.setattr(data_folder, "LOOK_S", 0.02)

    def __call__(self, config: PlantConfig, on_progress: Callable[[], None]) -> Outbox:
        self.began.set()
        while not self.go_on.wait(0.005):
            if not self._hangs:
                on_progress()
        return self._open(config, on_progress)


class Machine:
    """A machine whose collectors are kept, for every gateway that reads it."""

    def __init__(self) -> None:
        self.collectors: list[ScriptedCollector] = []
        self._machine = steady()

    def __call__(self, _: PlantConfig, clock: Callable[[], int]) -> list[Link]:
        self.collectors.append(ScriptedCollector(self._machine, clock))
        return [Link("modbus", self.collectors[-1])]


@asynccontextmanager
async def started(config: PlantConfig, links: Callable[..., list[Link]]) -> AsyncIterator[asyncio.Task[int]]:
    task = asyncio.create_task(run(config, Options(close_short=True), links))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def stop() -> None:
    """What systemd does: the run has set its handlers by now."""
    os.kill(os.getpid(), signal.SIGTERM)


def is_shown(county: CountyStub) -> bool:
    return bool(county.live and county.live[-1].devices and county.live[-1].devices[0].connected)


async def test_machines_are_shown_while_an_outbox_is_mended_and_counted_when_it_is_open(
    county: CountyStub, plant: Make, manager: Manager, monkeypatch: pytest.MonkeyPatch, log: list[dict[str, str]]
) -> None:
    opening, machine = Opening(monkeypatch), Machine()
    config = plant(county.url)
    brief = config.gateway.model_copy(update={"window_s": 1})
    async with started(config.model_copy(update={"gateway": brief}), machine) as task:
        await until(lambda: is_shown(county))
        await county.until(lambda: county.rows)
        assert [line["code"] for line in log if line["event"] == "trouble"] == ["outbox_opening"]
        assert county.total("m-1", "quantity") == 0, "counters are left alone"
        count = manager.listen().count("WATCHDOG=1")
        assert manager.heard[0] == "READY=1"
        await until(lambda: manager.listen().count("WATCHDOG=1") > count + 3)
        opening.go_on.set()
        await until(lambda: machine.collectors[0].acked)
        await county.until(lambda: county.total("m-1", "quantity") > 0)
        stop()
        assert await task == 0
    assert county.doubled == []


async def test_a_disk_that_hangs_at_the_start_does_not_feed_the_watchdog(
    county: CountyStub, plant: Make, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = Opening(monkeypatch, hangs=True)
    async with started(plant(county.url), Machine()):
        try:
            await until(lambda: is_shown(county))
            seen = len(county.live)
            await county.until(lambda: len(county.live) > seen)
            assert "WATCHDOG=1" not in manager.listen()
        finally:
            opening.go_on.set()
        await until(lambda: "WATCHDOG=1" in manager.listen())


async def test_a_stop_while_the_outbox_is_mended_ends_in_order_and_the_next_start_mends_it(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, machine = Opening(monkeypatch), Machine()
    config = plant(county.url)
    async with started(config, machine) as task:
        await asyncio.to_thread(opening.began.wait, 20)
        stop()
        assert await task == 0
    opening.go_on.set()
    async with started(config, machine) as task:
        await until(lambda: machine.collectors[-1].acked)
        stop()
        assert await task == 0


async def test_a_credential_on_the_same_card_is_no_reason_to_give_up(
    county: CountyStub, plant: Make, manager: Manager, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(data_folder, "DISK_RETRY_S", 0.05)
    (tmp_path / "data").write_text("a file where the folder should be")
    config, machine = plant(county.url), Machine()
    credential = config.uplink.credential_file.read_text()
    config.uplink.credential_file.unlink()
    async with started(config, machine) as task:
        await until(lambda: manager.listen().count("WATCHDOG=1") > 3)
        config.uplink.credential_file.write_text(credential)
        await until(lambda: is_shown(county))
        (tmp_path / "data").unlink()
        await until(lambda: machine.collectors[0].acked)
        stop()
        assert await task == 0


@pytest.mark.parametrize("restored", [False, True])
async def test_a_stop_while_the_disk_cannot_be_used_ends_in_order(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, restored: bool
) -> None:
    monkeypatch.setattr(data_folder, "DISK_RETRY_S", 0.1)
    (tmp_path / "data").write_text("a file where the folder should be")
    machine = Machine()
    async with started(plant(county.url), machine) as task:
        await until(lambda: is_shown(county))
        os.kill(os.getpid(), signal.SIGHUP)  # "read your file again" does not end it
        if restored:
            (tmp_path / "data").unlink()
            await until(lambda: machine.collectors[0].acked)
        stop()
        assert await task == 0
