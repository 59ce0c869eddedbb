from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from simulators.ledger import Ledger
from simulators.modbus_server import ModbusStation
from simulators.physics import Machine
from tests.gateway.county_stub import CREDENTIAL, CountyStub
from tests.waiting import until

CASES = Path(__file__).parent / "cases"
ROOT = Path(__file__).parents[2]


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


async def invoke_beside(*arguments: str) -> tuple[int, str, str]:
    """The command in a thread of its own, while this one goes on serving."""
    return await asyncio.to_thread(invoke, *arguments)


@pytest.fixture
async def station() -> AsyncIterator[ModbusStation]:
    made = ModbusStation({3: ("sdm630", Machine("meter-main", "meter-electricity"))}, Ledger())
    await made.start()
    yield made
    await made.stop()


def plant_file(folder: Path, address: str, url: str = "http://127.0.0.1:9", unit: int = 3) -> Path:
    (folder / "credential").write_text(CREDENTIAL)
    path = folder / "plant.yaml"
    path.write_text(
        f"""
site: g-1
uplink: {{url: "{url}", credential_file: credential}}
gateway: {{window_s: 10, checkpoint_s: 0.2, page: {{listen: '127.0.0.1:0'}}}}
devices:
  - {{id: meter-main, profile: eastron-sdm630, address: "{address}", unit: {unit}}}
"""
    )
    return path


def test_check_of_a_good_file(tmp_path: Path) -> None:
    path = plant_file(tmp_path, "modbus-tcp://127.0.0.1:502")
    code, out, _ = invoke("check", "--config", str(path))
    assert code == 0
    assert "no problem" in out
    assert "没有问题" in out
    code, out, _ = invoke("check", "--config", str(path), "--json")
    assert code == 0
    answer = json.loads(out)
    assert answer["ok"] is True
    assert answer["devices"][0] == {
        "id": "meter-main",
        "protocol": "modbus",
        "profile": "eastron-sdm630",
        "address": "modbus-tcp://127.0.0.1:502",
    }


def test_check_of_a_wrong_file() -> None:
    path = str(CASES / "twice_the_same_id" / "plant.yaml")
    code, out, err = invoke("check", "--config", path)
    assert code == 1
    assert out == ""
    assert "plant.yaml:5" in err
    code, out, _ = invoke("check", "--config", path, "--json")
    assert code == 1
    (problem,) = json.loads(out)["problems"]
    assert (problem["line"], problem["key"], problem["value"]) == (5, "devices[1].id", "meter-main")


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["run"],
        ["nonsense"],
        ["scan"],
        ["scan", "http://x"],
        ["read", "modbus-tcp://h:1"],
        ["browse", "mqtt://h"],
    ],
)
def test_a_wrong_call_ends_with_2(arguments: list[str]) -> None:
    assert invoke(*arguments)[0] == 2


def test_a_wrong_file_is_told_before_anything_is_opened(tmp_path: Path) -> None:
    code, _, err = invoke("run", "--config", str(CASES / "unknown_key" / "plant.yaml"))
    assert code == 1
    assert "gatewy" in err
    assert not (CASES / "unknown_key" / "plantpulse-data").exists()
    code, out, err = invoke("run", "--config", str(CASES / "unknown_key" / "plant.yaml"), "--json")
    assert (code, err, out.count("\n")) == (1, "", 1), "one object in one line, as all that run prints"
    assert [p["key"] for p in json.loads(out)["problems"]] == ["gatewy"]


async def test_a_program_that_runs_a_gateway_reads_its_log_as_json_from_standard_output(tmp_path: Path) -> None:
    path = plant_file(tmp_path, "modbus-tcp://127.0.0.1:9")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "run", "--config", str(path), "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    first = await asyncio.wait_for(process.stdout.readline(), 60)
    process.send_signal(signal.SIGTERM)
    rest, complaints = await asyncio.wait_for(process.communicate(), 60)
    lines = [json.loads(line) for line in (first + rest).splitlines()]
    assert {"event", "level", "timestamp"} <= lines[0].keys()
    assert all(isinstance(line, dict) for line in lines)
    assert (process.returncode, complaints) == (0, b"")


def test_profiles_are_found_by_brand_and_model() -> None:
    code, out, _ = invoke("profiles", "eastron", "SDM630", "--json")
    assert (code, [p["name"] for p in json.loads(out)]) == (0, ["eastron-sdm630"])
    code, out, said = invoke("profiles", "no-such-meter")
    assert (code, out) == (1, "")
    assert "no profile fits" in said


def test_profiles_are_listed() -> None:
    code, out, _ = invoke("profiles", "--json")
    listed: list[dict[str, Any]] = json.loads(out)
    assert code == 0
    assert all(set(p) == {"name", "class", "brand", "models"} for p in listed)
    assert "eastron-sdm630" in {p["name"] for p in listed}


