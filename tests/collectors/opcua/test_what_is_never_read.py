"""Programs, tools, jobs, recipes and names of people are a plant's own business: what the server was asked for."""

from __future__ import annotations

import time
from pathlib import Path

from collectors.opcua import tools
from tests.collectors.opcua.plants import collector, entry, machine, serving, watching
from tests.collectors.opcua.secured import Told

IDENTIFICATION = ("Manufacturer", "Model", "SerialNumber", "ProductInstanceUri")

CNC = {
    *(f"cnc-1.Identification.{name}" for name in IDENTIFICATION),
    "cnc-1.MachineryBuildingBlocks.MachineryItemState.CurrentState.Number",
    "cnc-1.Production.Statistics.PartsProducedInLifetime",
    *(
        f"cnc-1.Monitoring.Consumption.Electricity.Main.{name}"
        for name in (
            "AcActivePowerTotal",
            "AcActivePowerTotal.EngineeringUnits",
            "AcActiveEnergyTotalImportHp",
            "AcActiveEnergyTotalImportHp.EngineeringUnits",
        )
    ),
}
ROBOT = {
    *(f"robot-1.MotionDevices.Arm.{name}" for name in IDENTIFICATION),
    "robot-1.MotionDevices.Arm.ParameterSet.OnPath",
    "robot-1.MotionDevices.Arm.ParameterSet.InControl",
    "robot-1.Controllers.Controller.TaskControls.Main.ParameterSet.TaskProgramLoaded",
    "robot-1.Controllers.Controller.ParameterSet.TotalEnergyConsumption",
    "robot-1.Controllers.Controller.ParameterSet.TotalEnergyConsumption.EngineeringUnits",
    "robot-1.SafetyStates.Safety.ParameterSet.OperationalMode",
    "robot-1.SafetyStates.Safety.ParameterSet.EmergencyStop",
    "robot-1.SafetyStates.Safety.ParameterSet.ProtectiveStop",
}
IMM = {
    *(f"imm-1.MachineInformation.{name}" for name in IDENTIFICATION),
    "imm-1.MachineStatus.IsPresent",
    "imm-1.MachineStatus.MachineMode",
    "imm-1.MachineMESStatus.ProductionControl.ProductionStatus",
    "imm-1.MachineMESStatus.StandstillMessage.Severity",
    "imm-1.Jobs.ActiveJobValues.JobPartsCounter",
    "imm-1.Energy.ActualPower",
    "imm-1.Energy.ActualPower.EngineeringUnits",
    "imm-1.Energy.PowerConsumption",
    "imm-1.Energy.PowerConsumption.EngineeringUnits",
}


async def test_of_every_kind_of_machine_only_identity_state_counters_and_power_are_asked_for(tmp_path: Path) -> None:
    machines = (machine("cnc-1"), machine("robot-1", "robot"), machine("imm-1", "moulding"))
    async with serving(*machines) as plant:
        async with watching(collector(plant.address)) as seen:
            await seen.until(lambda s: len(s.samples) == 3)
        assert plant.asked == CNC | ROBOT | IMM
        now = await tools.read_once(entry(plant.address), [], time.time_ns, tmp_path, Told())
        assert now
        await tools.scan(plant.address, 10, time.time_ns, tmp_path, Told())
        assert plant.asked == CNC | ROBOT | IMM


async def test_browse_does_not_enter_programs_tools_jobs_and_people(tmp_path: Path) -> None:
    machines = (machine("cnc-1"), machine("robot-1", "robot"), machine("imm-1", "moulding"))
    async with serving(*machines) as plant:
        nodes = await tools.browse(plant.address, time.time_ns, tmp_path, Told())
    paths = {node.path for node in nodes}
    assert "Machines/cnc-1/Identification/SerialNumber" in paths
    assert "Machines/cnc-1/Production/ActiveProgram/State/CurrentState/Number" in paths
    names = {name for path in paths for name in path.split("/")}
    forbidden = {"Equipment", "Tools", "JobName", "ActiveJob", "Moulds", "Users", "Programs", "TaskModules"}
    assert not names & forbidden
    assert not [p for p in paths if "ActiveProgram/" in p and "ActiveProgram/State" not in p]
