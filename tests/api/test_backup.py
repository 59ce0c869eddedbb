"""A county backed up while it runs, restored into the other engine and back: the same days, the same figures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select
from typer.testing import CliRunner

from api.backup.frames import BackupError
from api.backup.make import make_backup
from api.backup.restore import restore_backup
from api.cli import app
from api.journal.batch import Batch
from api.register.admin import register_of
from api.register.audit import first_broken
from api.register.models import Audit, Base, DeviceDay, Enterprise
from api.settings import Settings
from api.store.port import EmbeddedStore, StoreLockedError
from gateway.wire import Announce, Announcement, Gap, Missing
from metrics.record import Records
from tests.api.county_fixtures import (
    NOW_S,
    PASSWORD,
    CountyUnderTest,
    Gateway,
    HandClock,
    minutes,
    register_files,
    running_county,
    settings_for,
)
from tests.api.postgres import new_database, postgres_server

DEVICES = ["cnc-1", "moulding-1", "clamp-1", "main-1"]
Figures = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


async def send_days(gateway: Gateway, days: int = 3) -> None:
    """Days with late, repeated and contradicting records, a supplement, a gap, refused and held rows."""
    for day in range(days):
        start_s = NOW_S - 86_400 * (days - day)
        for hour in range(3):
            each = [minutes(d, start_s + 3600 * hour, 60, parts=d, quantity=5 + d) for d in range(len(DEVICES))]
            await gateway.send(DEVICES, Records.concat(each))
    await gateway.send(DEVICES, minutes(0, NOW_S - 86_400, 10, connected=0))
    await gateway.send(DEVICES, minutes(1, NOW_S - 2 * 86_400, 2, part=1, observed=0, connected=0, running=100))
    await gateway.send(DEVICES, minutes(0, NOW_S + 3000, 3))
    lost = Gap(devices=["cnc-1"], start_s=NOW_S - 900, end_s=NOW_S - 600, rows=5, reason="expired", batch=(4, 9))
    await gateway.send(DEVICES, minutes(2, NOW_S - 7200, 30), gaps=[lost])
    said = [
        Announcement(i + 1, 1, d, "x", "p", "cnc", "native", "示例", f"M{i}", f"SN{i}") for i, d in enumerate(DEVICES)
    ]
    assert (await gateway.post("announce", Announce("gw-1", gateway.epoch, said))).status_code == 200


async def figures(county: CountyUnderTest) -> Figures:
    found: Figures = []
    for period in ("2026-11", "2026-11-22", "2026-11-23"):
        listed = await county.get("/indicators", period=period)
        found += [
            (period, f["definition"]["id"], f["value"], f["lower"], f["upper"], f["coverage"])
            for f in listed["figures"]
        ]
    assets = (await county.get("/assets"))["items"]
    return [*found, *((a["id"], a["number"], a["announced"], a["evidence"]) for a in assets)]


def digests(county: CountyUnderTest) -> dict[tuple[str, int], str]:
    with county.county.engine.connect() as connection:
        rows = connection.execute(select(DeviceDay.gateway, DeviceDay.day, DeviceDay.digest)).all()
    return {(r.gateway, r.day): r.digest for r in rows}


@asynccontextmanager
async def restarted(settings: Settings, clock: HandClock) -> AsyncIterator[tuple[CountyUnderTest, Gateway]]:
    """The county of some settings, and gateway gw-1 with a new credential."""
    more = settings.model_dump(exclude={"data_dir", "today_refresh_s"})
    async with running_county(settings.data_dir, clock, **more) as county:
        yield county, county.gateway()


async def test_a_backup_made_while_it_runs_is_restored_in_the_other_engine_and_back_with_the_same_figures(
    tmp_path: Path, postgres: str
) -> None:
    clock = HandClock()
    first = settings_for(tmp_path / "sqlite")
    in_postgres = settings_for(tmp_path / "pg", register_url=new_database(postgres), journal="postgresql")
    back = settings_for(tmp_path / "again")
    async with running_county(first.data_dir, clock) as county:
        county.load(tmp_path / "register", register_files())
        gateway = county.gateway()
        await send_days(gateway)
        await county.settle()
        assert isinstance(county.county.store, EmbeddedStore)
        assert county.county.store.seal(int(NOW_S // 86_400) - 1)
        await county.sign_in()
        sending = asyncio.create_task(gateway.send(DEVICES, minutes(0, NOW_S - 5400, 5)))
        made = await asyncio.to_thread(make_backup, first, tmp_path / "backups", clock.now_ns())
        await sending
        # what comes after the backup is lost to it
        await gateway.send(DEVICES, minutes(1, NOW_S - 5400, 5, quantity=3))
        after = gateway.batch(DEVICES, minutes(2, NOW_S - 5400, 5))
        await gateway.ingest(after)
        await county.settle()
        expected, days = await figures(county), digests(county)
        rows = county.county.store.rows()
        sent = {b.sequence: b for b in county.county.journal.after(0, 1000) if b.gateway == "gw-1"}

    for number, settings in enumerate((in_postgres, back), 1):
        source = made if number == 1 else make_backup(in_postgres, tmp_path / "backups", clock.now_ns() + 10**9)
        restore_backup(settings, source, clock.now_ns())
        async with restarted(settings, clock) as (county, again):
            again.epoch, again.sequence = gateway.epoch, after.sequence + number - 1
            answer = await again.send(DEVICES, Records.empty())
            if number == 1:
                await _sends_what_is_missing(again, answer.missing, after.sequence, sent)
            else:
                assert answer.missing == []
            for sequence in (1, 5, after.sequence):
                assert await _resend(again, sent[sequence]) == "duplicate", "received is received in any engine"
            await county.settle()
            await county.client.post("/api/v1/session", json={"username": "reader", "password": PASSWORD})
            assert digests(county) == days
            assert await figures(county) == expected
            assert county.county.store.rows() == rows
            with county.county.engine.connect() as connection:
                assert first_broken(connection) is None, "the audit's chain is whole"


async def _sends_what_is_missing(gateway: Gateway, missing: list[Missing], last: int, sent: dict[int, Batch]) -> None:
    """The county names what came after its backup, and the gateway still has it."""
    (asked,) = missing
    assert (asked.epoch, asked.last) == (gateway.epoch, last)
    for sequence in range(asked.first, asked.last + 1):
        assert await _resend(gateway, sent[sequence]) == "journalled"


async def _resend(gateway: Gateway, batch: Batch) -> str:
    answer = await gateway.client.post("/api/v1/ingest", content=batch.body, headers=gateway.headers)
    return str(answer.json()["result"])


async def test_every_row_of_every_table_comes_back_and_numbers_go_on(tmp_path: Path, postgres: str) -> None:
    source = settings_for(tmp_path / "sqlite")
    target = settings_for(tmp_path / "pg", register_url=new_database(postgres), journal="postgresql")
    async with running_county(source.data_dir) as county:
        county.load(tmp_path / "register", register_files())
        await send_days(county.gateway(), 1)
        await county.settle()
        made = make_backup(source, tmp_path / "backups", county.clock.now_ns())
    done = restore_backup(target, made, 1)
    manifest = json.loads((made / "manifest.json").read_text("utf-8"))
    assert done.batches == manifest["batches"] > 5
    with register_of(target) as engine, engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            count = connection.execute(select(func.count()).select_from(table)).scalar_one()
            told = manifest["tables"].get(table.name, 0)
            assert count == told + (table.name == Audit.__tablename__), table.name
        before = connection.execute(select(func.max(Enterprise.row_id))).scalar_one()
        values = {"credit_code": "x", "name_zh": "x", "register_confirmed": True, "recorded_from_ns": 1}
        connection.execute(insert(Enterprise).values(**values))
        assert connection.execute(select(func.max(Enterprise.row_id))).scalar_one() == before + 1
        connection.execute(delete(Enterprise).where(Enterprise.credit_code == "x"))


async def test_a_restore_needs_the_service_stopped_and_the_lock_says_who_runs(tmp_path: Path, postgres: str) -> None:
    async with running_county(tmp_path / "a") as county:
        made = make_backup(county.settings, tmp_path / "backups", county.clock.now_ns())
        with pytest.raises(StoreLockedError, match=r"in use by process \d+"):
            restore_backup(county.settings, made, 1)
    url = new_database(postgres)
    async with running_county(tmp_path / "b", register_url=url, journal="postgresql"):
        with pytest.raises(StoreLockedError, match="stop all its processes"):
            restore_backup(settings_for(tmp_path / "elsewhere", register_url=url, journal="postgresql"), made, 1)


async def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    async with running_county(tmp_path / "a") as county:
        county.load(tmp_path / "register", register_files())
        await county.gateway().send(["a"], minutes(0, NOW_S - 600, 3))
        await county.settle()
        made = make_backup(county.settings, tmp_path / "backups", county.clock.now_ns())
    with pytest.raises(BackupError, match="not empty") as error:
        restore_backup(county.settings, made, 1)
    assert "register.sqlite" in str(error.value)
    assert "records.duckdb" in str(error.value)
    with register_of(county.settings) as engine, engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(Enterprise)).scalar_one() == 2


async def test_a_damaged_backup_is_noticed_before_anything_is_written(tmp_path: Path) -> None:
    async with running_county(tmp_path / "a") as county:
        await county.gateway().send(["a"], minutes(0, NOW_S - 600, 3))
        made = make_backup(county.settings, tmp_path / "backups", county.clock.now_ns())
    (file,) = (made / "journal").glob("*.batches.zst")
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    target = settings_for(tmp_path / "b")
    with pytest.raises(BackupError, match="differs from the manifest"):
        restore_backup(target, made, 1)
    file.unlink()
    with pytest.raises(BackupError, match="missing or not readable"):
        restore_backup(target, made, 1)
    assert not target.data_dir.exists()


async def test_the_commands_back_up_and_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_county(tmp_path / "a") as county:
        await county.gateway().send(["a"], minutes(0, NOW_S - 600, 3))
        monkeypatch.setenv("PLANTPULSE_DATA_DIR", str(tmp_path / "a"))
        shell = CliRunner()
        made = shell.invoke(app, ["backup", "--to", str(tmp_path / "backups"), "--json"])
        assert made.exit_code == 0, made.output
        path = json.loads(made.output)["backup"]
        refused = shell.invoke(app, ["restore", path])
        assert refused.exit_code == 1
        assert "stop that service first" in refused.output
    monkeypatch.setenv("PLANTPULSE_DATA_DIR", str(tmp_path / "b"))
    done = shell.invoke(app, ["restore", path])
    assert done.exit_code == 0, done.output
    assert "接收日志 1 批" in done.output
    nothing = shell.invoke(app, ["restore", str(tmp_path)])
    assert (nothing.exit_code, "no backup" in nothing.output) == (1, True)


async def test_a_backup_that_cannot_be_finished_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_county(tmp_path / "a") as county:

        def full(*_: object) -> None:
            raise OSError("no space left on device")

        monkeypatch.setattr("api.backup.make.digest_of", full)
        with pytest.raises(BackupError, match="no space left"):
            make_backup(county.settings, tmp_path / "backups", county.clock.now_ns())
        assert list((tmp_path / "backups").iterdir()) == []


async def test_a_second_service_over_one_register_is_refused_unless_they_share_everything(
    tmp_path: Path, postgres: str
) -> None:
    url = new_database(postgres)
    async with running_county(tmp_path / "a", register_url=url):
        with pytest.raises(StoreLockedError, match="in use by the county service"):
            async with running_county(tmp_path / "b", register_url=url):
                raise AssertionError("it started")
