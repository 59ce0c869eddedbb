"""Plants for the Modbus tests: simulated stations and the collectors that read them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from collectors.base import Collector
from collectors.modbus.config import ModbusEntry
from collectors.modbus.factory import collectors_for
from collectors.profiles.loader import BUILT_IN
from simulators.ledger import Ledger
from simulators.modbus_server import ModbusStation
from simulators.physics import Machine

FAST_S = 0.2

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
    return ModbusStation(units, ledger, framing=framing, period_s=period_s)  # type: ignore[arg-type]


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


def collector(address: str, devices: Sequence[str], profiles: Path, timeout_ms: int = 200) -> Collector:
    """The one collector of a station, on real time."""
    made = collectors_for(entries(address, devices, timeout_ms), time.time_ns, [profiles], profiles)
    assert len(made) == 1
    return made[0]
