"""Two processes of the service over one PostgreSQL and one InfluxDB: either takes batches and presence, either serves
pages, one at a time derives, and the other goes on when that one is killed."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from api.credentials import issue
from api.register.admin import load_register, register_of
from api.register.models import DeviceDay
from api.services.access import add_user
from gateway.wire import Announce, Announcement, DevicePresence, Live
from metrics.record import Records, local_day
from tests.api.county_fixtures import (
    PASSWORD,
    Gateway,
    minutes,
    register_files,
    running_county,
    settings_for,
    write_csv,
)
from tests.api.postgres import new_database, postgres_server
from tests.county_process import CountyProcess, county_process
from tests.servers_influx import Influx1, influx_1
from tests.waiting import until

WAIT_S = 40.0
Digests = dict[tuple[str, int], str]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="module")
def influx() -> Iterator[Influx1]:
    with influx_1() as server:
        yield server


@dataclass
class Pair:
    """Two processes, a client of each, and a gateway's credential."""

    processes: list[CountyProcess]
    clients: list[httpx.AsyncClient]
    credential: str
    register_url: str
    folder: Path

    def gateway(self, to: int, epoch: int = 7, sequence: int = 0) -> Gateway:
        made = Gateway("gw-1", self.credential, self.clients[to], epoch)
        made.sequence = sequence
        return made

    async def metrics(self, of: int) -> dict[str, float]:
        lines = (await self.clients[of].get("/metrics")).text.splitlines()
        return {n: float(v) for n, v in (x.rsplit(" ", 1) for x in lines if not x.startswith("#"))}

    async def on_duty(self, alive: tuple[int, ...] = (0, 1)) -> int:
        """The process that derives, once exactly one of those alive does."""
        found: list[int] = []

        async def one() -> bool:
            found[:] = [i for i in alive if (await self.metrics(i))["plantpulse_on_duty"]]
            return len(found) == 1

        await until(one, WAIT_S)
        return found[0]

    async def applied(self, process: int) -> None:
        """Wait until the process on duty has applied the journal and computed every day."""

        async def done() -> bool:
            now = await self.metrics(process)
            reached = now.get("plantpulse_store_applied_position") == now["plantpulse_journal_position"]
            return reached and now["plantpulse_days_dirty"] == 0

        await until(done, WAIT_S)

    def digests(self) -> Digests:
        return day_digests(self.folder, register_url=self.register_url)


def day_digests(folder: Path, **more: Any) -> Digests:
    with register_of(settings_for(folder, **more)) as engine, engine.connect() as connection:
        rows = connection.execute(select(DeviceDay.gateway, DeviceDay.day, DeviceDay.digest)).all()
    return {(gateway, day): digest for gateway, day, digest in rows}


@asynccontextmanager
async def two_processes(folder: Path, postgres: str, influx: Influx1) -> AsyncIterator[Pair]:
    url = new_database(postgres)
    influx.bucket(folder.name)
    own = settings_for(folder / "cli", register_url=url)
    load_register(own, write_csv(folder / "register", register_files("2020-01-01")), 1)
    with register_of(own) as engine:
        credential = issue(engine, "gw-1", 1)
        add_user(engine, "reader", "statistician", PASSWORD, None, 1)
    given = {
        "register_url": url,
        "journal": "postgresql",
        "store_url": influx.url(folder.name),
        "store_token_file": str(influx.token_file),
        "today_refresh_s": "0.2",
    }
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(county_process(folder / f"p{i}", **given)) for i in range(2)]
        await asyncio.gather(*(process.start() for process in processes))
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=p.url, trust_env=False, timeout=30))
            for p in processes
        ]
        for client in clients:
            answer = await client.post("/api/v1/session", json={"username": "reader", "password": PASSWORD})
            assert answer.status_code == 200
        yield Pair(processes, clients, credential, url, folder / "cli")


