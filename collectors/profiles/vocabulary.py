"""The quantities we know: name, unit, role, carrier and direction. Profiles name them, never define them.

A register's own scale and sign are turned into these units by the profile; plus means drawn from the
grid or counted upwards. What has a carrier is a counter: the one that a device counts has the role
QUANTITY, another (export beside import) is a gauge until an entry asks for a device of its own.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from collectors.model import Role


class Quantity(NamedTuple):
    """One quantity: its unit, what the gateway does with it, and for a counter what is counted."""

    unit: str
    role: Role = Role.GAUGE
    carrier: str = ""
    direction: Literal["import", "export", "generation", ""] = ""


VOCABULARY: Final[dict[str, Quantity]] = {
    "state": Quantity("", Role.STATE),
    "parts": Quantity("1", Role.PARTS),
    "power": Quantity("kW", Role.POWER),
    "energy_import": Quantity("kWh", Role.QUANTITY, "electricity", "import"),
    "water_volume": Quantity("m³", Role.QUANTITY, "water", "import"),
    "gas_volume": Quantity("m³", Role.QUANTITY, "gas", "import"),
    "energy_export": Quantity("kWh", Role.GAUGE, "electricity", "export"),
    "energy_total": Quantity("kWh"),
    "power_l1": Quantity("kW"),
    "power_l2": Quantity("kW"),
    "power_l3": Quantity("kW"),
    "voltage_l1": Quantity("V"),
    "voltage_l2": Quantity("V"),
    "voltage_l3": Quantity("V"),
    "voltage_l12": Quantity("V"),
    "voltage_l23": Quantity("V"),
    "voltage_l31": Quantity("V"),
    "current_l1": Quantity("A"),
    "current_l2": Quantity("A"),
    "current_l3": Quantity("A"),
    "frequency": Quantity("Hz"),
    "pt_ratio": Quantity("1"),
    "ct_ratio": Quantity("1"),
    "water_flow": Quantity("m³/h"),
    "water_volume_reverse": Quantity("m³"),
    "gas_flow": Quantity("m³/h"),
    "gas_flow_uncorrected": Quantity("m³/h"),
    "gas_volume_uncorrected": Quantity("m³"),
    "gas_temperature": Quantity("°C"),
    "gas_pressure": Quantity("kPa"),
    "cycle_count": Quantity("1"),
    "cycle_time": Quantity("s"),
    "alarm_code": Quantity("1"),
    "barrel_temperature": Quantity("°C"),
    "oil_temperature": Quantity("°C"),
    "automatic_mode": Quantity("1"),
    "guard_closed": Quantity("1"),
}
"""Every quantity by the name that profiles use as a tag. Gas is counted at standard conditions."""


def count_name(quantity: Quantity) -> str:
    """What an entry calls a counter under `counts`, and the name of the device that counts it alone."""
    return quantity.direction if quantity.carrier == "electricity" else quantity.carrier
