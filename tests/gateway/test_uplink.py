from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from collectors.model import Trouble
from gateway import failing
from gateway.config import PlantConfig
from gateway.outbox import Outbox, OutboxThread
from gateway.outbox.store import MAX_UNPROVEN_PIECES
from gateway.troubles import Troubles
from gateway.uplink import Uplink
from gateway.wire import DevicePresence, DeviceRef, Ingest, Missing, decode
from metrics.record import DAY_S
from tests.gateway.county_stub import CountyStub
from tests.gateway.test_outbox import announcement, batch
from tests.waiting import until

Make = Callable[..., PlantConfig]
POISON = 666_666


class Rig:
    """An uplink over a real outbox, towards a county stub."""

    def __init__(self, config: PlantConfig, folder: Path) -> None:
        self.thread = OutboxThread(Outbox(folder / "outbox.sqlite3", "g-1"))
        self.troubles = Troubles()
        self.now_ns: Callable[[], int] = lambda: 1_000
        self.devices = [DevicePresence("m-1", True, "running", 1, 2)]
        self.uplink = Uplink(
            config.uplink,
            "g-1",
            self.thread,
            lambda: self.now_ns(),
            self.troubles,
            presence=lambda: self.devices,
            shed=lambda: {"late": 3},
            presence_s=config.gateway.presence_s,
        )

    async def commit(self, *starts: int) -> None:
        for start in starts:
            await self.thread.call(self.thread.outbox.commit, [batch(start)], b"c", 1)
        self.uplink.wake()

    async def unsent(self) -> int:
        return (await self.thread.call(self.thread.outbox.depth)).unsent

    def codes(self) -> set[str]:
        return {t.code for t in self.troubles.listed()}


@asynccontextmanager
async def rig_for(config: PlantConfig, folder: Path) -> AsyncIterator[Rig]:
    rig = Rig(config, folder)
    await rig.uplink.open()
    try:
        yield rig
    finally:
        await rig.uplink.close()
        rig.thread.stop()


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_announcements_go_before_the_records_that_name_them(
    county: CountyStub, plant: Make, tmp_path: Path
) -> None:
    async with rig_for(plant(county.url), tmp_path) as rig:
        await rig.thread.call(rig.thread.outbox.announced.add, announcement())
        await rig.commit(1, 2)
        async with running(rig.uplink.run_ingest()):
            await county.until(lambda: len(county.bodies) == 2)
        assert list(county.requests) == ["announce", "ingest"]
        assert county.announcements[1].device == "m-1"


