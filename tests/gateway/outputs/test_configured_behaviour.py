"""Outputs as somebody configures, changes and watches them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from collectors.strict_yaml import FileError
from gateway import applied
from gateway.bundle.secrets import secrets_of
from gateway.config import PlantConfig, load
from tests.gateway.county_stub import CREDENTIAL, CountyStub
from tests.gateway.outputs.plants import influx_output, one_machine, sending
from tests.gateway.running import gateway_of
from tests.servers_influx import INFLUX_2, AnsweringServer, Reply
from tests.waiting import until

Make = Callable[..., PlantConfig]
RUN_AND_LIST = """
import asyncio, json, os, signal, sys
from pathlib import Path
from gateway import runner
from gateway.config import load

async def main(path):
    running = asyncio.create_task(runner.run(load(path)))
    while not (path.parent / "data" / "applied.json").exists():
        await asyncio.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)
    await running

signal.alarm(60)
asyncio.run(main(Path(sys.argv[1])))
print(json.dumps(sorted(sys.modules)))
"""


def plant_file(folder: Path, url: str, devices: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> Path:
    (folder / "credential").write_text(CREDENTIAL)
    content = {
        "site": "g-1",
        "uplink": {"url": url, "credential_file": "credential"},
        "gateway": {"data_dir": "data", "page": {"listen": "127.0.0.1:0"}},
        "devices": devices,
        **({"outputs": outputs} if outputs else {}),
    }
    path = folder / "plant.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


METER = {"id": "meter", "profile": "eastron-sdm630", "address": "modbus-tcp://127.0.0.1:9", "unit": 1}
TOPIC = {"id": "edm", "profile": "json-machine", "address": "mqtt://127.0.0.1:9", "topic": "plant/edm"}
DATABASE = {"id": "historian", "kind": "influxdb", "url": "http://127.0.0.1:9", "bucket": "plant"}
BROKER = {"id": "broker", "kind": "mqtt", "address": "mqtt://127.0.0.1:9", "topic": "factory/raw"}


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [([], set()), ([DATABASE], {"influxdb_client"}), ([BROKER], {"paho"})],
    ids=["none", "influxdb", "mqtt"],
)
def test_a_running_gateway_imports_what_its_outputs_need_and_nothing_where_it_has_none(
    tmp_path: Path, outputs: list[dict[str, Any]], expected: set[str]
) -> None:
    path = plant_file(tmp_path, "http://127.0.0.1:9", [METER], outputs)
    command = [sys.executable, "-c", RUN_AND_LIST, str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert ran.returncode == 0, ran.stderr
    loaded = json.loads(ran.stdout.splitlines()[-1])
    assert {name for name in loaded if name in ("influxdb_client", "paho")} == expected
    of_outputs = {name for name in loaded if name.startswith("gateway.outputs.")} - {"gateway.outputs.config"}
    assert bool(of_outputs) == bool(outputs)


def test_paths_of_secrets_are_taken_from_the_files_folder(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    path = plant_file(tmp_path, "http://127.0.0.1:9", [METER], [{**DATABASE, "token_file": "token"}, BROKER])
    first, second = load(path).outputs
    assert (first.id, getattr(first, "token_file", None)) == ("historian", tmp_path / "token")
    assert (second.id, second.queue_rows) == ("broker", 100_000)


def test_an_output_without_its_library_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = plant_file(tmp_path, "http://127.0.0.1:9", [METER], [DATABASE])
    monkeypatch.setattr("gateway.outputs.config.importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileError, match=r"gateway-outputs\.txt"):
        load(path)


def test_a_changed_output_is_told_to_need_a_restart_and_shows_no_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    before = applied.describe(load(plant_file(tmp_path, "http://127.0.0.1:9", [METER], [DATABASE])), 1)
    changed = {**DATABASE, "bucket": "other", "token_file": "token"}
    after = applied.describe(load(plant_file(tmp_path, "http://127.0.0.1:9", [METER], [changed, BROKER])), 2)
    found = applied.differences(before, after)
    assert found.restart["outputs.historian.bucket"] == ("plant", "other")
    assert found.restart["outputs.broker.topic"] == (None, "factory/raw")
    assert not found.touched
    assert "secret" not in "\n".join(found.as_text())
    assert applied.differences(after, before).restart["outputs.broker.topic"] == ("factory/raw", None)


async def test_a_device_that_would_read_what_the_running_output_publishes_is_refused(
    county: CountyStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = plant_file(tmp_path, county.url, [METER], [BROKER])
    async with gateway_of(load(path), monkeypatch, lambda config, clock: []) as (gateway, _):
        echo = {**TOPIC, "topic": "factory/+/state"}
        plant_file(tmp_path, county.url, [METER, echo], [{**BROKER, "topic": "elsewhere"}])
        assert await gateway.reloader.reload() is None
        (trouble,) = [t for t in gateway.troubles.listed() if t.code == "config_refused"]
        assert "factory/+/state" in trouble.en
        plant_file(tmp_path, county.url, [METER, TOPIC], [{**BROKER, "topic": "elsewhere"}])
        found = await gateway.reloader.reload()
        assert found is not None
        assert found.added == ["edm"]
        assert "outputs.broker.topic" in next(t for t in gateway.troubles.listed() if t.code == "restart_needed").en


async def test_counters_and_troubles_of_an_output_are_on_page_metrics_and_status(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AnsweringServer(INFLUX_2) as database:
        database.poison = lambda line: "tag=parts" in line
        config = sending(plant(county.url), influx_output(f"http://127.0.0.1:{database.port}"))
        async with gateway_of(config, monkeypatch, one_machine()) as (gateway, _), aiohttp.ClientSession() as web:
            await until(lambda: gateway.status.page_url and gateway.status.summary()["outputs"][0]["dropped"])
            database.next_replies = [Reply(500, "no space left on device")] * 1000
            await until(lambda: gateway.status.summary()["outputs"][0]["failing"])

            async def text(path: str) -> str:
                async with web.get(gateway.status.page_url + path) as answer:
                    assert answer.status == 200
                    return await answer.text()

            shown = json.loads(await text("api/status"))["outputs"][0]
            assert shown["sent"] > 0
            assert shown["taken"] >= shown["sent"] + shown["dropped"]["refused"]
            metrics = await text("metrics")
            for line in (
                'plantpulse_gateway_output_dropped_total{output="historian",reason="refused"} ',
                'plantpulse_gateway_output_sent_total{output="historian"} ',
                'plantpulse_gateway_output_queued{output="historian"} ',
                'plantpulse_gateway_output_failing{output="historian"} 1',
                'plantpulse_gateway_trouble{subject="output/historian",code="output_server_failed"} 1',
            ):
                assert line in metrics
            for language, words in (("zh", "送不出去"), ("en", "cannot deliver")):
                page = await text(f"?lang={language}")
                assert words in page
                assert "refused" in page
                assert "no space left on device" in page
            async with web.get(gateway.status.page_url + "ready") as answer:
                assert not any("output" in reason["subject"] for reason in (await answer.json())["reasons"])


async def test_a_gateway_without_outputs_shows_nothing_of_them(
    county: CountyStub, plant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway_of(plant(county.url), monkeypatch, one_machine()) as (gateway, _):
        await until(lambda: gateway.status.page_url)
        async with aiohttp.ClientSession() as web, web.get(gateway.status.page_url + "?lang=en") as answer:
            assert "Outputs within the plant" not in await answer.text()
        assert gateway.status.summary()["outputs"] == []


def test_the_support_archive_knows_the_secrets_of_outputs(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token-of-the-plant")
    (tmp_path / "password").write_text("a-password-of-the-plant")
    outputs = [{**DATABASE, "token_file": "token"}, {**BROKER, "username": "u", "password_file": "password"}]
    tree = yaml.safe_load(plant_file(tmp_path, "http://127.0.0.1:9", [METER], outputs).read_text(encoding="utf-8"))
    assert {"a-token-of-the-plant", "a-password-of-the-plant"} <= set(secrets_of(tree, tmp_path, None, {}))
