"""When days are computed: at once when settled, today at most as often as set, never cleared too early."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select

from api.day_versions import drop_running
from api.register.models import DeviceDayVersion
from api.rollup import Rollup
from metrics.record import local_day_start_s
from tests.api.county_fixtures import TODAY, CountyUnderTest, minutes


@pytest.fixture
async def rollup(county: CountyUnderTest, monkeypatch: pytest.MonkeyPatch) -> Rollup:
    """The county's rollup, run by the test alone."""
    made = Rollup(county.county.engine, county.county.store, county.clock, 300.0, lambda: county.county.applier.applied)
    county.county.rollup.close()
    return made


async def send(county: CountyUnderTest, day: int, minute: int = 0) -> None:
    gateway = county.gateway(epoch=1000 + county.county.journal.position)
    await gateway.send(["a"], minutes(0, local_day_start_s(day) + 60 * minute, 1))
    position = county.county.journal.position
    assert await asyncio.to_thread(county.county.applier.wait_applied, position, 10.0)


async def test_an_old_day_is_computed_once_it_has_settled(county: CountyUnderTest, rollup: Rollup) -> None:
    await send(county, TODAY - 3)
    assert rollup.run_once() == 0
    county.clock.advance(1.5)
    await send(county, TODAY - 3, 1)
    assert rollup.run_once() == 0
    county.clock.advance(2.1)
    assert rollup.run_once() == 1
    assert rollup.dirty() == 0


async def test_a_day_that_never_settles_is_computed_once_a_minute(county: CountyUnderTest, rollup: Rollup) -> None:
    computed = 0
    for minute in range(100):
        await send(county, TODAY - 3, minute)
        computed += rollup.run_once()
        county.clock.advance(0.3)  # with the second that a new credential takes: 130 s in all
    assert (computed, rollup.computed) == (2, 2)


async def test_today_is_computed_at_most_as_often_as_set(county: CountyUnderTest, rollup: Rollup) -> None:
    await send(county, TODAY)
    assert rollup.run_once() == 1
    await send(county, TODAY, 1)
    county.clock.advance(290)
    assert rollup.run_once() == 0
    county.clock.advance(10)
    assert rollup.run_once() == 1


async def test_a_mark_that_was_raised_meanwhile_stays(
    county: CountyUnderTest, rollup: Rollup, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(county, TODAY - 3)
    original = county.county.store.read_days

    def read_and_be_overtaken(keys: list[tuple[str, int]]) -> object:
        found = list(original(keys))
        rollup.mark({("gw-1", TODAY - 3): 99})
        return iter(found)

    with monkeypatch.context() as patch:
        patch.setattr(type(county.county.store), "read_days", lambda _, keys: read_and_be_overtaken(keys))
        assert rollup.run_once(force=True) == 1
    assert rollup.dirty() == 1
    assert rollup.run_once(force=True) == 0  # position 99 is not applied yet, so its day is not computed


async def test_a_day_whose_digest_is_the_same_is_not_written_again(county: CountyUnderTest, rollup: Rollup) -> None:
    await send(county, TODAY - 3)
    assert rollup.run_once(force=True) == 1
    rollup.mark({("gw-1", TODAY - 3): 1})
    assert rollup.run_once(force=True) == 0
    assert rollup.dirty() == 0


async def test_of_a_day_that_runs_one_version_an_hour_is_kept_and_of_one_that_is_over_every_one(
    county: CountyUnderTest, rollup: Rollup
) -> None:
    def kept() -> list[tuple[int, int]]:
        with county.county.engine.connect() as connection:
            v = DeviceDayVersion
            found = connection.execute(select(v.day, v.computed_ns).order_by(v.row_id)).all()
        return [(day, at_ns // 3_600_000_000_000) for day, at_ns in found]

    hours: list[int] = []
    for minute in range(5):  # every 20 minutes from 10:00
        await send(county, TODAY, minute)
        rollup.run_once(force=True)
        hours.append(county.clock.now_ns() // 3_600_000_000_000)
        county.clock.advance(1200)
    # of 10:00, 10:20, 10:40, 11:00, 11:20 the last one before each hour turned was kept, and the last stands
    assert kept() == [(TODAY, hours[2])]
    for minute in range(3):
        await send(county, TODAY - 3, minute)
        rollup.run_once(force=True)
        county.clock.advance(10)
    assert [day for day, _ in kept()] == [TODAY, TODAY - 3, TODAY - 3]
    drop_running(county.county.engine, county.clock.now_ns() + 36 * 86_400 * 10**9)
    assert [day for day, _ in kept()] == [TODAY - 3, TODAY - 3]
