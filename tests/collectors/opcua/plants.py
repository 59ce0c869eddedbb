"""What the OPC UA tests share: machines whose time runs fast, collectors of them, and reading until a condition."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from asyncua import Server

from collectors.model import Batch, Device, LinkError, Proof, Samples, Trouble
from collectors.opcua.collector import OpcuaCollector
from collectors.opcua.config import OpcuaEntry
from collectors.opcua.profile import OpcuaProfile
from collectors.opcua.session import quieten_asyncua
from simulators.ledger import Ledger
from simulators.opcua_nodesets import TypeSpace, type_space
from simulators.opcua_server import OpcuaMachines
from simulators.opcua_subscriptions import NO_LIMITS, Faults, ServerLimits
from simulators.opcua_typed_server import listening_port, stop_server, typed_server
from simulators.physics import Machine

quieten_asyncua()

PATIENCE_S: Final = 10.0
PERIOD_S: Final = 0.1
NEVER_S: Final = 1e9
FAST: Final = 30
"""Machine seconds per second: energy and pieces move while a test looks."""


def profile(**changed: Any) -> OpcuaProfile:
    """The built-in recognition with the rhythm of a test."""
    given: dict[str, Any] = {
        "profile": "opcua-machinery",
        "protocol": "opcua",
        "device_class": "machine",
        "evidence": "self-identified",
        "title_zh": "测试",
        "title_en": "test",
        "source": {"document": "a test"},
        "liveness_s": 3,
        "subscription": {"publishing_s": 0.1, "sampling_s": 0.05, "keep_alive_s": 0.4},
    }
    return OpcuaProfile.model_validate(given | changed)


def entry(address: str, *, entry_id: str = "cell", name: str = "opcua-machinery") -> OpcuaEntry:
    return OpcuaEntry(id=entry_id, profile=name, address=address, security="none")


def collector(
    address: str, *, limit: int = 100_000, retry_s: float = 300.0, tolerance_s: float = NEVER_S, **changed: Any
) -> OpcuaCollector:
    """A collector of one entry `cell`; its clock is real time, and it does not mind that the machines' is not."""
    return OpcuaCollector(
        [(entry(address), profile(**changed))],
        time.time_ns,
        limit=limit,
        retry_s=retry_s,
        clock_tolerance_s=tolerance_s,
    )


VENDOR_NAMESPACES: Final = ("urn:vendor:plc", "urn:vendor:other")
"""Registered before the companion specifications', so that every index is another."""


def machine(machine_id: str, kind: str = "cnc", **changed: Any) -> Machine:
    """A machine that says who it is: serial SN-<id>, product URI urn:test:<id>."""
    given: dict[str, Any] = {
        "seed": 3,
        "manufacturer": "示例数控",
        "model": "VMC-850",
        "serial": f"SN-{machine_id}",
        "product_uri": f"urn:test:{machine_id}",
    }
    return Machine(machine_id, kind, **(given | changed))


def fast_clock(times: float = FAST) -> Callable[[], float]:
    """Machine time: starts now and runs so many times as fast."""
    began = time.time()
    return lambda: began + (time.time() - began) * times


@asynccontextmanager
async def serving(*machines: Machine, ledger: Ledger | None = None, **options: Any) -> AsyncIterator[OpcuaMachines]:
    options.setdefault("period_s", PERIOD_S)
    options.setdefault("now_s", fast_clock())
    simulator = OpcuaMachines(list(machines), ledger or Ledger(), **options)
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.stop()


@asynccontextmanager
async def plain_server(
    types: TypeSpace | None = None, *, limits: ServerLimits = NO_LIMITS, faults: Faults | None = None
) -> AsyncIterator[tuple[Server, Callable[[], str]]]:
    """A server to which the test adds its own nodes before `address()` is first asked for."""
    server = await typed_server(types or type_space(), 0, limits=limits, faults=faults)
    await server.start()
    port = listening_port(server)
    try:
        yield server, lambda: f"opc.tcp://127.0.0.1:{port}"
    finally:
        await stop_server(server)


class Seen:
    """What a collector has handed over so far."""

    def __init__(self, source: OpcuaCollector) -> None:
        self._source = source
        self.devices: dict[str, Device] = {}
        self.samples: dict[str, list[Samples]] = {}
        self.proofs: list[Proof] = []
        self.troubles: list[Trouble] = []
        self.shed: dict[str, int] = {}

    def add(self, batch: Batch) -> None:
        self.devices.update({device.id: device for device in batch.devices})
        for device, samples in batch.samples:
            self.samples.setdefault(device, []).append(samples)
        self.proofs.extend(batch.proofs)
        self.troubles.extend(batch.troubles)
        for reason, count in batch.shed.items():
            self.shed[reason] = self.shed.get(reason, 0) + count

    async def until(self, enough: Callable[[Seen], bool]) -> Seen:
        async with asyncio.timeout(PATIENCE_S):
            while not enough(self):
                self.add(await self._source.read())
        return self

    async def through(self, enough: Callable[[Seen], bool], within_s: float = PATIENCE_S) -> list[LinkError]:
        """Read until there is enough, connecting again after every lost link, as the gateway does, only sooner."""
        errors: list[LinkError] = []
        async with asyncio.timeout(within_s):
            while not enough(self):
                try:
                    self.add(await self._source.read())
                except LinkError as error:
                    errors.append(error)
                    await self._source.close()
                    await self._again()
        return errors

    async def _again(self) -> None:
        while True:
            try:
                await self._source.connect()
            except LinkError:
                await self._source.close()
                await asyncio.sleep(0.1)  # the pause of a runner
            else:
                return

    def forget(self) -> None:
        """Look only at what comes from now on; devices stay known."""
        self.samples, self.proofs, self.troubles, self.shed = {}, [], [], {}

    def values(self, device: str, tag: str) -> list[tuple[float, int, int]]:
        """(value, quality, source_ns) of a tag, in order."""
        index = [t.name for t in self.devices[device].tags].index(tag)
        return [
            (float(value), int(quality), int(source_ns))
            for samples in self.samples.get(device, [])
            for number, value, quality, source_ns in zip(
                samples.tag, samples.value, samples.quality, samples.source_ns, strict=True
            )
            if number == index
        ]

    def latest(self, device: str, tag: str) -> float:
        return self.values(device, tag)[-1][0]

    def latest_proof(self, device: str) -> Proof | None:
        return next((p for p in reversed(self.proofs) if p.device == device), None)


@asynccontextmanager
async def watching(source: OpcuaCollector) -> AsyncIterator[Seen]:
    """Connected, and closed at the end."""
    try:
        await source.connect()
        yield Seen(source)
    finally:
        await source.close()
