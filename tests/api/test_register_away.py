"""The register's PostgreSQL is away: what is known goes on, nobody is called unknown, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.api.county_fixtures import NOW_S, CountyUnderTest, HandClock, minutes, running_county
from tests.api.postgres import new_database, postgres_server


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


class Away:
    """Lets a database take no connections, and ends those it has; or again."""

    def __init__(self, server: str, address: str) -> None:
        self._engine = create_engine(server, isolation_level="AUTOCOMMIT")
        self._name = address.rsplit("/", 1)[1].split("?")[0]

    def set(self, away: bool) -> None:
        with self._engine.connect() as connection:
            connection.execute(text(f'alter database "{self._name}" with allow_connections {str(not away).lower()}'))
            if away:
                ended = "select pg_terminate_backend(pid) from pg_stat_activity where datname = :name"
                connection.execute(text(ended), {"name": self._name})
        self._engine.dispose()


@asynccontextmanager
async def county_of(server: str, folder: Path, clock: HandClock) -> AsyncIterator[tuple[CountyUnderTest, Away]]:
    address = new_database(server)
    away = Away(server, address)
    async with running_county(folder / "county", clock, register_url=address) as county:
        county.load(folder / "register")
        await county.sign_in()
        yield county, away


async def test_a_known_gateway_goes_on_and_an_unknown_one_is_asked_to_come_again(server: str, tmp_path: Path) -> None:
    clock = HandClock()
    async with county_of(server, tmp_path, clock) as (county, away):
        gateway, other = county.gateway("gw-1"), county.gateway("gw-2")
        await gateway.send(["a"], minutes(0, NOW_S - 600, 1))
        await county.settle()
        other.credential += "x"  # nobody can say now that it never was
        away.set(True)
        for turn in range(2):
            clock.advance(60)
            assert (await gateway.send(["a"], minutes(0, NOW_S - 540 + 60 * turn, 1))).accepted == 1
            refused = await other.post("ingest", other.batch(["a"], minutes(0, NOW_S - 540, 1)))
            assert (refused.status_code, refused.json()["code"]) == (503, "busy")
            assert int(refused.headers["retry-after"]) > 0
            for page in ("/api/v1/indicators", "/api/v1/assets", "/api/v1/gateways"):
                answer = await county.client.get(page)
                assert (answer.status_code, answer.json()["code"]) == (503, "busy"), page
                assert int(answer.headers["retry-after"]) > 0
                assert "127.0.0.1" not in answer.text
            health = await county.client.get("/healthz")
            assert (health.status_code, health.json()["checks"]["register"]) == (503, "OperationalError")
            assert "127.0.0.1" not in health.text
        away.set(False)
        clock.advance(60)
        await county.settle()
        assert county.county.store.rows() == 3
        unknown = await other.post("ingest", other.batch(["a"], minutes(0, NOW_S - 540, 1)))
        assert (unknown.status_code, unknown.json()["code"]) == (401, "gateway-unknown")
        assert (await county.client.get("/api/v1/assets")).status_code == 200


async def test_a_register_that_answers_nothing_keeps_nobody_else_waiting(tmp_path: Path, server: str) -> None:
    clock = HandClock()
    async with county_of(server, tmp_path, clock) as (county, _):
        gateway = county.gateway("gw-1")
        await gateway.send(["a"], minutes(0, NOW_S - 600, 1))
        await county.settle()
        with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection, and says no word
            engine = county.county.credentials._engine
            port = silent.getsockname()[1]
            deaf = create_engine(engine.url.set(port=port, query={"connect_timeout": "10"}))
            county.county.credentials._engine = deaf
            clock.advance(60)
            sent = asyncio.create_task(gateway.send(["a"], minutes(0, NOW_S - 540, 1)))
            loop = asyncio.get_running_loop()
            answered_s, longest_s = loop.time(), 0.0
            while not (await asyncio.wait({sent}, timeout=0.02))[0]:
                assert (await county.client.get("/healthz/alive")).status_code == 200
                longest_s, answered_s = max(longest_s, loop.time() - answered_s), loop.time()
            assert longest_s < 5, "the loop itself waited: connecting is given up after 10 s"
            assert (await sent).accepted == 1
            county.county.credentials._engine = engine
        deaf.dispose()
