"""The whole plant in one process: everything listens, obeys, and ends without leaving anything behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway import config as gateway_config
from simulators.gateway_file import write_gateway_file
from simulators.plant import PlantError, SimulatedPlant
from simulators.scenario import load

_TIMEOUT_S = 30.0


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[SimulatedPlant]:
    simulated = SimulatedPlant(load(), tmp_path / "plant")
    await simulated.start()
    try:
        yield simulated
    finally:
        await simulated.stop()
        await simulated.stop()  # safe twice


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_every_entry_listens_and_the_gateway_takes_the_file_made_of_it(
    plant: SimulatedPlant, tmp_path: Path
) -> None:
    addresses: dict[str, str] = plant.endpoints()["entries"]
    for address in set(addresses.values()):
        parts = urlsplit(address)
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.close()
        await writer.wait_closed()
    credential = tmp_path / "credential"
    credential.write_text("secret\n", encoding="utf-8")
    path = tmp_path / "plant.yaml"
    write_gateway_file(
        path,
        plant.scenario,
        addresses,
        uplink_url="http://127.0.0.1:8600",
        credential_file=credential,
        settings={"window_s": 10},
    )
    loaded = gateway_config.load(path)
    assert set(loaded.entry_ids) == set(addresses)
    assert {protocol: len(entries) for protocol, entries in loaded.entries.items()} == {
        "opcua": 3,
        "modbus": 5,
        "mqtt": 3,
    }
    assert loaded.site == "gw-demo"


async def test_orders_are_followed_and_mistakes_named(plant: SimulatedPlant, tmp_path: Path) -> None:
    await plant.obey("unplug moulding-1\n")
    await plant.obey("plug moulding-1")
    await plant.obey("unplug asm-1")
    await plant.obey("hold")
    assert all(machine.held for machine in plant.machines.values())
    await plant.obey("release")
    assert not any(machine.held for machine in plant.machines.values())
    await plant.obey(f"ledger {tmp_path / 'ledger.json'}")
    pages = json.loads((tmp_path / "ledger.json").read_text(encoding="utf-8"))
    assert [up for _, up in pages["moulding-1"]["links"]] == [False, True]
    assert [up for _, up in pages["asm-1"]["links"]] == [False]
    with pytest.raises(PlantError, match="cnc-1"):
        await plant.obey("unplug cnc-9")
    with pytest.raises(PlantError, match="unplug ID"):
        await plant.obey("explode")


async def test_the_program_says_where_it_listens_and_ends_with_everything_it_started(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators.cli", "plant", "--folder", str(tmp_path / "plant"), "--ledger", str(ledger),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            said = json.loads(await process.stdout.readline())
            assert said == json.loads((tmp_path / "plant" / "endpoints.json").read_text(encoding="utf-8"))
            assert is_running(said["broker_pid"])
            process.stdin.write(b"dance\nserved\n")
            assert "unknown order" in json.loads(await process.stdout.readline())["error"]
            assert json.loads(await process.stdout.readline())["served"]["edm-1"] >= 1
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert not is_running(said["broker_pid"])
    assert json.loads(ledger.read_text(encoding="utf-8"))["edm-1"]["served"] >= 1
