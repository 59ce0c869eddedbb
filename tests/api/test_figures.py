"""Figures of a register worked by hand, and their opening: value, bounds, coverage, counts, energy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.wire import Announce, Announcement
from metrics.record import DAY_S, Records, local_day_start_s
from tests.api.county_fixtures import (
    NOW_S,
    OTHER,
    PLANT,
    TODAY,
    CountyUnderTest,
    Gateway,
    HandClock,
    minutes,
    register_files,
    running_county,
)

WINDOW_S = 900
PER_DAY = DAY_S // WINDOW_S
TODAY_ID = "2026-11-18"
YESTERDAY_ID = "2026-11-17"


def day_records(device: int, day: int, count: int = PER_DAY, **columns: int) -> Records:
    return minutes(device, local_day_start_s(day), count, window_s=WINDOW_S, **columns)


async def figures(county: CountyUnderTest, **query: Any) -> dict[str, Any]:
    found = (await county.get("/indicators", **query))["figures"]
    return {f["definition"]["id"]: f for f in found}


async def announce(gateway: Gateway, **evidence: str) -> None:
    said = [
        Announcement(i, 1, device.replace("_", "-"), "x", "p", "machine", kind)  # type: ignore[arg-type]
        for i, (device, kind) in enumerate(evidence.items(), 1)
    ]
    answer = await gateway.post("announce", Announce(gateway.name, gateway.epoch, said))
    assert answer.status_code == 200


@pytest.fixture
async def worked(plant: CountyUnderTest) -> CountyUnderTest:
    """Yesterday: cnc-1 connected all day, moulding-1 watched all day and never connected, clamp-1 watched for half
    the day and never connected, main-1 counts 2 kWh a window, clamp-1 0.5 kWh."""
    gateway = plant.gateway()
    await announce(gateway, cnc_1="self-identified", moulding_1="native", clamp_1="retrofit", main_1="native")
    day = TODAY - 1
    devices = ["cnc-1", "moulding-1", "clamp-1", "main-1"]
    await gateway.send(
        devices,
        Records.concat(
            [
                day_records(0, day, running=4500),
                day_records(1, day, connected=0),
                day_records(2, day, PER_DAY // 2, connected=0),
                day_records(3, day, quantity=2000),
            ]
        ),
    )
    await plant.settle()
    await plant.sign_in()
    return plant


async def test_networking_rate_of_one_day_by_hand(worked: CountyUnderTest) -> None:
    rate = (await figures(worked, period=YESTERDAY_ID, look_back_days=1))["networking-rate"]
    # in scope: A1..A4 of the first plant, A1 of the second, whose register is not confirmed
    assert rate["counts"] == {
        "in_scope": 5,
        "shown": 1,  # cnc-1
        "unobserved": 2,  # clamp-1, watched for half of its bound time; the unconfirmed one
        "declared_unconnected": 1,  # the press
        "shown_not": 1,  # moulding-1
    }
    assert (rate["numerator"], rate["denominator"]) == (1, 5)
    assert rate["value"] == pytest.approx(1 / 5)
    assert (rate["lower"], rate["upper"]) == (pytest.approx(1 / 5), pytest.approx(3 / 5))
    assert rate["by_evidence"] == {"self-identified": 1}
    assert rate["time_weighted"] == pytest.approx(1 / 5)
    # the clamp's unwatched half and the unconfirmed one may have been connected
    assert rate["time_weighted_lower"] == pytest.approx(1 / 5)
    assert rate["time_weighted_upper"] == pytest.approx(2.5 / 5)
    assert rate["mean_of_enterprises"] == pytest.approx((1 / 4 + 0) / 2)
    # watched: cnc, moulding and the declared press whole, clamp half, the unconfirmed one not
    assert rate["coverage"] == pytest.approx(3.5 / 5)
    assert rate["status"] == "ok"
    assert (rate["definition"]["id"], rate["definition"]["version"]) == ("networking-rate", 1)
    assert {p["name"]: p["value"] for p in rate["definition"]["parameters"]} == {
        "look_back_days": 1,
        "watched_share": 0.9,
    }
    assert (rate["declared"]["value"], rate["declared"]["year"]) == (54, 2020)


async def test_one_proof_within_the_look_back_counts_and_one_before_it_does_not(worked: CountyUnderTest) -> None:
    today = (await figures(worked, period=TODAY_ID))["networking-rate"]
    assert today["counts"]["shown"] == 1
    assert today["status"] == "provisional"
    nobody_looked_today = (await figures(worked, period=TODAY_ID, look_back_days=1))["networking-rate"]
    assert (nobody_looked_today["status"], nobody_looked_today["value"]) == ("no-data", None)
    assert nobody_looked_today["upper"] == pytest.approx(4 / 5)


async def test_cnc_rate_by_hand(worked: CountyUnderTest) -> None:
    rate = (await figures(worked, period=YESTERDAY_ID))["cnc-rate"]
    # cnc and plc of the first plant, plc of the second; lathe and press are manual
    assert (rate["numerator"], rate["denominator"]) == (3, 5)
    assert (rate["value"], rate["lower"], rate["upper"]) == (3 / 5, 3 / 5, 3 / 5)
    assert rate["declared"]["value"] == 72
    own = (await figures(worked, scope=f"enterprise:{PLANT}", period=YESTERDAY_ID))["cnc-rate"]
    assert (own["numerator"], own["denominator"], own["declared"]) == (2, 4, None)


async def test_every_scope_counts_its_own(worked: CountyUnderTest) -> None:
    for scope, denominator in (
        (f"enterprise:{PLANT}", 4),
        (f"enterprise:{OTHER}", 1),
        ("industry:auto-moulds", 4),
        ("industry:materials", 0),
        ("area:nhedz-core", 4),
        ("zone:nhedz", 5),
        ("county", 5),
    ):
        rate = (await figures(worked, scope=scope, period=YESTERDAY_ID))["networking-rate"]
        assert rate["denominator"] == denominator, scope
    empty = (await figures(worked, scope="industry:materials", period=YESTERDAY_ID))["networking-rate"]
    assert (empty["status"], empty["value"], empty["upper"]) == ("no-denominator", None, None)


async def test_metered_energy_counts_the_main_meter_once(worked: CountyUnderTest) -> None:
    found = await figures(worked, period=YESTERDAY_ID)
    energy = found["metered-energy"]
    assert energy["value"] == PER_DAY * 2.0
    assert (energy["lower"], energy["upper"], energy["coverage"]) == (PER_DAY * 2.0, PER_DAY * 2.0, 1.0)
    assert found["metered-energy-tce"]["value"] == pytest.approx(PER_DAY * 2 * 0.1229 / 1000)
    month = (await figures(worked, period="2026-11"))["metered-energy"]
    assert month["value"] == PER_DAY * 2.0
    assert month["upper"] is None  # nobody metered the rest of the month so far, and no maximum is known
    # the main meter was bound since the start of the month, and read on one of those days
    elapsed_s = NOW_S + 2 - local_day_start_s(TODAY) + 17 * DAY_S
    assert month["coverage"] == pytest.approx(DAY_S / elapsed_s, rel=1e-3)


async def test_energy_per_value_added_of_the_enterprises_that_reported(tmp_path: Path) -> None:
    async with running_county(tmp_path / "county") as county:
        county.load(tmp_path / "register")
        gateway = county.gateway()
        october_1 = TODAY - 17 - 31
        for first in range(0, 31, 10):
            days = range(october_1 + first, min(october_1 + first + 10, october_1 + 31))
            records = Records.concat([day_records(0, day, quantity=1500) for day in days])
            await gateway.send(["main-1"], records)
        await county.settle()
        await county.sign_in()
        found = await figures(county, period="2026-10")
        kwh = 31 * PER_DAY * 1.5
        level = found["energy-intensity-level"]
        assert level["numerator"] == pytest.approx(kwh * 0.1229 / 1000, rel=1e-12)
        assert level["denominator"] == 46
        assert level["value"] == pytest.approx(kwh * 0.1229 / 1000 / 46, rel=1e-12)
        assert (level["unit"], level["status"], level["coverage"]) == ("tce/万元", "ok", 1.0)
        quarter = (await figures(county, period="2026-Q4"))["energy-intensity-level"]
        assert (quarter["value"], quarter["denominator"]) == (level["value"], 46)
        for period in ("2026-10-05", "2026-11"):
            none = (await figures(county, period=period))["energy-intensity-level"]
            assert (none["status"], none["value"]) == ("no-denominator", None)
        other = (await figures(county, scope=f"enterprise:{OTHER}", period="2026-10"))["energy-intensity-level"]
        assert other["status"] == "no-denominator"
        opened = await county.get("/indicators/energy-intensity-level/explain", period="2026-10")
        assert sum(r["quantity"] for r in opened["rows"] if r["counted"] == "numerator") == pytest.approx(kwh)
        assert "46.00 万元" in opened["formula_with_numbers"]


async def test_an_opened_rate_re_adds_to_the_figure(worked: CountyUnderTest) -> None:
    for name in ("networking-rate", "cnc-rate", "networking-rate@1"):
        for scope in ("county", f"enterprise:{PLANT}", "industry:stationery"):
            opened = await worked.get(f"/indicators/{name}/explain", scope=scope, period=YESTERDAY_ID)
            figure, rows = opened["figure"], opened["rows"]
            by_kind = {k: sum(r["counted"] == k for r in rows) for k in ("numerator", "unobserved", "denominator-only")}
            assert by_kind["numerator"] == figure["numerator"]
            assert sum(by_kind.values()) == figure["denominator"]
            assert by_kind["unobserved"] == figure["counts"]["unobserved"]
            assert (
                by_kind["denominator-only"] == figure["counts"]["declared_unconnected"] + figure["counts"]["shown_not"]
            )


async def test_an_opened_rate_shows_evidence_and_when_nobody_watched(worked: CountyUnderTest) -> None:
    opened = await worked.get("/indicators/networking-rate/explain", period=YESTERDAY_ID, look_back_days=1)
    rows = {(r["enterprise_id"], r["number"]): r for r in opened["rows"]}
    cnc = rows[PLANT, "A1"]
    assert (cnc["counted"], cnc["evidence"], cnc["device"]) == ("numerator", "self-identified", "cnc-1")
    assert (cnc["observed_s"], cnc["connected_s"], cnc["gaps"]) == (DAY_S, DAY_S, [])
    assert cnc["first_proof_at"] == "2026-11-16T16:00:00Z"
    assert cnc["last_proof_at"] == "2026-11-17T16:00:00Z"
    clamp = rows[PLANT, "A3"]
    assert (clamp["counted"], clamp["observed_s"]) == ("unobserved", DAY_S / 2)
    assert clamp["gaps"] == [["2026-11-17T04:00:00Z", "2026-11-17T16:00:00Z"]]
    press = rows[PLANT, "A4"]
    assert (press["counted"], press["evidence"], press["device"]) == ("denominator-only", "declared", None)
    assert rows[PLANT, "A5"]["counted"] == "excluded"
    assert rows[OTHER, "A1"]["counted"] == "unobserved"
    assert "5 台" in opened["sentence_zh"]
    assert opened["formula_with_numbers"].startswith("1 ÷ 5 = 20.0 %")


async def test_an_opened_energy_figure_names_what_is_contained_in_another_meter(worked: CountyUnderTest) -> None:
    opened = await worked.get("/indicators/metered-energy/explain", period=YESTERDAY_ID)
    rows = {r["number"]: r for r in opened["rows"]}
    assert rows["M1"]["counted"] == "numerator"
    assert rows["M2"]["counted"] == "excluded"
    assert sum(r["quantity"] for r in opened["rows"] if r["counted"] == "numerator") == opened["figure"]["numerator"]


async def test_the_same_inputs_give_the_same_digest_and_other_ones_another(worked: CountyUnderTest) -> None:
    async def digest() -> str:
        figure = (await figures(worked, period=YESTERDAY_ID))["networking-rate"]
        return str(figure["digest"])

    before = await digest()
    worked.clock.advance(3600)
    assert await digest() == before
    late = worked.gateway(epoch=9)
    await late.send(
        ["moulding-1"],
        minutes(0, local_day_start_s(TODAY - 1), 1, window_s=WINDOW_S, connected=0, part=1, observed=0, parts=3),
    )
    await worked.settle()
    assert await digest() != before


async def test_late_data_of_an_old_day_restates_it(worked: CountyUnderTest) -> None:
    late = worked.gateway(epoch=9)
    await late.send(["moulding-1"], day_records(0, TODAY - 20))
    await worked.settle()
    rate = (await figures(worked, period=YESTERDAY_ID))["networking-rate"]
    assert rate["counts"]["shown"] == 2


async def test_a_device_sent_twice_by_two_epochs_counts_once(worked: CountyUnderTest) -> None:
    again = worked.gateway(epoch=9)
    await again.send(["main-1"], day_records(0, TODAY - 1, quantity=2000))
    await worked.settle()
    assert (await figures(worked, period=YESTERDAY_ID))["metered-energy"]["value"] == PER_DAY * 2.0


async def test_a_binding_changed_later_moves_evidence_without_touching_a_record(
    worked: CountyUnderTest, tmp_path: Path
) -> None:
    files = register_files()
    files["bindings.csv"] = files["bindings.csv"].replace(
        f"gw-1,cnc-1,{PLANT},asset,A1,state,2026-01-01", f"gw-1,cnc-1,{PLANT},asset,A4,state,2026-01-01"
    )
    worked.load(tmp_path / "again", files)
    opened = await worked.get("/indicators/networking-rate/explain", period=YESTERDAY_ID)
    counted = {r["number"]: r["counted"] for r in opened["rows"] if r["enterprise_id"] == PLANT}
    assert counted["A4"] == "numerator"
    assert counted["A1"] != "numerator"


async def test_a_series_ends_today_and_names_days_without_data(worked: CountyUnderTest) -> None:
    series = await worked.get("/indicators/metered-energy/series", periods=3)
    assert [(p["period"]["id"], p["value"], p["status"]) for p in series["points"]] == [
        ("2026-11-16", None, "no-data"),
        (YESTERDAY_ID, PER_DAY * 2.0, "ok"),
        (TODAY_ID, None, "no-data"),
    ]
    months = await worked.get("/indicators/cnc-rate/series", kind="month", periods=2, end="2026-03")
    assert [p["period"]["id"] for p in months["points"]] == ["2026-02", "2026-03"]


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/indicators", {"period": "2026-13"}, 422),
        ("/indicators", {"period": "gestern"}, 422),
        ("/indicators", {"scope": "village:x"}, 422),
        ("/indicators", {"scope": "county:x"}, 422),
        ("/indicators", {"scope": "industry:none"}, 404),
        ("/indicators", {"scope": "zone:nhedz-core"}, 404),
        ("/indicators", {"look_back_days": "0"}, 422),
        ("/indicators/nothing/explain", {}, 404),
        ("/indicators/networking-rate@2/explain", {}, 404),
        ("/assets/a999", {}, 404),
        ("/enterprises/x", {}, 404),
        ("/plans/x", {}, 404),
        ("/nothing", {}, 404),
    ],
)
async def test_a_wrong_question_gets_a_problem(
    worked: CountyUnderTest, path: str, query: dict[str, str], status: int
) -> None:
    answer = await worked.client.get(f"/api/v1{path}", params=query)
    assert answer.status_code == status
    assert answer.json()["title_zh"]


async def test_pages_show_the_register_with_todays_sums(worked: CountyUnderTest) -> None:
    gateway = worked.gateway(epoch=12)
    records = minutes(0, local_day_start_s(TODAY), 8, window_s=WINDOW_S, running=9000, quantity=250)
    await gateway.send(["cnc-1", "main-1"], Records.concat([records, minutes(1, local_day_start_s(TODAY), 1)]))
    await worked.settle()
    shown = {(a["kind"], a["enterprise_id"], a["number"]): a for a in (await worked.get("/assets"))["items"]}
    assert len(shown) == 8
    cnc = shown["asset", PLANT, "A1"]
    assert (cnc["today_connected_s"], cnc["today_running_s"]) == (8 * WINDOW_S, 8 * WINDOW_S)
    assert cnc["evidence"] == "self-identified"
    assert shown["asset", PLANT, "A4"]["today_connected_s"] is None
    assert shown["meter", PLANT, "M1"]["today_quantity"] is None  # no quantity known is not zero
    assert shown["meter", PLANT, "M1"]["unit"] == "kWh"
    assert (await worked.get(f"/assets/{cnc['id']}")) == cnc
    found = (await worked.get("/assets", q="车床"))["items"]
    assert [a["number"] for a in found] == ["A3", "M2"]
    page = await worked.get("/enterprises", limit=1, offset=1)
    assert page["page"] == {"offset": 1, "limit": 1, "total": 2}
    plants = {e["id"]: e for e in (await worked.get("/enterprises"))["items"]}
    assert plants[PLANT]["networking_rate"] == 1 / 4
    assert (plants[PLANT]["assets"], plants[PLANT]["industry_zh"]) == (5, "汽车制造及模具")
    scopes = (await worked.get("/scopes"))["items"]
    assert {"kind": "industry", "id": "auto-moulds", "name_zh": "汽车制造及模具"} in scopes


async def test_a_restarted_county_answers_the_same(tmp_path: Path) -> None:
    clock = HandClock()
    async with running_county(tmp_path / "county", clock) as county:
        county.load(tmp_path / "register")
        await county.gateway().send(["cnc-1"], day_records(0, TODAY - 1))
        await county.settle()
        await county.sign_in()
        before = (await figures(county, period=YESTERDAY_ID))["networking-rate"]
    async with running_county(tmp_path / "county", clock) as county:
        await county.sign_in(name="other")
        after = (await figures(county, period=YESTERDAY_ID))["networking-rate"]
    assert (after["value"], after["digest"]) == (before["value"], before["digest"])
