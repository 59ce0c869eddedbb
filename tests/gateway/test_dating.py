"""Gateways whose clock is not set: records get their dates when the time is known, and lose nothing by it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import device_clock
from gateway.clock import NS_PER_S
from gateway.config import PlantConfig
from gateway.dating import COUNTY_SETTLES_NS, NTP_SETTLES_NS
from metrics.record import Flag, local_day
from tests.gateway.cabinet import NEVER_SET_S, Cabinet
from tests.gateway.county_stub import CountyStub
from tests.gateway.driver import NOON_S, STATE, Driver
from tests.waiting import until

Make = Callable[..., PlantConfig]
TO_MIDNIGHT_S = 12 * 3600
Rows = list[dict[str, int]]


@pytest.fixture
def config(plant: Make) -> PlantConfig:
    return plant("http://127.0.0.1:9", window_s=60)


@pytest.fixture
def retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The uplink tries again at once: whatever it would send too early, it sends while a test looks."""
    monkeypatch.setattr("gateway.uplink.RETRY_FIRST_S", 0.02)
    monkeypatch.setattr("gateway.uplink.RETRY_MOST_S", 0.05)


def true_starts(rows: Rows) -> list[int]:
    """Starts after noon, in s, of the records that observed something."""
    return sorted(row["start"] - NOON_S for row in rows if row["observed"])


def never_set() -> int:
    """The clock of a county that does not know the time either."""
    return 0


async def shown_but_not_sent(cabinet: Cabinet, county: CountyStub) -> None:
    """The county hears time and again how the machine is; records wait, and it gets none of them."""
    seen = len(county.live)

    def heard() -> bool:
        cabinet.uplink.presence_changed()
        return len(county.live) >= seen + 4

    await until(heard)
    assert (await cabinet.thread.call(cabinet.thread.outbox.depth)).unsent >= 2
    assert [d.connected for d in county.live[-1].devices] == [True]
    assert county.requests["ingest"] == county.requests["announce"] == 0


async def everything(cabinet: Cabinet, county: CountyStub) -> Rows:
    """Every record, as the county received it; the gateway ends."""
    await cabinet.close_short()
    cabinet.uplink.wake()
    await until(lambda: cabinet.uplink.depth.unsent == 0 and len(county.rows) == cabinet.keeper.records_written)
    assert county.doubled == county.refused == []
    assert [NOON_S - 60 < a.at_ns / NS_PER_S <= NOON_S + 60 for a in county.announcements.values()] == [True]
    return sorted(county.rows.values(), key=lambda row: (row["start"], row["part"]))


async def test_records_made_before_the_time_was_known_are_sent_when_the_monotonic_clock_has_dated_them(
    county: CountyStub, plant: Make, tmp_path: Path, retries: None
) -> None:
    county.time_ns = never_set
    cabinet = Cabinet(plant(county.url, window_s=60), tmp_path, wall_s=NEVER_SET_S)
    async with cabinet.plugged_in():
        await cabinet.live(600)
        assert cabinet.clock() < 1000 * NS_PER_S
        await until(lambda: [t.code for t in cabinet.troubles.listed()] == ["time_not_known"])
        await shown_but_not_sent(cabinet, county)
        cabinet.ntp = True
        cabinet.set_wall(0)
        await cabinet.live(300)
        rows = await everything(cabinet, county)
    cabinet.kill()
    cabinet.check(rows)
    starts = true_starts(rows)
    assert starts[0] in (-60, 0)  # whole windows are moved: a minute may be put up to a minute early
    assert starts[-1] == 840
    assert all(b - a in (60, 120) for a, b in pairwise(starts))
    assert sum(row["observed"] for row in rows) >= 8990
    assert not any(row["flags"] & Flag.CLOCK_UNSYNCHRONISED for row in rows)


async def test_the_countys_clock_does_where_no_ntp_answers(
    county: CountyStub, plant: Make, tmp_path: Path, retries: None
) -> None:
    await county.stop()
    cabinet = Cabinet(plant(county.url, window_s=60), tmp_path, wall_s=NEVER_SET_S)
    county.time_ns = lambda: (NOON_S + cabinet.true_s) * NS_PER_S
    async with cabinet.plugged_in():
        await cabinet.live(200)
        await county.start()
        await shown_but_not_sent(cabinet, county)  # it has told the time, but nothing that waits has its date yet
        cabinet.county_answers()
        await cabinet.live(200)
        rows = await everything(cabinet, county)
    cabinet.kill()
    cabinet.check(rows)
    assert true_starts(rows)[0] in (-60, 0)
    assert true_starts(rows)[-1] == 360
    # the system clock still says 1970; the line keeps to the county's and is not in doubt
    assert not rows[-1]["flags"] & Flag.CLOCK_UNSYNCHRONISED


