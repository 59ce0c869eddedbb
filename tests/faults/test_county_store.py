"""The county's DuckDB files damaged, cut short, lost, on a full disk: ingest goes on and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import select

from api.doctor.stores import store as examine_store
from api.register.admin import register_of
from api.register.models import DeviceDay
from api.rollup import Rollup
from api.store.port import EmbeddedStore, StoreError
from metrics.record import Records
from tests.api.county_fixtures import (
    NOW_S,
    TODAY,
    Gateway,
    HandClock,
    minutes,
    running_county,
    settings_for,
)

KILLED = """
import asyncio, json, os, signal, sys
from pathlib import Path
from tests.api.county_fixtures import NOW_S, minutes, running_county

async def main(folder):
    async with running_county(Path(folder)) as county:
        gateway = county.gateway()
        for i in range(6):
            records = minutes(0, NOW_S - 86_400 * (i % 2) - 3600 + 60 * i, 5, parts=i)
            assert (await gateway.send(["a", "b"], records)).result == "journalled"
            await county.settle()
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a county that was killed with six batches in the store's write-ahead file."""
    folder = tmp_path_factory.mktemp("killed") / "county"
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], timeout=60, check=False, capture_output=True)
    assert done.returncode == -9, done.stderr
    return folder


@pytest.fixture
def killed(killed_once: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(killed_once, tmp_path / "county")


def database(folder: Path) -> Path:
    return folder / "store" / "records.duckdb"


def wal(folder: Path) -> Path:
    return folder / "store" / "records.duckdb.wal"


def digests(folder: Path) -> dict[tuple[str, int], str]:
    with register_of(settings_for(folder)) as engine, engine.connect() as connection:
        rows = connection.execute(select(DeviceDay.gateway, DeviceDay.day, DeviceDay.digest)).all()
    return {(gateway, day): digest for gateway, day, digest in rows}


def forget_digests(folder: Path) -> None:
    with register_of(settings_for(folder)) as engine, engine.begin() as connection:
        connection.execute(DeviceDay.__table__.delete())  # type: ignore[attr-defined]


async def test_a_damaged_write_ahead_file_is_set_aside_and_its_days_are_made_again(killed: Path) -> None:
    before = digests(killed)
    assert len(before) == 2
    forget_digests(killed)
    raw = bytearray(wal(killed).read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    wal(killed).write_bytes(raw)
    with pytest.raises(duckdb.Error, match="WAL"):
        duckdb.connect(str(database(killed)))
    began = time.monotonic()
    async with running_county(killed) as county:
        gateway = county.gateway()
        gateway.sequence = 6
        answer = await gateway.send(["c"], minutes(0, NOW_S - 86_400 * 3, 1))
        assert answer.result == "journalled"
        assert time.monotonic() - began < 60
        await county.settle()
        checks = (await county.client.get("/healthz")).json()["checks"]
        assert "明细库文件损坏" in checks["store_damaged"]
        assert "records.duckdb.wal.damaged-" in checks["store_damaged"]
        assert county.county.store.rows() == 31
        assert county.county.rollup.computed >= 3
    assert {key: digest for key, digest in digests(killed).items() if key in before} == before
    (aside,) = (killed / "store").glob("*.damaged-*")
    assert aside.read_bytes() == bytes(raw)


async def test_a_write_ahead_file_that_lost_its_end_is_applied_again_from_the_journal(killed: Path) -> None:
    before = digests(killed)
    os.truncate(wal(killed), wal(killed).stat().st_size - 100)
    copy = killed / "copy.duckdb"
    shutil.copy(database(killed), copy)
    shutil.copy(wal(killed), killed / "copy.duckdb.wal")
    with duckdb.connect(str(copy)) as opened:  # it opens without an error, and short
        assert opened.execute("select count(*) from record").fetchall() == [(25,)]
    async with running_county(killed) as county:
        await county.settle()
        assert county.county.store.rows() == 30
    assert digests(killed) == before


async def test_records_that_are_missing_though_they_count_as_applied_are_found_on_opening(killed: Path) -> None:
    before = digests(killed)
    forget_digests(killed)
    with duckdb.connect(str(database(killed))) as opened:
        opened.execute("delete from record where position = 3 and start % 120 = 0")
        assert opened.execute("select max(position) from applied").fetchall() == [(6,)]
    async with running_county(killed) as county:
        assert county.county.applier.wait_applied(6, 10)
        await county.settle()
        assert county.county.store.rows() == 30
    made = digests(killed)
    assert made
    assert all(before[key] == digest for key, digest in made.items())


async def test_a_day_that_is_missing_whole_is_found_though_the_store_knows_nothing_of_it(killed: Path) -> None:
    before = digests(killed)
    with duckdb.connect(str(database(killed))) as opened:
        (first,) = opened.execute("select min(day) from record").fetchall()[0]
        opened.execute("delete from record where day = ?", [first])
        assert opened.execute("select count(distinct day) from record").fetchall() == [(1,)]
    async with running_county(killed) as county:
        await county.settle()
        assert county.county.store.rows() == 30
    assert digests(killed) == before


async def test_records_that_are_there_twice_are_found_on_opening(killed: Path) -> None:
    with duckdb.connect(str(database(killed))) as opened:
        opened.execute("insert into record select * from record where position = 4")
    async with running_county(killed) as county:
        await county.settle()
        assert county.county.store.rows() == 30


async def test_a_damaged_database_is_set_aside_and_made_again(killed: Path) -> None:
    before = digests(killed)
    with database(killed).open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 200)
    async with running_county(killed) as county:
        await county.settle()
        assert county.county.store.rows() == 30
        assert isinstance(county.county.store, EmbeddedStore)
        assert "records.duckdb.damaged-" in county.county.store.notice
    assert digests(killed) == before


async def test_a_file_that_is_sound_and_cannot_be_opened_is_not_set_aside(killed: Path) -> None:
    code = "import duckdb, sys\nheld = duckdb.connect(sys.argv[1])\nprint('held', flush=True)\nsys.stdin.read()\n"
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(database(killed)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert await other.stdout.readline() == b"held\n"
    with pytest.raises(StoreError, match="lock"):
        async with running_county(killed):
            pass
    await other.communicate(b"")
    assert list((killed / "store").glob("*.damaged-*")) == []
    async with running_county(killed) as county:
        await county.settle()
        assert county.county.store.rows() == 30


async def test_a_lost_journal_never_gives_a_position_twice(killed: Path) -> None:
    shutil.rmtree(killed / "journal")
    async with running_county(killed) as county:
        gateway = county.gateway(epoch=9)
        answer = await gateway.send(["new"], minutes(0, NOW_S - 60, 1))
        assert answer.result == "journalled"
        await county.settle()
        assert county.county.journal.position == 7
        assert county.county.store.rows() == 31


async def test_a_doctor_that_opens_a_damaged_store_first_takes_no_alarm_away(killed: Path) -> None:
    whole = bytearray(wal(killed).read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    wal(killed).write_bytes(whole)
    found = await asyncio.to_thread(examine_store, settings_for(killed))
    assert (found.state, "records.duckdb" in found.zh, bool(found.next_zh)) == ("failed", True, True)
    async with running_county(killed) as county:
        await county.settle()
        told = (await county.client.get("/healthz")).json()["checks"]
        assert "records.duckdb" in told["store_damaged"], "until somebody has looked, and deletes what was set aside"
    for aside in (killed / "store").glob("*.damaged-*"):
        aside.unlink()
    async with running_county(killed) as county:
        assert "store_damaged" not in (await county.client.get("/healthz")).json()["checks"]


async def old_and_new(folder: Path, clock: HandClock) -> tuple[Gateway, int]:
    """A county of 20 days, its journal keeps 2; returns its gateway and how many days have states."""
    async with running_county(folder, clock, journal_days=2) as county:
        gateway = county.gateway()
        for _ in range(20):
            now_s = clock.now_ns() // 60_000_000_000 * 60
            await gateway.send(["a"], minutes(0, now_s - 600, 10, parts=1))
            await county.settle()
            clock.advance(86_400)
            await asyncio.to_thread(county.county.housekeeping.run)
        assert county.county.store.rows() == 200
    return gateway, 20


async def test_a_lost_database_keeps_its_sealed_days_and_stores_nothing_twice(tmp_path: Path) -> None:
    clock = HandClock()
    folder = tmp_path / "county"
    gateway, _ = await old_and_new(folder, clock)
    before = digests(folder)
    database(folder).unlink()
    wal(folder).unlink(missing_ok=True)
    async with running_county(folder, clock, journal_days=2) as county:
        await county.settle()
        assert county.county.store.rows() == 200
        again = county.gateway()
        again.sequence = gateway.sequence
        late = minutes(0, NOW_S - 1200, 5, parts=1)
        await again.send(["a"], late)
        await county.settle()
        assert county.county.journal.kept.too_late(10) == []
        (day,) = county.county.store.read_days([("gw-1", TODAY)])
        assert len(day.records) == 15
    after = digests(folder)
    assert {key for key in after if after[key] != before[key]} == {("gw-1", TODAY)}


@pytest.mark.parametrize("how", ["damaged", "missing"])
async def test_a_sealed_day_that_is_lost_keeps_its_states_and_what_comes_for_it_is_listed(
    tmp_path: Path, how: str
) -> None:
    clock = HandClock()
    folder = tmp_path / "county"
    gateway, _ = await old_and_new(folder, clock)
    before = digests(folder)
    first, second = sorted((folder / "store" / "records-sealed").glob("*.parquet"))[:2]
    first.write_bytes(b"x" * 500) if how == "damaged" else first.unlink()
    async with running_county(folder, clock, journal_days=2) as county:
        again = county.gateway()
        again.sequence = gateway.sequence
        for day in (0, 1):
            answer = await again.send(["a"], minutes(0, NOW_S + 86_400 * day - 1200, 5, quantity=7))
            assert answer.accepted == 5
        await county.settle()
        (listed,) = county.county.journal.kept.too_late(10)
        assert listed[1:] == ("gw-1", "a", TODAY, 5, 5 * 600, 35)
        assert bool(county.county.store.notice) == (how == "damaged")
    after = digests(folder)
    assert {key for key in after if after[key] != before[key]} == {("gw-1", TODAY + 1)}, "that of a day that is there"
    assert second.name.startswith("2026-11-19")


async def test_a_sealed_file_that_cannot_be_read_keeps_only_its_own_day_waiting(tmp_path: Path) -> None:
    clock = HandClock()
    folder = tmp_path / "county"
    gateway, _ = await old_and_new(folder, clock)
    before = digests(folder)
    first, _ = sorted((folder / "store" / "records-sealed").glob("*.parquet"))[:2]
    whole = first.read_bytes()
    footer = 8 + int.from_bytes(whole[-8:-4], "little")
    first.write_bytes(whole[:4] + bytes(b ^ 0x5A for b in whole[4:-footer]) + whole[-footer:])
    async with running_county(folder, clock, journal_days=2) as county:
        county.county.rollup.close()
        again = county.gateway()
        again.sequence = gateway.sequence
        for day in (0, 20):
            await again.send(["a"], minutes(0, NOW_S + 86_400 * day - 1200, 5, parts=1))
        position = county.county.journal.position
        assert await asyncio.to_thread(county.county.applier.wait_applied, position, 10.0)
        store = county.county.store
        rollup = Rollup(county.county.engine, store, county.clock, 300.0, store.applied)
        for _ in range(2):
            with pytest.raises(StoreError, match=f"{first.name}.*从备份恢复.*restore it from the backup"):
                await asyncio.to_thread(rollup.run_once, force=True)
        assert rollup.dirty() == 1
        after = digests(folder)
        assert {key for key in after if after[key] != before.get(key)} == {("gw-1", TODAY + 20)}
        first.write_bytes(whole)  # from the backup
        await asyncio.to_thread(rollup.run_once, force=True)
        assert rollup.dirty() == 0
    assert digests(folder)["gw-1", TODAY] != before["gw-1", TODAY]


async def test_days_that_cannot_be_made_again_stay_as_they_are_and_what_comes_for_them_is_listed(
    tmp_path: Path,
) -> None:
    clock = HandClock()
    folder = tmp_path / "county"
    gateway, days = await old_and_new(folder, clock)
    before = digests(folder)
    assert len(before) == days
    shutil.rmtree(folder / "store")
    async with running_county(folder, clock, journal_days=2) as county:
        await county.settle()
        again = county.gateway()
        again.sequence = gateway.sequence
        late = Records.concat([minutes(0, NOW_S - 1200, 5, quantity=7), minutes(1, NOW_S + 86_400 * 19 - 1200, 2)])
        answer = await again.send(["a", "b"], late)
        assert answer.accepted == 7
        await county.settle()
        (listed,) = county.county.journal.kept.too_late(10)
        assert listed[1:] == ("gw-1", "a", TODAY, 5, 5 * 600, 35)
    after = digests(folder)
    assert {key for key in after if after[key] != before[key]} == {("gw-1", TODAY + 19)}
    async with running_county(folder, clock, journal_days=2) as county:  # and it stays so
        await county.settle()
        assert len(county.county.journal.kept.too_late(10)) == 1
    assert digests(folder) == after


async def test_finished_days_are_sealed_though_more_is_always_waiting_to_be_applied(tmp_path: Path) -> None:
    clock = HandClock()
    async with running_county(tmp_path / "county", clock) as county:
        store = county.county.store
        assert isinstance(store, EmbeddedStore)
        gateway = county.gateway()
        await gateway.send(["a"], minutes(0, NOW_S - 600, 10, parts=1))
        await county.settle()
        clock.advance(86_400 * 3)
        county.county.applier.close()
        await gateway.send(["a"], minutes(0, NOW_S + 86_400 * 3 - 600, 10, parts=1))
        assert county.county.applier.applied < county.county.journal.position
        await asyncio.to_thread(county.county.housekeeping.run)
        assert store.sealed_days() == [TODAY]


async def test_minute_records_expire_and_day_states_stay(tmp_path: Path) -> None:
    clock = HandClock()
    folder = tmp_path / "county"
    async with running_county(folder, clock, record_days=31) as county:
        gateway = county.gateway()
        await gateway.send(["a"], minutes(0, NOW_S - 600, 10, parts=1))
        await county.settle()
        before = digests(folder)
        clock.advance(86_400 * 32)
        await asyncio.to_thread(county.county.housekeeping.run)
        assert county.county.store.rows() == 10  # a clock that ran ahead alone expires nothing
        now_s = clock.now_ns() // 60_000_000_000 * 60
        await gateway.send(["a"], minutes(0, now_s - 600, 1))
        await county.settle()
        clock.advance(86_400)
        await asyncio.to_thread(county.county.housekeeping.run)
        assert county.county.housekeeping.last_error == ""
        assert county.county.store.rows() == 1
        answer = await gateway.send(["a"], minutes(0, NOW_S - 1200, 3))
        assert answer.result == "journalled"
        await county.settle()
        assert [entry.rows for entry in county.county.journal.kept.too_late(10)] == [3]
        assert county.county.store.rows() == 1
    assert digests(folder)["gw-1", TODAY] == before["gw-1", TODAY]


FULL_DISK = """
import asyncio, json, os, subprocess, sys
from pathlib import Path
from metrics.record import Records
from tests.api.county_fixtures import NOW_S, TODAY, minutes, running_county
from tests.benchmarks.bench_gateway import START_S, plant_minutes

async def main(folder):
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)], check=True)
    async with running_county(folder / "county") as county:
        gateway = county.gateway()
        midnight_s = NOW_S - 10 * 3600 - 86_400 * 4
        for i in range(72):
            made = plant_minutes(50, 20, seed=i)
            records = Records(**{**made.columns(), "start": made.start - START_S + midnight_s + i * 1200})
            assert (await gateway.send([f"d-{k}" for k in range(50)], records)).result == "journalled"
        await county.settle()
        store = county.county.store
        rows = store.rows()
        filler = folder / "filler"
        with filler.open("wb", buffering=0) as file:
            free = os.statvfs(folder).f_bavail * 4096
            file.write(bytes(max(0, free - 60_000)))
        county.clock.advance(86_400)  # finished days are sealed once a day
        county.county.housekeeping.run()
        said = county.county.housekeeping.last_error
        health = (await county.client.get("/healthz")).json()
        kept = (store.rows(), store.sealed_days(), [p.name for p in (folder / "county/store/records-sealed").iterdir()])
        filler.unlink()
        county.county.housekeeping.run()
        (day,) = store.read_days([("gw-1", TODAY - 4)])
        answer = await gateway.send(["d-0"], minutes(0, NOW_S - 600, 1))
        await county.settle()
        print(json.dumps({
            "rows": rows, "said": said, "shown": health["checks"].get("housekeeping", ""), "kept": kept,
            "sealed": store.sealed_days(), "read": len(day.records), "after": store.rows(),
            "error": county.county.housekeeping.last_error, "answer": answer.result,
        }))

asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_full_disk_while_sealing_loses_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", FULL_DISK, str(tmp_path / "disk")],
        timeout=90,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert "No space left" in told["said"]
    assert told["shown"] == told["said"]
    assert told["kept"] == [72_000, [], []]
    assert told["sealed"] == [TODAY - 4]
    assert (told["read"], told["after"], told["error"], told["answer"]) == (72_000, 72_001, "", "journalled")


FULL_STORE = """
import asyncio, json, os, subprocess, sys
from pathlib import Path
from tests.api.county_fixtures import NOW_S, minutes, running_county

async def main(folder, disk):
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(disk)], check=True)
    async with running_county(folder, store_url=f"duckdb:///{disk}/records.duckdb") as county:
        gateway = county.gateway()
        devices = [f"d-{k}" for k in range(4)]
        sent = 0

        async def send():
            nonlocal sent
            records = minutes(sent % 4, NOW_S - 86_400 + 600 * sent, 10)
            assert (await gateway.send(devices, records)).result == "journalled"
            sent += 1

        for _ in range(5):
            await send()
        await county.settle()
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file:
            while file.write(bytes(min(65_536, os.statvfs(disk).f_bavail * 4096))):
                pass
        for _ in range(20):
            await send()
        async with asyncio.timeout(20):
            while not county.county.applier.last_error:
                await asyncio.sleep(0.05)
        said = county.county.applier.last_error
        health = (await county.client.get("/healthz")).json()
        for _ in range(5):
            await send()
        filler.unlink()
        await county.settle()
        aside = [p.name for p in disk.glob("*.damaged-*")]
        print(json.dumps([said, health["ready"], county.county.store.rows(), sent, aside]))

asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def test_ingest_goes_on_while_the_stores_disk_is_full_and_the_store_catches_up(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", FULL_STORE, str(tmp_path / "county"), str(tmp_path / "disk")],
        timeout=90,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said, ready, rows, sent, aside = json.loads(done.stdout.splitlines()[-1])
    assert "No space left" in said
    assert ready
    assert (rows, sent, aside) == (300, 30, [])
