"""The Modbus collector keeps the contract of all collectors, on a network and on a line."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from collectors.base import Collector
from simulators.ledger import Ledger
from simulators.modbus_server import ModbusStation
from tests.collectors.modbus.plants import FAST_S, collector, fast_profiles, station
from tests.contract.collector_contract import CollectorContract, Plant

DEVICES = ("moulding-1", "meter-main", "meter-lathe")


class ModbusPlant(Plant):
    """Three units behind one address."""

    devices = DEVICES
    longest_gap_s = 1.5

    def __init__(self, simulator: ModbusStation, profiles: Path) -> None:
        self.simulator = simulator
        self.profiles = profiles

    def make_collector(self) -> Collector:
        return collector(self.simulator.address, DEVICES, self.profiles)

    def make_dead_collector(self) -> Collector:
        if self.simulator.address.startswith("modbus-rtu:"):
            return collector("modbus-rtu:///dev/no-such-line", DEVICES, self.profiles)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        return collector(f"modbus-tcp://127.0.0.1:{port}", DEVICES, self.profiles)

    def make_hanging_collector(self, port: int) -> Collector:
        return collector(f"modbus-tcp://127.0.0.1:{port}", DEVICES, self.profiles)

    async def unplug(self, device: str) -> None:
        await self.simulator.unplug(device)

    async def plug(self, device: str) -> None:
        await self.simulator.plug(device)

    async def cut(self) -> None:
        await self.simulator.stop()

    async def overload(self, collector: Collector) -> None:
        await asyncio.sleep(4 * FAST_S)  # nobody reads while polls fall due

    def writes(self) -> int:
        return self.simulator.writes


class TestModbusTcp(CollectorContract):
    framing = "tcp"

    @asynccontextmanager
    async def make_plant(self, tmp_path: Path) -> AsyncIterator[Plant]:
        simulator = station(DEVICES, Ledger(), framing=self.framing)
        await simulator.start()
        try:
            yield ModbusPlant(simulator, fast_profiles(tmp_path / "profiles"))
        finally:
            await simulator.stop()


class TestModbusSerialLine(TestModbusTcp):
    framing = "serial"
