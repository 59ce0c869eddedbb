"""Group county: answers of a whole county to its readers while records come in, and a machine unplugged."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import aiohttp

from gateway.wire import CONTENT_TYPE_MSGPACK, DevicePresence, DeviceRef, Live, encode, ingest_message
from metrics.record import Records
from tests.benchmarks.bench_gateway import START_S, plant_minutes
from tests.benchmarks.county_process import serving
from tests.benchmarks.county_register import PASSWORD, READER, fill
from tests.benchmarks.measure import Line, at_most

DEVICES: Final = 60_000
PER_GATEWAY: Final = 60
SENDING: Final = 64
ROWS: Final = 50
USERS: Final = 50
PAUSE_S: Final = 2.0


def answers(*, long: bool) -> Iterator[Line]:
    """50 readers with a request each per 2 s, 1,000 records/s taken in; months, quarters, years at every scope."""
    days = 365 if long else 62
    with tempfile.TemporaryDirectory() as folder:
        scopes = fill(Path(folder), DEVICES, PER_GATEWAY, days)
        with serving(folder, SENDING) as (hello, _):
            # by default today is computed every 300 s: a long run meets it
            told = asyncio.run(_read(hello, scopes, 330.0 if long else 60.0, whole_year=long))
    behind = f"{days} days of {DEVICES:,} devices, {told['records_per_s']:,.0f} records/s"
    behind = f"{behind}, first answer after {told['first_s']:.1f} s"
    for kind, limit_ms in (("overview", 50.0), ("indicator", 50.0), ("explain", 200.0)):
        taken = told[kind]
        p95_ms = quantiles(taken, n=20)[-1] * 1000
        yield at_most(
            "county.answers", p95_ms, "ms", limit_ms, f"{kind} p95 of {len(taken)}, max {max(taken):.2f} s; {behind}"
        )


async def _read(hello: dict[str, Any], scopes: list[str], duration_s: float, *, whole_year: bool) -> dict[str, Any]:
    base = f"http://127.0.0.1:{hello['port']}/api/v1"
    told: dict[str, Any] = {"overview": [], "indicator": [], "explain": []}
    connector = aiohttp.TCPConnector(limit=USERS + 8)
    async with aiohttp.ClientSession(connector=connector, trust_env=False, cookie_jar=_jar()) as session:
        async with session.post(f"{base}/session", json={"username": READER, "password": PASSWORD}) as answer:
            assert answer.status == 200, await answer.text()
        began = time.perf_counter()
        await _get(session, f"{base}/indicators")
        told["first_s"] = time.perf_counter() - began
        periods = ["", *_periods(whole_year=whole_year)]
        for period in periods:  # what a county has looked at before is at hand
            await _get(session, f"{base}/indicators" + (f"?period={period}" if period else ""))
        end_s = time.perf_counter() + duration_s
        sent = [0]
        senders = asyncio.create_task(_send(session, hello, base, end_s, sent))
        await asyncio.gather(
            *(_user(session, base, scopes, periods, end_s, told, random.Random(i)) for i in range(USERS))
        )
        await senders
        told["records_per_s"] = sent[0] / duration_s
    return told


def _jar() -> aiohttp.CookieJar:
    return aiohttp.CookieJar(unsafe=True)  # the host is an address


def _periods(*, whole_year: bool) -> list[str]:
    now = time.gmtime(time.time() + 8 * 3600)
    month = f"{now.tm_year if now.tm_mon > 1 else now.tm_year - 1}-{(now.tm_mon + 10) % 12 + 1:02d}"
    quarter = f"{now.tm_year}-Q{(now.tm_mon + 2) // 3}"
    return [month, quarter, *([str(now.tm_year), f"{now.tm_year}-01..{now.tm_year}-{now.tm_mon:02d}"] * whole_year)]


async def _get(session: aiohttp.ClientSession, address: str) -> None:
    async with session.get(address) as answer:
        body = await answer.read()
        assert answer.status == 200, body[:500]


async def _user(
    session: aiohttp.ClientSession,
    base: str,
    scopes: list[str],
    periods: list[str],
    end_s: float,
    told: dict[str, Any],
    chance: random.Random,
) -> None:
    """One request per 2 s: the overview, a figure of some scope and period, or a figure opened."""
    await asyncio.sleep(chance.random() * PAUSE_S)
    while time.perf_counter() < end_s:
        kind = chance.choice(("overview", "indicator", "explain"))
        period = chance.choice(periods)
        asked = f"scope={chance.choice(scopes)}" + (f"&period={period}" if period else "")
        address = {
            "overview": f"{base}/indicators",
            "indicator": f"{base}/indicators?{asked}",
            "explain": f"{base}/indicators/networking-rate/explain?{asked}&offset={100 * chance.randrange(3)}",
        }[kind]
        began = time.perf_counter()
        await _get(session, address)
        taken = time.perf_counter() - began
        told[kind].append(taken)
        await asyncio.sleep(max(0.0, PAUSE_S - taken))


async def _send(
    session: aiohttp.ClientSession, hello: dict[str, Any], base: str, end_s: float, sent: list[int]
) -> None:
    """Batches of 50 records, one minute of as many devices, 20 a second from 64 gateways."""
    start_s = int(time.time()) // 60 * 60
    number = 0
    began = time.perf_counter()
    while (at := time.perf_counter()) < end_s:
        due = began + number * ROWS / 1000
        if due > at:
            await asyncio.sleep(due - at)
        gateway, turn = f"gw-{number % SENDING}", number // SENDING
        minute = plant_minutes(ROWS, 1, seed=number % 97)
        records = Records(**{**minute.columns(), "start": minute.start - START_S + start_s - 60 * (turn + 1)})
        table = [DeviceRef(f"d-{k}") for k in range(ROWS)]
        previous = (7, turn) if turn else None
        body = encode(ingest_message(gateway, 7, turn + 1, table, records, previous=previous))
        headers = {"authorization": f"Bearer {hello['credentials'][gateway]}", "content-type": CONTENT_TYPE_MSGPACK}
        async with session.post(f"{base}/ingest", data=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
        sent[0] += ROWS
        number += 1


def live(*, long: bool) -> Iterator[Line]:
    """A machine that stops to answer: from its gateway's next message to the county's answer. The gateway tells at
    once on a change; how long it takes to notice is the liveness of the profile, at most 6 s."""
    with tempfile.TemporaryDirectory() as folder, serving(folder, 1) as (hello, _):
        fill(Path(folder), PER_GATEWAY, PER_GATEWAY, 0)
        taken_s = asyncio.run(_unplug(hello, 40 if long else 10))
    told = f"6 s of liveness and the slowest of {40 if long else 10} times from the gateway's message to the answer"
    yield at_most("county.live", 6.0 + taken_s, "s", 10.0, told)


async def _unplug(hello: dict[str, Any], times: int) -> float:
    base = f"http://127.0.0.1:{hello['port']}/api/v1"
    headers = {"authorization": f"Bearer {hello['credentials']['gw-0']}", "content-type": CONTENT_TYPE_MSGPACK}
    slowest_s = 0.0
    async with aiohttp.ClientSession(trust_env=False, cookie_jar=_jar()) as session:
        async with session.post(f"{base}/session", json={"username": READER, "password": PASSWORD}) as answer:
            assert answer.status == 200, await answer.text()
        for turn in range(times):
            connected = turn % 2 == 1
            now_ns = time.time_ns()
            device = DevicePresence("d-0", connected, "unknown", now_ns, now_ns)
            body = encode(Live("gw-0", now_ns, [device]))
            began = time.perf_counter()
            async with session.post(f"{base}/live", data=body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()
            while True:
                async with session.get(f"{base}/assets?limit=100") as answer:
                    found = (await answer.json())["items"]
                shown = {a["live"]["connection"] for a in found if any(b["device"] == "d-0" for b in a["bindings"])}
                if shown == {"connected" if connected else "not-connected"}:
                    break
                await asyncio.sleep(0.02)
            slowest_s = max(slowest_s, time.perf_counter() - began)
    return slowest_s


BENCHMARKS = (live, answers)