async def test_an_outage_that_nobody_could_time_is_counted_over_its_true_length(
    config: PlantConfig, tmp_path: Path
) -> None:
    cabinet = Cabinet(config, tmp_path, ntp=True)
    await cabinet.live(330)
    cabinet.ntp = False
    off_s = 14 * 3600
    cabinet.cut_power(off_s, wall_s=NEVER_SET_S)
    await cabinet.live(300)
    assert NOON_S + 300 < cabinet.clock() / NS_PER_S < NOON_S + 1000  # where the last run ended, not 1970
    cabinet.county_answers()
    await cabinet.live(100)
    rows = await cabinet.end()
    cabinet.check(rows)
    spans = sorted(row["quantity_span"] for row in rows)[-2:]
    assert sum(spans) == off_s + 1  # split at local midnight
    before_midnight = next(row for row in rows if row["start"] == NOON_S + TO_MIDNIGHT_S - 60)
    assert before_midnight["quantity"] == (TO_MIDNIGHT_S - 330) * 10
    early = [s for s in true_starts(rows) if s < TO_MIDNIGHT_S]
    assert early == [0, 60, 120, 180, 240, 300]
    assert off_s + 330 - 60 <= true_starts(rows)[len(early)] <= off_s + 330


async def test_what_a_boot_made_that_never_knew_the_time_is_kept_and_flagged(
    config: PlantConfig, tmp_path: Path
) -> None:
    cabinet = Cabinet(config, tmp_path, wall_s=NEVER_SET_S)
    await cabinet.live(300)
    cabinet.cut_power(3600, wall_s=NEVER_SET_S)
    await cabinet.live(300)
    cabinet.ntp = True
    cabinet.set_wall(0)
    await cabinet.live(100)
    rows = await cabinet.end()
    cabinet.check(rows)
    flagged = [row["start"] - NOON_S for row in rows if row["flags"] & Flag.CLOCK_UNSYNCHRONISED]
    sure = [row["start"] - NOON_S for row in rows if not row["flags"] & Flag.CLOCK_UNSYNCHRONISED]
    assert max(flagged) < min(sure)
    assert 3900 - 120 < min(sure) <= 3900
    assert len(flagged) >= 5
    assert all(local_day(s + NOON_S) == local_day(NOON_S) for s in flagged)


async def test_a_restart_of_the_process_changes_nothing_for_the_line(config: PlantConfig, tmp_path: Path) -> None:
    cabinet = Cabinet(config, tmp_path, wall_s=NEVER_SET_S)
    for _ in range(4):
        await cabinet.live(70)
        cabinet.restart()
        assert not cabinet.dating.is_known
    cabinet.county_answers()
    await cabinet.live(70)
    cabinet.set_wall(-NOON_S)  # back to 1970, and the process is started again
    cabinet.restart()
    assert cabinet.dating.is_known
    await cabinet.live(70)
    rows = await cabinet.end()
    cabinet.check(rows)
    assert true_starts(rows)[-1] == 360
    assert sum(row["observed"] for row in rows) >= (420 - 10) * 10


@pytest.mark.parametrize("wall_s", [3600, -3600])
async def test_a_clock_that_was_wrong_at_the_start_is_put_right_by_the_county(
    config: PlantConfig, tmp_path: Path, wall_s: int
) -> None:
    cabinet = Cabinet(config, tmp_path, ntp=True)
    await cabinet.live(100)
    cabinet.ntp = False
    cabinet.cut_power(20, wall_s=NOON_S + 120 + wall_s)
    await cabinet.live(200)
    cabinet.county_answers()
    await cabinet.live(200)
    rows = await cabinet.end()
    cabinet.check(rows)
    assert all(0 <= s <= 480 for s in true_starts(rows))
    again = [row for row in rows if row["flags"] & Flag.CLOCK_SET_BACK]
    assert {row["start"] - NOON_S for row in again} <= {60, 120}  # windows that had their records before the cut
    assert all(row["observed"] == 0 for row in again)


