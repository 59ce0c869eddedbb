"""The portal's files, the reference page, health and counters."""

from __future__ import annotations

import gzip
from pathlib import Path

from api.openapi import DOCUMENT, text
from tests.api.county_fixtures import NOW_S, CountyUnderTest, minutes, running_county


def build_portal(folder: Path) -> Path:
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>portal</title>", "utf-8")
    (folder / "assets" / "app-1a2b.js").write_text("export {}", "utf-8")
    (folder.parent / "secret.txt").write_text("secret", "utf-8")
    return folder


async def test_the_portal_is_served_and_page_addresses_fall_back_to_its_index(tmp_path: Path) -> None:
    async with running_county(tmp_path / "county", web_dir=build_portal(tmp_path / "web" / "dist")) as county:
        for path in ("/", "/enterprises/91330226MA22563400"):
            answer = await county.client.get(path)
            assert "portal" in answer.text
            assert answer.headers["cache-control"] == "no-cache"
        asset = await county.client.get("/assets/app-1a2b.js")
        assert "immutable" in asset.headers["cache-control"]
        assert "javascript" in asset.headers["content-type"]
        for path in ("/assets/gone.js", "/api/v1/nothing", "/favicon.ico"):
            answer = await county.client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "not-found"), path


async def test_a_browser_that_takes_gzip_gets_the_compressed_copy(tmp_path: Path) -> None:
    folder = build_portal(tmp_path / "web" / "dist")
    (folder / "assets" / "app-1a2b.js.gz").write_bytes(gzip.compress(b"export {}"))
    async with running_county(tmp_path / "county", web_dir=folder) as county:
        plain = await county.client.get("/assets/app-1a2b.js", headers={"accept-encoding": "identity"})
        packed = await county.client.get("/assets/app-1a2b.js", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["content-type"] == plain.headers["content-type"]
    assert packed.text == plain.text == "export {}"


async def test_nothing_outside_the_portals_folder_is_served(tmp_path: Path) -> None:
    async with running_county(tmp_path / "county", web_dir=build_portal(tmp_path / "web" / "dist")) as county:
        for path in ("/%2e%2e/secret.txt", "/..%2fsecret.txt", "/assets/%2e%2e/%2e%2e/secret.txt", "//etc/passwd"):
            answer = await county.client.get(path)
            assert "secret" not in answer.text or answer.status_code == 404
            assert "root:" not in answer.text


async def test_the_reference_page_lists_routes_and_loads_nothing_from_elsewhere(county: CountyUnderTest) -> None:
    page = (await county.client.get("/docs")).text
    assert "/api/v1/ingest" in page
    assert "http" not in page.replace("<!doctype html>", "")
    document = (await county.client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")


def test_the_stored_openapi_document_is_the_one_of_the_routes() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == text(), "run python -m api.openapi"


async def test_health_and_counters(county: CountyUnderTest) -> None:
    answer = await county.client.get("/healthz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    await county.gateway().send(["a"], minutes(0, NOW_S - 600, 3))
    await county.settle()
    lines = (await county.client.get("/metrics")).text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values["plantpulse_records_stored"] == "3.0"
    assert values["plantpulse_journal_position"] == values["plantpulse_store_applied_position"] == "1.0"
    assert values["plantpulse_days_dirty"] == "0.0"


async def test_the_plan_is_shown_as_printed_with_declared_baselines(county: CountyUnderTest) -> None:
    await county.sign_in()
    (plan,) = (await county.get("/plans"))["items"]
    assert len(plan["indicators"]) == 20
    assert [(b["value"], b["year"], b["scope_zh"]) for b in plan["baselines"]] == [
        (54, 2020, "县内重点工业企业"),
        (72, 2020, "县内重点工业企业"),
    ]
    rows = {i["id"]: i for i in plan["indicators"]}
    assert rows["integration-index"]["base_text"] == "87.1 (2019)"
    assert rows["energy-intensity"]["target_value"] is None
    assert "ALL-industry" in rows["gross-output"]["note"]
    assert (await county.get("/plans/ninghai-14-5")) == plan
