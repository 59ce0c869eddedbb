"""The USB adapter of a line is pulled and plugged again under a running gateway: real time, the real command."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import msgspec
import pytest

from simulators.ledger import Ledger
from simulators.modbus_server import ModbusStation
from simulators.physics import Machine

ROOT = Path(__file__).parents[2]
PROMISE_S = 10.0
START_S = 60.0
"""The command's imports take their time on a loaded machine."""


def says(status: Path) -> bool | None:
    """Whether the gateway judges its device connected; None before it says anything."""
    if not status.exists():
        return None
    return bool(msgspec.json.decode(status.read_bytes())["devices"][0]["connected"])


async def shows(status: Path, connected: bool, within_s: float) -> float:
    """Seconds until the gateway's status says so."""
    started_s = time.monotonic()
    async with asyncio.timeout(within_s):
        while True:
            if says(status) is connected:
                return time.monotonic() - started_s
            await asyncio.sleep(0.05)


@pytest.mark.long
async def test_a_pulled_adapter_shows_within_ten_seconds_and_so_does_a_plugged_one(tmp_path: Path) -> None:
    station = ModbusStation(
        {3: ("sdm630", Machine("meter-main", "meter-electricity"))},
        Ledger(),
        framing="serial",
        path=tmp_path / "usb-adapter",
    )
    await station.start()
    status = tmp_path / "status.json"
    (tmp_path / "credential").write_text("unused")
    (tmp_path / "plant.yaml").write_text(
        f"""
site: g-1
uplink: {{url: "http://127.0.0.1:9", credential_file: credential}}
gateway: {{data_dir: data}}
devices:
  - {{id: meter-main, profile: eastron-sdm630, address: "{station.address}", unit: 3}}
"""
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway.cli", "run", "--config", str(tmp_path / "plant.yaml"), "--status-file", str(status)),
        cwd=ROOT,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await shows(status, connected=True, within_s=START_S)
        await station.stop()
        await shows(status, connected=False, within_s=PROMISE_S)
        await station.start()
        assert await shows(status, connected=True, within_s=PROMISE_S) < PROMISE_S
    finally:
        process.terminate()
        await process.wait()
        await station.stop()
