"""The whole chain as programs: simulated plant, county service, gateway, each a process of its own.

What `make demo` runs and what the end-to-end tests take apart. Everything lives below one folder:
`plant/`, `county/`, `gateway/`, `register/`, `logs/`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np
import yaml

from gateway import wire
from simulators.county_client import PortalClient
from simulators.gateway_file import write_gateway_file
from simulators.history import history_span
from simulators.processes import Processes, Program, ProgramError, choose_port
from simulators.register_folder import write_register
from simulators.scenario import Scenario

PREFERRED_PORT: Final = 8800
USERNAME: Final = "demo"
BYTECODE: Final = Path("var/bytecode")
_READY_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.1
_ACKED: Final = 1
"""State of a batch in the gateway's outbox that the county has journalled."""
_RECORDS_METRIC: Final = "plantpulse_records_stored"


class Chain:
    """Starts, stops, kills and asks the programs of a scenario.

    Parameters: `folder` for all files; `port` wished for the portal; `gateway_settings`: further keys of
    the plant's file; `environment`: variables on top of this process's own.
    """

    def __init__(
        self,
        scenario: Scenario,
        folder: Path,
        *,
        port: int = PREFERRED_PORT,
        gateway_settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.scenario = scenario
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = choose_port(port)
        self.url = f"http://127.0.0.1:{self.port.number}"
        self.password = secrets.token_urlsafe(9)
        self.span = history_span(time.time())
        self.endpoints: dict[str, Any] = {}
        self.plant: Program | None = None
        self.county: Program | None = None
        self.gateway: Program | None = None
        self._gateway_settings = dict(gateway_settings or {})
        given = {**os.environ, **(environment or {})}
        given.setdefault("PLANTPULSE_DATA_DIR", str(self.folder / "county"))
        # a visitor watches today's figures come into being; the service's default is for a whole county
        given.setdefault("PLANTPULSE_TODAY_REFRESH_S", "5")
        given["PLANTPULSE_HOST"], given["PLANTPULSE_PORT"] = "127.0.0.1", str(self.port.number)
        given["PYTHONUNBUFFERED"] = "1"
        if given.get("PYTHONDONTWRITEBYTECODE") and not given.get("PYTHONPYCACHEPREFIX"):
            # Whoever keeps bytecode out of the checkout still wants a second start in seconds.
            given["PYTHONDONTWRITEBYTECODE"], given["PYTHONPYCACHEPREFIX"] = "", str(BYTECODE.resolve())
        self.processes = Processes(self.folder / "logs", given)

    @property
    def credential_file(self) -> Path:
        """The gateway's credential."""
        return self.folder / "gateway" / "credential"

    @property
    def config_file(self) -> Path:
        """The plant's file for the gateway."""
        return self.folder / "gateway" / "plant.yaml"

    @property
    def gateway_data(self) -> Path:
        """The gateway's own folder, with its outbox."""
        return self.folder / "gateway" / "data"

    @property
    def status_file(self) -> Path:
        """The summary that the gateway writes every 2 s."""
        return self.folder / "gateway" / "status.json"

    def portal(self) -> PortalClient:
        """A signed-in view of the county; an async context manager."""
        return PortalClient(self.url, USERNAME, self.password)

    # --- the plant ---------------------------------------------------------------------------

    async def start_plant(self) -> None:
        """Start every simulated machine and learn where they listen."""
        folder = self.folder / "plant"
        arguments = ["simulators.cli", "plant", "--folder", str(folder), "--scenario", self._scenario_file()]
        self.plant = await self.processes.start(
            "plant", [*arguments, "--ledger", str(folder / "ledger.json")], orders=True
        )
        assert self.plant.process.stdout is not None
        async with asyncio.timeout(_READY_TIMEOUT_S):
            line = await self.plant.process.stdout.readline()
        if not line:
            await self.plant.process.wait()
            raise self.plant.trouble()
        self.endpoints = json.loads(line)

    async def order(self, line: str) -> dict[str, Any]:
        """Give the plant an order (see `simulators.plant.COMMANDS`). Raises ProgramError when it is refused."""
        assert self.plant is not None, "the plant is not running"
        answer: dict[str, Any] = json.loads(await self.plant.order(line))
        if "error" in answer:
            raise ProgramError(str(answer["error"]))
        return answer

    async def ledger(self) -> dict[str, Any]:
        """What the plant served up to now, by machine id."""
        path = self.folder / "plant" / "ledger.json"
        await self.order(f"ledger {path}")
        pages: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return pages

    # --- the county --------------------------------------------------------------------------

    async def start_county(self) -> None:
        """Start the county service and wait until it is ready."""
        self.county = await self.processes.start("county", ["api.cli", "serve"])
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while time.monotonic() < deadline_s:
                if self.county.ended:
                    raise self.county.trouble()
                try:
                    async with session.get(f"{self.url}/healthz") as answer:
                        if answer.status == 200:
                            return
                except (aiohttp.ClientError, TimeoutError):
                    pass
                await asyncio.sleep(_POLL_S)
        raise ProgramError("县级服务 60 秒内未就绪 / the county service was not ready within 60 s")

    async def prepare_county(self) -> None:
        """A county from nothing, not yet running: register, a statistician's login, the gateway's credential."""
        register = self.folder / "register"
        write_register(register, self.scenario, bound_from=self.span.first_day, report_month=self.span.month)
        await self.processes.run("county-import", ["api.cli", "import", "--folder", str(register)])
        password_file = self.folder / "password"
        _write_secret(password_file, self.password)
        self.credential_file.parent.mkdir(parents=True, exist_ok=True)
        await self.processes.run(
            "county-user",
            ["api.cli", "user", "add", USERNAME, "--role", "statistician", "--password-file", str(password_file)],
        )
        await self.processes.run(
            "county-gateway",
            ["api.cli", "gateway", "add", self.scenario.gateway, "--credential-file", str(self.credential_file)],
        )

    async def start(self, *, close_short: bool = False) -> None:
        """Start everything from nothing, side by side where nothing waits for the other."""
        await asyncio.gather(self.start_plant(), self.prepare_county())
        self.write_gateway_config()
        await asyncio.gather(self.start_county(), self.start_gateway(close_short=close_short))

    async def records_stored(self) -> int:
        """Interval records in the county's store, live and history."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.get(f"{self.url}/metrics") as answer,
        ):
            for line in (await answer.text()).splitlines():
                name, _, value = line.rpartition(" ")
                if name == _RECORDS_METRIC:
                    return int(float(value))
        return 0

    async def stop_county(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the county service; SIGKILL as a power cut does."""
        assert self.county is not None, "the county is not running"
        await self.processes.stop_one(self.county, number)
        self.county = None

    # --- the gateway -------------------------------------------------------------------------

    def write_gateway_config(self) -> None:
        """Write the plant's file from where the machines listen now."""
        write_gateway_file(
            self.config_file,
            self.scenario,
            self.endpoints["entries"],
            uplink_url=self.url,
            credential_file=self.credential_file,
            settings={
                "window_s": self.scenario.window_s,
                "data_dir": str(self.gateway_data),
                "page": {"listen": "127.0.0.1:0"},
                **self._gateway_settings,
            },
        )

    async def start_gateway(self, *, close_short: bool = False) -> None:
        """Start the gateway over its file. `close_short`: on stop its open windows are closed and delivered."""
        arguments = ["gateway.cli", "run", "--config", str(self.config_file), "--status-file", str(self.status_file)]
        self.gateway = await self.processes.start(
            "gateway", [*arguments, *(["--close-short-on-stop"] if close_short else [])]
        )

    def gateway_status(self) -> dict[str, Any]:
        """The gateway's own summary of a moment ago; nothing while it has not written one."""
        try:
            status: dict[str, Any] = json.loads(self.status_file.read_text(encoding="utf-8"))
        except OSError:
            return {}
        return status

    async def stop_gateway(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the gateway; SIGKILL as a power cut does. Gives its exit code."""
        assert self.gateway is not None, "the gateway is not running"
        program, self.gateway = self.gateway, None
        return await self.processes.stop_one(program, number, timeout_s=30.0)

    def delivered_samples(self) -> dict[str, int]:
        """Good samples by protocol in the batches that the county has confirmed to the live gateway."""
        protocols = self.scenario.protocol_of_device()
        samples = dict.fromkeys(("opcua", "modbus", "mqtt"), 0)
        for batch in self.batches(_ACKED):
            good = wire.records_of(batch)
            totals = np.bincount(good.device, weights=good.good, minlength=len(batch.devices))
            for device, total in zip(batch.devices, totals, strict=True):
                if device.id in protocols:
                    samples[protocols[device.id]] += int(total)
        return samples

    def batches(self, state: int | None = None) -> list[wire.Ingest]:
        """The batches in the gateway's outbox, in order; of one state, or all."""
        path = self.gateway_data / "outbox.sqlite3"
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
            rows = database.execute(
                "SELECT body FROM batches WHERE ? IS NULL OR state = ? ORDER BY ordinal", (state, state)
            ).fetchall()
        return [wire.decode(body, wire.Ingest) for (body,) in rows]

    async def stop(self) -> None:
        """End everything. Safe twice."""
        await self.processes.stop()
        self.plant = self.county = self.gateway = None

    def _scenario_file(self) -> str:
        """The scenario as a file that the plant's process reads: what it runs is what this one holds."""
        path = self.folder / "scenario.yaml"
        path.write_text(
            yaml.safe_dump(self.scenario.model_dump(mode="json"), allow_unicode=True, sort_keys=False), encoding="utf-8"
        )
        return str(path)


def _write_secret(path: Path, secret: str) -> None:
    """Write a secret into a file that only its owner reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(secret + "\n", encoding="utf-8")
