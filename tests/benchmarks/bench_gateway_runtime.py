"""Group gateway: a whole gateway process under load, its memory, what it writes, and how it comes back."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from gateway.outbox import Outbox
from gateway.wire import DeviceRef, Ingest, decode
from metrics.record import DAY_S
from tests.benchmarks.bench_gateway import plant_minutes
from tests.benchmarks.gateway_rig import (
    WINDOW_S,
    GatewayProcess,
    modbus_devices,
    noting_county,
    opcua_device,
    peer,
    running,
    whole_windows,
)
from tests.benchmarks.measure import Line, at_most
from tests.faults.test_gateway_kill import kill_many
from tests.gateway.county_stub import CountyStub
from tests.gateway.scripted_gateway import DEVICES as SCRIPTED
from tests.waiting import until

VARIABLES = 1000
KILO, MEGA = 1_000, 1_000_000
DEVICES = 50
START_LIMIT_S = 2
"""From a kill to the first sample of the process that follows."""
DAYS = 7
MINUTES_A_DAY = DAY_S // 60


@asynccontextmanager
async def _folder() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="plantpulse-bench-") as folder:
        yield Path(folder)


# ---------------------------------------------------------------------------------------- CPU, memory


def end_to_end(*, long: bool) -> Iterator[Line]:
    """10 Modbus units of 100 registers and 1,000 OPC UA variables at 1 s, to the county's acknowledgement."""
    modbus_us, _ = asyncio.run(_load(6 if long else 3, with_opcua=False))
    yield at_most(
        "gateway.end_to_end", modbus_us, "us CPU a sample", 4, "the Modbus part: 10 units of 100 registers at 1 s"
    )
    both_us, peak = asyncio.run(_load(6 if long else 3, with_opcua=True))
    yield at_most("gateway.end_to_end", both_us, "us CPU a sample", 8, "with 1,000 OPC UA variables at 1 s, full sync")
    yield at_most("gateway.memory", peak / 2**20, "MB peak RSS", 100, "with that load")


async def _load(windows: int, *, with_opcua: bool) -> tuple[float, int]:
    """(CPU of the process a sample in us, peak RSS in bytes)."""
    async with _folder() as folder, noting_county() as county:
        with (
            peer("tests.benchmarks.modbus_peer") as modbus,
            peer("simulators.opcua_load", str(VARIABLES), "1.0") as opcua,
        ):
            devices = modbus_devices(modbus, folder, 10, 100)
            if with_opcua:
                devices.append(opcua_device(opcua, folder, VARIABLES))
            with running(GatewayProcess(folder, county.url, devices)) as process:
                samples, cpu_ns, _ = await whole_windows(process, county, windows)
                expected = windows * WINDOW_S * (1000 + (VARIABLES if with_opcua else 0))
                assert samples >= 0.9 * expected, (samples, expected, process.log())
                return cpu_ns / samples / KILO, process.peak_rss_bytes()


def modbus_50k(*, long: bool) -> Iterator[Line]:
    """50 units of 1,000 registers at 1 s over 10 connections."""
    share, samples_a_s = asyncio.run(_share(6 if long else 3, registers=1000))
    yield at_most(
        "gateway.modbus_50k", 100 * share, "% of a core", 15, f"{samples_a_s:,.0f} samples/s, 50 units, full sync"
    )


def idle(*, long: bool) -> Iterator[Line]:
    """50 devices of 40 registers polled at 1 s that say the same all the time."""
    share, _ = asyncio.run(_share(6 if long else 3, registers=40))
    yield at_most("gateway.idle", 100 * share, "% of a core", 2, "50 devices of 40 registers at 1 s")


async def _share(windows: int, *, registers: int) -> tuple[float, float]:
    """(Share of a core, samples a second) of 50 units."""
    async with _folder() as folder, noting_county() as county:
        with peer("tests.benchmarks.modbus_peer") as modbus:
            devices = modbus_devices(modbus, folder, DEVICES, registers)
            with running(GatewayProcess(folder, county.url, devices)) as process:
                samples, cpu_ns, _ = await whole_windows(process, county, windows)
                elapsed_s = windows * WINDOW_S
                assert samples >= 0.9 * DEVICES * registers * elapsed_s, (samples, process.log())
                return cpu_ns / 1e9 / elapsed_s, samples / elapsed_s


