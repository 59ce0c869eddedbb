"""Plants for the Modbus tests: simulated stations and the collectors that read them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from collectors.base import Collector
from collectors.modbus.address import parse_address
from collectors.modbus.breaker import Breaker
from collectors.modbus.collector import ModbusCollector
from collectors.modbus.config import ModbusEntry
from collectors.modbus.device import polled_device
from collectors.modbus.factory import collectors_for
from collectors.modbus.link import Link
from collectors.modbus.profile import Serial, load_modbus
from collectors.profiles.loader import BUILT_IN
from simulators.ledger import Ledger
from simulators.modbus_server import ModbusStation
from simulators.physics import Machine

FAST_S = 0.2
BAUDRATE = 115_200
"""Of simulated lines: what their characters take adds to every time limit."""
DEAF_AFTER_S = 0.3
"""After so long a connection on which nothing is heard is opened afresh: real time is dear in tests."""

KINDS: Mapping[str, tuple[str, str, str]] = {
    "moulding-1": ("moulding-plc", "moulding", "plc-moulding"),
    "meter-main": ("sdm630", "meter-electricity", "eastron-sdm630"),
    "meter-lathe": ("lathe-clamp-dtsu666", "lathe-meter", "retrofit-clamp-dtsu666"),
    "meter-water": ("water-meter", "meter-water", "xintai-water"),
}
"""Register map, machine kind and profile by device id."""


def machine(device: str) -> Machine:
    """A machine with counters in the middle of their range."""
    return Machine(device, KINDS[device][1], seed=7, start_energy_kwh=123_456.78, start_parts=4711, start_water_m3=88.5)


def station(devices: Sequence[str], ledger: Ledger, *, framing: str = "tcp", period_s: float = 0.1) -> ModbusStation:
    """A station whose unit ids count from 1 in the order of the devices."""
    units = {unit: (KINDS[device][0], machine(device)) for unit, device in enumerate(devices, 1)}
    return ModbusStation(units, ledger, framing=framing, period_s=period_s, baudrate=BAUDRATE)  # type: ignore[arg-type]


def fast_profiles(folder: Path, every_s: float = FAST_S) -> Path:
    """The built-in Modbus profiles as a site's own, polled faster; real time is dear in tests."""
    folder.mkdir(exist_ok=True)
    for _, _, name in KINDS.values():
        text = (BUILT_IN / f"{name}.yaml").read_text(encoding="utf-8")
        (folder / f"{name}.yaml").write_text(f"{text}every_s: {every_s}\n", encoding="utf-8")
    return folder


def entries(address: str, devices: Sequence[str], timeout_ms: int = 200) -> list[ModbusEntry]:
    """Entries for the devices of a station."""
    return [
        ModbusEntry(id=device, profile=KINDS[device][2], address=address, unit=unit, timeout_ms=timeout_ms)
        for unit, device in enumerate(devices, 1)
    ]


def fast_link(address: str) -> Link:
    """The link of a simulated station, at the speed of its line."""
    return Link(parse_address(address), Serial(baudrate=BAUDRATE), deaf_after_s=DEAF_AFTER_S)


_profile = lru_cache(load_modbus)


class Hurry:
    """A time line that runs faster than the clock on the wall, so that a rest of 2 s is soon over."""

    def __init__(self, factor: int = 8) -> None:
        self._factor = factor
        self._start_ns = time.time_ns()

    def __call__(self) -> int:
        return self._start_ns + (time.time_ns() - self._start_ns) * self._factor

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds of this time line."""
        await asyncio.sleep(seconds / self._factor)


def hurried_collector(address: str, devices: Sequence[str], timeout_ms: int) -> ModbusCollector:
    """The collector of a station on a time line in a hurry; time limits of requests stay real."""
    members = [
        polled_device(entry, _profile(entry.profile), Breaker()) for entry in entries(address, devices, timeout_ms)
    ]
    hurry = Hurry()
    return ModbusCollector(fast_link(address), members, hurry, hurry.sleep)


def collector(address: str, devices: Sequence[str], profiles: Path, timeout_ms: int = 140) -> Collector:
    """The one collector of a station, on real time."""
    made = collectors_for(entries(address, devices, timeout_ms), time.time_ns, [profiles], profiles)
    assert len(made) == 1
    return made[0]
