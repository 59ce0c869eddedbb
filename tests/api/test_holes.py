"""A gateway's hardware is replaced: what its meters counted in between is settled, marked, shown, and rebuilt."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from api.day_rows import read_content
from api.recompute.plan import Span
from api.recompute.run import recompute
from api.register.admin import register_of
from api.register.models import DeviceDay, DeviceDayVersion, GatewayCredential
from api.settings import Settings
from api.store.port import EmbeddedStore
from gateway.wire import Announce, Announcement
from metrics.days import DAY_COLUMNS
from metrics.hand_over import SETTLED
from metrics.record import DAY_S, Flag, Records, local_day_start_s
from tests.api.county_fixtures import (
    NOW_S,
    TODAY,
    CountyUnderTest,
    Gateway,
    HandClock,
    minutes,
    register_files,
    running_county,
)
from tests.api.postgres import new_database, postgres_server
from tests.api.test_enrolment import NEW, OLD, enrolled, sender
from tests.servers_influx import influx_1

NS = 1_000_000_000
HAND_OVER_S = NOW_S + 60
DEAD_S = local_day_start_s(TODAY - 3) + 18 * 3600
"""When the old hardware fell silent: it counted one hour, 50 Wh a minute, from a reading of 1000 kWh."""
AT_DEATH = 1_000_000 + 60 * 50
AT_START = AT_DEATH + 190_000
"""What the new one reads first: 190 kWh more, at no more than what is usual."""


def counted(start_s: int, count: int, reading: int) -> Records:
    """Minutes of a running chain; the first one holds its first reading, and every hour's first what it has come to."""
    made = minutes(0, start_s, count, quantity=50).columns()
    made["quantity"] = made["quantity"].copy()
    made["quantity_span"] = made["quantity_span"].copy()
    made["quantity"][0] = made["quantity_span"][0] = 0
    at = reading + made["quantity"].cumsum()
    first = (made["start"] % 3600 == 0) | (made["start"] == start_s)
    made["reading"] = [int(r) if hour else -1 for r, hour in zip(at, first, strict=True)]
    return Records.from_columns(made)


def said(number: int, at_s: int, **more: str) -> Announcement:
    known = {"address": "modbus-tcp://10.0.0.9:502", "profile": "meter-a", "serial": "S-1", "carrier": "electricity"}
    known |= {"unit": "kWh", "direction": "import"} | more
    return Announcement(
        number,
        at_s * NS,
        "main-1",
        device_class="meter-electricity",
        evidence="native",
        **known,  # type: ignore[arg-type]
    )


@dataclass
class Plant:
    """A county with both pieces of hardware of one place."""

    county: CountyUnderTest
    old: Gateway
    new: Gateway

    async def die(self) -> None:
        """The old hardware announces its meter, counts an hour, and dies."""
        await self.old.post("announce", Announce("gw-1", 1, [said(1, DEAD_S - 3600)]))
        await self.old.send(["main-1"], counted(DEAD_S - 3600, 61, 1_000_000))

    async def start(self, reading: int = AT_START, **announced: str) -> None:
        """The new one announces the meter and counts for five minutes."""
        self.county.clock.advance(420)
        await self.new.post("announce", Announce("gw-1", 2, [said(1, HAND_OVER_S + 2, **announced)]))
        await self.new.send(["main-1"], counted(HAND_OVER_S, 5, reading))


async def replaced(county: CountyUnderTest, folder: Path) -> Plant:
    county.load(folder / "register", register_files())
    old = sender(county, await enrolled(county, hardware=OLD))
    plant = Plant(county, old, old)
    await plant.die()
    got = await enrolled(county, hardware=NEW, replace=True, window_s=60)
    assert got.hand_over_s == HAND_OVER_S
    plant.new = sender(county, got, epoch=2)
    return plant


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    async with running_county(tmp_path / "county") as county:
        yield await replaced(county, tmp_path)


State = dict[str, int]


def of_main(settings: Settings) -> dict[int, State]:
    """Day states of the meter by days ago."""
    made: dict[int, State] = {}
    with register_of(settings) as engine, engine.connect() as connection:
        for day, content in connection.execute(select(DeviceDay.day, DeviceDay.content)):
            states = read_content(content)
            assert len(states) <= 1
            if len(states):
                made[TODAY - day] = {c.name: int(getattr(states, c.name)[0]) for c in DAY_COLUMNS}
    return dict(sorted(made.items()))


def digests(settings: Settings) -> dict[int, str]:
    with register_of(settings) as engine, engine.connect() as connection:
        return {row.day: row.digest for row in connection.execute(select(DeviceDay.day, DeviceDay.digest))}


def estimated(settings: Settings) -> dict[int, int]:
    return {ago: state["quantity_estimated"] for ago, state in of_main(settings).items()}


