"""A whole plant in one process: every machine of a scenario behind its real protocol, with the broker.

`SimulatedPlant` starts and stops them, pulls plugs, holds and releases all machines at once, and keeps
the ledger. `serve` runs it as a program: it writes `endpoints.json` (where everything listens) and obeys
lines on standard input, each answered by one line of JSON on standard output.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from simulators.broker import Mosquitto
from simulators.history import history_span
from simulators.ledger import Ledger
from simulators.orders import OrderError
from simulators.physics import Machine
from simulators.scenario import Scenario

_UPDATE_S: Final = 1.0
COMMANDS: Final = "unplug ID | plug ID | hold | release | ledger PATH | served"


class _Station(Protocol):
    """What every protocol simulator offers."""

    @property
    def address(self) -> str: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def unplug(self, machine_id: str) -> None: ...
    async def plug(self, machine_id: str) -> None: ...


class PlantError(OrderError):
    """An order that the plant cannot follow, in Chinese and English."""


class SimulatedPlant:
    """Every machine of a scenario behind its protocol, on loopback, on ports that are free.

    Parameters: `folder` for the broker's files; `now_s` gives s UTC. `address` of an entry is known
    after `start`.
    """

    def __init__(self, scenario: Scenario, folder: Path, *, now_s: Callable[[], float] = time.time) -> None:
        self.scenario = scenario
        self.ledger = Ledger()
        self._now_s = now_s
        self._broker = Mosquitto(folder / "mosquitto")
        start_s = now_s()
        self.machines: dict[str, Machine] = scenario.build_machines(
            origin_s=history_span(start_s).start_s, always_from_s=start_s
        )
        for machine in self.machines.values():
            machine.advance(start_s)
        self._stations: list[_Station] = []
        self._station_of: dict[str, _Station] = {}
        self._entries: dict[str, str] = {}

    @property
    def broker_pid(self) -> int:
        """Process id of the plant's broker."""
        return self._broker.pid

    def endpoints(self) -> dict[str, Any]:
        """Where everything listens: the address of every entry, and the device id of every machine."""
        return {
            "scenario": self.scenario.scenario,
            "pid": os.getpid(),
            "broker": f"mqtt://{self._broker.host}:{self._broker.port}",
            "broker_pid": self._broker.pid,
            "entries": dict(self._entries),
            "devices": self.scenario.device_of_machine(),
        }

    async def start(self) -> None:
        """Start the broker and every machine. What was started is stopped again when one fails."""
        from simulators.modbus_server import ModbusStation
        from simulators.mqtt_machine import JsonMachine
        from simulators.opcua_server import OpcuaMachines
        from simulators.sparkplug_node import SparkplugNode

        links, broker = self.scenario.links, self._broker
        try:
            await broker.start()
            mqtt = f"mqtt://{broker.host}:{broker.port}"
            for server in links.opcua:
                machines = [self.machines[m] for m in server.machines]
                await self._add(OpcuaMachines(machines, self.ledger, period_s=_UPDATE_S), server.machines, server.entry)
            if links.modbus:
                units = {u.unit: (u.map, self.machines[u.machine]) for u in links.modbus}
                station = ModbusStation(units, self.ledger)
                await self._add(station, [u.machine for u in links.modbus])
                self._entries.update({u.entry: station.address for u in links.modbus})
            for t in links.mqtt:
                publisher = JsonMachine(
                    self.machines[t.machine],
                    self.ledger,
                    host=broker.host,
                    port=broker.port,
                    topic=t.topic,
                    period_s=_UPDATE_S,
                )
                await self._add(publisher, [t.machine])
                self._entries[t.entry] = mqtt
            for n in links.sparkplug:
                node = SparkplugNode(
                    n.group,
                    n.node,
                    [self.machines[m] for m in n.machines],
                    self.ledger,
                    host=broker.host,
                    port=broker.port,
                    period_s=_UPDATE_S,
                )
                await self._add(node, n.machines)
                self._entries[n.entry] = mqtt
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop everything, machines before the broker. Safe twice."""
        stations, self._stations = self._stations, []
        try:
            await asyncio.gather(*(station.stop() for station in stations))
        finally:
            await self._broker.stop()

    async def unplug(self, machine_id: str) -> None:
        """Cut one machine off; its neighbours notice nothing. Raises PlantError for an unknown id."""
        await self._station(machine_id).unplug(machine_id)
        self.ledger.linked(machine_id, self._now_s(), up=False)

    async def plug(self, machine_id: str) -> None:
        """Connect it again. Raises PlantError for an unknown id."""
        self.ledger.linked(machine_id, self._now_s(), up=True)
        await self._station(machine_id).plug(machine_id)

    def hold(self) -> None:
        """All machines stand still: what is served from now on repeats the last values."""
        for machine in self.machines.values():
            machine.hold()

    def release(self) -> None:
        """All machines go on."""
        for machine in self.machines.values():
            machine.release()

    async def obey(self, line: str) -> dict[str, Any]:
        """Follow one order of COMMANDS and give its answer. Raises PlantError."""
        order, _, subject = line.strip().partition(" ")
        answer: dict[str, Any] = {"ok": order, "at_s": self._now_s()}
        if order == "unplug":
            await self.unplug(subject)
        elif order == "plug":
            await self.plug(subject)
        elif order == "hold":
            self.hold()
        elif order == "release":
            self.release()
        elif order == "ledger" and subject:
            self.ledger.dump(Path(subject))
        elif order == "served":
            answer["served"] = {device: self.ledger.count(device) for device in self.ledger.devices()}
        else:
            raise PlantError(f"不认识的命令 {line.strip()!r}；可用：{COMMANDS} / unknown order; one of: {COMMANDS}")
        return answer

    async def _add(self, station: _Station, machines: Any, entry: str | None = None) -> None:
        self._stations.append(station)
        await station.start()
        for machine in machines:
            self._station_of[machine] = station
        if entry is not None:
            self._entries[entry] = station.address

    def _station(self, machine_id: str) -> _Station:
        if machine_id not in self._station_of:
            known = ", ".join(self._station_of)
            raise PlantError(f"没有机器 {machine_id!r}；有：{known} / no machine {machine_id!r}; there are: {known}")
        return self._station_of[machine_id]


def write_endpoints(plant: SimulatedPlant, path: Path) -> None:
    """Write where everything listens as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(json.dumps(plant.endpoints(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, path)
