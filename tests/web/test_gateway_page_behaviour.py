"""What a plant's electrician sees of the gateway's own page: in Chromium, on a phone and on a laptop."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from collectors.entries import DeviceEntry
from gateway.config import GatewayConfig, PlantConfig, UplinkConfig
from gateway.links import Link
from gateway.page import passwords
from gateway.page.config import PageConfig
from gateway.starts import Starts
from tests.gateway.county_stub import CREDENTIAL, CountyStub
from tests.gateway.refused import REASON, with_two_refused
from tests.gateway.running import gateway_of
from tests.gateway.scripted import ScriptedCollector, steady
from tests.gateway.test_disk_life import emmc
from tests.waiting import until
from tests.web.portal import WEB, Walk

PASSWORD = "a-long-example"
DEVICES = ("meter-main", "moulding-1", "切割机-3")


@pytest.fixture(autouse=True)
def log() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


async def test_the_page_is_readable_on_a_phone_and_a_laptop_in_both_languages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credential").write_text(CREDENTIAL)
    (tmp_path / "page-password").write_text(passwords.hashed(PASSWORD))

    def links(_: PlantConfig, clock: Callable[[], int]) -> list[Link]:
        found = [ScriptedCollector(steady(), clock, device_id=name) for name in DEVICES]
        found[1].plugged = False
        found[1].reconnect_s = 3600.0
        return [Link("modbus", collector) for collector in found]

    async with CountyStub() as county:
        page = PageConfig(listen="127.0.0.1:0", password_file=tmp_path / "page-password")
        config = PlantConfig(
            file=tmp_path / "plant.yaml",
            site="demo-plant",
            uplink=UplinkConfig(url=county.url, credential_file=tmp_path / "credential"),
            gateway=GatewayConfig(window_s=10, checkpoint_s=0.5, data_dir=tmp_path / "data", page=page),
            entries={"modbus": tuple(DeviceEntry(id=d, profile="p", address="modbus-tcp://h:1") for d in DEVICES)},
        )
        root = emmc(tmp_path / "root", tmp_path, "0x09 0x02", "0x02")
        monkeypatch.setattr("gateway.disk_life.DiskWatch.__init__.__defaults__", (root,))
        (tmp_path / "data").mkdir()
        for boot in ("boot-a", "boot-b", "boot-b"):
            Starts(tmp_path / "data").begin(10**18, boot)
        with_two_refused(tmp_path / "data", gateway="demo-plant")
        async with gateway_of(config, monkeypatch, links) as (gateway, _):
            await until(lambda: gateway.status.page_url and gateway.intake.samples["modbus"] > 100)
            await gateway.keeper.close_short(gateway.clock())
            await until(lambda: gateway.uplink.sent_rows)
            seen = await journey(gateway.status.page_url.rstrip("/"))
    for size in ("phone", "laptop"):
        found = seen[size]
        assert found["origins"] == [seen["base"]]
        assert found["complaints"] == []
        assert found["refusal"] == "密码不正确，请重试。"
        assert found["untouched"], "values change without the page being loaded again"
        assert found["retried"].startswith("Asked again now")
        for name, view in found["views"].items():
            assert view["overflow"] <= 0, (size, name)
            assert view["faults"] == [], (size, name)
            assert view["lang"] == ("zh-CN" if name.endswith("-zh") else "en")
        zh = ("未连接", "怎么办", "切割机-3", "县级原话", "最多 90 %", "机器停电或被复位")
        en = ("not connected", "Next step", REASON, "at most 90 %", "the machine lost its power")
        for language, words in (("zh", zh), ("en", en)):
            for word in words:
                assert word in found["views"][f"overview-{language}"]["text"]
        assert "kWh" in found["views"]["device-zh"]["text"]
        assert "quantity_span" in found["views"]["sent-en"]["text"]


async def journey(base: str) -> dict[str, Any]:
    given = {
        "base": base,
        "username": "",
        "password": PASSWORD,
        "device": "meter-main",
        "tag": "energy",
        "folder": os.environ.get("PLANTPULSE_PICTURES", ""),
    }
    process = await asyncio.create_subprocess_exec(
        *("node", "tests/browser/run.mjs", "gatewayPage", json.dumps(given)),
        cwd=WEB,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        return {"base": base, **await Walk("gatewayPage", process).result()}
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()
