"""plantpulse-county recompute: the same bits in this process, on a Dask cluster, over sealed files and InfluxDB."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, func, select, update
from typer.testing import CliRunner

from api.cli import app
from api.recompute.on_dask import OnDask
from api.recompute.plan import Span
from api.recompute.run import RecomputeError, Report, Runner, in_process, recompute
from api.register.admin import register_of
from api.register.models import DeviceDay
from api.settings import Settings
from api.store.duckdb import DuckDBStore
from api.store.port import Append, EmbeddedStore
from metrics.record import RECORD_COLUMNS, Records, local_day_start_s
from tests.api.county_fixtures import NOW_S, TODAY, CountyUnderTest, HandClock, minutes, running_county, settings_for
from tests.dask_cluster import dask_cluster
from tests.servers_influx import influx_1

Digests = dict[tuple[str, int], tuple[str, bytes]]
SPAN = Span(TODAY - 30, TODAY - 1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dask_cluster(tmp_path_factory.mktemp("dask"), workers=2) as address:
        yield address


@pytest.fixture(params=["in-process", "dask"])
def runner(request: pytest.FixtureRequest) -> Runner:
    return in_process if request.param == "in-process" else OnDask(request.getfixturevalue("cluster"))


def content(settings: Settings) -> Digests:
    """Digest and bytes of every day state."""
    with register_of(settings) as engine, engine.connect() as connection:
        rows = connection.execute(select(DeviceDay.gateway, DeviceDay.day, DeviceDay.digest, DeviceDay.content)).all()
    return {(r.gateway, r.day): (r.digest, bytes(r.content)) for r in rows}


def forget(settings: Settings) -> None:
    with register_of(settings) as engine, engine.begin() as connection:
        connection.execute(delete(DeviceDay))


async def send_days(county: CountyUnderTest) -> None:
    """Four days of two gateways with late, contradicting and supplementary records."""
    for name in ("gw-1", "gw-2"):
        gateway = county.gateway(name)
        for day in range(1, 5):
            start_s = NOW_S - 86_400 * day
            each = [minutes(d, start_s, 90, parts=d + day, quantity=9) for d in range(4)]
            await gateway.send([f"m-{d}" for d in range(4)], Records.concat(each))
        await gateway.send(["m-0"], minutes(0, NOW_S - 86_400 * 3, 10, connected=0))
        await gateway.send(["m-1"], minutes(0, NOW_S - 86_400 * 2, 3, part=1, observed=0, connected=0, running=60))
    await county.settle()


async def sealed_county(folder: Path) -> Settings:
    """A stopped county whose days before yesterday are sealed; yesterday is in the open file."""
    async with running_county(folder) as county:
        await send_days(county)
        assert isinstance(county.county.store, EmbeddedStore)
        assert len(county.county.store.seal(TODAY - 1)) == 3
        return county.settings


async def test_nothing_changes_where_nothing_was_wrong_and_what_was_lost_comes_back_to_the_bit(
    tmp_path: Path, runner: Runner
) -> None:
    settings = await sealed_county(tmp_path / "county")
    before = content(settings)
    report = await asyncio.to_thread(recompute, settings, HandClock(), SPAN, runner)
    assert report == Report(unchanged=8)
    assert content(settings) == before
    forget(settings)
    report = await asyncio.to_thread(recompute, settings, HandClock(), SPAN, runner)
    # yesterday stands in the open file alone, and the register no longer knows that there was such a day
    assert {day for _, day in report.changed} == {TODAY - 4, TODAY - 3, TODAY - 2}
    assert content(settings) == {key: found for key, found in before.items() if key[1] < TODAY - 1}


async def test_wrong_states_are_put_right_and_only_within_what_was_asked_for(tmp_path: Path, runner: Runner) -> None:
    settings = await sealed_county(tmp_path / "county")
    before = content(settings)
    with register_of(settings) as engine, engine.begin() as connection:
        connection.execute(update(DeviceDay).values(digest="wrong", content=b"wrong"))
    span = Span(TODAY - 3, TODAY - 1, frozenset({"gw-1"}))
    report = await asyncio.to_thread(recompute, settings, HandClock(), span, runner)
    assert report.changed == [("gw-1", day) for day in range(TODAY - 3, TODAY)]
    after = content(settings)
    for key, found in after.items():
        assert found == (before[key] if span.has(*key) else ("wrong", b"wrong"))


async def test_beside_a_running_service_its_open_days_and_what_came_late_are_left_to_it(tmp_path: Path) -> None:
    async with running_county(tmp_path / "county") as county:
        await send_days(county)
        assert isinstance(county.county.store, EmbeddedStore)
        county.county.store.seal(TODAY - 1)
        # late for a sealed day: it stands in the open table, beside the sealed file
        late = county.gateway("gw-2", epoch=5)
        assert (await late.send(["m-9"], minutes(0, NOW_S - 86_400 * 4, 5))).result == "journalled"
        await county.settle()
        before = content(county.settings)
        report = await asyncio.to_thread(recompute, county.settings, county.clock, SPAN)
        assert report.left_to_service == [("gw-1", TODAY - 1), ("gw-2", TODAY - 4), ("gw-2", TODAY - 1)]
        assert (report.unchanged, report.changed) == (5, [])
        await county.settle()
        assert county.county.rollup.dirty() == 0
        assert content(county.settings) == before


async def test_days_that_are_final_stand_as_they_are(tmp_path: Path) -> None:
    settings = await sealed_county(tmp_path / "county")
    before = content(settings)
    for file in (settings.data_dir / "store" / "records-sealed").glob("*.parquet"):
        file.unlink()
    async with running_county(settings.data_dir) as county:
        county.county.journal.kept.finish_before(TODAY - 1, county.county.journal.position)
    report = await asyncio.to_thread(recompute, settings, HandClock(), SPAN)
    assert len(report.final) == 6
    assert content(settings) == before


async def test_over_an_influxdb_the_bits_are_those_of_the_embedded_store(tmp_path: Path, cluster: str) -> None:
    embedded = content(await sealed_county(tmp_path / "embedded"))
    with influx_1() as server:
        server.bucket("county")
        more = {"store_url": server.url("county"), "store_token_file": server.token_file}
        async with running_county(tmp_path / "county", **more) as county:
            await send_days(county)
        settings = settings_for(tmp_path / "county", **more)
        assert content(settings) == embedded
        for runner in (in_process, OnDask(cluster)):
            forget(settings)
            report = await asyncio.to_thread(recompute, settings, HandClock(), SPAN, runner)
            assert len(report.changed) == 8
            assert content(settings) == embedded


def test_the_command_prints_what_came_of_it_and_refuses_what_it_cannot_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: str
) -> None:
    asyncio.run(sealed_county(tmp_path / "county"))
    monkeypatch.setenv("PLANTPULSE_DATA_DIR", str(tmp_path / "county"))
    shell = CliRunner()
    call = ["recompute", "--from", "2026-11-01", "--to", "2026-11-30", "--gateway", "gw-1"]
    done = shell.invoke(app, [*call, "--scheduler", cluster, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert (told["unchanged"], told["changed"], told["from"]) == (4, [], "2026-11-01")
    for wrong, words in (
        (["--scheduler", "http://x"], "tcp://host:port"),
        (["--from", "yesterday"], "such as 2026-11-23"),
    ):
        refused = shell.invoke(app, ["recompute", *wrong])
        # the frame that the words stand in breaks its lines
        said = " ".join(refused.output.replace("│", " ").split())
        assert (refused.exit_code, words in said) == (2, True)


def test_a_scheduler_that_is_away_is_named(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.recompute.on_dask._TIMEOUT_S", "1s")
    with pytest.raises(RecomputeError, match="does not answer"):
        list(OnDask(f"tcp://127.0.0.1:{free_port}")([], 1))


def test_a_cluster_without_workers_is_no_cluster(tmp_path: Path) -> None:
    with dask_cluster(tmp_path, workers=0) as address, pytest.raises(RecomputeError, match="no workers"):
        list(OnDask(address)([], 1))


DEVICES, GATEWAYS, DAYS, WINDOW_S = 50, 40, 30, 900


def a_month(folder: Path) -> Settings:
    """2,000 devices of 40 gateways over 30 days in windows of 15 minutes, sealed: 5.8 million records."""
    settings = settings_for(folder)
    with register_of(settings):
        pass
    rng = np.random.default_rng(7)
    per_day = 86_400 // WINDOW_S
    store = DuckDBStore(folder / "store" / "records.duckdb")
    position = 0
    for day in range(TODAY - DAYS, TODAY):
        batches = []
        for number in range(GATEWAYS):
            position += 1
            batches.append(
                Append(position, f"gw-{number}", [f"m-{d}" for d in range(DEVICES)], _day(rng, day, per_day))
            )
        store.append(batches, position)
        store.seal(day + 1)
    store.close()
    return settings


def _day(rng: np.random.Generator, day: int, per_day: int) -> Records:
    n = DEVICES * per_day
    columns: dict[str, Any] = {c.name: np.zeros(n, c.dtype) for c in RECORD_COLUMNS}
    columns["device"] = np.repeat(np.arange(DEVICES), per_day)
    columns["start"] = np.tile(local_day_start_s(day) + WINDOW_S * np.arange(per_day), DEVICES)
    columns["length"] = columns["observed"] = np.full(n, WINDOW_S * 10)
    columns["connected"] = np.where(rng.random(n) < 0.05, rng.integers(0, WINDOW_S * 10, n), WINDOW_S * 10)
    columns["running"] = (rng.random(n) * columns["connected"]).astype(np.int64)
    columns["quantity"] = rng.integers(0, 3000, n)
    columns["quantity_span"] = np.full(n, WINDOW_S)
    columns["reading"] = np.full(n, -1)
    return Records.from_columns(columns)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_month_of_2000_devices_on_two_workers_gives_the_bits_of_one_process(tmp_path: Path, cluster: str) -> None:
    settings = a_month(tmp_path / "county")
    clock = HandClock()
    here = recompute(settings, clock, SPAN)
    assert len(here.changed) == GATEWAYS * DAYS
    expected = content(settings)
    again = recompute(settings, clock, SPAN, OnDask(cluster))
    assert again == Report(unchanged=GATEWAYS * DAYS)
    forget(settings)
    there = recompute(settings, clock, SPAN, OnDask(cluster))
    assert there.changed == here.changed
    assert content(settings) == expected
    with register_of(settings) as engine, engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(DeviceDay)).scalar_one() == GATEWAYS * DAYS
