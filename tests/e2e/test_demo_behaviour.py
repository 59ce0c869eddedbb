"""`make demo` as a person starts it: it ends by itself with a summary, or with Ctrl-C, and leaves nothing running."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from simulators.scenario import expected_cnc, expected_networking, load

pytestmark = pytest.mark.timeout(150)

RATE_KEYS = {"value", "lower", "upper", "coverage", "numerator", "denominator"}


async def start_demo(folder: Path, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators.demo", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PLANTPULSE_DEMO_DIR": str(folder), **environment}, start_new_session=True,
    )  # fmt: skip


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def pids_of(folder: Path) -> set[int]:
    """Every process whose command line or folder names the demo's folder."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            named = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in named:
            found.add(int(entry.name))
    return found - {os.getpid()}


async def test_a_timed_demo_ends_by_itself_with_the_summary_and_nothing_left_running(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process = await start_demo(folder, DEMO_SECONDS="8", PLANTPULSE_PORT=port)
        try:
            assert process.stdout is not None
            said = (await process.stdout.read()).decode()
            code = await process.wait()
        finally:
            await end(process)
    assert code == 0, said
    assert f"port {port} is taken" in said
    assert "登录 / login:" in said
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    scenario = load()
    assert set(summary["samples"]) == {"opcua", "modbus", "mqtt"}
    assert min(summary["samples"].values()) > 0
    assert summary["assets"] == len(scenario.assets)
    assert summary["records_stored"] > 10_000, "history and the live windows"
    for key, expected in (
        ("networking_rate", expected_networking(scenario)),
        ("cnc_rate", expected_cnc(scenario)),
    ):
        assert set(summary[key]) == RATE_KEYS
        assert (summary[key]["numerator"], summary[key]["denominator"]) == tuple(expected)
        assert summary[key]["lower"] <= summary[key]["value"] <= summary[key]["upper"]
    assert summary["metered_energy_kwh"]["value"] > 1000
    assert summary["energy_per_value_added"]["value"] > 0
    assert pids_of(folder) == set()


async def test_ctrl_c_ends_every_process(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    process = await start_demo(folder, PLANTPULSE_PORT="0")
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while "Ctrl-C" not in (line := (await process.stdout.readline()).decode()):
                assert line, "ended before it was ready"
        assert len(pids_of(folder)) >= 4
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            await process.stdout.read()
            assert await process.wait() == 0
    finally:
        await end(process)
    assert pids_of(folder) == set()
