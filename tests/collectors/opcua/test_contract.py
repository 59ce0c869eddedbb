"""The contract of all collectors, on OPC UA without and with encryption."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from collectors.base import Collector
from collectors.opcua.collector import OpcuaCollector
from simulators.opcua_security import Security
from simulators.opcua_server import OpcuaMachines
from tests.collectors.opcua.plants import collector, machine, serving
from tests.collectors.opcua.secured import EVERYTHING, approve, collector_of
from tests.contract.collector_contract import CollectorContract, Plant
from tests.waiting import until

_FEW_ROWS = 60


class OpcuaPlant(Plant):
    devices = ("cell/urn:test:cnc-1", "cell/urn:test:cnc-2")

    def __init__(self, server: OpcuaMachines) -> None:
        self._server = server

    def collector_at(self, address: str) -> Collector:
        return collector(address, limit=_FEW_ROWS)

    def make_collector(self) -> Collector:
        return self.collector_at(self._server.address)

    def make_dead_collector(self) -> Collector:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        return self.collector_at(f"opc.tcp://127.0.0.1:{port}")

    def make_hanging_collector(self, port: int) -> Collector:
        return self.collector_at(f"opc.tcp://127.0.0.1:{port}")

    async def unplug(self, device: str) -> None:
        await self._server.unplug(device.removeprefix("cell/urn:test:"))

    async def plug(self, device: str) -> None:
        await self._server.plug(device.removeprefix("cell/urn:test:"))

    async def cut(self) -> None:
        await self._server.stop()

    async def overload(self, collector: Collector) -> None:
        assert isinstance(collector, OpcuaCollector)
        source = collector
        await until(lambda: source.has_shed)

    def writes(self) -> int:
        return self._server.orders


class SecuredPlant(OpcuaPlant):
    def __init__(self, server: OpcuaMachines, folder: Path) -> None:
        super().__init__(server)
        self._folder = folder

    def collector_at(self, address: str) -> Collector:
        return collector_of(address, self._folder, limit=_FEW_ROWS)


class TestOpcuaContract(CollectorContract):
    @asynccontextmanager
    async def make_plant(self, tmp_path: Path) -> AsyncIterator[Plant]:
        async with serving(machine("cnc-1"), machine("cnc-2")) as server:
            yield OpcuaPlant(server)


class TestSecuredOpcuaContract(CollectorContract):
    @asynccontextmanager
    async def make_plant(self, tmp_path: Path) -> AsyncIterator[Plant]:
        folder = tmp_path / "data" / "opcua"
        async with serving(machine("cnc-1"), machine("cnc-2"), security=Security(policies=EVERYTHING)) as server:
            await approve(server.address, folder)
            yield SecuredPlant(server, folder)


class PolledPlant(OpcuaPlant):
    def collector_at(self, address: str) -> Collector:
        settings = {"publishing_s": 0.1, "sampling_s": 0.1, "keep_alive_s": 0.4, "mode": "poll"}
        return collector(address, limit=_FEW_ROWS, subscription=settings)


@pytest.mark.long
class TestPolledOpcuaContract(CollectorContract):
    @asynccontextmanager
    async def make_plant(self, tmp_path: Path) -> AsyncIterator[Plant]:
        async with serving(machine("cnc-1"), machine("cnc-2")) as server:
            yield PolledPlant(server)
