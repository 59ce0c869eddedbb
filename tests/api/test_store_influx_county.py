"""A county over a real InfluxDB: it takes records in while the store is away, and makes the store again."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from sqlalchemy import select

from api.register.models import DeviceDay
from tests.api.county_fixtures import NOW_S, CountyUnderTest, HandClock, minutes, running_county
from tests.servers_influx import Influx1, influx_1
from tests.waiting import until


def days(county: CountyUnderTest) -> dict[tuple[str, int], str]:
    with county.county.engine.connect() as connection:
        found = connection.execute(select(DeviceDay.gateway, DeviceDay.day, DeviceDay.digest)).all()
    return {(row.gateway, row.day): row.digest for row in found}


async def send_a_day(county: CountyUnderTest) -> None:
    """In order, late, once more under another number, contradicting, and a supplement."""
    gateway = county.gateway()
    both = ["cnc-1", "老车床 2"]
    for answer in (
        await gateway.send(both, minutes(0, NOW_S - 3600, 20, quantity=40)),
        await gateway.send(both, minutes(1, NOW_S - 600, 10)),
        await gateway.send(both, minutes(0, NOW_S - 2 * 86_400, 5, parts=2)),
        await gateway.send(both, minutes(0, NOW_S - 3600, 20, quantity=40)),
        await gateway.send(both, minutes(1, NOW_S - 300, 5, parts=9)),
        await gateway.send(both, minutes(0, NOW_S - 3600, 2, part=1, observed=0, connected=0, running=100)),
    ):
        assert answer.result == "journalled"


async def until_store_error(county: CountyUnderTest, words: str) -> None:
    async def told() -> bool:
        return words in (await county.client.get("/healthz")).json()["checks"]["store"]

    await until(told)


async def settle(county: CountyUnderTest) -> None:
    applier, journal = county.county.applier, county.county.journal
    assert await asyncio.to_thread(applier.wait_applied, journal.position, 30.0)
    await county.settle()


async def test_records_are_taken_in_while_influxdb_is_away_and_the_figures_are_those_of_duckdb(tmp_path: Path) -> None:
    async with running_county(tmp_path / "embedded") as county:
        await send_a_day(county)
        await county.settle()
        embedded = days(county)
    assert len(embedded) == 2
    with influx_1() as server:
        server.bucket("county")
        server.stop_influxd()
        options = {"store_url": server.url("county"), "store_token_file": server.token_file}
        async with running_county(tmp_path / "county", HandClock(), **options) as county:
            await send_a_day(county)
            await until_store_error(county, "502")
            health = await county.client.get("/healthz")
            assert health.status_code == 200
            metrics = (await county.client.get("/metrics")).text
            assert "plantpulse_journal_position 6.0\n" in metrics
            assert "plantpulse_records_stored" not in metrics, "unknown is not zero"
            server.start_influxd()
            await settle(county)
            assert days(county) == embedded
            metrics = (await county.client.get("/metrics")).text
            assert "plantpulse_store_applied_position 6.0\n" in metrics
            assert "plantpulse_records_stored 62.0\n" in metrics
            assert "plantpulse_records_set_aside 0.0\n" in metrics
            assert (await county.client.get("/healthz")).json()["checks"]["store"] == "ok"

        await _wiped_and_made_again(server, tmp_path / "county", options, embedded)


async def _wiped_and_made_again(
    server: Influx1, folder: Path, options: dict[str, object], embedded: dict[tuple[str, int], str]
) -> None:
    server.drop_bucket("county")
    server.bucket("county")
    async with running_county(folder, HandClock(NOW_S + 60), **options) as county:
        await settle(county)
        assert county.county.store.rows() == 62
        assert county.county.rollup.computed >= 2
        assert days(county) == embedded
        marked = [(gateway, day) for gateway, day in embedded]
        found = {(r.gateway, r.day): len(r.records) for r in county.county.store.read_days(marked)}
        assert sorted(found) == sorted(marked)
        assert sum(found.values()) == 62


async def test_what_influxdb_refuses_is_shown_by_health_and_metrics(tmp_path: Path) -> None:
    with influx_1() as server:
        server.bucket("county", "1h")
        now_s = int(time.time()) // 60 * 60
        async with running_county(
            tmp_path, HandClock(now_s), store_url=server.url("county"), store_token_file=server.token_file
        ) as county:
            gateway = county.gateway()
            await gateway.send(["a"], minutes(0, now_s - 600, 10))
            await gateway.send(["a"], minutes(0, now_s - 7 * 86_400, 3))
            await settle(county)
            checks = (await county.client.get("/healthz")).json()["checks"]
            assert checks["store_set_aside"].startswith("3 条记录被 InfluxDB 拒收")
            assert str(tmp_path / "store" / "influxdb-refused.lp") in checks["store_set_aside"]
            assert "plantpulse_records_set_aside 3.0\n" in (await county.client.get("/metrics")).text
            assert county.county.store.rows() == 10


async def test_days_older_than_the_retention_are_final_whatever_influxdb_still_has(tmp_path: Path) -> None:
    with influx_1() as server:
        server.bucket("county")
        clock = HandClock()
        async with running_county(
            tmp_path, clock, store_url=server.url("county"), store_token_file=server.token_file, record_days=31
        ) as county:
            gateway = county.gateway()
            await gateway.send(["a"], minutes(0, NOW_S - 600, 5))
            await settle(county)
            before = days(county)
            clock.advance(400 * 86_400)
            await asyncio.to_thread(county.county.housekeeping.run)
            await gateway.send(["a"], minutes(0, NOW_S - 300, 2))
            await settle(county)
            assert days(county) != before, "a clock that is ahead makes nothing final"
            await gateway.send(["a"], minutes(0, NOW_S + 60 * 86_400, 1))
            await settle(county)
            await asyncio.to_thread(county.county.housekeeping.run)
            before = days(county)
            await gateway.send(["a"], minutes(0, NOW_S - 900, 5))
            await settle(county)
            assert days(county) == before
            (late,) = county.county.journal.kept.too_late(10)
            assert (late.gateway, late.device, late.rows) == ("gw-1", "a", 5)