def card_bytes(*, long: bool) -> Iterator[Line]:
    """What 50 devices at the defaults send to the disk, for a day."""
    seconds = 600 if long else 120
    written = asyncio.run(_written(seconds))
    a_day = written * DAY_S / seconds / MEGA
    yield at_most("gateway.card_bytes", a_day, "MB a day", 250, f"50 devices, defaults, over {seconds} s")


async def _written(seconds: int) -> int:
    async with _folder() as folder, noting_county() as county:
        with peer("tests.benchmarks.modbus_peer") as modbus:
            devices = modbus_devices(modbus, folder, DEVICES, 40)
            with running(GatewayProcess(folder, county.url, devices, window_s=60)) as process:
                await until(lambda: county.taken, 200)
                before = process.write_bytes()
                await asyncio.sleep(seconds)
                return process.write_bytes() - before


# ---------------------------------------------------------------------------------------- drain


def drain(*, long: bool) -> Iterator[Line]:
    """A backlog of 50 devices and 7 days sent to a real county while live records go on; without `--long` a day of
    it, times seven."""
    days = DAYS if long else 1
    took_s, delays_s = asyncio.run(_drain(days))
    what = f"{days * MINUTES_A_DAY * DEVICES:,} records in {took_s:.0f} s to a county on loopback"
    yield at_most("gateway.drain", took_s * DAYS / days, "s for 504,000 records", 300, what)
    yield at_most("gateway.drain", float(np.percentile(delays_s, 95)), "s p95 delay of live records", 5, "meanwhile")


async def _drain(days: int) -> tuple[float, list[float]]:
    """(Seconds until nothing of the backlog waits, seconds from commit to acknowledgement of live batches)."""
    async with _folder() as folder:
        with (
            peer("tests.benchmarks.modbus_peer") as modbus,
            peer("tests.benchmarks.county_peer", str(folder / "county"), "1") as said,
        ):
            process = GatewayProcess(
                folder, f"http://127.0.0.1:{said['port']}", modbus_devices(modbus, folder, DEVICES, 40)
            )
            (folder / "credential").write_text(said["credentials"]["gw-0"], encoding="utf-8")
            path = folder / "data" / "outbox.sqlite3"
            last = _fill(path, days)
            began_s = time.monotonic()
            with running(process):
                await until(lambda: not _waiting(path, last), 1500, 0.5)
                took_s = time.monotonic() - began_s
                await asyncio.sleep(3)  # the last live batches are settled
            return took_s, _delays(path, last)


def _fill(path: Path, days: int) -> int:
    """An outbox that waits with that many days of 50 devices; the ordinal of its last batch."""
    outbox = Outbox(path, "gw-0")
    outbox.db.execute("PRAGMA synchronous=OFF")
    refs = [DeviceRef(f"unit-{n}") for n in range(DEVICES)]
    newest_s = int(time.time()) // 60 * 60 - 7200
    minutes = days * MINUTES_A_DAY
    patterns = [plant_minutes(DEVICES, 1, seed) for seed in range(64)]
    for minute in range(minutes):
        records = patterns[minute % len(patterns)]
        records.start[:] = newest_s - (minutes - minute) * 60
        outbox.commit([(refs, records)], b"", time.time_ns())
    last = outbox.batches.last_ordinal()
    outbox.db.execute("DELETE FROM checkpoint")
    outbox.close()
    return last


def _waiting(path: Path, last: int) -> int:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        found: int = db.execute("SELECT count(*) FROM batches WHERE state = 0 AND ordinal <= ?", (last,)).fetchone()[0]
    db.close()
    return found


def _delays(path: Path, last: int) -> list[float]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT settled_ns - created_ns FROM batches WHERE state = 1 AND ordinal > ?", (last,))
        found = [span_ns / 1e9 for (span_ns,) in rows]
    db.close()
    assert found, "no live record was delivered"
    return found


# ---------------------------------------------------------------------------------------- resume


def resume(*, long: bool) -> Iterator[Line]:
    """The worst of several: a county that comes back, a process that was killed."""
    times = 10 if long else 3
    away = asyncio.run(_county_back(times))
    yield at_most("gateway.resume", max(away), "s", 3, f"county back to the next batch, worst of {times}")
    for protocol, limit_s in (("modbus", 2), ("opcua", 3)):
        starts = asyncio.run(_killed(times, protocol))
        what = "10 units" if protocol == "modbus" else f"{VARIABLES:,} variables"
        yield at_most(
            "gateway.resume",
            max(starts),
            "s",
            limit_s,
            f"SIGKILL to the first new sample, {protocol}, {what}, worst of {times}",
        )


