"""Killed between any two steps, sent again, overlapping, reset, leaping: every record counts once, in its own day."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard
from sqlalchemy import select

from api.day_rows import mark_days
from api.register.admin import register_of
from api.register.database import migrate, open_register
from api.register.models import DeviceDay, DirtyDay
from api.rollup import Rollup
from gateway.wire import Ingest
from metrics.days import DAY_COLUMNS, DayStates
from metrics.record import DAY_S, Flag, Records, local_day, local_day_start_s
from tests.api.county_fixtures import (
    NOW_S,
    TODAY,
    CountyUnderTest,
    Gateway,
    HandClock,
    minutes,
    running_county,
    settings_for,
)

State = dict[str, int]


@pytest.fixture
async def county(tmp_path: Path) -> AsyncIterator[CountyUnderTest]:
    """A county with an empty register."""
    async with running_county(tmp_path / "county") as running:
        yield running


@pytest.fixture
def plant(county: CountyUnderTest, tmp_path: Path) -> CountyUnderTest:
    """The same with two plants in its register."""
    county.load(tmp_path / "register")
    return county


def states(folder: Path) -> dict[tuple[str, int, str], State]:
    """Day states by (gateway, local day, device), as plain numbers."""
    made: dict[tuple[str, int, str], State] = {}
    with register_of(settings_for(folder)) as engine, engine.connect() as connection:
        for row in connection.execute(select(DeviceDay.__table__)).all():
            devices = json.loads(row.devices)
            found = DayStates.from_bytes(zstandard.ZstdDecompressor().decompress(row.content))
            for i, device in enumerate(found.device.tolist()):
                made[row.gateway, row.day, devices[device]] = {
                    c.name: int(getattr(found, c.name)[i]) for c in DAY_COLUMNS if c.name not in ("day", "device")
                }
    return made


def digests(folder: Path) -> dict[tuple[str, int], str]:
    with register_of(settings_for(folder)) as engine, engine.connect() as connection:
        rows = connection.execute(select(DeviceDay.gateway, DeviceDay.day, DeviceDay.digest)).all()
    return {(gateway, day): digest for gateway, day, digest in rows}


def folder_of(county: CountyUnderTest) -> Path:
    return county.settings.data_dir


DIES = """
import asyncio, os, signal, sys
from pathlib import Path
from api.journal.day_file import DayFile
from api.rollup import Rollup
from api.store.duckdb import DuckDBStore
import api.day_rows
import api.rollup
from tests.api.county_fixtures import NOW_S, minutes, running_county

step, armed = sys.argv[2], []

def die(*_, **__):
    if armed:
        os.kill(os.getpid(), signal.SIGKILL)

def before(owner, name):
    real = getattr(owner, name)
    def call(*given, **named):
        die()
        return real(*given, **named)
    setattr(owner, name, call)

def after(owner, name):
    real = getattr(owner, name)
    def call(*given, **named):
        got = real(*given, **named)
        die()
        return got
    setattr(owner, name, call)

{
    "before the journal": lambda: before(DayFile, "write"),
    "journalled, not acknowledged": lambda: after(DayFile, "write"),
    "before the dirty mark": lambda: before(Rollup, "mark"),
    "marked dirty, not applied": lambda: after(Rollup, "mark"),
    "applied, not known": lambda: after(DuckDBStore, "append"),
    "read, not computed": lambda: before(api.day_rows, "day_states"),
    "computed, not written": lambda: before(api.rollup, "replace_day"),
    "written, not committed": lambda: after(api.rollup, "replace_day"),
    "committed, readers not told": lambda: before(api.rollup, "raise_counter"),
    "rolled up": lambda: after(Rollup, "_chunk"),
}[step]()

