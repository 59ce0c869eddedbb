"""How a simulated injection moulding machine looks on OPC UA: an IMM_MES_Interface (OPC 40077) in `DeviceSet`.

Its energy is an EnergyType of OPC 40083, which OPC 40077 does not ask for and makers add.
"""

from __future__ import annotations

from typing import Final

from asyncua import ua

from simulators.opcua_faces import (
    KILOWATT_HOUR,
    WATT,
    WH_PER_KWH,
    Face,
    Served,
    boolean,
    double,
    int32,
    own_name,
    string,
    text,
    uint32,
    whole_wh,
)
from simulators.opcua_instances import Instances
from simulators.opcua_moulding_types import DI, GENERAL, IMM2MES
from simulators.opcua_nodesets import TypeSpace
from simulators.physics import Machine

_AUTOMATIC, _SLEEP = 1, 5
_NO_PRODUCTION, _PRODUCTION = 1, 4
_JOB_IN_PRODUCTION, _JOB_INTERRUPTED = 6, 7
_CAVITIES: Final = 4
_SEVERE: Final = 800
_WANTED: Final = frozenset(
    {"MachineInformation.ProductInstanceUri", "Jobs", "Jobs.ActiveJobValues.MachineCycleCounter"}
)


class MouldingFace(Face):
    """An injection moulding machine in DI's `DeviceSet`, one long job on it."""

    def __init__(self, machine: Machine, instances: Instances, space: TypeSpace) -> None:
        super().__init__(machine)
        own, root = 1, machine.id
        below = ua.NodeId(5001, space.index(DI))
        imm = ua.NodeId(1007, space.index(IMM2MES))
        node = instances.create(root, imm, below=below, name=own_name(root), wanted=_WANTED)
        general = space.index(GENERAL)
        energy = instances.create(
            f"{root}.Energy",
            ua.NodeId(1063, general),
            below=node,
            name=own_name("Energy"),
            wanted=frozenset({"ActualPower", "PowerConsumption"}),
        )
        drive = instances.create(
            f"{root}.PowerUnits.PowerUnit_1",
            ua.NodeId(1036, general),
            below=ua.NodeId(f"{root}.PowerUnits", own),
            name=ua.QualifiedName("PowerUnit_1", general),
        )

        def at(path: str) -> ua.NodeId:
            return ua.NodeId(f"{root}.{path}", own)

        extension = ua.VariantType.ExtensionObject
        self.constants = {
            at("MachineInformation.DeviceClass"): string("Injection Moulding Machine"),
            at("MachineInformation.Manufacturer"): text(machine.manufacturer),
            at("MachineInformation.Model"): text(machine.model),
            at("MachineInformation.SerialNumber"): string(machine.serial),
            at("MachineInformation.ProductInstanceUri"): string(machine.product_uri),
            at("MachineInformation.ControllerName"): string("SIM-CONTROL"),
            at("MachineStatus.IsPresent"): boolean(True),
            at("Jobs.ActiveJob.JobName"): string("JOB-DEMO"),
            at("Jobs.ActiveJob.MouldId"): string("M-DEMO"),
            at("Jobs.ActiveJob.ProductionDatasetName"): string("RECIPE-DEMO"),
            at("Jobs.ActiveJob.NumCavities"): uint32(_CAVITIES),
            ua.NodeId(f"{energy.Identifier}.ActualPower.EngineeringUnits", own): ua.Variant(WATT, extension),
            ua.NodeId(f"{energy.Identifier}.PowerConsumption.EngineeringUnits", own): ua.Variant(
                KILOWATT_HOUR, extension
            ),
            ua.NodeId(f"{drive.Identifier}.Index", own): uint32(1),
            ua.NodeId(f"{drive.Identifier}.IsPresent", own): boolean(True),
        }
        self._root = root
        self.live = {path: ua.NodeId(path, own) for path in self.readings()}

    def readings(self) -> dict[str, ua.Variant]:
        machine, root = self.machine, self._root
        is_running, is_fault, is_off = (machine.state == s for s in ("running", "fault", "off"))
        jobs = f"{root}.Jobs.ActiveJobValues"
        status = f"{root}.MachineMESStatus"
        return {
            f"{root}.MachineStatus.MachineMode": int32(_SLEEP if is_off else _AUTOMATIC),
            f"{status}.ProductionControl.ProductionStatus": int32(_PRODUCTION if is_running else _NO_PRODUCTION),
            f"{status}.StandstillMessage.Id": string("E-204" if is_fault else ""),
            f"{status}.StandstillMessage.Severity": ua.Variant(_SEVERE if is_fault else 0, ua.VariantType.UInt16),
            f"{jobs}.JobStatus": int32(_JOB_IN_PRODUCTION if is_running else _JOB_INTERRUPTED),
            f"{jobs}.JobCycleCounter": _uint64(machine.parts // _CAVITIES),
            f"{jobs}.MachineCycleCounter": _uint64(machine.parts // _CAVITIES),
            f"{jobs}.JobPartsCounter": _uint64(machine.parts),
            f"{jobs}.JobGoodPartsCounter": _uint64(machine.parts),
            f"{root}.PowerUnits.PowerUnit_1.PowerOn": boolean(not is_off),
            f"{root}.Energy.ActualPower": double(round(machine.power_kw * WH_PER_KWH, 1)),
            f"{root}.Energy.PowerConsumption": double(whole_wh(machine) / WH_PER_KWH),
        }

    def served(self) -> Served:
        return Served(self.machine.state, whole_wh(self.machine) / WH_PER_KWH, self.machine.parts)


def _uint64(value: int) -> ua.Variant:
    return ua.Variant(value, ua.VariantType.UInt64)
