"""Drafts, publications, revisions: kept as they were computed, told apart by what changed, read as of any time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update
from sqlalchemy.exc import DBAPIError

from api.register.database import writing
from api.register.models import FigureSet, FigureValue
from api.services.access import Reader
from api.services.figure_sets import FigureSetError, make_draft, publish, withdraw
from metrics.record import local_day_start_s
from tests.api.county_fixtures import PLANT, TODAY, CountyUnderTest, minutes, register_files

DAY = TODAY - 1
PERIOD = "2026-11-17"
WINDOW_S = 900
PER_DAY = 96


async def reader_of(county: CountyUnderTest) -> Reader:
    token = county.client.cookies["plantpulse_session"]
    found = await asyncio.to_thread(county.county.access.reader, token)
    assert found is not None
    return found


@pytest.fixture
async def reported(plant: CountyUnderTest) -> CountyUnderTest:
    """Yesterday: cnc-1 connected all day, moulding-1 watched and never connected."""
    gateway = plant.gateway()
    for device, connected in (("cnc-1", WINDOW_S * 10), ("moulding-1", 0)):
        records = minutes(0, local_day_start_s(DAY), PER_DAY, window_s=WINDOW_S, connected=connected)
        await gateway.send([device], records)
    await plant.settle()
    await plant.sign_in()
    return plant


async def draft(county: CountyUnderTest, note: str = "") -> int:
    return await asyncio.to_thread(make_draft, county.county, await reader_of(county), PERIOD, "tester", note)


async def published(county: CountyUnderTest, **query: Any) -> dict[str, Any]:
    found: dict[str, Any] = await county.get("/published", period=PERIOD, scope="county", **query)
    return found


def value_of(found: dict[str, Any], name: str = "networking-rate") -> float:
    (figure,) = (f["figure"] for f in found["figures"] if f["figure"]["definition"]["id"] == name)
    value: float = figure["value"]
    return value


async def late_machine(county: CountyUnderTest) -> None:
    """Records of a day before, which the gateway could not send, show that moulding-1 was connected."""
    gateway = county.gateway(epoch=99)
    records = minutes(0, local_day_start_s(DAY - 4), PER_DAY, window_s=WINDOW_S)
    await gateway.send(["moulding-1"], records)
    await county.settle()


async def test_a_draft_keeps_every_figure_with_its_inputs_and_is_not_published(reported: CountyUnderTest) -> None:
    made = await draft(reported, "first look")
    (listed,) = (await reported.get("/figure-sets"))["items"]
    assert (listed["id"], listed["state"], listed["period"], listed["note"]) == (made, "draft", PERIOD, "first look")
    assert listed["compared_with"] is None
    whole = await reported.get(f"/figure-sets/{made}", scope="county")
    names = {f["figure"]["definition"]["id"] for f in whole["figures"]}
    assert names == {d["id"] for d in (await reported.get("/definitions"))["items"]}
    assert value_of(whole) == pytest.approx(1 / 5)
    live = (await reported.get("/indicators", period=PERIOD))["figures"][0]
    (kept,) = (f["figure"] for f in whole["figures"] if f["figure"]["definition"]["id"] == "networking-rate")
    assert (kept["digest"], kept["inputs"]) == (live["digest"], live["inputs"])
    assert set(kept["inputs"]) == {"definition", "register", "evidence", "day-states"}
    assert (await published(reported))["set_id"] is None


async def test_the_same_inputs_give_the_same_set(reported: CountyUnderTest) -> None:
    first, second = await draft(reported), await draft(reported)
    sets = {s["id"]: s["digest"] for s in (await reported.get("/figure-sets"))["items"]}
    assert sets[first] == sets[second]


async def test_late_data_proposes_a_revision_and_leaves_what_was_published(reported: CountyUnderTest) -> None:
    county = reported.county
    first = await draft(reported)
    assert await asyncio.to_thread(publish, county, first, "tester", "first figures") == 1
    reported.clock.advance(60)
    await late_machine(reported)
    live = (await reported.get("/indicators", period=PERIOD))["figures"][0]
    assert live["value"] == pytest.approx(2 / 5)
    assert value_of(await published(reported)) == pytest.approx(1 / 5)
    second = await draft(reported)
    whole = await reported.get(f"/figure-sets/{second}", scope="county")
    (rate,) = (f for f in whole["figures"] if f["figure"]["definition"]["id"] == "networking-rate")
    revised = rate["revised"]
    assert revised["reasons"] == ["late-data"]
    assert (revised["value_before"], revised["value_after"]) == (pytest.approx(1 / 5), pytest.approx(2 / 5))
    assert [(c["cause"], c["machines"]) for c in revised["causes"]] == [("observed-shown", 1)]
    assert sum(c["value"] for c in revised["causes"]) == pytest.approx(revised["difference"], rel=1e-12)
    assert [(machine["number"], machine["cause"]) for machine in revised["machines"]] == [("A2", "observed-shown")]
    (cnc,) = (f for f in whole["figures"] if f["figure"]["definition"]["id"] == "cnc-rate")
    assert cnc["revised"] is None
    assert await asyncio.to_thread(publish, county, second, "tester", "late data") == 2
    assert (await published(reported))["revision"] == 2


async def test_a_corrected_register_is_named_as_the_reason(reported: CountyUnderTest, tmp_path: Path) -> None:
    first = await draft(reported)
    await asyncio.to_thread(publish, reported.county, first, "tester", "first figures")
    files = register_files()
    files["assets.csv"] = files["assets.csv"].replace("A3,老车床,lathe,manual,yes", "A3,老车床,lathe,manual,no")
    reported.load(tmp_path / "again", files)
    second = await draft(reported)
    whole = await reported.get(f"/figure-sets/{second}", scope=f"enterprise:{PLANT}")
    assert whole["figures"] == []  # enterprises only where they are asked for
    whole = await reported.get(f"/figure-sets/{second}", scope="industry:auto-moulds")
    (rate,) = (f for f in whole["figures"] if f["figure"]["definition"]["id"] == "networking-rate")
    assert rate["revised"]["reasons"] == ["register"]
    assert [(c["cause"], c["machines"]) for c in rate["revised"]["causes"]] == [("reclassified-out", 1)]


async def test_between_two_revisions_each_second_has_its_own(reported: CountyUnderTest) -> None:
    county = reported.county
    await asyncio.to_thread(publish, county, await draft(reported), "tester", "first figures")
    first_at = (await published(reported))["published_at"]
    await late_machine(reported)
    second = await draft(reported)
    reported.clock.advance(1)
    await asyncio.to_thread(publish, county, second, "tester", "late data")
    second_at = (await published(reported))["published_at"]
    assert second_at > first_at
    assert value_of(await published(reported, as_of=first_at)) == pytest.approx(1 / 5)
    assert value_of(await published(reported, as_of=second_at)) == pytest.approx(2 / 5)
    assert (await published(reported, as_of="2026-11-01T00:00:00Z"))["set_id"] is None
    before = await published(reported, as_of=_second_before(second_at))
    assert (before["revision"], value_of(before)) == (1, pytest.approx(1 / 5))


def _second_before(at: str) -> str:
    return (datetime.fromisoformat(at) - timedelta(microseconds=1)).isoformat()


async def test_a_batch_that_comes_while_a_set_is_published_is_not_in_it(reported: CountyUnderTest) -> None:
    made = await draft(reported)
    await late_machine(reported)
    await asyncio.to_thread(publish, reported.county, made, "tester", "as drafted")
    assert value_of(await published(reported)) == pytest.approx(1 / 5)
    next_one = await draft(reported)
    (listed,) = (s for s in (await reported.get("/figure-sets"))["items"] if s["id"] == next_one)
    assert listed["changed"] > 0


async def test_a_withdrawn_set_may_be_published_again_under_a_new_revision(reported: CountyUnderTest) -> None:
    county = reported.county
    made = await draft(reported)
    await asyncio.to_thread(publish, county, made, "tester", "first figures")
    reported.clock.advance(10)
    await asyncio.to_thread(withdraw, county, made, "tester", "a wrong perimeter")
    withdrawn_at = datetime.fromtimestamp(reported.clock.now_ns() / 1e9, UTC)
    assert (await published(reported))["figures"] == []
    reported.clock.advance(10)
    assert await asyncio.to_thread(publish, county, made, "tester", "it was right after all") == 2
    assert (await published(reported))["revision"] == 2
    (listed,) = (await reported.get("/figure-sets"))["items"]
    assert [(e["kind"], e["revision"]) for e in listed["events"]] == [
        ("published", 1),
        ("withdrawn", 1),
        ("published", 2),
    ]
    assert (await published(reported, as_of=(withdrawn_at - timedelta(seconds=5)).isoformat()))["revision"] == 1
    assert (await published(reported, as_of=(withdrawn_at + timedelta(seconds=5)).isoformat()))["set_id"] is None


async def test_what_cannot_be_published_is_refused(reported: CountyUnderTest) -> None:
    county = reported.county
    first, second = await draft(reported), await draft(reported)
    with pytest.raises(FigureSetError, match="needs a note"):
        publish(county, first, "tester", " ")
    with pytest.raises(FigureSetError, match="no such set"):
        publish(county, 99, "tester", "x")
    publish(county, first, "tester", "first figures")
    with pytest.raises(FigureSetError, match="published already"):
        publish(county, first, "tester", "again")
    with pytest.raises(FigureSetError, match="make a new one"):
        publish(county, second, "tester", "drafted before the other was published")
    with pytest.raises(FigureSetError, match="not what stands"):
        withdraw(county, second, "tester", "x")


@pytest.mark.parametrize("model", [FigureSet, FigureValue])
async def test_nobody_changes_a_set_not_even_in_the_database(reported: CountyUnderTest, model: Any) -> None:
    await draft(reported)
    engine = reported.county.engine
    with pytest.raises(DBAPIError, match="never changed"), writing(engine) as connection:
        connection.execute(update(model).values(digest="0" * 64))
    with pytest.raises(DBAPIError, match="never changed"), writing(engine) as connection:
        connection.execute(delete(model))


async def test_drafts_are_not_for_every_reader(reported: CountyUnderTest) -> None:
    made = await draft(reported)
    await reported.sign_in("viewer", name="viewer")
    assert (await reported.get("/figure-sets"))["items"] == []
    assert (await reported.client.get(f"/api/v1/figure-sets/{made}")).status_code == 404
    await reported.sign_in("enterprise", PLANT, name="plant")
    refused = await reported.client.get("/api/v1/published", params={"scope": "county", "period": PERIOD})
    assert refused.status_code == 403