async def test_scan_and_read_answer_in_the_agreed_form(station: ModbusStation) -> None:
    code, out, err = await invoke_beside("scan", station.address, "--seconds", "2", "--json")
    assert code == 0, err
    (found,) = json.loads(out)
    assert (found["address"], found["unit"], found["class"]) == (station.address, 3, "meter-electricity")
    assert set(found) == {"address", "unit", "class", "profile", "identity", "evidence"}
    assert set(found["identity"]) == {"manufacturer", "model", "serial"}
    code, out, err = await invoke_beside(
        *("read", station.address, "--profile", "eastron-sdm630", "--unit", "3", "--tag", "energy_import", "--json")
    )
    assert code == 0, err
    (reading,) = json.loads(out)
    assert set(reading) == {"tag", "value", "unit", "quality", "source_time", "received_time"}
    assert (reading["tag"], reading["unit"], reading["quality"], reading["source_time"]) == (
        "energy_import",
        "kWh",
        "good",
        None,
    )
    assert reading["received_time"].endswith("Z")


async def test_probe_says_which_device_answers_who_it_is_and_how_long_each_step_took(
    station: ModbusStation, tmp_path: Path
) -> None:
    code, out, err = await invoke_beside("probe", "--config", str(plant_file(tmp_path, station.address)), "--json")
    assert code == 0, err
    (result,) = json.loads(out)
    assert set(result) == {"id", "address", "profile", "ok", "steps", "devices", "troubles"}
    assert (result["ok"], result["troubles"]) == (True, [])
    assert [step["step"] for step in result["steps"]] == ["connect", "answer", "values"]
    assert all(0 <= step["seconds"] < 15 for step in result["steps"])
    (device,) = result["devices"]
    assert (device["id"], device["class"], device["evidence"]) == ("meter-main", "meter-electricity", "native")
    assert (device["identity"]["manufacturer"], device["identity"]["model"]) == ("Eastron", "SDM630")
    assert device["values"]["energy_import"] >= 0


@pytest.fixture
async def plc() -> AsyncIterator[ModbusStation]:
    machine = Machine("moulding-1", "moulding", manufacturer="示例机械", model="SM-160")
    made = ModbusStation({3: ("moulding-plc", machine)}, Ledger())
    await made.start()
    yield made
    await made.stop()


async def test_probe_shows_people_what_a_device_says_of_itself_and_its_units(
    plc: ModbusStation, tmp_path: Path
) -> None:
    path = plant_file(tmp_path, plc.address)
    path.write_text(path.read_text().replace("eastron-sdm630", "plc-moulding"))
    code, out, err = await invoke_beside("probe", "--config", str(path))
    assert code == 0, err
    assert "✓ meter-main" in out
    assert "示例机械 SM-160 (self-identified)" in out
    assert re.search(r"power [\d.]+ kW", out)
    assert re.search(r"连接 / connected \d+\.\d\d s", out)


async def test_probe_of_a_silent_unit_tells_cause_and_next_step_in_both_languages(
    station: ModbusStation, tmp_path: Path
) -> None:
    silent = plant_file(tmp_path, station.address, unit=9)
    code, out, _ = await invoke_beside("probe", "--config", str(silent), "--seconds", "1")
    assert code == 1
    assert "✗ meter-main" in out
    assert "检查电源" in out
    code, out, _ = await invoke_beside("probe", "--config", str(silent), "--seconds", "5", "--json")
    assert code == 1
    (result,) = json.loads(out)
    (trouble,) = result["troubles"]
    assert trouble["code"] == "modbus.unit-silent"
    assert all(trouble[key] for key in ("zh", "en", "next_zh", "next_en"))
    assert [step["seconds"] is None for step in result["steps"]] == [False, True, True]


async def test_probe_of_a_dead_address_says_so_at_its_entry_however_the_address_is_written(tmp_path: Path) -> None:
    path = plant_file(tmp_path, "modbus-tcp://127.0.0.1")
    code, out, _ = await invoke_beside("probe", "--config", str(path), "--seconds", "10")
    assert code == 1
    assert "modbus-tcp://127.0.0.1:502 拒绝连接" in out
    assert "检查端口号" in out
    assert "连接 / connected -" in out


async def test_probe_does_not_wait_for_a_link_that_has_failed(station: ModbusStation, tmp_path: Path) -> None:
    path = plant_file(tmp_path, station.address)
    path.write_text(path.read_text() + "  - {id: dead, profile: plc-moulding, address: 'modbus-tcp://127.0.0.1:1'}\n")
    async with asyncio.timeout(60):
        code, out, _ = await invoke_beside("probe", "--config", str(path), "--seconds", "600")
    assert code == 1
    assert "✓ meter-main" in out
    assert "✗ dead" in out


async def test_run_until_sigterm_delivers_everything(station: ModbusStation, tmp_path: Path) -> None:
    status = tmp_path / "status.json"
    async with CountyStub() as county:
        path = plant_file(tmp_path, station.address, county.url)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "gateway.cli", "run", "--config", str(path)),
            *("--close-short-on-stop", "--status-file", str(status)),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            await county.until(lambda: county.live and county.live[-1].devices[0].connected)
            await until(lambda: status.exists())
        finally:
            process.send_signal(signal.SIGTERM)
            _, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        summary = json.loads(status.read_text())
        assert summary["batches_unsent"] == 0
        assert summary["samples"]["modbus"] > 0
        assert summary["records_written"] == len(county.rows) > 0
        assert county.total("meter-main", "connected") > 0
