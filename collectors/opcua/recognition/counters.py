"""What a machine counts: electricity, gas, compressed air, water, heat and pieces, in the units of the vocabulary.

Sources: OPC 34100 (ECM) and OPC 30141 (PNEM), energy profiles E1 to E3; OPC 40001-4, which places a metering
point for each resource at `Monitoring/Consumption/<resource>/<point>`, the machine's own being `Main`; OPC 40010-1
(TotalEnergyConsumption of a robot's controller); OPC 40083, 31 (EnergyType: ActualPower, PowerConsumption). Units
are those that the server states, else those that the specification fixes, else the counter is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from asyncua import ua

from collectors.model import DeviceClass, Identity, Role, Tag
from collectors.opcua.address_space import AddressSpace, Found
from collectors.opcua.recognition.machine import ELECTRICITY, Counted, Parts, several_meters
from collectors.opcua.values import Scaled


def _unit_id(code: str) -> int:
    """The UnitId of a UNECE Recommendation 20 code (OPC 10000-8, 5.6.3.4): its characters as a number."""
    return int.from_bytes(code.encode("ascii"), "big")


_WHR: Final = _unit_id("WHR")
_MTQ: Final = _unit_id("MTQ")
_JOULES: Final = {
    _WHR: 3.6e3,
    _unit_id("KWH"): 3.6e6,
    _unit_id("MWH"): 3.6e9,
    _unit_id("JOU"): 1.0,
    _unit_id("KJO"): 1e3,
    _unit_id("3B"): 1e6,
    _unit_id("GV"): 1e9,
}
_LITRES: Final = {_MTQ: 1e3, _unit_id("LTR"): 1.0, _unit_id("DMQ"): 1.0}
_WATTS: Final = {_unit_id("WTT"): 1.0, _unit_id("KWT"): 1e3, _unit_id("MAW"): 1e6}
_SIZES: Final = {"kWh": (_JOULES, 3.6e6), "GJ": (_JOULES, 1e9), "m³": (_LITRES, 1e3), "kW": (_WATTS, 1e3)}
"""By unit of the vocabulary: how large each stated unit is, and how large the unit itself, in one measure."""

_FIXED_UNITS: Final = {
    "AcActiveEnergyTotalImportHp": _WHR,
    "AcActiveEnergyTotalImportLp": _WHR,
    "AcActiveEnergyTotalExportHp": _WHR,
    "AcActiveEnergyTotalExportLp": _WHR,
    "AcActivePowerTotal": _unit_id("WTT"),
    "NeEnergyImportHp": _WHR,
    "NeEnergyExportHp": _WHR,
    "Volume": _MTQ,
}
"""Units that the specification fixes (OPC 30141, OPC 34100, OPC 40001-4), for servers that do not state them."""

_RESOURCES: Final = {
    "Electricity": "electricity",
    "CompressedAir": "compressed-air",
    "NaturalGas": "gas",
    "Water": "water",
    "FreshWater": "water",
    "Steam_Saturated": "heat",
    "Steam_Superheated": "heat",
    "HotWater": "heat",
    "HotHotWater": "heat",
}
"""Folder of OPC 40001-4, 9.1 (the two waters beside it are makers' names) to carrier."""


class _Kind(NamedTuple):
    """One kind of counter: what it counts, its tag, and its browse names, the better first."""

    counted: Counted
    tag: Tag
    names: tuple[str, ...]


_IMPORT: Final = _Kind(
    ELECTRICITY,
    Tag("energy_import", "kWh", Role.QUANTITY),
    # Hp is a Double; Lp a Float that loses single Wh beyond 16.7 MWh
    (
        "AcActiveEnergyTotalImportHp",
        "AcActiveEnergyTotalImportLp",
        "TotalEnergyConsumption",
        "PowerConsumption",
    ),
)
_FURTHER: Final = (
    _Kind(
        Counted("electricity", "kWh", "export"),
        Tag("energy_export", "kWh", Role.QUANTITY),
        ("AcActiveEnergyTotalExportHp", "AcActiveEnergyTotalExportLp"),
    ),
    _Kind(Counted("gas", "m³", "import"), Tag("gas_volume", "m³", Role.QUANTITY), ("Volume",)),
    _Kind(Counted("compressed-air", "m³", "import"), Tag("compressed_air_volume", "m³", Role.QUANTITY), ("Volume",)),
    _Kind(Counted("water", "m³", "import"), Tag("water_volume", "m³", Role.QUANTITY), ("Volume",)),
    _Kind(Counted("heat", "GJ", "import"), Tag("heat_import", "GJ", Role.QUANTITY), ("NeEnergyImportHp",)),
)
_POWER_NAMES: Final = ("AcActivePowerTotal", "ActualPower")
_METER_CLASSES: Final[dict[str, DeviceClass]] = {
    "electricity": "meter-electricity",
    "gas": "meter-gas",
    "compressed-air": "meter-gas",
    "water": "meter-water",
}
_MAIN_NAMES: Final = ("Main", "TotalEnergy")
_PART_FOLDERS: Final = ("Components", "PowerUnits", "PowerTrains")
"""Below these are parts of the machine: what they count is in the machine's own counter already."""
_PIECES: Final = ("PartsProducedInLifetime", "JobPartsCounter")
"""A lifetime counter (OPC 40501-1), and the pieces of the running job, which begin again with the next (OPC 40083)."""
_WRAPS_AT: Final = {5: 2.0**16, 7: 2.0**32}
"""Where an unsigned counter wraps, by its data type (UInt16, UInt32)."""


async def count(
    space: AddressSpace, nodes: Sequence[Found], parts: Parts, whose: tuple[ua.NodeId, str, DeviceClass, Identity]
) -> None:
    """Electricity from the grid, power and pieces become tags of the machine; everything else that it counts is a
    device of its own in `parts.meters`. `whose`: root, path, class and identity of the machine."""
    variables = [n for n in nodes if n.node_class == ua.NodeClass.Variable]
    await _quantity(space, nodes, variables, _IMPORT, parts)
    for name in _POWER_NAMES:
        power = _main([n for n in variables if n.name == name and _carrier(n) == "electricity"], name, parts)
        divisor = None if power is None else await _per_unit(space, nodes, power, "kW")
        if power is not None and divisor is not None:
            parts.tag(Tag("power", "kW", Role.POWER), power, Scaled(1.0, divisor))
            break
    await _pieces(space, variables, parts)
    root, path, device_class, identity = whose
    for kind in _FURTHER:
        own = Parts()
        await _quantity(space, nodes, variables, kind, own)
        parts.troubles.extend(own.troubles)
        if own.tags:
            name = kind.counted.direction if kind.counted.carrier == "electricity" else kind.counted.carrier
            own.troubles.clear()  # told with the machine's own
            meter = own.machine(root, path, _METER_CLASSES.get(kind.counted.carrier, device_class), identity)
            parts.meters.append(replace(meter, meter=name))


async def _quantity(
    space: AddressSpace, nodes: Sequence[Found], variables: Iterable[Found], kind: _Kind, parts: Parts
) -> None:
    of_carrier = [n for n in variables if n.name in kind.names and _carrier(n) == kind.counted.carrier]
    for name in kind.names:
        counter = _main([n for n in of_carrier if n.name == name], name, parts)
        if counter is None:
            continue
        divisor = await _per_unit(space, nodes, counter, kind.tag.unit)
        if divisor is not None:
            parts.tag(kind.tag, counter, Scaled(1.0, divisor))
            parts.counted = kind.counted
            return


def _carrier(node: Found) -> str:
    """What a node counts, by the resource's folder, blank for one not known; electricity without such a folder."""
    for above, here in zip(node.path, node.path[1:], strict=False):
        if above == "Consumption":
            return _RESOURCES.get(here, "")
    return "electricity"


def _main(candidates: list[Found], name: str, parts: Parts) -> Found | None:
    """The machine's own meter: the one, else the one below `Main`, else the one that is no part's. No guess."""
    if len(candidates) <= 1:
        return candidates[0] if candidates else None
    for chosen in (
        [n for n in candidates if not set(n.path) & set(_PART_FOLDERS) and set(n.path) & set(_MAIN_NAMES)],
        [n for n in candidates if not set(n.path) & set(_PART_FOLDERS)],
    ):
        if len(chosen) == 1:
            return chosen[0]
    parts.troubles.append(several_meters(name, candidates))
    return None


async def _per_unit(space: AddressSpace, nodes: Sequence[Found], variable: Found, unit: str) -> float | None:
    """How many of the variable's unit one of ours is; None where it states none and none is fixed."""
    sizes, own = _SIZES[unit]
    units = next((n for n in nodes if n.path == (*variable.path, "EngineeringUnits")), None)
    stated = _FIXED_UNITS.get(variable.name)
    if units is not None:
        (value,) = await space.read([units.node])
        information = value.Value.Value if value.Value is not None else None
        if isinstance(information, ua.EUInformation):
            stated = information.UnitId
    size = None if stated is None else sizes.get(stated)
    return None if size is None else own / size


async def _pieces(space: AddressSpace, variables: Sequence[Found], parts: Parts) -> None:
    pieces = next((n for name in _PIECES for n in variables if n.name == name), None)
    if pieces is None:
        return
    (data_type,) = await space.read([pieces.node], ua.AttributeIds.DataType)
    identifier = data_type.Value.Value if data_type.Value is not None else None
    wraps_at = None
    if isinstance(identifier, ua.NodeId) and identifier.NamespaceIndex == 0:
        wraps_at = _WRAPS_AT.get(identifier.Identifier)
    parts.tag(Tag("parts", "1", Role.PARTS, wraps_at), pieces, float)
