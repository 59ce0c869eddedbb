"""A county that is killed: what it acknowledged is there afterwards, once; its store can be made again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from api.credentials import issue
from api.register.admin import register_of
from api.register.models import DeviceDay
from gateway.wire import Ingest
from metrics.record import Records
from tests.api.county_fixtures import (
    NOW_S,
    CountyUnderTest,
    Gateway,
    HandClock,
    minutes,
    running_county,
    settings_for,
)
from tests.county_process import county_process


def day_digests(folder: Path) -> dict[tuple[str, int], str]:
    with register_of(settings_for(folder)) as engine, engine.connect() as connection:
        rows = connection.execute(select(DeviceDay.gateway, DeviceDay.day, DeviceDay.digest)).all()
    return {(gateway, day): digest for gateway, day, digest in rows}


async def test_what_was_acknowledged_survives_kill_9_and_is_counted_once(tmp_path: Path) -> None:
    folder = tmp_path / "county"
    with register_of(settings_for(folder)) as engine:
        credential = issue(engine, "gw-1", 1)
    acknowledged: dict[int, Ingest] = {}
    unanswered: dict[int, Ingest] = {}
    async with county_process(folder) as county:
        sequence = 0
        for _ in range(2):
            await county.start()
            async with httpx.AsyncClient(base_url=county.url, trust_env=False, timeout=10) as client:
                gateway = Gateway("gw-1", credential, client)
                gateway.sequence = sequence
                batches = [gateway.batch(["a"], minutes(0, NOW_S + 60 * gateway.sequence, 1)) for _ in range(120)]
                sequence = gateway.sequence

                async def send(batch: Ingest, gateway: Gateway = gateway) -> None:
                    try:
                        answer = await gateway.ingest(batch)
                    except httpx.TransportError:
                        unanswered[batch.sequence] = batch
                        return
                    assert answer.result == "journalled"
                    acknowledged[batch.sequence] = batch

                running = [asyncio.create_task(send(b)) for b in batches]
                async with asyncio.timeout(30):
                    await running[7]
                    await asyncio.wait(running[:40])
                county.end(signal.SIGKILL)
                await asyncio.gather(*running)
        assert unanswered, "the kill came after the last answer"
        await county.start()
        async with httpx.AsyncClient(base_url=county.url, trust_env=False, timeout=10) as client:
            gateway = Gateway("gw-1", credential, client)
            for batch in acknowledged.values():
                assert (await gateway.ingest(batch)).result == "duplicate"
            for batch in unanswered.values():
                assert (await gateway.ingest(batch)).result in ("journalled", "duplicate")
            async with asyncio.timeout(20):
                while True:
                    lines = (await client.get("/metrics")).text.splitlines()
                    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
                    if values["plantpulse_store_applied_position"] == values["plantpulse_journal_position"]:
                        break
                    await asyncio.sleep(0.05)
        assert values["plantpulse_records_stored"] == f"{len(acknowledged) + len(unanswered)}.0" == "240.0"
        assert county.end(signal.SIGTERM) == 0


async def send_three_days(county: CountyUnderTest) -> None:
    gateway = county.gateway()
    for day in range(3):
        start_s = NOW_S - 86_400 * (3 - day)
        for hour in range(4):
            records = Records.concat([minutes(d, start_s + 3600 * hour, 60, parts=d + hour) for d in range(5)])
            await gateway.send([f"m-{d}" for d in range(5)], records)
    await gateway.send(["m-0"], minutes(0, NOW_S - 86_400, 10, connected=0))  # differs from what came first
    columns = minutes(0, NOW_S - 7200, 3).columns()
    columns["connected"] = columns["connected"] + 1
    await gateway.send(["m-0"], Records.from_columns(columns))  # refused rows
    await gateway.send(["m-0"], minutes(0, NOW_S + 3000, 3))  # held rows
    await county.settle()


async def test_a_store_made_again_from_the_journal_gives_the_same_day_digests(tmp_path: Path) -> None:
    clock = HandClock()
    folder = tmp_path / "county"
    async with running_county(folder, clock) as county:
        await send_three_days(county)
        rows = county.county.store.rows()
        computed = county.county.rollup.computed
        assert computed
    before = day_digests(folder)
    assert len(before) == 3
    shutil.rmtree(folder / "store")
    with register_of(settings_for(folder)) as engine, engine.begin() as connection:
        connection.execute(DeviceDay.__table__.delete())  # type: ignore[attr-defined]
    clock.advance(86_400)  # the verdict of the day stands, whatever the clock says now
    async with running_county(folder, clock) as county:
        await county.settle()
        assert county.county.store.rows() == rows
    assert day_digests(folder) == before


async def test_ingest_goes_on_while_the_store_fails_and_catches_up_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_county(tmp_path / "county") as county:
        store = county.county.store
        original = type(store).append

        def broken(*_: object) -> None:
            raise OSError("no space left on device")

        monkeypatch.setattr(type(store), "append", broken)
        gateway = county.gateway()
        for i in range(5):
            answer = await gateway.send(["a"], minutes(0, NOW_S - 600 + 60 * i, 1))
            assert answer.result == "journalled"
        async with asyncio.timeout(10):
            while not county.county.applier.last_error:  # noqa: ASYNC110 (set by the applier's thread)
                await asyncio.sleep(0.02)
        health = (await county.client.get("/healthz")).json()
        assert health["ready"]
        assert "no space left" in health["checks"]["store"]
        monkeypatch.setattr(type(store), "append", original)
        await county.settle()
        assert store.rows() == 5


async def test_a_journal_that_cannot_be_written_acknowledges_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_county(tmp_path / "county") as county:
        gateway = county.gateway()

        def full(*_: object) -> None:
            raise OSError("no space left on device")

        batch = gateway.batch(["a"], minutes(0, NOW_S - 60, 1))
        with monkeypatch.context() as patch:
            patch.setattr("api.journal.day_file.DayFile.write", full)
            answer = await gateway.post("ingest", batch)
            assert (answer.status_code, answer.json()["code"]) == (503, "busy")
            assert "retry-after" in answer.headers
        assert county.county.journal.position == 0
        assert (await gateway.ingest(batch)).result == "journalled"


def test_a_second_service_on_the_same_folder_is_told_which_one_runs(tmp_path: Path) -> None:
    holder = tmp_path / "county" / "store"
    holder.mkdir(parents=True)
    from api.store.open import open_store

    store = open_store(f"duckdb:///{holder / 'records.duckdb'}")
    try:
        environment = os.environ | {"PLANTPULSE_DATA_DIR": str(tmp_path / "county"), "PLANTPULSE_PORT": "0"}
        done = subprocess.run(
            [sys.executable, "-m", "api.cli", "serve"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert f"process {os.getpid()}" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        store.close()
