"""Group county: a day of a whole county that comes at once, while its pages are read."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import aiohttp

from metrics.record import local_day
from tests.benchmarks.county_backlog import DEVICES
from tests.benchmarks.county_process import Order, serving
from tests.benchmarks.county_register import PASSWORD, READER, fill
from tests.benchmarks.measure import Line, at_most

GATEWAYS: Final = 1000
"""Of 60 devices each: 86.4 million records a day."""
SHARE: Final = 20
"""The short run is of this part of the county, and may take this part of the time."""
LIMIT_S: Final = 300.0
PAUSE_S: Final = 0.5


def backlog_day(*, long: bool) -> Iterator[Line]:
    """Yesterday's records of every gateway, from the first batch until the last is in the interval store; day states
    are computed meanwhile. Sender, reader and service share the machine's cores."""
    share = 1 if long else SHARE
    gateways = GATEWAYS // share
    yesterday = int(local_day(int(time.time()))) - 1
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.county_backlog", str(gateways), str(yesterday)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as sender,
    ):
        assert sender.stdout is not None
        scopes = fill(Path(folder), gateways * DEVICES, DEVICES, 31)
        with serving(folder, gateways) as (hello, order):
            made = json.loads(sender.stdout.readline())
            told = asyncio.run(_measure(hello, order, sender, scopes))
    records = made["records"]
    behind = (
        f"{records / 1e6:.1f} million records of {gateways * DEVICES:,} devices into the store,"
        f" {records / told['stored_s'] / 1000:,.0f},000 a second; acknowledged after {told['acknowledged_s']:.1f} s;"
        f" CPU {told['service_s']:.0f} s, of the sender on the same cores {told['cpu_s']:.0f} s more"
    )
    yield at_most("county.backlog_day", told["stored_s"], "s", LIMIT_S / share, behind)
    pages = told["pages"]
    seen = f"page p95 of {len(pages)} meanwhile, max {max(pages):.2f} s"
    yield at_most("county.backlog_day", quantiles(pages, n=20)[-1] * 1000, "ms", 1000.0, seen)


async def _measure(
    hello: dict[str, Any], order: Order, sender: subprocess.Popen[str], scopes: list[str]
) -> dict[str, Any]:
    base = f"http://127.0.0.1:{hello['port']}/api/v1"
    pages: list[float] = []
    stored = asyncio.Event()
    jar = aiohttp.CookieJar(unsafe=True)  # the host is an address
    async with aiohttp.ClientSession(trust_env=False, cookie_jar=jar) as session:
        async with session.post(f"{base}/session", json={"username": READER, "password": PASSWORD}) as answer:
            assert answer.status == 200, await answer.text()
        await _page(session, f"{base}/indicators")  # what a county has looked at before is at hand
        reading = asyncio.create_task(_read(session, base, scopes, stored, pages))
        cpu = order("cpu")
        began = time.perf_counter()
        told: dict[str, Any] = await asyncio.to_thread(_let_send, sender, hello)
        after = await asyncio.to_thread(order, "settle")
        told["stored_s"] = time.perf_counter() - began
        told["service_s"] = (after["process_ns"] - cpu["process_ns"]) / 1e9
        stored.set()
        await reading
    return told | {"pages": pages}


def _let_send(sender: subprocess.Popen[str], hello: dict[str, Any]) -> dict[str, Any]:
    assert sender.stdin is not None
    assert sender.stdout is not None
    print(json.dumps(hello), file=sender.stdin, flush=True)
    told: dict[str, Any] = json.loads(sender.stdout.readline())
    return told


async def _read(
    session: aiohttp.ClientSession, base: str, scopes: list[str], stored: asyncio.Event, pages: list[float]
) -> None:
    """The overview, and figures of one scope after the other, until everything is stored."""
    turn = 0
    while not stored.is_set() or len(pages) < 2:
        address = f"{base}/indicators" + (f"?scope={scopes[turn // 2 % len(scopes)]}" if turn % 2 else "")
        began = time.perf_counter()
        await _page(session, address)
        pages.append(time.perf_counter() - began)
        turn += 1
        await asyncio.sleep(PAUSE_S)


async def _page(session: aiohttp.ClientSession, address: str) -> None:
    async with session.get(address) as answer:
        body = await answer.read()
        assert answer.status == 200, body[:500]


BENCHMARKS = (backlog_day,)