async def main(folder):
    async with running_county(folder) as county:
        gateway = county.gateway(epoch=5)
        for i in range(4):
            await gateway.send(["a", "b"], minutes(i % 2, NOW_S - 86_400 * (i // 2) - 3600, 30, parts=1 + i))
        await county.settle()
        armed.append(True)
        await gateway.send(["a", "b"], minutes(0, NOW_S - 86_400 - 1800, 60, parts=9))
        await county.settle()
        print("survived")

asyncio.run(main(Path(sys.argv[1])))
"""

STEPS = (
    "journalled, not acknowledged",
    "marked dirty, not applied",
    "computed, not written",
    *(
        pytest.param(step, marks=pytest.mark.long)
        for step in (
            "before the journal",
            "before the dirty mark",
            "applied, not known",
            "read, not computed",
            "written, not committed",
            "committed, readers not told",
            "rolled up",
        )
    ),
)


async def all_five(county: CountyUnderTest) -> list[str]:
    """The batches of the process that dies, sent (again)."""
    gateway = county.gateway(epoch=5)
    batches = [
        gateway.batch(["a", "b"], minutes(i % 2, NOW_S - 86_400 * (i // 2) - 3600, 30, parts=1 + i)) for i in range(4)
    ]
    batches.append(gateway.batch(["a", "b"], minutes(0, NOW_S - 86_400 - 1800, 60, parts=9)))
    answers = [(await gateway.ingest(batch)).result for batch in batches]
    await county.settle()
    return answers


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], str]:
    """The digests of a county that nobody killed."""

    async def undisturbed(folder: Path) -> dict[tuple[str, int], str]:
        async with running_county(folder) as county:
            assert set(await all_five(county)) == {"journalled"}
        return digests(folder)

    return asyncio.run(undisturbed(tmp_path_factory.mktemp("undisturbed") / "county"))


@pytest.mark.parametrize("step", STEPS)
async def test_killed_between_two_steps_everything_is_counted_once(
    tmp_path: Path, expected: dict[tuple[str, int], str], step: str
) -> None:
    folder = tmp_path / "county"
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", DIES, str(folder), step], timeout=60, check=False, capture_output=True
    )
    assert done.returncode == -9, done.stdout + done.stderr
    async with running_county(folder) as county:
        answers = await all_five(county)
        assert answers[:4] == ["duplicate"] * 4
        assert answers[4] == ("journalled" if step == "before the journal" else "duplicate")
        assert county.county.store.rows() == 180
    assert digests(folder) == expected


async def test_two_roll_up_workers_on_one_key_agree(county: CountyUnderTest) -> None:
    gateway = county.gateway()
    county.county.rollup.close()
    await gateway.send(["a"], minutes(0, NOW_S - DAY_S, 30, parts=1))
    assert await asyncio.to_thread(county.county.applier.wait_applied, 1, 10.0)
    met = threading.Barrier(2, timeout=20)
    store = county.county.store

    class Met:
        """The store, where both workers have read before either writes."""

        def read_days(self, keys: Sequence[tuple[str, int]]) -> Any:
            found = list(store.read_days(keys))
            met.wait()
            return iter(found)

    workers = [
        Rollup(county.county.engine, Met(), county.clock, 300.0, store.applied)  # type: ignore[arg-type]
        for _ in range(2)
    ]
    changed = await asyncio.gather(*(asyncio.to_thread(w.run_once, force=True) for w in workers))
    assert sorted(changed) == [0, 1]
    assert workers[0].dirty() == 0
    assert states(folder_of(county))["gw-1", TODAY - 1, "a"]["parts"] == 30


async def one_more(county: CountyUnderTest, gateway: Gateway, minute: int) -> None:
    """Another minute of yesterday with a part in it, in the store when this returns."""
    await gateway.send(["a"], minutes(0, NOW_S - DAY_S + 60 * minute, 1, parts=1))
    position = county.county.journal.position
    assert await asyncio.to_thread(county.county.applier.wait_applied, position, 10.0)


async def test_a_worker_that_was_overtaken_writes_nothing_older_over_what_is_there(county: CountyUnderTest) -> None:
    gateway = county.gateway()
    county.county.rollup.close()
    store = county.county.store
    await one_more(county, gateway, 0)
    loop = asyncio.get_running_loop()
    fast = Rollup(county.county.engine, store, county.clock, 300.0, store.applied)

    class Overtaken:
        """The store, of which another worker reads more, and writes it, before the first one writes."""

        def read_days(self, keys: Sequence[tuple[str, int]]) -> Any:
            found = list(store.read_days(keys))
            asyncio.run_coroutine_threadsafe(one_more(county, gateway, 1), loop).result(20)
            assert fast.run_once(force=True) == 1
            return iter(found)

    slow = Rollup(county.county.engine, Overtaken(), county.clock, 300.0, store.applied)  # type: ignore[arg-type]
    assert await asyncio.to_thread(slow.run_once, force=True) == 0
    assert slow.dirty() == 0
    assert states(folder_of(county))["gw-1", TODAY - 1, "a"]["parts"] == 2


def test_a_mark_that_is_left_for_the_service_never_lowers_one_that_came_meanwhile(tmp_path: Path) -> None:
    engine = open_register(settings_for(tmp_path).register_address)
    migrate(engine)
    mark_days(engine, {("gw-1", TODAY): 7})
    mark_days(engine, {("gw-1", TODAY): 3, ("gw-2", TODAY): 3}, raising=False)
    with engine.connect() as connection:
        marks = connection.execute(select(DirtyDay.gateway, DirtyDay.generation).order_by(DirtyDay.gateway)).all()
    engine.dispose()
    assert [tuple(mark) for mark in marks] == [("gw-1", 7), ("gw-2", 3)]


async def test_a_worker_that_is_behind_does_not_clear_what_came_after_it_read(county: CountyUnderTest) -> None:
    gateway = county.gateway()
    county.county.rollup.close()
    store = county.county.store
    await one_more(county, gateway, 0)
    loop = asyncio.get_running_loop()

    class Overtaken:
        def read_days(self, keys: Sequence[tuple[str, int]]) -> Any:
            found = list(store.read_days(keys))
            asyncio.run_coroutine_threadsafe(one_more(county, gateway, 1), loop).result(20)
            return iter(found)

    slow = Rollup(county.county.engine, Overtaken(), county.clock, 300.0, store.applied)  # type: ignore[arg-type]
    assert await asyncio.to_thread(slow.run_once, force=True) == 1
    with county.county.engine.connect() as connection:
        assert connection.execute(select(DirtyDay.day)).all() == [(TODAY - 1,)]
    again = Rollup(county.county.engine, store, county.clock, 300.0, store.applied)
    assert await asyncio.to_thread(again.run_once, force=True) == 1
    assert states(folder_of(county))["gw-1", TODAY - 1, "a"]["parts"] == 2


async def test_batches_sent_three_times_out_of_order_and_again_after_a_week_count_once(tmp_path: Path) -> None:
    clock = HandClock()
    folder = tmp_path / "county"
    async with running_county(folder, clock, journal_days=3) as county:
        gateway = county.gateway()
        batches: list[Ingest] = [
            gateway.batch(["a"], minutes(0, NOW_S - 3600 + 600 * i, 10, parts=1, quantity=5)) for i in range(6)
        ]
        for order in ((3, 0, 5), (2, 2, 1, 4), (5, 4, 3, 2, 1, 0), (0, 3, 1)):
            for i in order:
                await gateway.ingest(batches[i])
        await county.settle()
        before = digests(folder)
        assert county.county.store.rows() == 60
        for _ in range(7):
            clock.advance(DAY_S)
            await gateway.send(["b"], minutes(0, clock.now_ns() // 60_000_000_000 * 60 - 600, 1))
            await county.settle()
            await asyncio.to_thread(county.county.housekeeping.run)
        first = county.county.journal.first()
        assert first is not None
        assert first[0] > 6  # the journal no longer holds them, only that they came
        for i in (5, 0, 3):
            assert (await gateway.ingest(batches[i])).result == "duplicate"
        await county.settle()
    after = digests(folder)
    assert after["gw-1", TODAY] == before["gw-1", TODAY]
    state = states(folder)["gw-1", TODAY, "a"]
    assert (state["parts"], state["quantity"], state["records"], state["duplicates"]) == (60, 300, 60, 0)


async def test_the_same_minutes_in_other_batches_count_once_and_the_first_journalled_count(tmp_path: Path) -> None:
    folder = tmp_path / "county"
    async with running_county(folder) as county:
        gateway = county.gateway()
        await gateway.send(["a"], minutes(0, NOW_S - 600, 10, parts=1))
        await gateway.send(["a"], minutes(0, NOW_S - 600, 5, parts=1))
        await gateway.send(["a"], minutes(0, NOW_S - 300, 5, parts=7))
        await county.settle()
    state = states(folder)["gw-1", TODAY, "a"]
    assert (state["parts"], state["records"], state["duplicates"], state["conflicts"]) == (10, 10, 5, 5)


async def test_a_window_split_by_a_restart_is_one_window(tmp_path: Path) -> None:
    """The gateway watched 20 s, was restarted, and gives the rest of the minute as the window's next part."""
    folder = tmp_path / "county"
    async with running_county(folder) as county:
        gateway = county.gateway()
        await gateway.send(["a"], minutes(0, NOW_S - 60, 1, observed=200, connected=200, running=150, quantity=4))
        rest = minutes(0, NOW_S - 60, 1, part=1, observed=0, connected=0, running=300, idle=50, quantity=6)
        rest = Records.from_columns(rest.columns() | {"flags": [Flag.HISTORICAL]})
        await gateway.send(["a"], rest)
        await county.settle()
    state = states(folder)["gw-1", TODAY, "a"]
    assert (state["observed"], state["connected"]) == (200, 200)
    assert (state["running"], state["idle"]) == (450, 50)
    assert (state["quantity"], state["records"], state["supplements"]) == (10, 2, 1)
    assert state["running"] + state["idle"] <= 600


async def test_two_gateways_on_one_machine_for_an_hour_count_by_the_binding(plant: CountyUnderTest) -> None:
    day = TODAY - 1
    start_s = local_day_start_s(day)
    one, two = plant.gateway("gw-1"), plant.gateway("gw-2")
    await one.send(["cnc-1"], minutes(0, start_s, 120, running=600, parts=2))
    await two.send(["cnc-1"], minutes(0, start_s + 3600, 60, running=600, parts=2))
    await plant.settle()
    await plant.sign_in()
    found = states(folder_of(plant))
    assert found["gw-1", day, "cnc-1"]["parts"] == 240
    assert found["gw-2", day, "cnc-1"]["parts"] == 120  # kept, and credited once somebody binds it
    answer = await plant.get("/indicators", period="2026-11-17", look_back_days=1)
    rate = next(f for f in answer["figures"] if f["definition"]["id"] == "networking-rate")
    assert rate["numerator"] == 1
    assert rate["time_weighted"] == pytest.approx(2 / 24 / 5)  # 2 h of the day, not 3


async def test_records_in_the_future_are_held_and_a_later_copy_counts(tmp_path: Path) -> None:
    """A plant's clock is one day ahead: held; put right, the same minutes count when their time has come."""
    clock = HandClock()
    folder = tmp_path / "county"
    async with running_county(folder, clock) as county:
        gateway = county.gateway()
        ahead = minutes(0, NOW_S + DAY_S, 10, parts=1)
        answer = await gateway.send(["a"], ahead)
        assert (answer.accepted, answer.held) == (0, 10)
        await county.settle()
        assert states(folder) == {}
        clock.advance(DAY_S + 3600)
        answer = await gateway.send(["a"], ahead)
        assert (answer.accepted, answer.held) == (10, 0)
        await county.settle()
    assert states(folder)["gw-1", TODAY + 1, "a"]["parts"] == 10


async def test_a_counter_reset_and_a_meter_swap_never_count_backwards(tmp_path: Path) -> None:
    folder = tmp_path / "county"
    async with running_county(folder) as county:
        gateway = county.gateway()
        made = minutes(0, NOW_S - 300, 5, quantity=10).columns()
        made["quantity"] = [10, 10, 0, 10, 10]
        made["quantity_span"] = [60, 60, 0, 60, 60]
        made["reading"] = [1_000_000, 1_000_020, 3, 13, 500_000]
        made["flags"] = [0, 0, Flag.COUNTER_RESET, 0, Flag.COUNTER_REPLACED]
        await gateway.send(["m"], Records.from_columns(made))
        await county.settle()
    state = states(folder)["gw-1", TODAY, "m"]
    assert (state["quantity"], state["quantity_span_s"]) == (40, 240)
    assert (state["first_reading"], state["last_reading"]) == (1_000_000, 500_000)
    assert state["flags"] == Flag.COUNTER_RESET | Flag.COUNTER_REPLACED


async def test_a_day_without_contact_and_then_one_jump_is_spread_by_its_span(tmp_path: Path) -> None:
    """24 h of silence; the gateway split the jump at midnight: 10 h fall on today, 14 h on yesterday, estimated."""
    folder = tmp_path / "county"
    async with running_county(folder) as county:
        gateway = county.gateway()
        today = minutes(0, NOW_S, 1, quantity=10_000, quantity_span=36_000)
        yesterday = minutes(
            0, NOW_S - 36_060, 1, part=1, observed=0, connected=0, quantity=14_000, quantity_span=50_400
        )
        yesterday = Records.from_columns(yesterday.columns() | {"flags": [Flag.ESTIMATED | Flag.HISTORICAL]})
        await gateway.send(["m"], Records.concat([yesterday, today]))
        await county.settle()
    found = states(folder)
    late, now = found["gw-1", TODAY - 1, "m"], found["gw-1", TODAY, "m"]
    assert (now["quantity"], now["quantity_span_s"], now["quantity_estimated"]) == (10_000, 36_000, 0)
    assert (late["quantity"], late["quantity_span_s"], late["quantity_estimated"]) == (14_000, 50_400, 14_000)
    assert (late["observed"], late["connected"]) == (0, 0)


async def test_nobody_looked_and_it_did_not_answer_are_two_things(plant: CountyUnderTest) -> None:
    day = TODAY - 1
    gateway = plant.gateway()
    silent = minutes(0, local_day_start_s(day), 96, window_s=900, connected=0)
    await gateway.send(["moulding-1"], silent)
    await plant.settle()
    found = states(folder_of(plant))
    assert found["gw-1", day, "moulding-1"]["observed"] == DAY_S * 10
    assert found["gw-1", day, "moulding-1"]["connected"] == 0
    assert ("gw-1", day, "cnc-1") not in found
    await plant.sign_in()
    answer = await plant.get("/indicators", period="2026-11-17", look_back_days=1)
    rate = next(f for f in answer["figures"] if f["definition"]["id"] == "networking-rate")
    assert rate["counts"]["shown_not"] == 1  # it was watched all day and did not answer
    assert rate["counts"]["unobserved"] == 3  # nobody looked: A1, A3, and the unconfirmed one
    assert (rate["numerator"], rate["lower"]) == (0, 0.0)
    assert rate["upper"] == pytest.approx(3 / 5)


async def test_the_leap_day_is_a_day_of_its_own(tmp_path: Path) -> None:
    leap_s = 1_835_366_400  # 2028-02-29 00:00 in Shanghai
    clock = HandClock(leap_s + DAY_S + 7200)
    folder = tmp_path / "county"
    async with running_county(folder, clock) as county:
        gateway = county.gateway()
        await gateway.send(["a"], minutes(0, leap_s - 600, 1440 + 20, parts=1))
        await county.settle()
        assert await asyncio.to_thread(county.county.store.seal, int(local_day(leap_s)) + 1)  # type: ignore[attr-defined]
        names = sorted(p.name.split(".")[0] for p in (folder / "store" / "records-sealed").iterdir())
    found = {day: state["parts"] for (_, day, _), state in states(folder).items()}
    leap = int(local_day(leap_s))
    assert found == {leap - 1: 10, leap: 1440, leap + 1: 10}
    assert names == ["2028-02-28", "2028-02-29"]


async def test_a_store_made_again_after_everything_at_once_gives_the_same_digests(tmp_path: Path) -> None:
    """Late, twice, in conflict, in supplements, refused, held, sealed in between: wiped, and made again."""
    clock = HandClock()
    folder = tmp_path / "county"
    async with running_county(folder, clock) as county:
        gateway = county.gateway()
        for ago in (3, 1, 2, 0, 3):
            start_s = NOW_S - DAY_S * ago - 7200
            await gateway.send(["a", "b"], minutes(0, start_s, 60, parts=1 + ago, quantity=3))
            await gateway.send(["b", "a"], minutes(1, start_s + 1800, 60, parts=9))
            late = minutes(0, start_s, 30, part=1, observed=0, connected=0, running=20)
            await gateway.send(["a"], late)
            clock.advance(DAY_S / 2)
            await county.settle()
            await asyncio.to_thread(county.county.housekeeping.run)
        await gateway.send(["a"], minutes(0, clock.now_ns() // 60_000_000_000 * 60 + 7200, 3))
        await county.settle()
        assert county.county.store.sealed_days()  # type: ignore[attr-defined]
        rows = county.county.store.rows()
    before = digests(folder)
    for kept in (True, False):  # the database alone, then the sealed days too
        for path in (folder / "store").iterdir():
            if not (kept and path.is_dir()):
                subprocess.run(["rm", "-rf", str(path)], check=True)  # noqa: ASYNC221 (a few small files)
        with register_of(settings_for(folder)) as engine, engine.begin() as connection:
            connection.execute(DeviceDay.__table__.delete())  # type: ignore[attr-defined]
            connection.execute(DirtyDay.__table__.delete())  # type: ignore[attr-defined]
        async with running_county(folder, clock) as county:
            await county.settle()
            assert county.county.store.rows() == rows
        made = digests(folder)
        assert made
        assert made == before
