"""Every scope, period and definition, worked by hand; what is kept, paged, and known as of a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.wire import Announce, Announcement
from metrics.record import Records, local_day_start_s
from tests.api.county_fixtures import (
    OTHER,
    PLANT,
    TODAY,
    CountyUnderTest,
    minutes,
    register_files,
    running_county,
)

WINDOW_S = 900
PER_DAY = 96
YESTERDAY = "2026-11-17"


def more_files() -> dict[str, str]:
    """The two plants with values, claims, a chain, a park, processes, water and official figures."""
    files = register_files()
    lines = files["assets.csv"].splitlines()
    said = {"A1": "30,yes", "A2": "10,yes", "A3": "5,no", "A4": ",", "A5": "2,no"}
    rows = [lines[0].strip() + ",original_value_wan,declared_networked"]
    for line in lines[1:]:
        number = line.split(",")[1]
        rows.append(line.strip() + "," + (said[number] if PLANT in line else "40,yes"))
    files["assets.csv"] = "\n".join(rows)
    files["meters.csv"] += f"\n{PLANT},W1,水表,water,import,"
    files["bindings.csv"] += f"\ngw-1,water-1,{PLANT},meter,W1,quantity,2026-01-01"
    files["bindings.csv"] += f"\ngw-1,cnc-1,{PLANT},asset,A1,quantity,2026-01-01"
    files["reports.csv"] = "credit_code,month,value_added_wan,output_wan\n" + "\n".join(
        f"{PLANT},2025-{month:02d},40,5000" for month in range(1, 13)
    )
    files["reports.csv"] += f"\n{PLANT},2026-10,46,180.5\n{PLANT},2026-11,50,200"
    files["groups.csv"] = "kind,group_id,name_zh\nchain,moulds,模具产业链\npark,south,南区园"
    files["memberships.csv"] = (
        "credit_code,kind,group_id,valid_from,valid_to\n"
        f"{PLANT},chain,moulds,2026-01-01,\n{OTHER},chain,moulds,2026-01-01,2026-06-30\n{OTHER},park,south,2026-01-01,"
    )
    files["processes.csv"] = (
        "credit_code,process_number,name_zh,key_process,controlled\n"
        f"{PLANT},P1,开模,yes,yes\n{PLANT},P2,注塑,yes,no\n{PLANT},P3,包装,no,no\n{OTHER},P1,冲压,yes,yes"
    )
    files["statistics.csv"] = (
        "indicator,year,value,source\n"
        "energy-growth,2025,-7.4,统计局\nvalue-added-growth,2025,6.6,统计局\n"
        "rd-intensity,2021,2.6,统计局\nrd-intensity,2022,2.7,统计局\nrd-intensity,2023,2.9,统计局"
    )
    return files


@pytest.fixture
async def county(tmp_path: Path) -> AsyncIterator[CountyUnderTest]:
    """Yesterday: cnc-1 ran for half of its time and counted 1 kWh a window, a quarter of it idle; main-1 2 kWh, water-1
    0.25 m³ a window."""
    async with running_county(tmp_path / "county") as running:
        running.load(tmp_path / "register", more_files())
        gateway = running.gateway()
        cnc = Announcement(1, 1, "cnc-1", "x", "p", "cnc", "native", carrier="electricity", unit="kWh")
        await gateway.post("announce", Announce("gw-1", gateway.epoch, [cnc]))
        start_s = local_day_start_s(TODAY - 1)
        half = {"running": 4500, "idle": 2250, "quantity": 1000, "quantity_idle": 250}
        records = [
            minutes(0, start_s, PER_DAY, window_s=WINDOW_S, **half),
            minutes(1, start_s, PER_DAY, window_s=WINDOW_S, quantity=2000),
            minutes(2, start_s, PER_DAY, window_s=WINDOW_S, quantity=250),
        ]
        await gateway.send(["cnc-1", "main-1", "water-1"], Records.concat(records))
        await running.settle()
        await running.sign_in()
        yield running


async def figure(county: CountyUnderTest, name: str, **query: Any) -> dict[str, Any]:
    (found,) = (await county.get("/indicators", **({"period": YESTERDAY, "ids": name} | query)))["figures"]
    return dict(found)


@pytest.mark.parametrize(
    ("name", "value", "lower", "upper", "numerator", "denominator"),
    [
        ("networking-rate", 1 / 5, 1 / 5, 4 / 5, 1, 5),
        ("networking-rate-digital", 1 / 3, 1 / 3, 1, 1, 3),
        ("networking-rate-value", 30 / 85, 0, 1, 30, 85),
        ("networking-rate-mean", (1 / 4 + 0) / 2, 1 / 8, (3 / 4 + 1) / 2, 1, 5),
        ("networking-rate-declared", 3 / 5, 3 / 5, 4 / 5, 3, 5),
        ("networking-gap", 3 / 5 - 1 / 5, 3 / 5 - 4 / 5, 4 / 5 - 1 / 5, 1, 5),
        ("cnc-rate-value", 80 / 85, 0, 80 / 85, 80, 85),
        ("cnc-rate-mean", (2 / 4 + 1) / 2, 3 / 4, 3 / 4, 3, 5),
        ("key-process-cnc-rate", (1 / 2 + 1) / 2, 3 / 4, 3 / 4, 2, 3),
        ("running-share", 4500 / 6750, 12 / 72, 1 - 6 / 72, 12, 18),
        ("idle-energy-share", 0.25, 0.25, None, PER_DAY * 0.25, PER_DAY * 1.0),
        ("metered-water", PER_DAY * 0.25, PER_DAY * 0.25, PER_DAY * 0.25, PER_DAY * 0.25, None),
    ],
)
async def test_definitions_by_hand(
    county: CountyUnderTest,
    name: str,
    value: float,
    lower: float,
    upper: float | None,
    numerator: float,
    denominator: float | None,
) -> None:
    found = await figure(county, name)
    assert found["value"] == pytest.approx(value)
    assert found["lower"] == pytest.approx(lower)
    assert found["upper"] == (None if upper is None else pytest.approx(upper))
    assert (found["numerator"], found["denominator"]) == (numerator, denominator)
    assert found["coverage"] is not None
    assert (found["definition"]["id"], found["definition"]["version"]) == (name, 1)


async def test_per_output_and_water_per_value_added_take_what_was_reported(county: CountyUnderTest) -> None:
    output = await figure(county, "energy-per-output", period="2026-11")
    assert output["value"] == pytest.approx(PER_DAY * 2 * 0.1229 / 1000 / 200)
    water = await figure(county, "water-per-value-added", period="2026-11")
    assert (water["value"], water["unit"]) == (pytest.approx(PER_DAY * 0.25 / 50), "m³/万元")
    change = await figure(county, "energy-intensity-change", period="2025")
    assert change["value"] == pytest.approx((1 - 0.074) / 1.066 - 1)
    assert (await figure(county, "energy-intensity-change", period="2025-12"))["status"] == "no-data"


async def test_every_definition_opens_and_its_rows_re_add(county: CountyUnderTest) -> None:
    listed = await county.get("/indicators", period=YESTERDAY, ids="all")
    assert len(listed["figures"]) >= 20
    for shown in listed["figures"]:
        name = shown["definition"]["id"]
        opened = await county.get(f"/indicators/{name}/explain", period=YESTERDAY)
        assert opened["sentence_zh"], name
        assert opened["sentence_en"], name
        assert sum(opened["by_counted"].values()) == opened["page"]["total"] == len(opened["rows"])
        if opened["figure"]["counts"] and name != "networking-gap":
            assert opened["by_counted"]["numerator"] == opened["figure"]["counts"]["shown"], name
        quantities = [r["quantity"] for r in opened["rows"] if r["counted"] == "numerator"]
        if quantities and all(q is not None for q in quantities) and shown["denominator"] is None:
            assert sum(quantities) == pytest.approx(shown["numerator"] or 0, rel=1e-9) or "tce" in name


async def test_opened_rows_are_turned_page_by_page_and_filtered(county: CountyUnderTest) -> None:
    whole = await county.get("/indicators/networking-rate/explain", period=YESTERDAY)
    pages = [
        await county.get("/indicators/networking-rate/explain", period=YESTERDAY, limit=2, offset=offset)
        for offset in (0, 2, 4)
    ]
    assert [row["id"] for page in pages for row in page["rows"]] == [row["id"] for row in whole["rows"]]
    assert {page["page"]["total"] for page in pages} == {6}
    unseen = await county.get("/indicators/networking-rate/explain", period=YESTERDAY, counted="unobserved")
    assert {row["counted"] for row in unseen["rows"]} == {"unobserved"}
    assert unseen["page"]["total"] == whole["by_counted"]["unobserved"]
    assert unseen["by_counted"] == whole["by_counted"]


async def test_scopes_beside_industries_and_zones(county: CountyUnderTest) -> None:
    for scope, denominator in (("chain:moulds", 4), ("park:south", 1), ("ladder:strong", 0), ("ladder:young", 4)):
        assert (await figure(county, "networking-rate", scope=scope))["denominator"] == denominator, scope
    # the other plant was in the chain until the end of June
    in_may = await figure(county, "networking-rate", scope="chain:moulds", period="2026-05")
    assert in_may["denominator"] == 5
    listed = {f"{s['kind']}:{s['id']}" for s in (await county.get("/scopes"))["items"]}
    assert {"chain:moulds", "park:south", "ladder:young"} <= listed
    assert "ladder:strong" not in listed


async def test_one_asset_is_a_scope(county: CountyUnderTest) -> None:
    ids = {(a["enterprise_id"], a["number"]): a["id"] for a in (await county.get("/assets"))["items"]}
    own = f"asset:{ids[PLANT, 'A1']}"
    assert (await figure(county, "networking-rate", scope=own))["value"] == 1
    assert (await figure(county, "networking-rate-time", scope=own))["value"] == 1
    assert (await figure(county, "metered-energy", scope=own))["value"] == PER_DAY * 1.0
    assert (await figure(county, "metered-energy", scope=f"asset:{ids[PLANT, 'M1']}"))["value"] == PER_DAY * 2.0
    level = await figure(county, "energy-intensity-level", scope=own, period="2026-11")
    assert level["status"] == "no-denominator"  # what the enterprise reports is not one machine's
    silent = await figure(county, "networking-rate", scope=f"asset:{ids[OTHER, 'A1']}")
    assert (silent["value"], silent["lower"], silent["upper"]) == (0, 0, 1)  # its register is not confirmed
    await county.sign_in("enterprise", OTHER, name="other")
    refused = await county.client.get("/api/v1/indicators", params={"scope": own})
    assert refused.status_code == 403


async def test_cumulative_periods_and_january_with_february(county: CountyUnderTest) -> None:
    gateway = county.gateway(epoch=77)
    for day, kwh in ((TODAY - 300, 3000), (TODAY - 270, 5000)):  # in January and in February
        records = minutes(0, local_day_start_s(day), PER_DAY, window_s=WINDOW_S, quantity=kwh)
        await gateway.send(["main-1"], records)
    await county.settle()
    both = await figure(county, "metered-energy", period="2026-01..2026-02")
    assert both["value"] == PER_DAY * 8.0
    assert (both["period"]["id"], both["period"]["kind"]) == ("2026-01..2026-02", "cumulative")
    year = await figure(county, "metered-energy", period="2026-01..2026-11")
    assert year["value"] == PER_DAY * 10.0
    assert year["value"] == (await figure(county, "metered-energy", period="2026"))["value"]
    months = [await figure(county, "metered-energy", period=f"2026-{m:02d}") for m in (1, 2, 11)]
    assert sum(m["value"] for m in months) == year["value"]
    wrong = await county.client.get("/api/v1/indicators", params={"period": "2026-02..2026-03"})
    assert wrong.status_code == 422


async def test_a_question_that_is_repeated_computes_nothing(county: CountyUnderTest) -> None:
    made = county.county.memory.made
    first = await county.get("/indicators", period=YESTERDAY, ids="all")
    before = dict(made)
    again = await county.get("/indicators", period=YESTERDAY, ids="all")
    assert again == first  # the time of computation too
    assert dict(made) == before
    other_day = minutes(0, local_day_start_s(TODAY - 60), 4, window_s=WINDOW_S)
    await county.gateway(epoch=5).send(["cnc-1"], other_day)
    await county.settle()
    assert await county.get("/indicators", period=YESTERDAY, ids="all") == first  # 60 days ago is no input of it
    in_look_back = minutes(0, local_day_start_s(TODAY - 9), 4, window_s=WINDOW_S)
    await county.gateway(epoch=6).send(["moulding-1"], in_look_back)
    await county.settle()
    changed = await figure(county, "networking-rate")
    assert changed["value"] == pytest.approx(2 / 5)
    old = next(f for f in first["figures"] if f["definition"]["id"] == "networking-rate")
    assert {k for k in old["inputs"] if old["inputs"][k] != changed["inputs"][k]} == {"day-states"}


async def test_what_was_known_at_a_time_is_answered_as_it_was(county: CountyUnderTest, tmp_path: Path) -> None:
    at = datetime.fromtimestamp(county.clock.now_ns() / 1e9, UTC).isoformat()
    first = await figure(county, "networking-rate")
    county.clock.advance(3600)
    await county.gateway(epoch=8).send(["moulding-1"], minutes(0, local_day_start_s(TODAY - 9), 4, window_s=WINDOW_S))
    await county.gateway(epoch=9).send(["cnc-1"], minutes(0, local_day_start_s(TODAY - 2), 4, window_s=WINDOW_S))
    files = more_files()
    files["assets.csv"] = files["assets.csv"].replace("A4,手动压机,press,manual,yes", "A4,手动压机,press,manual,no")
    county.load(tmp_path / "again", files)
    await county.settle()
    now = await figure(county, "networking-rate")
    assert (now["numerator"], now["denominator"]) == (2, 4)
    then = await figure(county, "networking-rate", as_of=at)
    assert (then["numerator"], then["denominator"]) == (1, 5)
    assert (then["digest"], then["inputs"]) == (first["digest"], first["inputs"])
    change = await county.get("/indicators/networking-rate/change", period=YESTERDAY, before_as_of=at)
    assert [(c["cause"], c["machines"]) for c in change["causes"]] == [("observed-shown", 1), ("reclassified-out", 1)]
    assert sum(c["value"] for c in change["causes"]) == pytest.approx(change["change"], rel=1e-12)
    future = await county.client.get("/api/v1/indicators", params={"as_of": "2027-01-01T00:00:00Z"})
    assert future.status_code == 422
    for text in ("yesterday", "2026-11-18T00:00:00"):
        wrong = await county.client.get("/api/v1/indicators", params={"as_of": text})
        assert wrong.status_code == 422


async def test_a_day_restated_twice_is_known_as_of_each_version(county: CountyUnderTest) -> None:
    seen: list[tuple[str, float]] = []
    for epoch in (21, 22):
        seen.append((_now(county), (await figure(county, "metered-energy"))["value"]))
        county.clock.advance(600)
        start_s = local_day_start_s(TODAY - 1)
        more = minutes(0, start_s, 4, window_s=WINDOW_S, part=epoch - 20, observed=0, connected=0, quantity=epoch)
        await county.gateway(epoch=epoch).send(["main-1"], more)
        await county.settle()
    seen.append((_now(county), (await figure(county, "metered-energy"))["value"]))
    assert len({value for _, value in seen}) == 3
    for at, value in seen:
        assert (await figure(county, "metered-energy", as_of=at))["value"] == value


def _now(county: CountyUnderTest) -> str:
    return datetime.fromtimestamp(county.clock.now_ns() / 1e9, UTC).isoformat()


async def test_energy_changes_are_told_by_industry(county: CountyUnderTest) -> None:
    october = minutes(0, local_day_start_s(TODAY - 30), PER_DAY, window_s=WINDOW_S, quantity=3000)
    await county.gateway(epoch=31).send(["main-1"], october)
    await county.settle()
    change = await county.get("/indicators/metered-energy/change", period="2026-11", before="2026-10")
    assert change["change"] == pytest.approx(PER_DAY * (2 - 3))
    (moulds,) = change["industries"]
    assert moulds["industry_id"] == "auto-moulds"
    assert moulds["activity"] + moulds["structure"] + moulds["intensity"] == pytest.approx(change["change"], rel=1e-9)
    assert moulds["activity"] > 0 > moulds["intensity"]  # more output, less energy
    rate = await county.get("/indicators/networking-rate/change", period=YESTERDAY)
    assert rate["before"]["period"]["id"] == "2026-11-16"
    assert rate["within"] + rate["mix"] == pytest.approx(1 / 5 - 0)


async def test_indicators_of_the_plan_stand_beside_their_targets(county: CountyUnderTest) -> None:
    rows = {r["indicator"]["id"]: r for r in (await county.get("/plans/ninghai-14-5/progress"))["items"]}
    assert len(rows) == 20
    research = rows["rd-intensity"]  # from 2.5 in 2020 to 3 in 2025: 2.8 is due in 2023
    assert (research["value"], research["year"], research["method"]) == (2.9, 2023, "linear")
    assert research["required"] == pytest.approx(2.8)
    assert (research["status"], research["completion"]) == ("正常", pytest.approx(0.4 / 0.3))
    assert research["projected_lower"] < research["projected"] < research["projected_upper"]
    assert 0 < research["chance"] < 1
    assert rows["energy-intensity"]["status"] == "无目标"
    assert rows["invention-patents"]["status"] == "无法判断"
    unknown = await county.client.get("/api/v1/plans/nothing/progress")
    assert unknown.status_code == 404


async def test_a_new_version_of_a_definition_counts_from_the_first_of_its_month(
    tmp_path: Path, county: CountyUnderTest
) -> None:
    from api.services.definitions import FOLDER, Definitions

    for path in FOLDER.glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text("utf-8"), "utf-8")
    text = (FOLDER / "networking-rate-1.yaml").read_text("utf-8")
    text = text.replace("version: 1", "version: 2").replace("value: 30", "value: 7") + "in_force_from: 2026-11-01\n"
    (tmp_path / "networking-rate-2.yaml").write_text(text, "utf-8")
    object.__setattr__(county.county, "definitions", Definitions(tmp_path))
    versions = {
        period: (await figure(county, "networking-rate", period=period))["definition"]
        for period in ("2026-10", "2026-10-31", "2026-11-01", "2026-11", "2026-Q4")
    }
    assert {period: d["version"] for period, d in versions.items()} == {
        "2026-10": 1,
        "2026-10-31": 1,
        "2026-11-01": 2,
        "2026-11": 2,
        "2026-Q4": 2,
    }
    assert {p["name"]: p["value"] for p in versions["2026-11"]["parameters"]}["look_back_days"] == 7
    by_both = await county.get("/indicators", period="2026-11", ids=["networking-rate@1", "networking-rate@2"])
    assert [f["definition"]["version"] for f in by_both["figures"]] == [1, 2]
    assert by_both["figures"][0]["digest"] != by_both["figures"][1]["digest"]
