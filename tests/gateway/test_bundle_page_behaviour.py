"""A gateway whose page has a password: the support archive has its status and metrics, and no secret."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from gateway.bundle.archive import make
from gateway.config import PlantConfig, load
from gateway.links import Link
from gateway.page import passwords, token
from tests.gateway.county_stub import CREDENTIAL, CountyStub
from tests.gateway.running import gateway_of
from tests.gateway.scripted import ScriptedCollector, steady
from tests.gateway.test_bundle import unpacked
from tests.waiting import until

PASSWORD = "a-long-example"


def plant_file(folder: Path, url: str, port: int) -> Path:
    (folder / "credential").write_text(CREDENTIAL)
    (folder / "page-password").write_text(passwords.hashed(PASSWORD))
    path = folder / "plant.yaml"
    path.write_text(
        f"site: g-1\nuplink: {{url: '{url}', credential_file: credential}}\n"
        f"gateway:\n  data_dir: data\n  page: {{listen: '127.0.0.1:{port}', password_file: page-password}}\n"
        "devices:\n  - {id: m-1, profile: eastron-sdm630, address: 'modbus-tcp://127.0.0.1:9', unit: 1}\n"
    )
    return path


def links(_: PlantConfig, clock: Callable[[], int]) -> list[Link]:
    return [Link("modbus", ScriptedCollector(steady(), clock))]


async def asked(port: int, shown: str) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/api/status", headers={"Authorization": f"Bearer {shown}"}) as response,
    ):
        return response.status


async def test_the_archive_holds_status_and_metrics_of_a_page_with_a_password(
    county: CountyStub, tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = plant_file(tmp_path, county.url, free_port)
    async with gateway_of(load(config), monkeypatch, links) as (gateway, _):
        await until(lambda: gateway.status.page_url and gateway.intake.samples["modbus"])
        own = token.kept(tmp_path / "data")
        assert stat.S_IMODE((tmp_path / "data" / token.FILE).stat().st_mode) == 0o600
        log = tmp_path / "gateway.log"
        log.write_text(f"somebody wrote {own} down\n")
        made = await make(config, output=tmp_path / "b.tar.gz", logs=[log], environment={})
        files = unpacked(made.path)
        assert json.loads(files["page/status.json"])["gateway"] == "g-1"
        assert b"plantpulse_gateway_samples_total" in files["page/metrics.txt"]
        assert "page/missing.txt" not in files
        whole = b"\n".join(files.values())
        for secret in (own, PASSWORD, CREDENTIAL, (tmp_path / "page-password").read_text().strip()):
            assert len(secret) > 8
            assert secret.encode() not in whole
        assert [await asked(free_port, shown) for shown in (own, own[:-1], "", PASSWORD)] == [200, 401, 401, 401]
    async with gateway_of(load(config), monkeypatch, links) as (gateway, _):
        await until(lambda: gateway.status.page_url)
        assert await asked(free_port, own) == 401, "good until the page ends, no longer"


async def test_who_cannot_read_the_token_is_told_what_is_missing_and_why(
    county: CountyStub, tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = plant_file(tmp_path, county.url, free_port)
    async with gateway_of(load(config), monkeypatch, links) as (gateway, _):
        await until(lambda: gateway.status.page_url)
        await asyncio.to_thread(os.remove, tmp_path / "data" / token.FILE)
        files = unpacked((await make(config, output=tmp_path / "b.tar.gz", environment={})).path)
        assert "page/status.json" not in files
        assert "page-token" in files["page/missing.txt"].decode()
        assert json.loads(files["page/health.json"])["status"] == "alive"


async def test_a_disk_that_takes_no_token_keeps_no_page_from_being_served(
    county: CountyStub, tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = plant_file(tmp_path, county.url, free_port)
    (tmp_path / "data" / token.FILE / "in-the-way").mkdir(parents=True)
    async with gateway_of(load(config), monkeypatch, links) as (gateway, _):
        await until(lambda: gateway.status.page_url)
        assert await asked(free_port, "") == 401