async def test_an_announcement_at_which_the_county_fails_keeps_nothing_else_waiting(
    county: CountyStub, plant: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    county.fails_at_device = "m-2"
    async with rig_for(plant(county.url), tmp_path) as rig:
        for name in ("m-1", "m-2", "m-3"):
            await rig.thread.call(rig.thread.outbox.announced.add, announcement(name))
        async with running(rig.uplink.run_ingest()):
            for start in range(1, 30):
                await rig.commit(start)
                await until(lambda: has_row(county, start))  # noqa: B023 (awaited at once)
                if len(county.announcements) == 2:
                    break
            await until(lambda: rig.uplink.refused_announcements)
        assert {a.device for a in county.announcements.values()} == {"m-1", "m-3"}
        assert rig.uplink.refused_announcements == 1
        assert "batch_set_aside" in rig.codes()


async def test_while_the_county_fails_at_everything_no_announcement_is_given_up(
    county: CountyStub, plant: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    county.fails_at_device, county.poison = "m-1", lambda records: 500
    async with rig_for(plant(county.url), tmp_path) as rig:
        await rig.thread.call(rig.thread.outbox.announced.add, announcement())
        async with running(rig.uplink.run_ingest()):
            await rig.commit(1)
            await county.until(lambda: county.requests["announce"] >= 20)
            county.fails_at_device, county.poison = "", lambda records: 0
            await county.until(lambda: county.announcements and len(county.rows) == 2)
        assert rig.uplink.refused_announcements == 0


async def test_sending_goes_on_by_itself_when_the_county_is_back(
    county: CountyStub, plant: Make, tmp_path: Path
) -> None:
    async with rig_for(plant(county.url), tmp_path) as rig, running(rig.uplink.run_ingest()):
        await county.stop()
        await rig.commit(*range(5))
        await until(lambda: "county_unreachable" in rig.codes())
        await county.start()
        await county.until(lambda: len(county.bodies) == 5)
        await until(lambda: not rig.codes())
        assert county.doubled == []


async def test_an_answer_that_was_lost_leads_to_a_duplicate_that_changes_nothing(
    county: CountyStub, plant: Make, tmp_path: Path
) -> None:
    async with rig_for(plant(county.url), tmp_path) as rig:
        await rig.commit(1)
        pending = await rig.thread.call(rig.thread.outbox.next_unsent, False)
        assert pending is not None
        county._journal(decode(pending.body, Ingest), pending.body)
        async with running(rig.uplink.run_ingest()):
            await until(lambda: _drained(rig))
        assert len(county.bodies) == 1
        assert county.doubled == []


def has_row(county: CountyStub, start: int) -> bool:
    return ("m-0", start * 60, 0) in county.rows


async def _drained(rig: Rig) -> bool:
    return await rig.unsent() == 0


async def test_fresh_records_do_not_wait_for_a_backlog(county: CountyStub, plant: Make, tmp_path: Path) -> None:
    async with rig_for(plant(county.url), tmp_path) as rig:
        await rig.commit(*range(40))
        async with running(rig.uplink.run_ingest()):
            await county.until(lambda: len(county.bodies) == 40)
        order = [message.sequence for message in county.messages]
        assert order[:4] == [40, 1, 39, 2]


@pytest.mark.parametrize("status", [400, 413, 500])
async def test_a_row_that_the_county_cannot_take_is_found_and_set_aside_and_the_rest_goes_on(
    county: CountyStub, plant: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr("gateway.uplink.RETRY_FIRST_S", 0.01)
    async with rig_for(plant(county.url), tmp_path) as rig:
        time_flies(rig)
        county.poison = lambda records: status if (records.quantity == POISON).any() else 0
        refs, records = batch(2, rows=300)
        records.quantity[137] = POISON
        await rig.commit(1)
        await rig.thread.call(rig.thread.outbox.commit, [(refs, records)], b"c", 1)
        await rig.commit(3)
        async with running(rig.uplink.run_ingest()):
            start = 4
            async with asyncio.timeout(30):
                while not rig.uplink.poisoned or start < 8:  # fresh records are taken all the while
                    await rig.commit(start)
                    await until(lambda: has_row(county, start))  # noqa: B023 (awaited at once)
                    start += 1
            await until(lambda: _drained(rig))
            await rig.commit(99)
            await until(lambda: _drained(rig))
        assert rig.uplink.poisoned == 1
        assert "batch_set_aside" in rig.codes()
        assert county.doubled == []
        assert len(county.rows) == 2 + 299 + 2 * (start - 2)
        assert ("m-137", 120, 0) not in county.rows
        # Every number is accounted for: by a batch or by a gap.
        gaps = [gap for message in county.messages for gap in message.gaps]
        assert [(gap.devices, gap.rows) for gap in gaps if gap.rows] == [(["m-137"], 1)]
        numbers = {message.sequence for message in county.messages} | {gap.sequence for gap in gaps}
        assert numbers == set(range(1, max(numbers) + 1))


async def test_what_is_set_aside_is_counted_before_it_is_told(
    county: CountyStub, plant: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.uplink.RETRY_FIRST_S", 0.01)
    async with rig_for(plant(county.url), tmp_path) as rig:
        county.poison = lambda records: 400
        counted: list[int] = []  # who looks when it is told, as the keeper does, must find it kept
        report = rig.troubles.report

        def told(trouble: Trouble) -> None:
            if trouble.code == "batch_set_aside":
                counted.append(rig.uplink.depth.poisoned)
            report(trouble)

        monkeypatch.setattr(rig.troubles, "report", told)
        refs, records = batch(2, rows=2)
        await rig.thread.call(rig.thread.outbox.commit, [(refs, records)], b"c", 1)
        async with running(rig.uplink.run_ingest()):
            await until(lambda: len(counted) == 2)
        assert counted == [1, 2]


def time_flies(rig: Rig) -> None:
    """Every look at the clock finds another minute gone, as where the county is away in between."""
    minutes = itertools.count(1)
    rig.now_ns = lambda: next(minutes) * 60 * 10**9


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RETRY_FIRST_S", "RETRY_MOST_S"):
        monkeypatch.setattr(f"gateway.uplink.{name}", 0.002)


@pytest.mark.parametrize("poisoned", [{137}, {0}, {299}, {3, 4}, {10, 150, 290}], ids=str)
async def test_rows_at_which_the_county_fails_are_found_also_where_nothing_else_waits(
    county: CountyStub, plant: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, poisoned: set[int]
) -> None:
    quick(monkeypatch)
    async with rig_for(plant(county.url), tmp_path) as rig:
        time_flies(rig)
        county.poison = lambda records: 500 if (records.quantity == POISON).any() else 0
        refs, records = batch(2, rows=300)
        records.quantity[sorted(poisoned)] = POISON
        await rig.thread.call(rig.thread.outbox.commit, [(refs, records)], b"c", 1)
        async with running(rig.uplink.run_ingest()):
            await until(lambda: len(county.rows) == 300 - len(poisoned))
            await rig.commit(3)  # the next window shows that the county takes what is not to blame
            await until(lambda: _drained(rig))
        assert rig.uplink.poisoned == len(poisoned)
        depth = await rig.thread.call(rig.thread.outbox.depth)
        assert {found.rows for found in depth.set_aside} == {1}
        assert county.doubled == []
        assert {f"m-{i}" for i in range(300)} - {d for d, start, _ in county.rows if start == 120} == {
            f"m-{i}" for i in poisoned
        }


async def test_a_device_that_the_county_refuses_does_not_have_its_gap_refused_for_ever(
    county: CountyStub, plant: Make, tmp_path: Path
) -> None:
    async with rig_for(plant(county.url), tmp_path) as rig:
        county.poison_names = lambda names: "m-5" in names
        refs, records = batch(2, rows=8)
        await rig.thread.call(rig.thread.outbox.commit, [(refs, records)], b"c", 1)
        async with running(rig.uplink.run_ingest()):
            await until(lambda: rig.uplink.poisoned)
            for start in range(3, 6):  # they carry the gap
                await rig.thread.call(rig.thread.outbox.commit, [([DeviceRef("m-9")], batch(start, 1)[1])], b"c", 1)
                rig.uplink.wake()
                await until(lambda: ("m-9", start * 60, 0) in county.rows)  # noqa: B023 (awaited at once)
            await until(lambda: _drained(rig))
        asked = county.requests["ingest"]
        last = county.messages[-1]
        assert (last.rows, len(last.gaps)) == (1, 0), "everything is told"
        assert sum(gap.rows for message in county.messages for gap in message.gaps) == 1 == rig.uplink.poisoned
        assert asked < 20
        assert county.doubled == []


async def test_while_the_county_fails_at_everything_a_batch_is_cut_into_few_pieces_and_nothing_is_set_aside(
    county: CountyStub, plant: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    async with rig_for(plant(county.url), tmp_path) as rig:
        county.poison = lambda records: 500
        refs, records = batch(2, rows=300)
        records.quantity[99] = POISON
        await rig.thread.call(rig.thread.outbox.commit, [(refs, records)], b"c", 1)
        async with running(rig.uplink.run_ingest()):
            await county.until(lambda: county.requests["ingest"] >= 600)
            await rig.commit(3, 4, 5)
            asked = county.requests["ingest"]
            await county.until(lambda: county.requests["ingest"] >= asked + 100)
            assert await rig.unsent() <= MAX_UNPROVEN_PIECES + 3
            assert rig.uplink.poisoned == 0
            rig.now_ns = lambda: DAY_S * 10**9  # how long that lasted is no reason to give anything up
            county.poison = lambda records: 500 if (records.quantity == POISON).any() else 0
            await until(lambda: rig.uplink.poisoned)
            await rig.commit(6)
            await until(lambda: _drained(rig))
        assert rig.uplink.poisoned == 1
        assert county.doubled == []
        assert len(county.rows) == 299 + 4 * 2


@pytest.mark.parametrize("pieces", [failing.MAX_REFUSALS, 8])
async def test_a_batch_of_which_the_county_takes_no_row_keeps_nothing_waiting(
    county: CountyStub, plant: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    quick(monkeypatch)
    monkeypatch.setattr(failing, "MAX_REFUSALS", pieces)
    async with rig_for(plant(county.url), tmp_path) as rig:
        county.poison = lambda records: 500 if (records.quantity == POISON).any() else 0
        refs, records = batch(2, rows=40)
        records.quantity[:] = POISON
        await rig.thread.call(rig.thread.outbox.commit, [(refs, records)], b"c", 1)
        async with running(rig.uplink.run_ingest()):
            for start in range(3, 200):
                await rig.commit(start)
                await until(lambda: has_row(county, start))  # noqa: B023 (awaited at once)
                if rig.uplink.poisoned == 40:
                    break
            await until(lambda: _drained(rig))
        depth = await rig.thread.call(rig.thread.outbox.depth)
        assert rig.uplink.poisoned == 40
        assert (depth.poisoned == 40) == (pieces > 40), "beyond its pieces a batch is not cut any further"
        assert county.doubled == []


async def test_a_county_that_fails_at_everything_gets_everything_later(
    county: CountyStub, plant: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.uplink.RETRY_FIRST_S", 0.01)
    async with rig_for(plant(county.url), tmp_path) as rig:
        county.answers = [web.Response(status=500, text="oh") for _ in range(5)]
        await rig.commit(1, 2, 3)
        async with running(rig.uplink.run_ingest()):
            await county.until(lambda: len(county.bodies) == 3)
        assert rig.uplink.poisoned == 0


async def test_a_proxys_refusal_sets_nothing_aside(county: CountyStub, plant: Make, tmp_path: Path) -> None:
    async with rig_for(plant(county.url), tmp_path) as rig:
        county.answers = [web.Response(status=400, text="<html>bad request</html>")]
        await rig.commit(1)
        async with running(rig.uplink.run_ingest()):
            await county.until(lambda: len(county.bodies) == 1)
        assert rig.uplink.poisoned == 0


async def test_retry_after_is_honoured(county: CountyStub, plant: Make, tmp_path: Path) -> None:
    async with rig_for(plant(county.url), tmp_path) as rig:
        county.answers = [web.Response(status=503, headers={"Retry-After": "1"})]
        await rig.commit(1)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        async with running(rig.uplink.run_ingest()):
            await county.until(lambda: len(county.bodies) == 1)
        assert 1.0 <= loop.time() - began_s < 3.0


async def test_a_conflict_opens_a_new_epoch_and_everything_is_sent(
    county: CountyStub, plant: Make, tmp_path: Path
) -> None:
    async with rig_for(plant(county.url), tmp_path) as rig:
        await rig.commit(1, 2)
        old = rig.thread.outbox.epoch()
        county.bodies[(old, 1)] = b"what a clone sent"
        async with running(rig.uplink.run_ingest()):
            await until(lambda: _drained(rig))
        assert rig.uplink.conflicts == 1
        assert "epoch_conflict" in rig.codes()
        assert {row["start"] for row in county.rows.values()} == {60, 120}
        assert rig.thread.outbox.epoch() != old


async def test_what_a_restored_county_lacks_is_sent_again(county: CountyStub, plant: Make, tmp_path: Path) -> None:
    async with rig_for(plant(county.url), tmp_path) as rig, running(rig.uplink.run_ingest()):
        await rig.thread.call(rig.thread.outbox.announced.add, announcement())
        await rig.commit(1, 2, 3)
        await county.until(lambda: len(county.bodies) == 3)
        epoch = rig.thread.outbox.epoch()
        del county.bodies[(epoch, 2)]
        county.rows = {key: row for key, row in county.rows.items() if row["start"] != 120}
        county.ask_for = [Missing(epoch, 2, 2)]
        await rig.commit(4)
        await county.until(lambda: (epoch, 2) in county.bodies)
        assert rig.uplink.resent == 1
        await county.until(lambda: county.requests["announce"] == 2)  # it may lack what devices said, too
        county.ask_for = [Missing(epoch, 1, 3)]
        await rig.thread.call(rig.thread.outbox.db.execute, "DELETE FROM batches WHERE sequence <= 3")
        await rig.commit(5)
        await until(lambda: not county.ask_for and rig.thread.outbox._noted)
        await rig.commit(6)
        await county.until(lambda: any(m.gaps for m in county.messages))
        gaps = [gap for m in county.messages for gap in m.gaps]
        assert [(gap.sequence, gap.rows) for gap in gaps] == [(1, 0), (2, 0), (3, 0)]


async def test_a_county_that_lacks_announcements_gets_them_again_once_a_minute(
    county: CountyStub, plant: Make, tmp_path: Path
) -> None:
    async with rig_for(plant(county.url), tmp_path) as rig, running(rig.uplink.run_ingest()):
        await rig.thread.call(rig.thread.outbox.announced.add, announcement())
        await rig.commit(1)
        await county.until(lambda: len(county.bodies) == 1)
        county.announcements.clear()
        county.lacks_announcements = True
        await rig.commit(2)
        await county.until(lambda: 1 in county.announcements)
        await rig.commit(3, 4)
        await until(lambda: _drained(rig))
        assert county.requests["announce"] == 2


async def test_a_refused_credential_is_told_and_a_new_one_read(county: CountyStub, plant: Make, tmp_path: Path) -> None:
    config = plant(county.url)
    good = config.uplink.credential_file.read_text()
    config.uplink.credential_file.write_text("revoked\n")
    async with rig_for(config, tmp_path) as rig, running(rig.uplink.run_ingest()):
        await rig.commit(1)
        await until(lambda: "credential_refused" in rig.codes())
        config.uplink.credential_file.write_text(good)
        await county.until(lambda: len(county.bodies) == 1)


async def test_presence_is_sent_on_change_and_at_most_four_times_a_second(
    county: CountyStub, plant: Make, tmp_path: Path
) -> None:
    async with (
        rig_for(plant(county.url, presence_s=5.0), tmp_path) as rig,
        running(rig.uplink.run_live()),
    ):
        await county.until(lambda: len(county.live) == 1)
        rig.devices = [DevicePresence("m-1", False, "unknown", 5, 2)]
        rig.uplink.presence_changed()
        await county.until(lambda: len(county.live) == 2, timeout_s=1)
        assert county.live[1].devices == rig.devices
        assert county.live[1].shed == {"late": 3}
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while loop.time() - began_s < 1.0:
            rig.uplink.presence_changed()
            await asyncio.sleep(0.02)
        assert len(county.live) - 2 <= 5


async def test_presence_is_sent_without_a_change(county: CountyStub, plant: Make, tmp_path: Path) -> None:
    async with (
        rig_for(plant(county.url, presence_s=0.3), tmp_path) as rig,
        running(rig.uplink.run_live()),
    ):
        await county.until(lambda: len(county.live) >= 3, timeout_s=3)
        assert rig.uplink.last_contact_ns == 1_000


async def test_a_county_that_takes_presence_but_no_records_is_shown_as_in_trouble(
    county: CountyStub, plant: Make, tmp_path: Path, log: list[Any]
) -> None:
    async with rig_for(plant(county.url, presence_s=0.3), tmp_path) as rig:
        county.answers = [web.Response(status=500, text="oh") for _ in range(3)]
        await rig.commit(1)
        async with running(rig.uplink.run_ingest()), running(rig.uplink.run_live()):
            await county.until(lambda: county.requests["ingest"] == 3 and county.requests["live"] >= 2)
            assert rig.codes() == {"county_answers_500"}
            await county.until(lambda: len(county.bodies) == 1)
            await until(lambda: not rig.codes())
    assert [line["event"] for line in log] == ["trouble", "trouble over"]


async def test_the_credential_never_shows(county: CountyStub, plant: Make, tmp_path: Path, log: list[Any]) -> None:
    config = plant(county.url)
    config.uplink.credential_file.write_text("super-secret")
    async with rig_for(config, tmp_path) as rig, running(rig.uplink.run_ingest()):
        await rig.commit(1)
        await until(lambda: rig.codes())
        assert "super-secret" not in repr(log) + repr(rig.troubles.listed())
