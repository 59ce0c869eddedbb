"""A day without the interval store: everything is taken in, memory stays, and afterwards the figures are the same."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import select

from api.applier import GROUP_ROWS
from api.register.models import DeviceDay
from metrics.record import Records, local_day
from tests.api.county_fixtures import NOW_S, CountyUnderTest, Gateway, HandClock, running_county
from tests.benchmarks.bench_gateway import plant_minutes
from tests.servers_influx import Influx1, influx_1

GATEWAYS: Final = ("gw-1", "gw-2")
DEVICES: Final = [f"设备 {i}" for i in range(400)]
MINUTES: Final = 24 * 60
ROWS: Final = MINUTES * len(GATEWAYS) * len(DEVICES)
FULL_AT: Final = 1000
"""By then more has come than may wait in memory for the store."""
MOST_BYTES: Final = 16 << 20
"""What the process may grow by from then on: a quarter of what it does when it holds what comes."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a county came to: the digests of its day states, and its records."""

    digests: dict[tuple[str, int], str]
    rows: int


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def send_minutes(county: CountyUnderTest, gateways: list[Gateway], first: int, last: int) -> None:
    """The minutes from `first` to before `last`, each when it is over."""
    patterns = [plant_minutes(len(DEVICES), 1, seed) for seed in range(16)]
    for minute in range(first, last):
        for k, gateway in enumerate(gateways):
            pattern = patterns[(minute + 5 * k) % len(patterns)]
            start = pattern.start - pattern.start[0] + NOW_S + 60 * minute
            answer = await gateway.send(DEVICES, Records(**{**pattern.columns(), "start": start}))
            assert (answer.result, answer.accepted) == ("journalled", len(DEVICES))
        county.clock.advance(60)


async def left_by(county: CountyUnderTest) -> Left:
    """Wait until everything is stored and computed."""
    running = county.county
    assert await asyncio.to_thread(running.applier.wait_applied, running.journal.position, 120.0)
    assert await asyncio.to_thread(running.rollup.wait_clean, 60.0)
    with running.engine.connect() as connection:
        found = connection.execute(select(DeviceDay.gateway, DeviceDay.day, DeviceDay.digest)).all()
    return Left({(row.gateway, row.day): row.digest for row in found}, running.store.rows())


async def a_day_without(server: Influx1, folder: Path) -> Left:
    """InfluxDB is away from before the first minute until after the last."""
    server.stop_influxd()
    options = {"store_url": server.url("county"), "store_token_file": server.token_file}
    async with running_county(folder, HandClock(NOW_S + 60), **options) as county:
        gateways = [county.gateway(name) for name in GATEWAYS]
        await send_minutes(county, gateways, 0, FULL_AT)
        before = resident_bytes()
        await send_minutes(county, gateways, FULL_AT, MINUTES)
        assert resident_bytes() - before < MOST_BYTES
        health = (await county.client.get("/healthz")).json()
        assert health["ready"]
        assert "502" in health["checks"]["store"]
        journal = county.county.journal
        assert journal.position == MINUTES * len(GATEWAYS)
        assert journal.size().days == 2, "a day of the journal ended meanwhile"
        assert not county.county.applier.known
        server.start_influxd()
        return await left_by(county)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_day_without_the_store_is_taken_in_and_gives_the_figures_of_one_with_it(tmp_path: Path) -> None:
    assert len(GATEWAYS) * len(DEVICES) * FULL_AT > 3 * GROUP_ROWS
    with influx_1() as server:
        server.bucket("county")
        late = await a_day_without(server, tmp_path / "without")
        (series,) = server.query("county", 'SELECT count("position") FROM "record"')
        assert series["values"][0][1] == ROWS
    async with running_county(tmp_path / "with", HandClock(NOW_S + 60)) as county:
        await send_minutes(county, [county.gateway(name) for name in GATEWAYS], 0, MINUTES)
        never_away = await left_by(county)
    assert never_away.rows == ROWS
    days = {int(local_day(NOW_S)), int(local_day(NOW_S + 60 * MINUTES - 60))}
    assert set(never_away.digests) == {(name, day) for name in GATEWAYS for day in days}
    assert late == never_away
