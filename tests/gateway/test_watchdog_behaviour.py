"""What the service manager hears of a gateway: over a plain datagram socket, as systemd's is."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway import watchdog
from gateway.config import PlantConfig
from gateway.links import Link
from gateway.watchdog import Progress, Watchdog
from tests.gateway.county_stub import CountyStub
from tests.gateway.running import gateway_of
from tests.gateway.scripted import ScriptedCollector, steady
from tests.waiting import until

Make = Callable[..., PlantConfig]


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def listen(self) -> list[str]:
        """Everything heard so far."""
        while True:
            try:
                self.heard.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return self.heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    found = Manager(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    yield found
    found.close()


def links(_: PlantConfig, clock: Callable[[], int]) -> list[Link]:
    return [Link("modbus", ScriptedCollector(steady(), clock))]


async def test_ready_comes_with_the_first_checkpoint_and_stopping_with_the_end(
    county: CountyStub, plant: Make, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway_of(plant(county.url), monkeypatch, links) as (gateway, _):
        await until(lambda: "READY=1" in manager.listen())
        assert gateway.thread.outbox.checkpoint() is not None
        await until(lambda: manager.listen().count("WATCHDOG=1") >= 3)
        assert "STOPPING=1" not in manager.heard
    heard = manager.listen()
    assert heard.count("READY=1") == 1
    assert heard[-1] == "STOPPING=1"


async def test_a_disk_that_hangs_is_no_progress_and_the_watchdog_is_not_fed_until_it_answers(
    county: CountyStub, plant: Make, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "WRITE_LATE_S", 0.3)
    async with gateway_of(plant(county.url), monkeypatch, links) as (gateway, _):
        await until(lambda: "WATCHDOG=1" in manager.listen())
        free = threading.Event()
        hanging = asyncio.create_task(gateway.thread.call(free.wait))
        try:
            await until(lambda: gateway.progress.stalls())
            count = manager.listen().count("WATCHDOG=1")
            batches = gateway.intake.samples["modbus"]
            await until(lambda: gateway.intake.samples["modbus"] > batches + 40)  # the event loop itself is alive
            assert manager.listen().count("WATCHDOG=1") == count
        finally:
            free.set()
            await hanging
        await until(lambda: manager.listen().count("WATCHDOG=1") > count)


async def test_an_outbox_that_is_being_mended_is_progress_however_long_it_takes(
    county: CountyStub, plant: Make, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "WRITE_LATE_S", 0.3)
    async with gateway_of(plant(county.url), monkeypatch, links) as (gateway, _):
        await until(lambda: "WATCHDOG=1" in manager.listen())
        done = threading.Event()

        def mending() -> None:
            while not done.wait(0.01):
                gateway.thread.outbox.on_progress()

        busy = asyncio.create_task(gateway.thread.call(mending))
        try:
            samples, count = gateway.intake.samples["modbus"], manager.listen().count("WATCHDOG=1")
            await until(lambda: manager.listen().count("WATCHDOG=1") > count + 8)
            assert gateway.intake.samples["modbus"] > samples, "machines are read meanwhile"
            assert gateway.progress.stalls() == []
        finally:
            done.set()
            await busy


async def test_windows_that_do_not_close_are_no_progress(
    county: CountyStub, plant: Make, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "CLOSE_LATE_S", 0.3)
    async with gateway_of(plant(county.url), monkeypatch, links) as (gateway, _):
        await until(lambda: "WATCHDOG=1" in manager.listen())
        monkeypatch.setattr(gateway.windows, "next_due_ns", lambda: 0)
        monkeypatch.setattr(gateway.windows, "close_due", lambda *_: [])
        await until(lambda: gateway.progress.stalls() == ["window"])
        count = manager.listen().count("WATCHDOG=1")
        batches = gateway.intake.samples["modbus"]
        await until(lambda: gateway.intake.samples["modbus"] > batches + 20)
        assert manager.listen().count("WATCHDOG=1") == count


async def test_a_disk_that_refuses_is_progress_for_a_restart_would_lose_what_is_in_memory(
    county: CountyStub, plant: Make, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "WRITE_LATE_S", 0.3)
    async with gateway_of(plant(county.url), monkeypatch, links) as (gateway, _):
        await until(lambda: "WATCHDOG=1" in manager.listen())
        await gateway.thread.call(gateway.thread.outbox.db.execute, "PRAGMA query_only=1")
        await until(lambda: [t.code for t in gateway.troubles.listed()] == ["disk_not_writable"])
        count = manager.listen().count("WATCHDOG=1")
        await until(lambda: manager.listen().count("WATCHDOG=1") > count + 4)
        await gateway.thread.call(gateway.thread.outbox.db.execute, "PRAGMA query_only=0")


def test_progress_names_what_stands_still() -> None:
    now_s = 1000.0
    progress = Progress(checkpoint_s=5.0, monotonic_s=lambda: now_s)
    progress.turned(window_due_ns=50, now_ns=10)
    assert progress.stalls() == []
    progress.turned(window_due_ns=50, now_ns=60)
    now_s += watchdog.CLOSE_LATE_S + 1
    progress.written()
    progress.turned(window_due_ns=50, now_ns=70)
    assert progress.stalls() == ["window"]
    progress.turned(window_due_ns=90, now_ns=70)
    assert progress.stalls() == []
    now_s += 5.0 + watchdog.WRITE_LATE_S + 1
    assert progress.stalls() == ["loop", "checkpoint"]
    progress.turned(window_due_ns=90, now_ns=70)
    assert progress.stalls() == ["checkpoint"]


def test_a_watchdog_meant_for_another_process_is_not_fed(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    Watchdog().feed(Progress(5.0))
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert manager.listen() == []
    Watchdog().feed(Progress(5.0))
    assert manager.listen() == ["WATCHDOG=1"]


def test_an_abstract_socket_and_a_vanished_one_are_both_served() -> None:
    name = f"plantpulse-test-{os.getpid()}"
    found = Manager("\0" + name)
    try:
        teller = Watchdog({"NOTIFY_SOCKET": f"@{name}"})
        teller.reloading()
        teller.reloaded()
        reloading, ready = found.listen()
        assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert ready == "READY=1"
    finally:
        found.close()
    teller.status("nobody listens")  # told once in the log, never raised
