"""Figures under late data and changing registers: moved machines, old corrections, wrong clocks, final days."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text as sql
from typer.testing import CliRunner

from api.cli import app
from api.holds import add_hold, release_hold
from api.register.admin import register_of
from api.register.database import writing
from api.services.access import Reader
from api.services.figure_sets import make_draft, publish
from api.settings import load_settings
from metrics.record import local_day, local_day_start_s
from tests.api.county_fixtures import (
    NOW_S,
    OTHER,
    PLANT,
    TODAY,
    CountyUnderTest,
    HandClock,
    minutes,
    register_files,
    running_county,
)

WINDOW_S = 900
PER_DAY = 96


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[CountyUnderTest]:
    """A county with two plants, and someone who reads."""
    async with running_county(tmp_path / "county") as county:
        county.load(tmp_path / "register")
        await county.sign_in()
        yield county


def whole_day(day: int, **columns: int) -> Any:
    return minutes(0, local_day_start_s(day), PER_DAY, window_s=WINDOW_S, **columns)


async def figure(county: CountyUnderTest, name: str, **query: Any) -> dict[str, Any]:
    (found,) = (await county.get("/indicators", **({"ids": name} | query)))["figures"]
    return dict(found)


async def reader_of(county: CountyUnderTest) -> Reader:
    found = await asyncio.to_thread(county.county.access.reader, county.client.cookies["plantpulse_session"])
    assert found is not None
    return found


async def test_a_machine_that_moves_to_another_enterprise_in_mid_month_counts_where_it_stands(
    plant: CountyUnderTest, tmp_path: Path
) -> None:
    """Until the 9th it is the first plant's A1; from the 10th the other's A9. Its records stay as they are."""
    moved = TODAY - 8
    gateway = plant.gateway()
    for day in (moved - 3, moved + 3):
        await gateway.send(["cnc-1"], whole_day(day))
    files = register_files()
    assets = [line.strip() for line in files["assets.csv"].strip().splitlines()]
    until = {"A1": ",,2026-11-09"}
    files["assets.csv"] = "\n".join(
        [
            assets[0] + ",valid_from,valid_to",
            *(line + (until.get(line.split(",")[1], ",,") if PLANT in line else ",,") for line in assets[1:]),
            f"{OTHER},A9,加工中心,cnc,cnc,yes,s2,2026-11-10,",
        ]
    )
    files["bindings.csv"] = files["bindings.csv"].replace("role,valid_from", "role,valid_from,valid_to")
    files["bindings.csv"] = "\n".join(
        line if "valid_to" in line else line.strip() + ("," + "2026-11-09" if ",A1,state" in line else ",")
        for line in files["bindings.csv"].strip().splitlines()
    )
    files["bindings.csv"] += f"\ngw-1,cnc-1,{OTHER},asset,A9,state,2026-11-10,"
    plant.load(tmp_path / "moved", files)
    await plant.settle()
    for code, shown_before, shown_after in ((PLANT, (1, 4), (0, 3)), (OTHER, (0, 1), (1, 2))):
        before = await figure(plant, "networking-rate", scope=f"enterprise:{code}", period="2026-11-09")
        after = await figure(plant, "networking-rate", scope=f"enterprise:{code}", period="2026-11")
        assert (before["numerator"], before["denominator"]) == shown_before, code
        assert (after["numerator"], after["denominator"]) == shown_after, code
    county = await figure(plant, "networking-rate", period="2026-11")
    assert (county["numerator"], county["denominator"]) == (1, 5)
    change = await plant.get(
        "/indicators/networking-rate/change",
        scope=f"enterprise:{PLANT}",
        period="2026-11-12",
        before="2026-11-09",
    )
    assert [(c["cause"], c["machines"]) for c in change["causes"]] == [("left", 1)]


async def test_a_register_corrected_back_over_two_published_months_restates_both_and_alters_neither(
    plant: CountyUnderTest, tmp_path: Path
) -> None:
    reader = await reader_of(plant)
    for period in ("2026-09", "2026-10"):
        made = await asyncio.to_thread(make_draft, plant.county, reader, period, "tester", "")
        await asyncio.to_thread(publish, plant.county, made, "tester", "as known")
    plant.clock.advance(60)
    files = register_files()
    files["assets.csv"] += f"\n{PLANT},A6,漏登设备,cnc,cnc,yes,s1"
    plant.load(tmp_path / "corrected", files)
    for period in ("2026-09", "2026-10"):
        assert (await figure(plant, "cnc-rate", period=period))["denominator"] == 6
        stands = await plant.get("/published", period=period, scope="county")
        kept = {f["figure"]["definition"]["id"]: f["figure"] for f in stands["figures"]}
        assert kept["cnc-rate"]["denominator"] == 5
        made = await asyncio.to_thread(make_draft, plant.county, reader, period, "tester", "")
        drafted = await plant.get(f"/figure-sets/{made}", scope="county")
        revised = {f["figure"]["definition"]["id"]: f["revised"] for f in drafted["figures"]}["cnc-rate"]
        assert revised["reasons"] == ["register"]
        assert [(c["cause"], c["machines"]) for c in revised["causes"]] == [("entered", 1)]


async def test_a_clock_that_is_a_day_behind_restates_that_day_and_one_ahead_is_held(plant: CountyUnderTest) -> None:
    gateway = plant.gateway()
    await gateway.send(["cnc-1"], minutes(0, NOW_S - 86_400 - 3600, 4, window_s=WINDOW_S))
    await gateway.send(["moulding-1"], minutes(0, NOW_S + 86_400, 4, window_s=WINDOW_S))
    await plant.settle()
    yesterday = await figure(plant, "networking-rate", period="2026-11-17", look_back_days=1)
    assert yesterday["counts"]["shown"] == 1
    today = await figure(plant, "networking-rate", period="2026-11-18", look_back_days=1)
    assert (today["status"], today["counts"]["shown"]) == ("no-data", 0)
    (shown,) = (g for g in (await plant.get("/gateways"))["items"] if g["id"] == "gw-1")
    assert "时间超前" in shown["alarm_zh"]


async def test_no_records_no_contact_and_no_asset_are_three_things(plant: CountyUnderTest) -> None:
    await plant.gateway().send(["moulding-1"], whole_day(TODAY - 1, connected=0))
    await plant.settle()
    asked = {"period": "2026-11-17", "look_back_days": 1}
    looked = await figure(plant, "networking-rate", **asked)
    assert (looked["status"], looked["value"], looked["counts"]["shown_not"]) == ("ok", 0, 1)
    nobody = await figure(plant, "networking-rate", **(asked | {"period": "2026-11-16"}))
    assert (nobody["status"], nobody["value"]) == ("no-data", None)
    nothing = await figure(plant, "networking-rate", scope="industry:materials", **asked)
    assert (nothing["status"], nothing["value"]) == ("no-denominator", None)


async def test_the_leap_day_is_in_its_month_quarter_and_year(tmp_path: Path) -> None:
    clock = HandClock(datetime(2028, 3, 2, 2, tzinfo=UTC).timestamp())
    async with running_county(tmp_path / "county", clock) as county:
        county.load(tmp_path / "register")
        leap = local_day_start_s(int(local_day(int(clock.now_ns() // 10**9))) - 2)
        await county.gateway().send(["main-1"], minutes(0, leap, PER_DAY, window_s=WINDOW_S, quantity=1000))
        await county.settle()
        await county.sign_in()
        for period in ("2028-02-29", "2028-02", "2028-Q1", "2028", "2028-01..2028-02"):
            assert (await figure(county, "metered-energy", period=period))["value"] == PER_DAY, period
        assert (await figure(county, "metered-energy", period="2028-03"))["status"] == "no-data"
        series = await county.get("/indicators/metered-energy/series", kind="day", periods=3, end="2028-03-01")
        assert [p["period"]["id"] for p in series["points"]] == ["2028-02-28", "2028-02-29", "2028-03-01"]


async def expire(county: CountyUnderTest, clock: HandClock) -> None:
    """A month later a new record comes, and what is older than a month expires."""
    clock.advance(86_400 * 33)
    now_s = clock.now_ns() // 60_000_000_000 * 60
    await county.gateway(epoch=50).send(["cnc-1"], minutes(0, now_s - 600, 1))
    await county.settle()
    clock.advance(86_400)
    await asyncio.to_thread(county.county.housekeeping.run)
    assert county.county.housekeeping.last_error == ""


async def test_what_comes_for_a_final_day_is_listed_with_what_it_would_have_added(tmp_path: Path) -> None:
    clock = HandClock()
    async with running_county(tmp_path / "county", clock, record_days=31, session_hours=700) as county:
        county.load(tmp_path / "register")
        await county.gateway().send(["cnc-1", "main-1"], whole_day(TODAY - 1))
        await county.settle()
        await county.sign_in()
        before = await figure(county, "networking-rate", period="2026-11-17")
        await expire(county, clock)
        await county.sign_in(name="later")
        late = county.gateway(epoch=51)
        await late.send(["moulding-1"], minutes(0, local_day_start_s(TODAY - 1), 3, window_s=WINDOW_S, quantity=40))
        await county.settle()
        listed = await county.get("/too-late")
        (entry,) = listed["items"]
        assert (entry["gateway"], entry["device"], entry["day"], entry["rows"]) == (
            "gw-1",
            "moulding-1",
            "2026-11-17",
            3,
        )
        assert (entry["connected_s"], entry["quantity"], entry["name_zh"]) == (3 * WINDOW_S, 0.12, "注塑机")
        assert listed["page"]["total"] == 1
        assert (await county.get("/too-late", offset=1))["items"] == []
        after = await figure(county, "networking-rate", period="2026-11-17")
        assert (after["value"], after["digest"]) == (before["value"], before["digest"])
        await county.sign_in("enterprise", OTHER, name="other")
        assert (await county.get("/too-late"))["items"] == []


async def test_a_day_under_hold_keeps_its_records_and_is_still_restated(tmp_path: Path) -> None:
    clock = HandClock()
    async with running_county(tmp_path / "county", clock, record_days=31) as county:
        county.load(tmp_path / "register")
        gateway = county.gateway()
        for day in (TODAY - 2, TODAY - 1):
            await gateway.send(["cnc-1"], whole_day(day))
        await county.settle()
        engine, store = county.county.engine, county.county.store
        hold = add_hold(engine, TODAY - 1, TODAY - 1, PLANT, "an appeal is open", "tester", clock.now_ns())
        clock.advance(86_400 * 2)
        await asyncio.to_thread(county.county.housekeeping.run)  # seals both days
        await expire(county, clock)
        assert [len(found.records) for found in store.read_days([("gw-1", TODAY - 1)])] == [PER_DAY]
        assert list(store.read_days([("gw-1", TODAY - 2)])) == []
        more = minutes(0, local_day_start_s(TODAY - 1), 2, window_s=WINDOW_S)
        await county.gateway(epoch=60).send(["moulding-1"], more)
        await county.settle()
        assert county.county.journal.kept.too_late(10) == []
        (found,) = store.read_days([("gw-1", TODAY - 1)])
        assert len(found.records) == PER_DAY + 2
        release_hold(engine, hold, "tester", clock.now_ns())
        await asyncio.to_thread(county.county.housekeeping.run)
        assert list(store.read_days([("gw-1", TODAY - 1)])) == []


async def test_a_day_under_hold_that_nobody_has_sealed_yet_does_not_become_final(tmp_path: Path) -> None:
    clock = HandClock()
    async with running_county(tmp_path / "county", clock, record_days=31) as county:
        await county.gateway().send(["cnc-1"], whole_day(TODAY - 1))
        await county.settle()
        add_hold(county.county.engine, TODAY - 1, TODAY - 1, None, "an appeal is open", "tester", clock.now_ns())
        county.county.housekeeping._sealed_on = int(local_day(clock.now_ns() // 10**9)) + 34
        assert TODAY - 1 in county.county.store.hot_days()
        await expire(county, clock)
        await county.gateway(epoch=60).send(["cnc-1"], minutes(0, local_day_start_s(TODAY), 1, window_s=WINDOW_S))
        more = minutes(0, local_day_start_s(TODAY - 1), 2, window_s=WINDOW_S)
        await county.gateway(epoch=61).send(["moulding-1"], more)
        await county.settle()
        (late,) = county.county.journal.kept.too_late(10)
        assert late.day == TODAY, "the day that is not held is final, the held one is not"
        (found,) = county.county.store.read_days([("gw-1", TODAY - 1)])
        assert len(found.records) == PER_DAY + 2


def test_holds_drafts_and_the_audit_log_from_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTPULSE_DATA_DIR", str(tmp_path / "county"))
    shell = CliRunner()

    def call(*words: str) -> tuple[int, str]:
        done = shell.invoke(app, list(words))
        return done.exit_code, done.output

    with register_of(load_settings()):
        code, _ = call("hold", "add", "2026-11-01", "2026-11-30", "--reason", "an appeal")
    assert code == 0
    assert "2026-11-01 – 2026-11-30" in call("hold", "list")[1]
    assert call("hold", "release", "1")[0] == 0
    assert call("hold", "release", "1")[0] == 1
    assert call("hold", "add", "2026-11-30", "2026-11-01", "--reason", "x")[0] == 2
    assert call("hold", "add", "November", "2026-11-01", "--reason", "x")[0] == 2
    code, text = call("publish", "--draft", "--period", "2026-10", "--note", "try")
    assert code == 0
    assert text.startswith("1: 2026-10, draft, ")
    assert call("publish", "--set", "1")[0] == 2  # without a note
    assert "revision 1" in call("publish", "--set", "1", "--note", "first figures")[1]
    assert "published" in call("publish")[1]
    assert call("publish", "--withdraw", "1", "--note", "a mistake")[0] == 0
    assert call("publish", "--draft", "--set", "1")[0] == 2
    assert call("publish", "--draft", "--period", "2026-13")[0] == 2
    code, text = call("audit")
    assert code == 0
    assert "5 行 rows" in text


async def test_the_audit_command_names_the_row_that_was_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTPULSE_DATA_DIR", str(tmp_path / "county"))
    shell = CliRunner()
    with register_of(load_settings()):
        pass
    for day in ("2026-11-01", "2026-11-02", "2026-11-03"):
        shell.invoke(app, ["hold", "add", day, day, "--reason", "x"])
    with register_of(load_settings()) as engine, writing(engine) as connection:
        connection.execute(sql("delete from audit where id = 2"))
    done = shell.invoke(app, ["audit"])
    assert done.exit_code == 1
    assert "row 3" in done.output
