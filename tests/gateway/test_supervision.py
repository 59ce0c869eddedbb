"""Parts and collectors that fail: started again alone, told once, and the log says only what changes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from collectors.model import Clock, LinkError
from gateway import link_loop, supervision
from gateway.config import PlantConfig
from gateway.links import Link
from gateway.supervision import supervise
from gateway.troubles import Troubles
from tests.gateway.county_stub import CountyStub
from tests.gateway.running import gateway_of
from tests.gateway.scripted import ScriptedCollector, steady
from tests.waiting import until

Make = Callable[..., PlantConfig]


async def test_a_part_that_fails_is_started_again_logged_once_and_well_after_a_while(
    monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    monkeypatch.setattr(supervision, "RESTART_FIRST_S", 0.01)
    monkeypatch.setattr(supervision, "RESTART_MOST_S", 0.02)
    monkeypatch.setattr(supervision, "WELL_AFTER_S", 0.2)
    troubles = Troubles()
    starts = 0

    async def work() -> None:
        nonlocal starts
        starts += 1
        if starts <= 4:
            raise ValueError("odd" if starts < 4 else "other")
        await asyncio.Event().wait()

    task = asyncio.create_task(supervise("example", work, troubles))
    try:
        await until(lambda: starts == 5)
        (trouble,) = troubles.listed()
        assert (trouble.subject, trouble.code) == ("gateway/example", "part_failed")
        await until(lambda: troubles.listed() == [])
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [line["event"] for line in log] == ["part failed", "trouble", "part failed", "trouble over"]


async def test_a_part_that_meets_a_full_disk_tells_of_the_disk_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    monkeypatch.setattr(supervision, "RESTART_FIRST_S", 0.01)
    troubles = Troubles()
    starts = 0

    async def work() -> None:
        nonlocal starts
        starts += 1
        if starts <= 3:
            raise sqlite3.OperationalError("database or disk is full")
        await asyncio.Event().wait()

    task = asyncio.create_task(supervise("example", work, troubles))
    try:
        await until(lambda: starts == 4)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [t.code for t in troubles.listed()] == ["disk_not_writable"]
    assert [line["event"] for line in log] == ["trouble"]


async def test_a_collector_that_crashes_again_and_again_is_logged_once_until_it_works(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    monkeypatch.setattr(link_loop, "RESTART_MOST_S", 0.02)
    made: list[ScriptedCollector] = []

    def links(_: PlantConfig, clock: Clock) -> list[Link]:
        made.append(ScriptedCollector(steady(), clock))
        made[0].fail = [KeyError("same") for _ in range(5)]
        return [Link("modbus", made[0])]

    async with gateway_of(plant(county.url), monkeypatch, links) as (gateway, _):
        await until(lambda: [loop.errors["collector_failed"] for loop in gateway.links.loops] == [5])
        await until(lambda: gateway.intake.samples["modbus"] and not gateway.troubles.listed())
        assert made[0].connects == 6
        lines = [line["event"] for line in log if line.get("link", line.get("subject")) == "scripted://m-1"]
        assert lines == ["collector failed", "trouble", "trouble over"]


async def test_a_link_that_cannot_be_closed_is_logged_once_and_again_when_it_can(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    class Clinging(ScriptedCollector):
        clings, is_up = True, False

        async def connect(self) -> None:
            await super().connect()
            self.is_up = True

        async def close(self) -> None:
            was_up, self.is_up = self.is_up, False
            if was_up and self.clings:
                raise OSError("still there")

    made: list[Clinging] = []

    def links(_: PlantConfig, clock: Clock) -> list[Link]:
        made.append(Clinging(steady(), clock))
        return [Link("modbus", made[0])]

    def told() -> list[str]:
        return [line["event"] for line in log if line["event"].startswith("close")]

    async def reconnect(times: int) -> None:
        before = made[0].connects
        made[0].fail = [LinkError("cut", "断", "cut") for _ in range(times)]
        await until(lambda: made[0].connects >= before + times and not made[0].fail)

    async with gateway_of(plant(county.url), monkeypatch, links):
        await until(lambda: made[0].read_batches)
        await reconnect(5)
        assert told() == ["close failed"]
        made[0].plugged = False  # nothing is open, so nothing can fail to close
        before = made[0].connects
        await until(lambda: made[0].connects >= before + 3)
        made[0].plugged = True
        await reconnect(2)
        assert told() == ["close failed"]
        made[0].clings = False
        await reconnect(2)
        assert told() == ["close failed", "close works again"]


async def test_a_gateway_where_nothing_changes_logs_nothing(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    made: list[ScriptedCollector] = []

    def links(_: PlantConfig, clock: Clock) -> list[Link]:
        made.extend(ScriptedCollector(steady(), clock, device_id=name) for name in ("m-1", "m-2"))
        made[1].plugged = False
        return [Link("modbus", collector) for collector in made]

    async with gateway_of(plant(county.url, "m-1", "m-2"), monkeypatch, links) as (gateway, _):
        await until(lambda: made[1].connects >= 2 and gateway.status.page_url)
        await county.stop()
        await gateway.keeper.close_short(gateway.clock())
        await until(lambda: {t.code for t in gateway.troubles.listed()} == {"unreachable", "county_unreachable"})
        before = len(log)
        attempts, batches = made[1].connects, made[0].read_batches
        await until(lambda: made[1].connects >= attempts + 5 and made[0].read_batches > batches + 20)
        assert log[before:] == []
        await county.start()