async def test_what_the_meter_counted_between_the_two_is_settled_on_the_days_of_the_hole(plant: Plant) -> None:
    await plant.county.settle()
    before = digests(plant.county.settings)
    assert estimated(plant.county.settings) == {3: 0}
    await plant.start()
    await plant.county.settle()
    found = of_main(plant.county.settings)
    assert list(found) == [0, 1, 2, 3]
    open_s = {3: 6 * 3600 - 60, 2: DAY_S, 1: DAY_S, 0: 10 * 3600 + 120}
    whole = sum(open_s.values())
    shares = {ago: 190_000 * s // whole for ago, s in open_s.items() if ago}
    shares[0] = 190_000 - sum(shares.values())
    for ago, state in found.items():
        assert state["quantity_estimated"] == shares[ago]
        assert state["flags"] == Flag.ESTIMATED | SETTLED
        counted_here = {3: (60 * 50, 3600), 0: (4 * 50, 240)}.get(ago, (0, 0))
        assert state["quantity"] == counted_here[0] + shares[ago]
        assert state["quantity_span_s"] == counted_here[1] + open_s[ago]
    assert sum(s["quantity"] for s in found.values()) == AT_START + 4 * 50 - 1_000_000
    for ago in (1, 2):
        assert (found[ago]["records"], found[ago]["observed"], found[ago]["connected"]) == (0, 0, 0), "nobody looked"
    assert digests(plant.county.settings)[TODAY - 3] != before[TODAY - 3]


async def test_an_opened_figure_tells_how_much_is_estimated_and_why(plant: Plant) -> None:
    await plant.start()
    await plant.county.settle()
    await plant.county.sign_in()
    opened = await plant.county.get("/indicators/metered-energy/explain", period="2026-11")
    row = next(r for r in opened["rows"] if r["number"] == "M1")
    assert opened["figure"]["value"] == row["quantity"] == pytest.approx(193.2)
    assert row["quantity_estimated"] == 190.0
    assert "其中估算 190.000 kWh：更换网关硬件期间未记录" in row["reason_zh"]
    assert "190.000 kWh of it estimated: not recorded while the gateway's hardware was replaced" in row["reason_en"]
    assert opened["sentence_zh"].endswith("其中 190.000 kWh 为估算。")
    assert opened["sentence_en"].endswith("190.000 kWh of it is estimated.")
    sub = next(r for r in opened["rows"] if r["number"] == "M2")
    assert (sub["quantity_estimated"], "estimated" in sub["reason_en"]) == (0.0, False)
    networking = await plant.county.get("/indicators/networking-rate/explain", period="2026-11")
    assert {r["quantity_estimated"] for r in networking["rows"]} == {None}


async def test_what_the_old_hardware_hands_in_late_takes_the_place_of_the_estimate(plant: Plant) -> None:
    await plant.start()
    await plant.county.settle()
    late_s = local_day_start_s(TODAY - 2) + 3600
    # the day after it fell silent it ran for three hours: its counter's chain goes on from where it was
    late = counted(late_s, 180, AT_DEATH + 40_000).columns()
    late["quantity"][0], late["quantity_span"][0] = 0, 0
    await plant.old.send(["main-1"], Records.from_columns(late))
    await plant.county.settle()
    found = of_main(plant.county.settings)
    at_last_reading = AT_DEATH + 40_000 + 120 * 50
    assert found[3]["quantity_estimated"] == 0, "what lies before the last reading of the old one is no hand-over's"
    assert sum(estimated(plant.county.settings).values()) == AT_START - at_last_reading - 59 * 50
    assert found[2]["quantity"] == 179 * 50 + found[2]["quantity_estimated"]
    with register_of(plant.county.settings) as engine, engine.connect() as connection:
        assert connection.execute(select(DeviceDayVersion.day).where(DeviceDayVersion.day == TODAY - 3)).first(), (
            "what had been said before is kept"
        )


@pytest.mark.parametrize(
    ("announced", "reading"),
    [
        ({"serial": "S-2"}, AT_START),
        ({"profile": "meter-b"}, AT_START),
        ({"unit": "MWh"}, AT_START),
        ({"direction": "export"}, AT_START),
        ({}, 5_000),
        ({}, AT_START + 80_000_000),
    ],
    ids=["another-serial", "another-profile", "another-unit", "another-direction", "reset", "another-scale"],
)
async def test_another_counter_is_never_estimated(plant: Plant, announced: dict[str, str], reading: int) -> None:
    await plant.start(reading, **announced)
    await plant.county.settle()
    assert estimated(plant.county.settings) == {0: 0, 3: 0}
    assert {s["flags"] & SETTLED for s in of_main(plant.county.settings).values()} == {0}


async def test_the_estimate_waits_until_both_have_told_what_they_read(plant: Plant) -> None:
    plant.county.clock.advance(420)
    await plant.new.send(["main-1"], counted(HAND_OVER_S, 5, AT_START))
    await plant.county.settle()
    assert estimated(plant.county.settings) == {0: 0, 3: 0}
    await plant.new.post("announce", Announce("gw-1", 2, [said(1, HAND_OVER_S + 2)]))
    await plant.county.settle()
    assert sum(estimated(plant.county.settings).values()) == 190_000
    # a second word, of the same minute: it is another meter after all
    await plant.new.post("announce", Announce("gw-1", 2, [said(2, HAND_OVER_S + 30, serial="S-2")]))
    await plant.county.settle()
    assert estimated(plant.county.settings) == {0: 0, 3: 0}


async def test_a_gap_of_one_and_the_same_hardware_is_not_settled(tmp_path: Path) -> None:
    async with running_county(tmp_path / "county") as county:
        county.load(tmp_path / "register")
        old = sender(county, await enrolled(county, hardware=OLD))
        plant = Plant(county, old, old)
        await plant.die()
        await plant.start()
        await county.settle()
        assert estimated(county.settings) == {0: 0, 3: 0}


async def test_a_meter_that_stood_still_leaves_every_digest_as_it_was(plant: Plant) -> None:
    await plant.start(AT_DEATH)
    await plant.county.settle()
    settings = plant.county.settings
    with_hand_over = digests(settings)
    with register_of(settings) as engine, engine.begin() as connection:
        connection.execute(update(GatewayCredential).values(hand_over_s=None))
        connection.execute(delete(DeviceDay))
    plant.county.county.rollup.mark(dict.fromkeys(((("gw-1", day)) for day in with_hand_over), 1))
    await plant.county.settle()
    assert digests(settings) == with_hand_over


@contextmanager
def embedded(folder: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """Settings of an empty store, each time anew."""

    def anew() -> dict[str, Any]:
        shutil.rmtree(folder / "store", ignore_errors=True)
        return {}

    yield anew


@contextmanager
def influxdb(_: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """The same on an InfluxDB."""
    with influx_1() as server:
        names = iter(("county", "again"))

        def anew() -> dict[str, Any]:
            name = next(names)
            server.bucket(name)
            return {"store_url": server.url(name), "store_token_file": server.token_file}

        yield anew


@contextmanager
def postgresql(folder: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """The embedded store beside a register in PostgreSQL."""
    with postgres_server() as server, embedded(folder) as anew:
        register_url = new_database(server)
        yield lambda: anew() | {"register_url": register_url}


@pytest.mark.parametrize("at_once", [1, 16])
@pytest.mark.parametrize("engines", [embedded, influxdb, postgresql])
async def test_a_store_that_was_wiped_gives_the_same_bits_again(
    tmp_path: Path,
    engines: Callable[[Path], AbstractContextManager[Callable[[], dict[str, Any]]]],
    at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where days are computed one by one, each without knowing of the days after it."""
    monkeypatch.setattr("api.rollup._CHUNK_KEYS", at_once)
    clock = HandClock()
    folder = tmp_path / "county"
    with engines(folder) as anew:
        async with running_county(folder, clock, **anew()) as county:
            plant = await replaced(county, tmp_path)
            await plant.start()
            late = counted(local_day_start_s(TODAY - 2) + 3600, 180, AT_DEATH + 40_000)
            await plant.old.send(["main-1"], late)
            await county.settle()
            before = digests(county.settings)
            assert sum(estimated(county.settings).values()) > 0
            with register_of(county.settings) as engine, engine.begin() as connection:
                connection.execute(delete(DeviceDay))
        async with running_county(folder, clock, **anew()) as county:
            await county.settle()
            assert digests(county.settings) == before


async def test_recompute_settles_as_the_service_does(tmp_path: Path) -> None:
    clock = HandClock()
    async with running_county(tmp_path / "county", clock) as county:
        plant = await replaced(county, tmp_path)
        await plant.start()
        await county.settle()
        assert isinstance(county.county.store, EmbeddedStore)
        county.county.store.seal(TODAY - 1)
        settings = county.settings
        before = digests(settings)
        beside = await asyncio.to_thread(recompute, settings, clock, Span(TODAY - 30, TODAY))
        assert beside.left_to_service == [("gw-1", day) for day in range(TODAY - 3, TODAY + 1)]
        await county.settle()
        assert digests(settings) == before
    report = await asyncio.to_thread(recompute, settings, clock, Span(TODAY - 30, TODAY))
    assert (report.unchanged, report.changed, report.without_records) == (4, [], [])
    with register_of(settings) as engine, engine.begin() as connection:
        connection.execute(update(DeviceDay).values(digest="wrong", content=b"wrong"))
    report = await asyncio.to_thread(recompute, settings, clock, Span(TODAY - 30, TODAY))
    assert (report.unchanged, len(report.changed)) == (0, 4)
    assert digests(settings) == before
    with register_of(settings) as engine, engine.begin() as connection:
        connection.execute(delete(DeviceDay).where(DeviceDay.day.in_([TODAY - 2, TODAY - 1])))
    report = await asyncio.to_thread(recompute, settings, clock, Span(TODAY - 30, TODAY))
    assert report.changed == [("gw-1", TODAY - 2), ("gw-1", TODAY - 1)], "days that nobody looked at are found as well"
    assert digests(settings) == before
