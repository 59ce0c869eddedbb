"""Register maps of the simulated Modbus devices, typed by hand from the published sheets.

The device catalogue reads the same sheets; neither is derived from the other, so a wrong register
shows. Addresses are protocol addresses (counted from 0). Each map says what it serves of state,
parts and quantity *as encoded*, so that sums of what was served compare exactly.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from simulators.physics import Machine


@dataclass(frozen=True, slots=True)
class Image:
    """All registers of a device at one moment, and what they say in plain numbers."""

    holding: Mapping[int, int] = field(default_factory=dict)
    input: Mapping[int, int] = field(default_factory=dict)
    """Input registers (function 4)."""
    quantity: float | None = None
    """The counter as encoded: kWh or m³."""
    parts: int | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class RegisterMap:
    """A device's registers as a function of its machine. Ranges are protocol addresses."""

    image: Callable[[Machine], Image]
    function: int
    """Function code that reads the counters below: 3 or 4."""
    quantity_at: range = range(0)
    parts_at: range = range(0)
    state_at: range = range(0)
    identification: Mapping[int, str] = field(default_factory=dict)
    """Objects of function 43/14: 0 vendor, 1 product code, 2 revision; empty: not supported."""


def _put(registers: dict[int, int], at: int, raw: bytes) -> None:
    for offset, (word,) in enumerate(struct.iter_unpack(">H", raw)):
        registers[at + offset] = word


def _f32(value: float) -> bytes:
    return struct.pack(">f", value)


def _as_f32(value: float) -> float:
    """The value that a 32-bit float holds."""
    return float(struct.unpack(">f", struct.pack(">f", value))[0])


def _shares(machine: Machine) -> tuple[float, float, float]:
    """Power of each phase in kW: as its current."""
    total = sum(machine.current_a) or 1.0
    return tuple(machine.power_kw * amps / total for amps in machine.current_a)  # type: ignore[return-value]


