"""A county and an uplink that misbehave: nothing is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from gateway.config import GatewayConfig, PlantConfig, UplinkConfig
from gateway.wire import DeviceRef
from tests.api.county_fixtures import NOW_S, HandClock, minutes, served_county
from tests.gateway.county_stub import CREDENTIAL, CountyStub
from tests.gateway.test_outbox import announcement
from tests.gateway.test_uplink import _drained, rig_for, running, until


class FlappingProxy:
    """A TCP proxy of our own: forwards until it is told to cut, or after so many bytes of an answer."""

    def __init__(self, target_port: int) -> None:
        self.target_port, self.port = target_port, 0
        self.answer_bytes = -1
        """How many bytes of each connection's answers pass before it is cut; −1: all."""
        self.cuts = 0
        self._is_down = False
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def start(self) -> None:
        """Listen; again after a cut."""
        self._is_down = False
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """The line is down: connections break, new ones are reset.

        It goes on listening: asyncio leaves a connection open that it accepts while its server is closed.
        """
        self._is_down = True
        tasks, self._open = dict(self._open), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in tasks.values():
            writer.transport.abort()  # a task that is cancelled before it began has closed nothing
        self.cuts += 1

    async def stop(self) -> None:
        """Cut, and listen no more; whoever connects has gone."""
        await self.cut()
        if self._server is not None:
            self._server.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_down:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._open[task] = writer
        task.add_done_callback(lambda task: self._open.pop(task, None))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        try:
            back, upstream = await asyncio.open_connection("127.0.0.1", self.target_port)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, upstream, -1))
                group.create_task(self._pass(back, writer, self.answer_bytes))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            self.cuts += 1
        finally:
            for end in (writer, upstream):
                if end is not None:
                    end.transport.abort()

    @staticmethod
    async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, at_most: int) -> None:
        passed = 0
        while chunk := await reader.read(4096):
            if 0 <= at_most < passed + len(chunk):
                writer.write(chunk[: at_most - passed])
                await writer.drain()
                raise ConnectionResetError
            passed += len(chunk)
            writer.write(chunk)
            await writer.drain()
        raise ConnectionResetError


@asynccontextmanager
async def flapping(target_port: int) -> AsyncIterator[FlappingProxy]:
    proxy = FlappingProxy(target_port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()


def config(folder: Path, port: int) -> PlantConfig:
    (folder / "credential").write_text(CREDENTIAL)
    return PlantConfig(
        file=folder / "plant.yaml",
        site="g-1",
        uplink=UplinkConfig(url=f"http://127.0.0.1:{port}", credential_file=folder / "credential"),
        gateway=GatewayConfig(data_dir=folder),
        entries={},
    )


async def test_an_uplink_that_flaps_loses_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.uplink.RETRY_FIRST_S", 0.01)
    monkeypatch.setattr("gateway.uplink.RETRY_MOST_S", 0.05)
    monkeypatch.setattr("gateway.uplink.INGEST_TIMEOUT_S", 1.0)  # a connection that a cut forgot
    rng = random.Random(5)
    async with CountyStub() as county, flapping(county.port) as proxy:
        async with rig_for(config(tmp_path, proxy.port), tmp_path) as rig, running(rig.uplink.run_ingest()):
            for start in range(60):
                await rig.commit(start)
                if start % 4 == 0:
                    proxy.answer_bytes = rng.choice([-1, 0, 40, 200])  # also: journalled, but the answer lost
                    await proxy.cut()
                    await asyncio.sleep(rng.uniform(0, 0.05))
                    await proxy.start()
            proxy.answer_bytes = -1
            await proxy.cut()
            await proxy.start()
            await county.until(lambda: len(county.bodies) == 60)
            await until(lambda: _drained(rig))
        assert proxy.cuts > 15
        assert county.doubled == []
        assert len(county.rows) == 120
        assert rig.uplink.poisoned == rig.uplink.conflicts == 0


def half_an_answer() -> web.Response:
    return web.Response(body=b'{"result": "journ', content_type="application/json")


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=503, headers={"Retry-After": "0"}),
        lambda: web.Response(status=500, text="oh"),
        lambda: web.Response(status=200, text="<html>a portal that wants a login</html>"),
        half_an_answer,
    ],
    ids=["503", "500", "another's page", "half an answer"],
)
async def test_whatever_the_county_answers_the_batch_stays_until_it_is_journalled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[], web.Response]
) -> None:
    monkeypatch.setattr("gateway.uplink.RETRY_FIRST_S", 0.01)
    monkeypatch.setattr("gateway.county_way.RETRY_REFUSED_S", 0.02)
    async with CountyStub() as county:
        county.answers = [answer() for _ in range(4)]
        async with rig_for(config(tmp_path, county.port), tmp_path) as rig, running(rig.uplink.run_ingest()):
            await rig.commit(1, 2)
            await county.until(lambda: len(county.bodies) == 2)
            assert county.requests["ingest"] == 6
        assert county.doubled == []


async def test_a_county_that_is_slow_gets_the_batch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.uplink.INGEST_TIMEOUT_S", 0.2)
    monkeypatch.setattr("gateway.uplink.RETRY_FIRST_S", 0.01)
    waits = [1.0, 1.0, 0.0]
    async with CountyStub() as county:
        take = county._ingest

        async def slowly(request: web.Request) -> web.Response:
            answer = await take(request)  # journalled, then silence
            await asyncio.sleep(waits.pop(0) if waits else 0)
            return answer

        await county.stop()
        county._ingest = slowly  # type: ignore[method-assign]
        await county.start()
        async with rig_for(config(tmp_path, county.port), tmp_path) as rig, running(rig.uplink.run_ingest()):
            await rig.commit(1)
            await until(lambda: _drained(rig))
        assert len(county.bodies) == 1
        assert county.doubled == []
        assert waits == []


async def test_a_county_restored_from_an_older_backup_gets_again_what_it_lacks(tmp_path: Path) -> None:
    """The real service: its folder is copied, goes on, and is put back as it was."""
    folder, copy, plant = tmp_path / "county", tmp_path / "copy", tmp_path / "plant"
    plant.mkdir()

    async def deliver(*which: int) -> int:
        """Send minutes to whatever stands in the county's folder; how many records are in its store afterwards."""
        async with served_county(folder, HandClock(NOW_S)) as county:
            made = config(plant, county.client.base_url.port or 0)
            if not (tmp_path / "issued").exists():
                (tmp_path / "issued").write_text(county.gateway("g-1").credential)
            made.uplink.credential_file.write_text((tmp_path / "issued").read_text())
            async with rig_for(made, plant) as rig, running(rig.uplink.run_ingest()):
                await rig.thread.call(rig.thread.outbox.announced.add, announcement("m-0"))
                for minute in which:
                    records = minutes(0, NOW_S - 3600 + 60 * minute, 1)
                    made_of = [([DeviceRef("m-0", 1)], records)]
                    await rig.thread.call(rig.thread.outbox.commit, made_of, b"c", 1)
                rig.uplink.wake()
                await until(lambda: _drained(rig))
                assert rig.uplink.poisoned == rig.uplink.conflicts == 0
            await county.settle()
            assert county.county.announcements.latest("g-1", "m-0") is not None
            return county.county.store.rows()

    assert await deliver(1, 2, 3) == 3
    shutil.copytree(folder, copy)
    assert await deliver(4, 5, 6) == 6
    shutil.rmtree(folder)
    shutil.move(copy, folder)
    assert await deliver(7) == 7
