"""What people and monitors see of a gateway's starts and of its card: page, status, metrics, bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.bundle.archive import make
from gateway.clock import boot_id
from gateway.config import PlantConfig
from gateway.starts import Starts
from tests.gateway.county_stub import CountyStub
from tests.gateway.test_bundle import unpacked
from tests.gateway.test_disk_life import emmc
from tests.gateway.test_page_behaviour import exposed, open_site
from tests.waiting import until

Make = Callable[..., PlantConfig]


async def test_how_the_last_run_ended_is_on_the_page_in_the_status_and_counted(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = plant(county.url)
    data_dir = config.gateway.data_dir
    async with open_site(config, monkeypatch) as site:
        assert "这是第一次启动" in (await site.get("/?lang=zh"))[1]
    async with open_site(config, monkeypatch) as site:
        assert "stopped in order" in (await site.get("/?lang=en"))[1]
    Starts(data_dir).begin(1, boot_id())  # a run that ends without an order
    async with open_site(config, monkeypatch) as site:
        assert "the process alone ended" in (await site.get("/?lang=en"))[1]
        summary = await site.json("/api/status")
        assert [start["cause"] for start in summary["starts"]] == ["killed", "ordered", "ordered", "first"]
        await until(lambda: site.gateway.dating.is_known and not site.gateway.status.starts.is_undated)
        (told,) = (await site.json("/api/status"))["starts"][:1]
        assert abs(told["at_ns"] - site.gateway.status.started_ns()) < 60 * 10**9
    Starts(data_dir).begin(1, "another")
    async with open_site(config, monkeypatch) as site:
        zh, en = (await site.get("/?lang=zh"))[1], (await site.get("/?lang=en"))[1]
        assert ("机器停电或被复位" in zh, "the machine lost its power" in en) == (True, True)
        found = exposed((await site.get("/metrics"))[1])
        assert found['plantpulse_gateway_starts_total{cause="ordered"}'] == 3
        assert found['plantpulse_gateway_starts_total{cause="machine"}'] == 1


async def test_the_archive_of_a_gateway_that_does_not_run_tells_of_its_starts(tmp_path: Path) -> None:
    starts = Starts(tmp_path / "data")
    (tmp_path / "data").mkdir()
    starts.begin(5, "boot-a")
    (tmp_path / "credential").write_text("x-secret-x")
    config = tmp_path / "plant.yaml"
    config.write_text(
        "site: g-1\nuplink: {url: 'https://127.0.0.1:9', credential_file: credential}\ngateway: {data_dir: data}\n"
        "devices:\n  - {id: m-1, profile: eastron-sdm630, address: 'modbus-tcp://127.0.0.1:9', unit: 1}\n"
    )
    files = unpacked((await make(config, output=tmp_path / "b.tar.gz", environment={})).path)
    assert json.loads(files["starts.json"])["starts"] == [{"at_ns": 5, "boot": "boot-a", "cause": "first"}]


async def test_a_worn_card_is_on_the_page_in_the_metrics_and_a_trouble(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = plant(county.url)
    async with open_site(config, monkeypatch) as site:
        watch = site.gateway.disk_watch
        unknown = exposed((await site.get("/metrics"))[1])
        if not watch.life.is_known:
            assert not any("disk_life" in name or "pre_eol" in name for name in unknown), "unknown is not zero"
        assert unknown.get("plantpulse_gateway_disk_written_bytes_total", 0) >= 0
    root = emmc(tmp_path / "root", tmp_path, "0x09 0x02", "0x02")
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/io").write_text("rchar: 5\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n")
    monkeypatch.setattr("gateway.disk_life.DiskWatch.__init__.__defaults__", (root,))
    async with open_site(config, monkeypatch) as site:
        await until(lambda: "disk_worn" in {t.code for t in site.gateway.troubles.listed()})
        zh, en = (await site.get("/?lang=zh"))[1], (await site.get("/?lang=en"))[1]
        for page, words in ((zh, ("最多 90 %", "备用块已用 80 %", "4.0 KiB")), (en, ("at most 90 %", "mmcblk1"))):
            for word in words:
                assert word in page
        found = exposed((await site.get("/metrics"))[1])
        assert found["plantpulse_gateway_disk_life_used_percent"] == 90
        assert found["plantpulse_gateway_disk_pre_eol"] == 2
        assert found["plantpulse_gateway_disk_written_bytes_total"] == 4096
        disk = (await site.json("/api/status"))["disk"]
        assert (disk["device"], disk["life_used_percent"], disk["pre_eol"]) == ("mmcblk1", 90, "warning")
