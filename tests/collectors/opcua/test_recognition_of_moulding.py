"""Injection moulding machines (OPC 40077) and robots' types: found, named, read, and nothing of job or recipe."""

from __future__ import annotations

from asyncua import ua

from collectors.model import Identity, Role
from collectors.opcua import words
from metrics.record import Evidence, MachineState
from simulators.opcua_moulding_types import IMM2MES
from simulators.opcua_nodesets import ROBOTICS
from tests.collectors.opcua.models import DEVICE_SET, Built
from tests.collectors.opcua.plants import collector, machine, plain_server, serving, watching


async def test_an_injection_moulding_machine_says_who_it_is_what_it_does_and_counts_pieces_and_energy() -> None:
    imm = machine("imm-1", "moulding", start_parts=4_000, start_energy_kwh=900.5)
    async with serving(imm) as plant, watching(collector(plant.address)) as seen:
        await seen.until(lambda s: "cell" in s.samples)
        device = seen.devices["cell"]
        assert (device.device_class, device.evidence) == ("injection-moulding", Evidence.SELF_IDENTIFIED)
        assert device.identity == Identity("示例数控", "VMC-850", "SN-imm-1", "urn:test:imm-1")
        assert (device.carrier, device.unit, device.direction) == ("electricity", "kWh", "import")
        assert [(t.name, t.role, t.modulus) for t in device.tags] == [
            ("state", Role.STATE, None),
            ("energy_import", Role.QUANTITY, None),
            ("power", Role.POWER, None),
            ("parts", Role.PARTS, None),
        ]
        assert seen.latest("cell", "parts") >= 4_000
        assert seen.latest("cell", "energy_import") >= 900.5


async def test_every_state_of_an_injection_moulding_machine_arrives() -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        built.machine("imm", IMM2MES, 1007, wanted=frozenset({"Jobs"}), folder=DEVICE_SET)
        mode, status = "imm.MachineStatus.MachineMode", "imm.MachineMESStatus.ProductionControl.ProductionStatus"
        severity = "imm.MachineMESStatus.StandstillMessage.Severity"

        async def say(machine_mode: int, production: int, how_severe: int) -> None:
            await built.integer(mode, machine_mode)
            await built.integer(status, production)
            await built.say(severity, how_severe, ua.VariantType.UInt16)

        await built.flag("imm.MachineStatus.IsPresent", value=True)
        await say(1, 4, 0)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: "cell" in s.samples)
            assert seen.latest("cell", "state") == MachineState.RUNNING
            for values, state in (
                ((1, 1, 800), MachineState.FAULT),
                ((3, 1, 0), MachineState.IDLE),
                ((5, 1, 0), MachineState.OFF),
                ((2, 4, 0), MachineState.RUNNING),
                ((1, 5, 0), MachineState.IDLE),
            ):
                await say(*values)
                await seen.until(lambda s, wanted=state: s.latest("cell", "state") == wanted)  # type: ignore[misc]


async def test_a_machine_that_its_server_calls_absent_is_not_proven_connected() -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        built.machine("imm", IMM2MES, 1007, wanted=frozenset({"Jobs"}), folder=DEVICE_SET)
        present = "imm.MachineStatus.IsPresent"
        await built.flag(present, value=True)
        await built.integer("imm.MachineStatus.MachineMode", 3)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: (p := s.latest_proof("cell")) is not None and p.lasts_s > 0)
            await built.flag(present, value=False)
            await seen.until(lambda s: (p := s.latest_proof("cell")) is not None and p.lasts_s == 0)
            await seen.until(lambda s: s.latest("cell", "state") == MachineState.UNKNOWN)
            assert "IsPresent" in next(t.en for t in seen.troubles if t.code == words.ALL_BAD)
            await built.flag(present, value=True)
            await seen.until(lambda s: (p := s.latest_proof("cell")) is not None and p.lasts_s > 0)
            await seen.until(lambda s: s.troubles[-1].code == "")


async def test_subtypes_of_every_known_type_are_of_its_class_and_a_lone_motion_device_is_a_robot() -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        for name, uri, number in (
            ("Moulder", IMM2MES, 1007),
            ("Cell", ROBOTICS, 1002),
            ("Arm", ROBOTICS, 1004),
        ):
            base = server.get_node(ua.NodeId(number, built.types.index(uri)))
            middle = await base.add_object_type(ua.NodeId(f"{name}BaseType", 1), ua.QualifiedName(f"{name}BaseType", 1))
            await middle.add_object_type(ua.NodeId(f"{name}Type", 1), ua.QualifiedName(f"{name}Type", 1))
            below = ua.NodeId(DEVICE_SET[1], built.types.index(DEVICE_SET[0]))
            type_id, shown = ua.NodeId(f"{name}Type", 1), ua.QualifiedName(name.lower(), 1)
            built.instances.create(name.lower(), type_id, below=below, name=shown)
        arm = built.part("cell.MotionDevices.A1", ROBOTICS, 1004)
        for path, serial in ((arm, "A-1"), ("arm", "A-2"), ("moulder.MachineInformation", "M-1")):
            await built.say(f"{path}.SerialNumber", serial, ua.VariantType.String)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: len(s.devices) == 3)
            assert {d: v.device_class for d, v in seen.devices.items()} == {
                "cell/M-1": "injection-moulding",
                "cell/A-1": "robot",
                "cell/A-2": "robot",
            }
