"""What county staff can count on when they open the page: in Chromium, over a real county service."""

from __future__ import annotations

import csv
from typing import Any

import pytest
import pytest_asyncio

from simulators.scenario import expected_cnc, expected_networking
from tests.web.portal import WEB, Portal

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST_VIEW_BYTES = 250_000
UNPLUGGED_WITHIN_S = 10.0
PLAN = WEB.parent / "plans" / "ninghai-14-5" / "indicators-2021-2025.csv"


def clean(seen: dict[str, Any], portal: Portal) -> None:
    """Nothing left the origin, and the browser had nothing to complain of (policy, errors, failed loads)."""
    assert seen["origins"] == [portal.chain.url]
    assert seen["complaints"] == []


async def test_login_refuses_a_wrong_password_and_leads_to_the_page_that_was_asked_for(portal: Portal) -> None:
    seen = await portal.journey("login")
    assert "用户名或密码不正确" in seen["refusal"]
    assert seen["arrived"] == "/plan"
    assert seen["origins"] == [portal.chain.url]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def overview(portal: Portal) -> dict[str, Any]:
    """What the overview says, looked at once."""
    return await portal.journey("overview")


async def test_overview_sets_rates_with_bounds_beside_the_declared_baselines(
    portal: Portal, overview: dict[str, Any]
) -> None:
    seen = overview
    clean(seen, portal)
    expected = {
        "networking-rate": (expected_networking(portal.scenario), "54 %"),
        "cnc-rate": (expected_cnc(portal.scenario), "72 %"),
    }
    for indicator, (rate, declared) in expected.items():
        card = seen["figures"][indicator]
        share = f"{100 * rate.numerator / rate.denominator:.1f}"
        assert card["value"] == share
        assert card["interval"].startswith(f"{share} % – ")
        assert card["coverage"].endswith(" %")
        assert card["counts"] == f"{rate.numerator} / {rate.denominator}"
        assert card["status"] == "暂定"
        for mark in ("申报值", declared, "2020", "重点工业企业", "计算公式未公布", "无 2025 年目标"):
            assert mark in card["declared"]
    energy = seen["figures"]["energy-intensity-level"]
    assert float(energy["value"]) > 0
    assert "tce/万元" in energy["interval"]
    assert energy["counts"].endswith(f" / {portal.scenario.monthly_report.value_added_wan:g}")
    assert seen["chart"] > 0


async def test_overview_prints_the_plan_s_twenty_indicators_as_they_are_printed(overview: dict[str, Any]) -> None:
    with PLAN.open(encoding="utf-8", newline="") as file:
        printed = [(row["id"], row["base_text"], row["target_text"]) for row in csv.DictReader(file)]
    assert len(printed) == 20
    assert [(row["id"], row["base"], row["target"]) for row in overview["plan"]] == printed


@pytest.mark.parametrize("indicator", ["networking-rate", "cnc-rate"])
async def test_explain_lists_as_many_machines_as_the_numerator_says(portal: Portal, indicator: str) -> None:
    seen = await portal.journey("explain", indicator=indicator)
    clean(seen, portal)
    assert seen["counted"] == int(seen["numerator"])
    assert seen["rows"] - seen["excluded"] == int(seen["denominator"])
    assert seen["numerator"] in seen["formula"]
    assert seen["definition"] == f"{indicator}@1"
    assert len(seen["digest"]) == 64
    assert f"explain={indicator}" in seen["link"]
    assert "explain" not in seen["closed"]
    assert seen["again"] == seen["numerator"]


async def test_a_machine_that_is_unplugged_turns_to_not_connected_within_10_s(portal: Portal) -> None:
    asset = next(a for a in portal.scenario.assets if a.shown_by == "cnc-1")
    device = portal.scenario.machine("cnc-1").device
    try:
        async with portal.walk("change", machine=asset.name_zh, becomes="not-connected") as walk:
            assert (await walk.line())["ready"]
            await portal.unplug(device)
            seen = await walk.result()
    finally:
        portal.unplugged.clear()
    clean(seen, portal)
    assert seen["words"] == "未连接"
    assert seen["seconds"] <= UNPLUGGED_WITHIN_S
    assert seen["feed"].startswith("实时")


@pytest.mark.long
async def test_machines_of_a_silent_gateway_are_unknown_and_never_not_connected(portal: Portal) -> None:
    asset = next(a for a in portal.scenario.assets if a.shown_by == "cnc-2")
    try:
        async with portal.walk(
            "change", machine=asset.name_zh, becomes="gateway-silent", never="not-connected"
        ) as walk:
            assert (await walk.line())["ready"]
            portal.silent = True
            seen = await walk.result()
    finally:
        portal.silent = False
    assert seen["words"] == "网关失联"
    assert not seen["passed"]


async def test_every_page_is_free_of_serious_faults_of_accessibility(portal: Portal) -> None:
    seen = await portal.journey("accessible")
    clean(seen, portal)
    assert len(seen["found"]) == 7
    assert {page: faults for page, faults in seen["found"].items() if faults} == {}


async def test_no_page_scrolls_sideways_on_a_telephone(portal: Portal) -> None:
    seen = await portal.journey("narrow")
    clean(seen, portal)
    assert {page: width for page, width in seen["widths"].items() if width > seen["viewport"]} == {}


async def test_figures_can_be_opened_and_closed_with_the_keyboard_alone(portal: Portal) -> None:
    seen = await portal.journey("keyboard")
    assert seen["presses"] <= 20
    assert "headline" in seen["back"], "the focus returns to the figure that was opened"


async def test_the_first_view_stays_within_its_weight(portal: Portal) -> None:
    seen = await portal.journey("weight")
    assert 0 < seen["before_charts"] <= FIRST_VIEW_BYTES
    assert seen["charts"] > 0, "the chart's code came after the first view"
