"""A gateway process to be measured, and a county that only takes note: for the benchmarks of group gateway."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import yaml
from aiohttp import web

from gateway.wire import Accepted, Announce, Ingest, IngestAnswer, Live, decode, records_of
from tests.waiting import until

ROOT = Path(__file__).parents[2]
WINDOW_S = 10
UNITS_PER_CONNECTION = 5
_CREDENTIAL = "not-a-secret-example"


# ------------------------------------------------------------------------------------------ county


@dataclass(slots=True)
class Taken:
    """What one batch brought, and when."""

    at_ns: int
    rows: int
    good: dict[int, int]
    """Good and bad samples by the start of their window, s."""


@dataclass(slots=True)
class NotingCounty:
    """Answers as a county does and keeps nothing but `taken`."""

    port: int = 0
    taken: list[Taken] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, on the same port as before."""
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/api/v1/ingest", self._ingest)
        app.router.add_post("/api/v1/announce", self._announce)
        app.router.add_post("/api/v1/live", self._live)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2, auto_decompress=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def stop(self) -> None:
        """Refuse connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _ingest(self, request: web.Request) -> web.Response:
        message = decode(await request.read(), Ingest)
        records = records_of(message)
        good: dict[int, int] = {}
        counts = (records.good + records.bad).tolist()
        for start_s, count in zip(records.start.tolist(), counts, strict=True):
            good[start_s] = good.get(start_s, 0) + count
        self.taken.append(Taken(time.time_ns(), message.rows, good))
        answer = IngestAnswer("journalled", message.epoch, message.sequence, message.rows, [], 0, [], time.time_ns())
        return _json(answer)

    async def _announce(self, request: web.Request) -> web.Response:
        return _json(Accepted(len(decode(await request.read(), Announce).announcements), time.time_ns()))

    async def _live(self, request: web.Request) -> web.Response:
        return _json(Accepted(len(decode(await request.read(), Live).devices), time.time_ns()))

    def samples(self, start_s: int, end_s: int) -> int:
        """Samples of all windows that begin in `[start_s, end_s)`."""
        return sum(n for batch in self.taken for s, n in batch.good.items() if start_s <= s < end_s)

    async def until_window(self, start_s: int, timeout_s: float = 120.0) -> None:
        """Wait until the records of the window that begins at `start_s` are here."""
        await until(lambda: any(start_s in batch.good for batch in self.taken), timeout_s)


def _json(message: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(message), content_type="application/json")


@contextlib.asynccontextmanager
async def noting_county() -> AsyncIterator[NotingCounty]:
    """A county on loopback until the block ends."""
    county = NotingCounty()
    await county.start()
    try:
        yield county
    finally:
        await county.stop()


# ------------------------------------------------------------------------------------------ plants


def modbus_devices(port: int, folder: Path, units: int, registers: int, every_s: float = 1.0) -> list[dict[str, Any]]:
    """Entries of a plant's file: `units` of `registers` each, 5 to a connection, and their profile in `folder`.

    Each connection is an address of its own on loopback, so that the units of one never wait for another's.
    """
    points: list[dict[str, Any]] = [{"tag": f"r{at}", "unit": "1", "at": at, "type": "u16"} for at in range(registers)]
    profile = {
        "profile": f"block-{registers}",
        "protocol": "modbus",
        "device_class": "plc",
        "evidence": "native",
        "title_zh": "基准",
        "title_en": "benchmark",
        "source": {"document": "tests/benchmarks"},
        "liveness_s": 5,
        "every_s": every_s,
        "identification": False,
        "points": points,
    }
    (folder / f"block-{registers}.yaml").write_text(yaml.safe_dump(profile, allow_unicode=True), encoding="utf-8")
    return [
        {
            "id": f"unit-{n}",
            "profile": f"block-{registers}",
            "address": f"modbus-tcp://127.0.0.{1 + n // UNITS_PER_CONNECTION}:{port}",
            "unit": 1 + n % UNITS_PER_CONNECTION,
        }
        for n in range(units)
    ]


def opcua_device(port: int, folder: Path, variables: int) -> dict[str, Any]:
    """The entry of an OPC UA server with `variables` that all change once a second, and its profile in `folder`."""
    from simulators.opcua_load import NAMESPACE, name

    profile = {
        "profile": "load",
        "protocol": "opcua",
        "device_class": "machine",
        "evidence": "native",
        "title_zh": "基准",
        "title_en": "benchmark",
        "source": {"document": "tests/benchmarks"},
        "liveness_s": 10,
        "recognise": "nodes",
        "subscription": {"publishing_s": 0.5, "sampling_s": 0.5},
        "nodes": [{"tag": name(n), "node": f"nsu={NAMESPACE};s={name(n)}"} for n in range(variables)],
    }
    (folder / "load.yaml").write_text(yaml.safe_dump(profile, allow_unicode=True), encoding="utf-8")
    return {"id": "server", "profile": "load", "address": f"opc.tcp://127.0.0.1:{port}", "security": "none"}


@contextlib.contextmanager
def peer(module: str, *arguments: str) -> Iterator[Any]:
    """A server as a process of its own, `python -m module`: what its first line says, as JSON."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()