async def _county_back(times: int) -> list[float]:
    found = []
    async with _folder() as folder, noting_county() as county:
        with peer("tests.benchmarks.modbus_peer") as modbus:
            process = GatewayProcess(folder, county.url, modbus_devices(modbus, folder, 10, 40))
            with running(process):
                await county.until_window((int(time.time()) // WINDOW_S + 1) * WINDOW_S)
                for _ in range(times):
                    await county.stop()
                    await asyncio.sleep(WINDOW_S + 4)  # a window closes meanwhile: something waits
                    before = len(county.taken)
                    await county.start()
                    back_ns = time.time_ns()
                    await until(lambda: len(county.taken) > before, 60)  # noqa: B023 (awaited at once)
                    found.append((county.taken[before].at_ns - back_ns) / 1e9)
    return found


async def _killed(times: int, protocol: str) -> list[float]:
    """Seconds from SIGKILL, with the start that follows at once, to the first sample of the new process."""
    found = []
    async with _folder() as folder, noting_county() as county:
        with (
            peer("tests.benchmarks.modbus_peer") as modbus,
            peer("simulators.opcua_load", str(VARIABLES), "1.0") as opcua,
        ):
            if protocol == "modbus":
                devices = modbus_devices(modbus, folder, 10, 100)
            else:
                devices = [opcua_device(opcua, folder, VARIABLES)]
            process = GatewayProcess(folder, county.url, devices, with_status=True)
            process.start()
            try:
                await _first_sample_ns(process, 0)
                for _ in range(times):
                    await asyncio.sleep(3)
                    killed_ns = time.time_ns()
                    process.end(signal.SIGKILL)
                    process.start()
                    found.append((await _first_sample_ns(process, killed_ns) - killed_ns) / 1e9)
            finally:
                process.end()
    return found


async def _first_sample_ns(process: GatewayProcess, after_ns: int) -> int:
    await until(lambda: process.status().get("first_sample_ns", 0) > after_ns, 90)
    return int(process.status()["first_sample_ns"])


# ---------------------------------------------------------------------------------------- kills


def kill_loss(*, long: bool) -> Iterator[Line]:
    """SIGKILLs at random points of a gateway with a checkpoint every 5 s; without `--long` a tenth of the hundred."""
    kills = 100 if long else 10
    lost, doubled, unobserved_s = asyncio.run(_kills(kills))
    yield at_most("gateway.kill_loss", lost, "accepted records lost", 0, f"{kills} SIGKILLs")
    yield at_most("gateway.kill_loss", doubled, "records doubled", 0, f"{kills} SIGKILLs")
    limit_s = 5 + START_LIMIT_S
    yield at_most(
        "gateway.kill_loss", unobserved_s, "s unobserved a kill", limit_s, "mean, the start of the process included"
    )


async def _kills(kills: int) -> tuple[int, int, float]:
    """(Accepted records lost, records doubled, seconds unobserved a kill)."""
    async with _folder() as folder, CountyStub() as county:
        data = folder / "data"
        try:
            await kill_many(county, data, kills, seed=7, every_s=8.0, settings=("5", str(WINDOW_S)))
        except AssertionError as error:
            print(f"kill_loss: {error}", file=sys.stderr)
        with sqlite3.connect(f"file:{data / 'outbox.sqlite3'}?mode=ro", uri=True) as db:
            accepted = db.execute("SELECT sequence, body FROM batches").fetchall()
        db.close()
        arrived = {sequence: body for (_, sequence), body in county.bodies.items()}
        lost = sum(decode(body, Ingest).rows for sequence, body in accepted if arrived.get(sequence) != body)
        rows = [row for (device, _, _), row in county.rows.items() if device == SCRIPTED[0]]
        starts = [row["start"] for row in rows]
        whole_s = max(starts) - min(starts)
        observed_s = sum(row["observed"] for row in rows if min(starts) < row["start"] < max(starts)) / 10
        return lost, len(county.doubled), (whole_s - WINDOW_S - observed_s) / kills


BENCHMARKS = (end_to_end, modbus_50k, idle, card_bytes, drain, resume, kill_loss)
