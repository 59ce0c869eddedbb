"""`plantpulse-county serve` as a process of its own, on a free port."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx


class CountyProcess:
    """`plantpulse-county serve` as a process of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.settings = {f"PLANTPULSE_{name.upper()}": value for name, value in settings.items()}
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.log")
        """What the running, or the last, process said."""
        self.url = ""

    async def start(self) -> None:
        own = {"PLANTPULSE_DATA_DIR": str(self.folder), "PLANTPULSE_PORT": "0"}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:  # a pipe that nobody reads would fill up and stop the service
            self.process = subprocess.Popen(  # noqa: ASYNC220 (it is watched without waiting)
                [sys.executable, "-m", "api.cli", "serve"], env=os.environ | own | self.settings, stderr=log
            )
        async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as client:
            while True:
                said = self.log.read_text("utf-8", "replace")
                assert self.process.poll() is None, said
                found = re.search(r"url='(http://[^']+)'", said)
                try:
                    if found and (await client.get(f"{found[1]}/healthz")).status_code == 200:
                        self.url = found[1]
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)

    def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.process = None
        return code

    def stop(self) -> None:
        """Kill it, if it runs."""
        if self.process is not None:
            self.end(signal.SIGKILL)


@asynccontextmanager
async def county_process(folder: Path, **settings: str) -> AsyncIterator[CountyProcess]:
    """Not started yet; killed at the end. `settings` by their names without the prefix."""
    county = CountyProcess(folder, **settings)
    try:
        yield county
    finally:
        county.stop()