@pytest.mark.parametrize("step_s", [3600, -3600])
async def test_a_step_is_followed_only_when_ntp_confirms_it(config: PlantConfig, tmp_path: Path, step_s: int) -> None:
    cabinet = Cabinet(config, tmp_path, ntp=True)
    await cabinet.live(200)
    cabinet.ntp = False
    cabinet.set_wall(step_s)
    await cabinet.live(200)
    assert abs(cabinet.clock() - (NOON_S + 400) * NS_PER_S) < NS_PER_S
    cabinet.ntp = True
    await cabinet.live(NTP_SETTLES_NS // NS_PER_S + 200)
    assert abs(cabinet.clock() - (NOON_S + 610 + step_s) * NS_PER_S) < NS_PER_S
    rows = await cabinet.end()
    cabinet.check(rows)
    again = [row for row in rows if row["flags"] & Flag.CLOCK_SET_BACK]
    if step_s < 0:
        assert all(-3600 <= row["start"] - NOON_S <= 420 and row["observed"] == 0 for row in again)
        assert sum(row["running"] for row in again) > 0 or not again
    else:
        assert again == []
    assert true_starts(rows)[0] == 0


async def test_the_same_minutes_again_get_parts_of_their_own(config: PlantConfig, tmp_path: Path) -> None:
    cabinet = Cabinet(config, tmp_path, ntp=True)
    await cabinet.live(600)
    cabinet.set_wall(-300)
    await cabinet.live(NTP_SETTLES_NS // NS_PER_S + 700)
    rows = await cabinet.end()
    cabinet.check(rows)
    again = {row["start"] - NOON_S: row for row in rows if row["part"]}
    assert sorted(again) == [300, 360, 420, 480, 540]
    assert all(row["flags"] & Flag.CLOCK_SET_BACK for row in again.values())
    assert again[420]["running"] == 600
    assert (again[420]["observed"], again[420]["quantity"]) == (0, 600)


async def test_without_ntp_the_countys_clock_is_followed_when_it_stays_off(config: PlantConfig, tmp_path: Path) -> None:
    cabinet = Cabinet(config, tmp_path)
    cabinet.county_answers()
    await cabinet.live(100)
    for _ in range(COUNTY_SETTLES_NS // NS_PER_S // 10):
        cabinet.county_answers(ahead_s=120)
        await cabinet.live(10)
    assert cabinet.clock.flags() == Flag.CLOCK_UNSYNCHRONISED
    cabinet.county_answers(ahead_s=120)
    await cabinet.live(100)
    assert abs(cabinet.clock() - (NOON_S + cabinet.true_s + 120) * NS_PER_S) < NS_PER_S
    cabinet.check(await cabinet.end())


async def test_a_county_that_is_wrong_for_a_moment_is_not_followed(config: PlantConfig, tmp_path: Path) -> None:
    cabinet = Cabinet(config, tmp_path)
    cabinet.county_answers()
    await cabinet.live(100)
    cabinet.county_answers(ahead_s=3600)
    await cabinet.live(30)
    cabinet.county_answers()
    await cabinet.live(100)
    assert abs(cabinet.clock() - (NOON_S + 230) * NS_PER_S) < NS_PER_S
    cabinet.check(await cabinet.end())


async def test_a_machine_whose_own_clock_is_wrong_is_told_and_its_samples_are_put_right() -> None:
    for ahead_s, told in ((300.0, "ahead"), (-300.0, "behind"), (5.0, "")):
        driver = Driver()
        for s in range(60):
            driver.samples(s, [(STATE, 1.0)], source_s=s + ahead_s)
        driver.tick(62)
        driver.assert_valid()
        assert driver.row(0).running == 600
        behind_ns = driver.windows.clock_behind_ns("m-1")
        assert behind_ns == round(-ahead_s * NS_PER_S)
        offset = driver.windows.accounts["m-1"].offset
        assert told in device_clock.trouble("m-1", offset, time_is_known=True).en
        assert bool(device_clock.trouble("m-1", offset, time_is_known=True).code) == bool(told)
        assert device_clock.trouble("m-1", offset, time_is_known=False).code == ""


async def test_a_device_with_a_clock_keeps_its_samples_when_the_line_is_set(
    config: PlantConfig, tmp_path: Path
) -> None:
    """What it says of its own time is measured against the line: both move together."""
    cabinet = Cabinet(config, tmp_path, wall_s=NEVER_SET_S, sources=True)
    await cabinet.live(200)
    cabinet.county_answers()
    await cabinet.live(200)
    rows = await cabinet.end()
    cabinet.check(rows)
    assert sum(row["good"] for row in rows) == 400 * 3
    assert sum(row["running"] for row in rows) >= 3900
    assert cabinet.windows.shed_counts() == {}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("live"), st.integers(1, 200)),
        st.tuples(st.just("live"), st.integers(1, 200)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("still"), st.integers(10, 2000)),
        st.tuples(st.just("power"), st.tuples(st.integers(20, 50_000), st.sampled_from([0, 1970, 3600, -3600]))),
        st.tuples(st.just("ntp"), st.booleans()),
        st.tuples(st.just("wall"), st.sampled_from([0, 3600, -3600, 90, -90, -NOON_S])),
        st.tuples(st.just("county"), st.sampled_from([0, 0, 0, 3600, -3600])),
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps, st.sampled_from([None, NEVER_SET_S]))
async def test_whatever_happens_to_clocks_and_power_nothing_is_lost_or_doubled(
    plant: Make, tmp_path_factory: pytest.TempPathFactory, script: list[tuple[str, Any]], wall_s: float | None
) -> None:
    config = plant("http://127.0.0.1:9", window_s=60)
    cabinet = Cabinet(config, tmp_path_factory.mktemp("cabinet"), wall_s=wall_s)
    await cabinet.live(3)
    for what, value in script:
        if what == "live":
            await cabinet.live(value)
        elif what == "restart":
            cabinet.restart()
        elif what == "still":
            await cabinet.stand_still(value)
        elif what == "power":
            off_s, wall = value
            cabinet.cut_power(off_s, NEVER_SET_S if wall == 1970 else NOON_S + cabinet.true_s + off_s + wall)
        elif what == "ntp":
            cabinet.ntp = value
            cabinet.set_wall(0) if value else None
        elif what == "wall":
            cabinet.set_wall(value)
        else:
            cabinet.county_answers(value)
    cabinet.ntp = True
    cabinet.set_wall(0)
    await cabinet.live(20)
    rows = await cabinet.end()
    cabinet.check(rows)
