"""A gateway's life at its county, as processes: enrolled, revoked, enrolled again, replaced by other hardware."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from api.clock import SystemClock
from api.day_rows import read_content
from api.enrolment import make_code, revoke
from api.register.models import DeviceDay
from metrics.record import UNKNOWN_READING, Records
from simulators.ledger import Ledger
from simulators.modbus_server import ModbusStation
from simulators.physics import Machine
from tests.api.county_fixtures import CountyUnderTest, served_county
from tests.private_ca import PrivateCa, ServerTls
from tests.waiting import until

ROOT = Path(__file__).parents[2]
WINDOW_S = 10


async def command(*arguments: object) -> dict[str, Any]:
    """A command of the gateway as a process, its answer in JSON."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.cli", *map(str, arguments), "--json",
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, (out.decode(), err.decode())
    answer: dict[str, Any] = json.loads(out)
    return answer


@asynccontextmanager
async def gateway_running(config: Path) -> AsyncIterator[Callable[[], dict[str, Any]]]:
    """`run` as a process; gives a function that reads its status."""
    status = config.with_name("status.json")
    status.unlink(missing_ok=True)
    with config.with_name("gateway.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.cli", "run", "--config", str(config), "--status-file", str(status),
            cwd=ROOT, stderr=log,
        )  # fmt: skip
    try:
        yield lambda: json.loads(status.read_text()) if status.exists() else {}
        assert process.returncode is None, config.with_name("gateway.log").read_text()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


def codes(status: dict[str, Any]) -> set[str]:
    return {trouble["code"] for trouble in status.get("troubles", ())}


async def enrol(county: CountyUnderTest, tls: ServerTls, config: Path, *more: object) -> dict[str, Any]:
    code = make_code(county.county.engine, "gw-1", county.county.clock.now_ns())
    url = str(county.client.base_url).rstrip("/")
    return await command("enroll", url, code, "--config", config, "--ca-file", tls.ca_file, *more)


def faster(config: Path) -> None:
    """Short windows, no page: several gateways share this machine."""
    runtime = f"{{window_s: {WINDOW_S}, checkpoint_s: 0.5, page: {{listen: 'off'}}}}"
    config.write_text(config.read_text("utf-8") + f"gateway: {runtime}\n", "utf-8")


def starts(county: CountyUnderTest) -> list[int]:
    """Start of every counted row of the gateway, by time."""
    store, days = county.county.store, {}
    for batch in county.county.journal.after(0, 10_000):
        days |= dict(batch.days)
    found = [store.read_days([("gw-1", day)]) for day in sorted(days)]
    return sorted(np.concatenate([day.records.start for (day,) in found]).tolist()) if found else []


def energy(county: CountyUnderTest) -> tuple[int, int]:
    """What the day states settle of the meter, and what the readings say more than records and settlement together."""
    d = DeviceDay
    with county.county.engine.connect() as connection:
        found = connection.execute(select(d.day, d.content).where(d.gateway == "gw-1").order_by(d.day)).all()
    settled = sum(int(read_content(content).quantity_estimated.sum()) for _, content in found)
    records = Records.concat(day.records for row in found for day in county.county.store.read_days([("gw-1", row.day)]))
    first, *_, last = np.flatnonzero(records.reading != UNKNOWN_READING).tolist()
    moved = int(records.reading[last] - records.reading[first])
    return settled, moved - settled - int(records.quantity[first + 1 : last + 1].sum())


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_enrolled_revoked_enrolled_again_and_replaced(tmp_path: Path) -> None:
    tls = PrivateCa(tmp_path / "ca").server()
    station = ModbusStation({3: ("sdm630", Machine("meter-main", "meter-electricity"))}, Ledger())
    await station.start()
    old, new = tmp_path / "old" / "plant.yaml", tmp_path / "new" / "plant.yaml"
    try:
        async with served_county(tmp_path / "county", SystemClock(), tls) as county:
            journal = county.county.journal
            await enrol(county, tls, old, "--hardware", "old box")
            starter, entry = old.read_text("utf-8"), f"address: '{station.address}', unit: 3, asset: A-1"
            assert starter.count("\ndevices:\n") == 1
            entry = f"devices:\n  - {{id: meter-main, profile: eastron-sdm630, {entry}}}\n"
            old.write_text(starter.replace("devices:\n", entry), "utf-8")
            faster(old)
            async with gateway_running(old) as status:
                await until(lambda: journal.position >= 1, 40)
                await command("rotate", "--config", old)
                revoke(county.county.engine, "gw-1", county.county.clock.now_ns())
                await until(lambda: "credential_revoked" in codes(status()), 60)
                written, seen = status()["records_written"], journal.position
                await until(lambda: status()["records_written"] > written, 40)
                assert journal.position == seen, "it records and does not send"
                await enrol(county, tls, old, "--hardware", "old box")
                await until(lambda: journal.position > seen and status()["batches_unsent"] == 0, 40)
                await until(lambda: codes(status()) == set(), 20)

                got = await enrol(county, tls, new, "--hardware", "new box", "--replace")
                assert (got["devices"], got["config_written"]) == (["meter-main"], True)
                faster(new)
                assert (await command("check", "--config", new))["devices"][0]["address"] == station.address
                await until(lambda: "gateway_replaced" in codes(status()), 60)
                await until(lambda: county.county.ingest.after_hand_over["gw-1"] > 0, 40)
            async with gateway_running(new) as status:
                before = journal.position
                await until(lambda: journal.position > before and status().get("records_sent", 0) > 0, 60)
                assert "gateway_replaced" not in codes(status())
            await asyncio.to_thread(county.county.applier.wait_applied, journal.position, 10.0)
            counted = starts(county)
            assert len(counted) == len(set(counted)), "no minute is counted twice"
            assert await asyncio.to_thread(county.county.rollup.wait_clean, 20.0)
            settled, said = energy(county)
            assert settled > 0, "what the meter counted while nobody recorded it"
            assert said == 0, "and with it nothing is missing between the first and the last reading"
            epochs = {batch.epoch for batch in journal.after(0, 10_000)}
            assert len(epochs) == 2
            shown = county.county.credentials.of("gw-1")
            assert {grant.hardware for grant in shown if not grant.revoked} == {"old box", "new box"}
    finally:
        await station.stop()