# ----------------------------------------------------------------------------------------- process


class GatewayProcess:
    """`plantpulse-gateway run` over a folder of its own, measured from outside."""

    def __init__(
        self,
        folder: Path,
        county_url: str,
        devices: Sequence[dict[str, Any]],
        *,
        with_status: bool = False,
        **settings: Any,
    ) -> None:
        self.folder = folder
        self._with_status = with_status
        (folder / "credential").write_text(_CREDENTIAL, encoding="utf-8")
        page = {"listen": "127.0.0.1:0"}
        given = {"data_dir": "data", "profile_folders": ["."], "window_s": WINDOW_S, "page": page, **settings}
        plant = {
            "site": "gw-0",
            "uplink": {"url": county_url, "credential_file": "credential"},
            "gateway": given,
            "devices": list(devices),
        }
        (folder / "plant.yaml").write_text(yaml.safe_dump(plant), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; nothing is waited for."""
        status = ["--status-file", str(self.folder / "status.json")] if self._with_status else []
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "run", "--config", str(self.folder / "plant.yaml"), *status],
                cwd=ROOT,
                stderr=log,
                stdout=log,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "start() comes first"
        return self._process.pid

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait()

    def cpu_ns(self) -> int:
        """CPU time of all its threads so far."""
        clock = ctypes.c_int()
        failed = ctypes.CDLL(None).clock_getcpuclockid(self.pid, ctypes.byref(clock))
        assert not failed, self.log()
        return time.clock_gettime_ns(clock.value)

    def peak_rss_bytes(self) -> int:
        """The largest resident set so far."""
        return self._proc("status", "VmHWM:") * 1024

    def write_bytes(self) -> int:
        """Bytes that it caused to be sent to the disk so far."""
        return self._proc("io", "write_bytes:")

    def _proc(self, name: str, key: str) -> int:
        for line in Path(f"/proc/{self.pid}/{name}").read_text(encoding="ascii").splitlines():
            if line.startswith(key):
                return int(line.split()[1])
        raise LookupError(key)

    def status(self) -> dict[str, Any]:
        """Its last summary; empty before the first."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "status.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found

    def log(self) -> str:
        """What it said."""
        return (self.folder / "log").read_text(encoding="utf-8")[-3000:]


@contextlib.contextmanager
def running(process: GatewayProcess) -> Iterator[GatewayProcess]:
    """The gateway until the block ends."""
    process.start()
    try:
        yield process
    finally:
        process.end()


async def whole_windows(process: GatewayProcess, county: NotingCounty, windows: int) -> tuple[int, int, int]:
    """Measure over so many whole windows after the first whole ones: (samples, CPU in ns, bytes written)."""
    first_s = (int(time.time()) // WINDOW_S + 1) * WINDOW_S
    await county.until_window(first_s)
    start_s = (int(time.time()) // WINDOW_S + 1) * WINDOW_S
    await asyncio.sleep(start_s - time.time())
    cpu_ns, written = process.cpu_ns(), process.write_bytes()
    end_s = start_s + windows * WINDOW_S
    await asyncio.sleep(end_s - time.time())
    cpu_ns, written = process.cpu_ns() - cpu_ns, process.write_bytes() - written
    await county.until_window(end_s - WINDOW_S)
    await asyncio.sleep(0.5)
    samples = county.samples(start_s, end_s)
    assert samples, process.log()
    return samples, cpu_ns, written
