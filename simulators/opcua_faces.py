"""How a simulated machine looks on OPC UA: a machine tool (OPC 40501-1) or a robot (OPC 40010-1).

A face creates its machine's instance of the companion specification's type and says, for a moment of
the machine, which value each of its live nodes has. The energy meter below `Monitoring` is made by
hand: the NodeSet2 files of the energy companion specifications are not in the npm package, so its browse
names are those of OPC 34100 / OPC 30141 (AcActivePowerTotal in W, AcActiveEnergyTotalImportHp in Wh)
in the server's own namespace.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Final

from asyncua import ua

from simulators.opcua_instances import Instances
from simulators.opcua_nodesets import DI, MACHINE_TOOL, MACHINERY, ROBOTICS, TypeSpace
from simulators.physics import Machine

WATT: Final = ua.EUInformation("http://www.opcfoundation.org/UA/units/un/cefact", 5723220, ua.LocalizedText("W"))
WATT_HOUR: Final = ua.EUInformation("http://www.opcfoundation.org/UA/units/un/cefact", 5720146, ua.LocalizedText("Wh"))
KILOWATT_HOUR: Final = ua.EUInformation(
    "http://www.opcfoundation.org/UA/units/un/cefact", 4937544, ua.LocalizedText("kWh")
)

_ITEM_STATES: Final = {
    "off": (0, "NotAvailable", 5005),
    "fault": (1, "OutOfService", 5004),
    "idle": (2, "NotExecuting", 5007),
    "running": (3, "Executing", 5006),
}
"""Machine state to number, name and node id of the state (OPC 40001-1, MachineryItemState_StateMachineType)."""

WH_PER_KWH: Final = 1000
_BUILDING_BLOCKS: Final = "MachineryBuildingBlocks"
_CNC_WANTED: Final = frozenset(
    {
        _BUILDING_BLOCKS,
        f"{_BUILDING_BLOCKS}.MachineryItemState",
        f"{_BUILDING_BLOCKS}.MachineryItemState.CurrentState.Number",
        f"{_BUILDING_BLOCKS}.MachineryOperationMode",
        f"{_BUILDING_BLOCKS}.MachineryOperationMode.CurrentState.Number",
        "Identification.Model",
        "Monitoring.MachineTool.MachineryItemState",
        "Monitoring.MachineTool.MachineryOperationMode",
        "Production.Statistics",
        "Production.Statistics.PartsProducedInLifetime",
    }
)

Values = dict[ua.NodeId, ua.Variant]


@dataclass(frozen=True, slots=True)
class Served:
    """What the live nodes say, in the ledger's words: state, kWh, pieces; None where no node says it."""

    state: str
    quantity_kwh: float
    parts: int | None


@dataclass(slots=True)
class Face(ABC):
    """One machine on a server: its constant values, and its live nodes by path."""

    machine: Machine
    constants: Values = field(default_factory=dict)
    live: dict[str, ua.NodeId] = field(default_factory=dict)

    def values(self) -> Values:
        """The live nodes' values at the machine's present moment."""
        return {self.live[path]: variant for path, variant in self.readings().items() if path in self.live}

    @abstractmethod
    def readings(self) -> dict[str, ua.Variant]:
        """The same by path."""

    @abstractmethod
    def served(self) -> Served:
        """What those values say."""


