"""The portal in Chromium over a real county: what the tests of the page start, feed and ask."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway import wire
from simulators.chain import USERNAME, Chain
from simulators.county_client import GatewayClient
from simulators.history import make_history, send_history
from simulators.scenario import Scenario, load

WEB: Final = Path(__file__).parents[2] / "api" / "web"
_JOURNEY_TIMEOUT_S: Final = 60.0
_PRESENCE_PERIOD_S: Final = 1.0
_NS: Final = 1_000_000_000


class JourneyError(AssertionError):
    """A journey could not be made: what Node said."""


@dataclass
class Portal:
    """A county with last month's records, a gateway that reports presence, and the page over it."""

    chain: Chain
    client: GatewayClient
    unplugged: set[str] = field(default_factory=set)
    """Device ids that the gateway reports as not connected."""
    silent: bool = False
    """Whether the gateway reports nothing at all."""

    @property
    def scenario(self) -> Scenario:
        """The plant."""
        return self.chain.scenario

    async def report_presence(self) -> None:
        """Report presence for as long as the task lives."""
        while True:
            if not self.silent:
                await self.client.live(self._presence())
            await asyncio.sleep(_PRESENCE_PERIOD_S)

    def _presence(self) -> wire.Live:
        now_ns = time.time_ns()
        devices = [
            wire.DevicePresence(m.device, False, "unknown", now_ns, now_ns - 7 * _NS)
            if m.device in self.unplugged
            else wire.DevicePresence(m.device, True, "running", now_ns - 600 * _NS, now_ns)
            for m in self.scenario.machines
        ]
        return wire.Live(self.scenario.gateway, now_ns, devices)

    async def unplug(self, device: str) -> None:
        """The gateway finds that a device no longer answers, and says so at once."""
        self.unplugged.add(device)
        await self.client.live(self._presence())

    async def journey(self, name: str, **settings: Any) -> dict[str, Any]:
        """Make a journey of `api/web/tests/browser/journeys.mjs` and give what it saw."""
        async with self.walk(name, **settings) as walk:
            return await walk.result()

    @asynccontextmanager
    async def walk(self, name: str, **settings: Any) -> AsyncIterator[Walk]:
        """A journey that speaks on its way. It is ended with the block."""
        given = {"base": self.chain.url, "username": USERNAME, "password": self.chain.password, **settings}
        process = await asyncio.create_subprocess_exec(
            "node",
            "tests/browser/run.mjs",
            name,
            json.dumps(given),
            cwd=WEB,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield Walk(name, process)
        finally:
            if process.returncode is None:
                process.terminate()  # Node closes its browser before it ends
            await process.communicate()


@dataclass
class Walk:
    """A journey under way."""

    name: str
    process: asyncio.subprocess.Process

    async def line(self) -> dict[str, Any]:
        """The next line that the journey says. Raises JourneyError when it ended without one."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        async with asyncio.timeout(_JOURNEY_TIMEOUT_S):
            text = await self.process.stdout.readline()
        if not text:
            raise JourneyError(f"{self.name}: {(await self.process.stderr.read()).decode(errors='replace')}")
        said: dict[str, Any] = json.loads(text)
        return said

    async def result(self) -> dict[str, Any]:
        """What the journey saw, after it is over."""
        found: dict[str, Any] = (await self.line())["result"]
        return found


@asynccontextmanager
async def open_portal(folder: Path) -> AsyncIterator[Portal]:
    """Start a county below `folder`, send last month and this one, and report presence until the end."""
    chain = Chain(load("ninghai-demo"), folder, port=0, environment={"PLANTPULSE_ENV_FILE": ""})
    try:
        await chain.prepare_county()
        await chain.start_county()
        credential = chain.credential_file.read_text(encoding="utf-8").strip()
        await send_history(chain.url, credential, make_history(chain.scenario, time.time(), chain.span))
        async with GatewayClient(chain.url, credential) as client:
            portal = Portal(chain, client)
            reporting = asyncio.create_task(portal.report_presence())
            try:
                yield portal
            finally:
                reporting.cancel()
    finally:
        await chain.stop()
