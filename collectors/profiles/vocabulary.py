"""The quantities we know: name, unit, role, carrier and direction. Profiles name them, never define them.

A register's own scale and sign are turned into these units by the profile; plus means drawn from the
grid or counted upwards.
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
    "energy_export": Quantity("kWh"),
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
    "water_flow": Quantity("m³/h"),
    "water_volume_reverse": Quantity("m³"),
    "cycle_count": Quantity("1"),
    "cycle_time": Quantity("s"),
    "alarm_code": Quantity("1"),
    "barrel_temperature": Quantity("°C"),
    "oil_temperature": Quantity("°C"),
    "automatic_mode": Quantity("1"),
    "guard_closed": Quantity("1"),
}
"""Every quantity by the name that profiles use as a tag."""