class CncFace(Face):
    """A machine tool below `Machines`."""

    def __init__(self, machine: Machine, instances: Instances, space: TypeSpace) -> None:
        super().__init__(machine)
        tool, machinery, own = space.index(MACHINE_TOOL), space.index(MACHINERY), 1
        root = machine.id
        machine_node = instances.create(
            root,
            ua.NodeId(13, tool),
            below=ua.NodeId(1001, machinery),
            name=ua.QualifiedName(machine.id, own),
            reference=ua.ObjectIds.Organizes,
            wanted=_CNC_WANTED,
        )
        monitoring = ua.NodeId(f"{root}.Monitoring", own)
        channel = instances.create(
            f"{root}.Monitoring.Channel1",
            ua.NodeId(16, tool),
            below=monitoring,
            name=ua.QualifiedName("Channel1", own),
        )
        below = instances.folder(f"{root}.Monitoring.Consumption", below=monitoring, name=own_name("Consumption"))
        below = instances.folder(f"{below.Identifier}.Electricity", below=below, name=own_name("Electricity"))
        meter = instances.folder(f"{below.Identifier}.Main", below=below, name=own_name("Main"))
        self._power = f"{meter.Identifier}.AcActivePowerTotal"
        self._energy = f"{meter.Identifier}.AcActiveEnergyTotalImportHp"
        instances.variable(
            self._power, below=meter, name=own_name("AcActivePowerTotal"), data_type=ua.ObjectIds.Float, unit=WATT
        )
        instances.variable(
            self._energy,
            below=meter,
            name=own_name("AcActiveEnergyTotalImportHp"),
            data_type=ua.ObjectIds.Double,
            unit=WATT_HOUR,
        )
        identification = f"{machine_node.Identifier}.Identification"
        self.constants = {
            ua.NodeId(f"{identification}.Manufacturer", own): text(machine.manufacturer),
            ua.NodeId(f"{identification}.Model", own): text(machine.model),
            ua.NodeId(f"{identification}.SerialNumber", own): string(machine.serial),
            ua.NodeId(f"{identification}.ProductInstanceUri", own): string(machine.product_uri),
            ua.NodeId(f"{channel.Identifier}.Name", own): string("Channel1"),
            ua.NodeId(f"{root}.Production.ActiveProgram.Name", own): string("DEMO"),
        }
        self._machinery = machinery
        self._root = root
        self.live = {path: ua.NodeId(path, own) for path in self.readings()}

    def readings(self) -> dict[str, ua.Variant]:
        machine, root = self.machine, self._root
        number, name, identifier = _ITEM_STATES[machine.state]
        state = f"{root}.{_BUILDING_BLOCKS}.MachineryItemState.CurrentState"
        mode = f"{root}.{_BUILDING_BLOCKS}.MachineryOperationMode.CurrentState"
        processing = machine.state != "off"
        return {
            state: text(name),
            f"{state}.Number": uint32(number),
            f"{state}.Id": ua.Variant(ua.NodeId(identifier, self._machinery), ua.VariantType.NodeId),
            mode: text("Processing" if processing else "None"),
            f"{mode}.Number": uint32(3 if processing else 0),
            f"{root}.Monitoring.MachineTool.OperationMode": int32(1),
            f"{root}.Monitoring.Channel1.ChannelState": ua.Variant(
                {"running": 0, "fault": 1}.get(machine.state, 2), ua.VariantType.Int32
            ),
            f"{root}.Production.Statistics.PartsProducedInLifetime": uint32(machine.parts),
            self._power: ua.Variant(round(machine.power_kw * WH_PER_KWH, 1), ua.VariantType.Float),
            self._energy: double(whole_wh(machine)),
        }

    def served(self) -> Served:
        return Served(self.machine.state, whole_wh(self.machine) / WH_PER_KWH, self.machine.parts)