async def test_either_process_takes_and_serves_and_one_goes_on_when_the_other_is_killed(
    tmp_path: Path, postgres: str, influx: Influx1
) -> None:
    now_s = int(time.time()) // 60 * 60
    async with two_processes(tmp_path, postgres, influx) as pair:
        both = [pair.gateway(0), pair.gateway(1)]
        batches = []
        for i in range(24):  # over more than a day, so that every hour of the clock finds two days or more
            records = Records.concat([minutes(d, now_s - 4500 * (25 - i), 5, parts=d + i, quantity=7) for d in (0, 1)])
            batches.append(both[0].batch(["cnc-1", "main-1"], records))
        answers = [await both[i % 2].ingest(batch) for i, batch in enumerate(batches[:16])]
        assert {a.result for a in answers} == {"journalled"}
        assert [a.missing for a in answers] == [[]] * 16, "each knows what the other has taken"
        assert (await both[1].ingest(batches[0])).result == "duplicate"
        first = await pair.on_duty()
        await pair.applied(first)
        await _pages_are_the_same(pair)
        await _presence_is_shared(pair, first)

        pair.processes[first].end(signal.SIGKILL)
        second = 1 - first
        for batch in batches[16:]:
            assert (await both[second].ingest(batch)).result == "journalled"
        assert await pair.on_duty((second,)) == second
        await pair.applied(second)
        assert (await pair.metrics(second))["plantpulse_records_stored"] == 24 * 10
        shared = pair.digests()

        await pair.processes[first].start()  # comes back, and stands by
        async with httpx.AsyncClient(base_url=pair.processes[first].url, trust_env=False, timeout=30) as client:
            pair.clients[first] = client
            assert await pair.on_duty() == second
            assert (await pair.gateway(first).ingest(batches[20])).result == "duplicate"

    async with running_county(tmp_path / "alone") as alone:
        gateway = alone.gateway()
        alone.clock.at_ns = (now_s + 60) * 1_000_000_000
        for batch in batches:
            await gateway.ingest(batch)
        await alone.settle()
    assert shared == day_digests(tmp_path / "alone")
    assert len(shared) >= 2


async def _pages_are_the_same(pair: Pair) -> None:
    day = int(local_day(int(time.time()))) - 1
    period = time.strftime("%Y-%m-%d", time.gmtime(day * 86_400))
    pages = []
    for client in pair.clients:
        listed = (await client.get("/api/v1/indicators", params={"period": period})).json()
        pages.append([(f["definition"]["id"], f["value"], f["lower"], f["digest"]) for f in listed["figures"]])
        opened = await client.get("/api/v1/indicators/networking-rate/explain", params={"period": period})
        pages[-1].append(opened.json()["rows"])
    assert pages[0] == pages[1]
    (networking,) = [f for f in pages[0][:-1] if f[0] == "networking-rate"]
    assert networking[1] > 0


async def _presence_is_shared(pair: Pair, first: int) -> None:
    """Heard by one, shown by the other: presence, and what a device says of itself."""
    heard, shown = pair.gateway(first), pair.clients[1 - first]
    said = Announcement(1, 1, "cnc-1", "x", "p", "cnc", "self-identified", "示例", "M-9", "SN-77")
    assert (await heard.post("announce", Announce("gw-1", 7, [said]))).status_code == 200

    async def asset() -> dict[str, Any]:
        items = (await shown.get("/api/v1/assets")).json()["items"]
        return next(a for a in items if a["number"] == "A1" and a["kind"] == "asset" and a["control"] == "cnc")

    async def is_shown(connection: str) -> bool:
        sent_ns = time.time_ns()
        live = Live("gw-1", sent_ns, [DevicePresence("cnc-1", connection == "connected", "running", sent_ns, sent_ns)])
        assert (await heard.post("live", live)).status_code == 200
        async with asyncio.timeout(5):
            while (await asset())["live"]["connection"] != connection:  # noqa: ASYNC110 (another process tells)
                await asyncio.sleep(0.05)
        return True

    assert await is_shown("connected")
    assert await is_shown("not-connected")

    async def announced() -> bool:
        return (await asset())["announced"] == "示例 M-9 SN-77"

    await until(announced, WAIT_S)


@pytest.mark.long
async def test_a_cloned_card_is_noticed_though_each_copy_speaks_to_a_process_of_its_own(
    tmp_path: Path, postgres: str, influx: Influx1
) -> None:
    now_s = int(time.time()) // 60 * 60
    async with two_processes(tmp_path, postgres, influx) as pair:
        one, clone = pair.gateway(0, epoch=3), pair.gateway(1, epoch=2**63 + 5)

        async def alarms() -> set[bool]:
            shown = [(await client.get("/api/v1/gateways")).json()["items"] for client in pair.clients]
            return {"two epochs" in g["alarm_en"] for items in shown for g in items if g["id"] == "gw-1"}

        await one.send(["cnc-1"], minutes(0, now_s - 120, 1))
        await clone.send(["cnc-1"], minutes(0, now_s - 120, 1, parts=1))
        assert await alarms() == {False}
        await one.send(["cnc-1"], minutes(0, now_s - 60, 1))

        async def both_show_it() -> bool:
            return await alarms() == {True}

        await until(both_show_it, WAIT_S)