def _moulding_plc(machine: Machine) -> Image:
    """`collectors/profiles/sheets/plc-moulding.md`: the project's own sheet for a PLC with a state word."""
    state_word = {"off": 0, "idle": 1, "running": 2, "fault": 3}[machine.state]
    energy_hundredths = round(machine.energy_kwh * 100) % 2**32
    parts = machine.parts % 2**32
    registers = {0: 1, 1: state_word}
    _put(registers, 2, struct.pack(">I", parts))
    _put(registers, 4, struct.pack(">I", parts // 4))
    registers[6] = 385 if machine.state == "running" else 0
    registers[7] = 17 if machine.state == "fault" else 0
    _put(registers, 8, _f32(machine.power_kw))
    _put(registers, 10, struct.pack(">I", energy_hundredths))
    registers[12] = 2215 if machine.state == "running" else 1840
    registers[13] = 0x7FFF
    registers[14] = 0b0011 if machine.state == "running" else 0b0010
    return Image(holding=registers, quantity=energy_hundredths / 100, parts=parts, state=machine.state)


def _sdm630(machine: Machine) -> Image:
    """Eastron SDM630: input registers, 32-bit floats, high word first."""
    registers: dict[int, int] = {}
    shares_kw = _shares(machine)
    for phase in range(3):
        _put(registers, 0x0000 + 2 * phase, _f32(machine.voltage_v[phase]))
        _put(registers, 0x0006 + 2 * phase, _f32(machine.current_a[phase]))
        _put(registers, 0x000C + 2 * phase, _f32(shares_kw[phase] * 1000))
    _put(registers, 0x0034, _f32(machine.power_kw * 1000))
    _put(registers, 0x0046, _f32(50.01))
    _put(registers, 0x0048, _f32(machine.energy_kwh))
    _put(registers, 0x004A, _f32(0.0))
    _put(registers, 0x0156, _f32(machine.energy_kwh))
    return Image(input=_filled(registers, 0x0000, 0x0158), quantity=_as_f32(machine.energy_kwh))


def _sdm120(machine: Machine) -> Image:
    """Eastron SDM120, one phase: input registers, 32-bit floats, high word first."""
    registers: dict[int, int] = {}
    _put(registers, 0x0000, _f32(machine.voltage_v[0]))
    _put(registers, 0x0006, _f32(machine.current_a[0]))
    _put(registers, 0x000C, _f32(machine.power_kw * 1000))
    _put(registers, 0x0046, _f32(49.98))
    _put(registers, 0x0048, _f32(machine.energy_kwh))
    _put(registers, 0x004A, _f32(0.0))
    return Image(input=_filled(registers, 0x0000, 0x0158), quantity=_as_f32(machine.energy_kwh))


def _dtsu666(energy_at: int) -> Callable[[Machine], Image]:
    """Chint DTSU666: holding registers, 32-bit floats ×10, ×1000, ×100; energy at 101EH or 401EH by firmware."""

    def image(machine: Machine) -> Image:
        registers: dict[int, int] = {}
        volts, amps, shares_kw = machine.voltage_v, machine.current_a, _shares(machine)
        for phase in range(3):
            _put(registers, 0x2000 + 2 * phase, _f32((volts[phase] + volts[(phase + 1) % 3]) * 0.8660254 * 10))
            _put(registers, 0x2006 + 2 * phase, _f32(volts[phase] * 10))
            _put(registers, 0x200C + 2 * phase, _f32(amps[phase] * 1000))
            _put(registers, 0x2014 + 2 * phase, _f32(shares_kw[phase] * 1000 * 10))
        _put(registers, 0x2012, _f32(machine.power_kw * 1000 * 10))
        _put(registers, 0x2044, _f32(50.02 * 100))
        _put(registers, energy_at, _f32(machine.energy_kwh))
        _put(registers, energy_at + 0x0A, _f32(0.0))
        filled = _filled(registers, 0x2000, 0x2052) | _filled(registers, energy_at, energy_at + 0x14)
        return Image(holding=filled, quantity=_as_f32(machine.energy_kwh))

    return image


def _adw300(machine: Machine) -> Image:
    """Acrel ADW300: holding registers, 16-bit volts and amperes, 32-bit watts and energy."""
    registers: dict[int, int] = {}
    shares_kw = _shares(machine)
    for phase in range(3):
        registers[20 + phase] = round(machine.voltage_v[phase] * 10)
        registers[26 + phase] = round(machine.current_a[phase] * 100) % 2**16
        _put(registers, 30 + 2 * phase, struct.pack(">i", round(shares_kw[phase] * 1000)))
    _put(registers, 36, struct.pack(">i", round(machine.power_kw * 1000)))
    energy_hundredths = round(machine.energy_kwh * 100)
    _put(registers, 62, struct.pack(">i", energy_hundredths))
    _put(registers, 64, struct.pack(">i", 0))
    return Image(holding=_filled(registers, 20, 66), quantity=energy_hundredths / 100)


def _iem3000(machine: Machine) -> Image:
    """Schneider iEM3000: holding registers, 32-bit floats in A, V and kW, 64-bit energy in Wh."""
    registers: dict[int, int] = {}
    shares_kw = _shares(machine)
    for phase in range(3):
        _put(registers, 0x0BB7 + 2 * phase, _f32(machine.current_a[phase]))
        _put(registers, 0x0BD3 + 2 * phase, _f32(machine.voltage_v[phase]))
        _put(registers, 0x0BED + 2 * phase, _f32(shares_kw[phase]))
    _put(registers, 0x0BF3, _f32(machine.power_kw))
    _put(registers, 0x0C25, _f32(50.03))
    energy_wh = round(machine.energy_kwh * 1000)
    _put(registers, 0x0C83, struct.pack(">q", energy_wh))
    _put(registers, 0x0C87, struct.pack(">q", 0))
    filled = _filled(registers, 0x0BB7, 0x0C27) | _filled(registers, 0x0C83, 0x0C8B)
    return Image(holding=filled, quantity=energy_wh / 1000)


def _pac3200(machine: Machine) -> Image:
    """Siemens PAC3200: 32-bit floats, energy as 64-bit floats in Wh; the same by function 3 and 4."""
    registers: dict[int, int] = {}
    shares_kw = _shares(machine)
    for phase in range(3):
        _put(registers, 1 + 2 * phase, _f32(machine.voltage_v[phase]))
        _put(registers, 13 + 2 * phase, _f32(machine.current_a[phase]))
        _put(registers, 25 + 2 * phase, _f32(shares_kw[phase] * 1000))
    _put(registers, 55, _f32(49.97))
    _put(registers, 65, _f32(machine.power_kw * 1000))
    energy_wh = machine.energy_kwh * 1000
    _put(registers, 801, struct.pack(">d", energy_wh))
    _put(registers, 809, struct.pack(">d", 0.0))
    filled = _filled(registers, 1, 71) | _filled(registers, 801, 841)
    return Image(holding=filled, input=filled, quantity=energy_wh / 1000)


def _water_meter(machine: Machine) -> Image:
    """Xintai water meter: holding registers, floats with the lowest byte first."""
    registers: dict[int, int] = {}
    flow_m3_h = 1.86 if machine.state == "running" else 0.07
    _put(registers, 0x0001, struct.pack("<f", machine.water_m3))
    _put(registers, 0x0003, struct.pack("<f", 0.0))
    _put(registers, 0x0005, struct.pack("<f", flow_m3_h))
    registers[0x0007] = 0x00AA
    return Image(holding=_filled(registers, 0x0001, 0x001F), quantity=_as_f32(machine.water_m3))


def _filled(registers: Mapping[int, int], first: int, end: int) -> dict[int, int]:
    """The registers of `[first, end)`, with 0 where the sheet has a quantity that is not simulated."""
    return {at: registers.get(at, 0) for at in range(first, end)}


MAPS: Final[Mapping[str, RegisterMap]] = {
    "moulding-plc": RegisterMap(
        _moulding_plc,
        function=3,
        quantity_at=range(10, 12),
        parts_at=range(2, 4),
        state_at=range(1, 2),
        identification={0: "示例塑机", 1: "SM-160", 2: "V1.0"},
    ),
    "sdm630": RegisterMap(_sdm630, function=4, quantity_at=range(0x48, 0x4A)),
    "sdm120": RegisterMap(_sdm120, function=4, quantity_at=range(0x48, 0x4A)),
    "dtsu666": RegisterMap(_dtsu666(0x101E), function=3, quantity_at=range(0x101E, 0x1020)),
    "dtsu666-401e": RegisterMap(_dtsu666(0x401E), function=3, quantity_at=range(0x401E, 0x4020)),
    "lathe-clamp-dtsu666": RegisterMap(_dtsu666(0x101E), function=3, quantity_at=range(0x101E, 0x1020)),
    "adw300": RegisterMap(_adw300, function=3, quantity_at=range(62, 64)),
    "iem3000": RegisterMap(
        _iem3000,
        function=3,
        quantity_at=range(0x0C83, 0x0C87),
        identification={0: "Schneider Electric", 1: "iEM3255", 2: "1.5"},
    ),
    "pac3200": RegisterMap(_pac3200, function=4, quantity_at=range(801, 805)),
    "water-meter": RegisterMap(_water_meter, function=3, quantity_at=range(1, 3)),
}
"""Register map by name, as `ModbusStation` takes it."""