class RobotFace(Face):
    """A motion device system in DI's `DeviceSet`; it has no flag for running and counts no pieces."""

    def __init__(self, machine: Machine, instances: Instances, space: TypeSpace) -> None:
        super().__init__(machine)
        robotics, own = space.index(ROBOTICS), 1
        root = machine.id

        def add(path: str, type_id: int, wanted: frozenset[str] = frozenset()) -> None:
            above, _, name = f"{root}.{path}".rpartition(".")
            below = ua.NodeId(above, own)
            instances.create(
                f"{root}.{path}", ua.NodeId(type_id, robotics), below=below, name=own_name(name), wanted=wanted
            )

        instances.create(
            root, ua.NodeId(1002, robotics), below=ua.NodeId(5001, space.index(DI)), name=own_name(machine.id)
        )
        arm, controller, task, safety = (
            "MotionDevices.Arm",
            "Controllers.Controller",
            "Controllers.Controller.TaskControls.Main",
            "SafetyStates.Safety",
        )
        add(arm, 1004, frozenset({"ParameterSet.OnPath", "ParameterSet.InControl", "ProductInstanceUri"}))
        add(f"{arm}.Axes.Axis1", 16601)
        add(f"{arm}.PowerTrains.PowerTrain1", 16794)
        add(f"{arm}.PowerTrains.PowerTrain1.Motor1", 1019)
        add(controller, 1003, frozenset({"ParameterSet", "ParameterSet.TotalEnergyConsumption"}))
        add(task, 1011)
        add(safety, 1013)

        def at(path: str) -> ua.NodeId:
            return ua.NodeId(f"{root}.{path}", own)

        self.constants = {
            at(f"{arm}.ProductInstanceUri"): string(machine.product_uri),
            at(f"{arm}.MotionDeviceCategory"): int32(1),
            at(f"{task}.ComponentName"): text("Main"),
            at(f"{controller}.ParameterSet.TotalEnergyConsumption.EngineeringUnits"): ua.Variant(
                KILOWATT_HOUR, ua.VariantType.ExtensionObject
            ),
        }
        for part in (arm, controller):
            self.constants[at(f"{part}.Manufacturer")] = text(machine.manufacturer)
            self.constants[at(f"{part}.Model")] = text(machine.model)
            self.constants[at(f"{part}.SerialNumber")] = string(machine.serial)
            self.constants[at(f"{part}.ProductCode")] = string(machine.model)
        self._paths = {"arm": arm, "controller": controller, "task": task, "safety": safety}
        self.live = {path: at(path) for path in self.readings()}

    def readings(self) -> dict[str, ua.Variant]:
        state = self.machine.state
        arm, task, safety = (f"{self._paths[part]}.ParameterSet" for part in ("arm", "task", "safety"))
        return {
            f"{arm}.OnPath": boolean(state == "running"),
            f"{arm}.InControl": boolean(state in ("running", "idle")),
            f"{arm}.SpeedOverride": double(100.0),
            f"{task}.TaskProgramLoaded": boolean(state != "off"),
            f"{task}.TaskProgramName": string("DEMO"),
            f"{safety}.OperationalMode": int32(3),
            f"{safety}.EmergencyStop": boolean(False),
            f"{safety}.ProtectiveStop": boolean(state == "fault"),
            f"{self._paths['controller']}.ParameterSet.TotalEnergyConsumption": double(
                whole_wh(self.machine) / WH_PER_KWH
            ),
        }

    def served(self) -> Served:
        return Served(self.machine.state, whole_wh(self.machine) / WH_PER_KWH, None)


def own_name(name: str) -> ua.QualifiedName:
    """A browse name in the server's own namespace."""
    return ua.QualifiedName(name, 1)


def whole_wh(machine: Machine) -> int:
    """Whole watt-hours: what a meter counts, and what the interval record can hold exactly."""
    return int(machine.energy_kwh * WH_PER_KWH)


def text(value: str) -> ua.Variant:
    """A LocalizedText."""
    return ua.Variant(ua.LocalizedText(value), ua.VariantType.LocalizedText)


def string(value: str) -> ua.Variant:
    """A String."""
    return ua.Variant(value, ua.VariantType.String)


def uint32(value: int) -> ua.Variant:
    """A UInt32."""
    return ua.Variant(value, ua.VariantType.UInt32)


def double(value: float) -> ua.Variant:
    """A Double."""
    return ua.Variant(float(value), ua.VariantType.Double)


def int32(value: int) -> ua.Variant:
    """An Int32, as which enumerations travel."""
    return ua.Variant(value, ua.VariantType.Int32)


def boolean(value: Any) -> ua.Variant:
    """A Boolean."""
    return ua.Variant(bool(value), ua.VariantType.Boolean)
