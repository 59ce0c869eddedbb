"""Simulated injection moulding machines: types as the published tables have them, values that follow the machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from asyncua import Client, ua

from simulators.ledger import Ledger
from simulators.opcua_moulding_types import GENERAL, IMM2MES
from simulators.opcua_nodesets import DI, type_space
from simulators.opcua_server import OpcuaMachines
from simulators.physics import Machine

BEGIN_S = 1.8e9


class Clock:
    def __init__(self) -> None:
        self.s = BEGIN_S

    def __call__(self) -> float:
        return self.s


@pytest.fixture
async def served() -> AsyncIterator[tuple[OpcuaMachines, Client, Clock, Ledger]]:
    clock, ledger = Clock(), Ledger()
    imm = Machine(
        "imm-1",
        "moulding",
        seed=5,
        pattern="two-shifts",
        manufacturer="示例",
        model="IM-1600",
        serial="SN-7",
        start_parts=400,
    )
    plant = OpcuaMachines([imm], ledger, period_s=0.02, now_s=clock)
    await plant.start()
    async with Client(plant.address) as client:
        yield plant, client, clock, ledger
    await plant.stop()


async def value(client: Client, path: str) -> Any:
    return await client.get_node(ua.NodeId(f"imm-1.{path}", 1)).read_value()


@pytest.mark.parametrize(
    ("uri", "identifier", "name", "base"),
    [
        (IMM2MES, 1007, "IMM_MES_InterfaceType", ua.NodeId(ua.ObjectIds.BaseObjectType)),
        (IMM2MES, 1016, "InjectionUnitsType", ua.NodeId(ua.ObjectIds.BaseObjectType)),
        (GENERAL, 1019, "MachineStatusType", ua.NodeId(ua.ObjectIds.BaseObjectType)),
        (GENERAL, 1020, "MachineMESStatusType", ua.NodeId(ua.ObjectIds.BaseObjectType)),
        (GENERAL, 1063, "EnergyType", ua.NodeId(ua.ObjectIds.BaseObjectType)),
        (GENERAL, 3011, "MachineModeEnumeration", ua.NodeId(ua.ObjectIds.Enumeration)),
        (GENERAL, 3016, "ProductionStatusEnumeration", ua.NodeId(ua.ObjectIds.Enumeration)),
    ],
)
def test_types_stand_where_the_specifications_put_them(uri: str, identifier: int, name: str, base: ua.NodeId) -> None:
    types = type_space()
    node = types.nodes()[ua.NodeId(identifier, types.index(uri))]
    held = node.attributes[ua.AttributeIds.BrowseName].value
    assert held is not None
    assert held.Value.Value == ua.QualifiedName(name, types.index(uri))
    above = [r.NodeId for r in node.references if r.ReferenceTypeId.Identifier == ua.ObjectIds.HasSubtype]
    assert above[0] == base


async def test_the_machine_is_an_instance_in_the_device_set_with_every_mandatory_part(
    served: tuple[OpcuaMachines, Client, Clock, Ledger],
) -> None:
    _, client, _, _ = served
    di, imm, general = [await client.get_namespace_index(uri) for uri in (DI, IMM2MES, GENERAL)]
    device_set = client.get_node(ua.NodeId(5001, di))
    machine = await device_set.get_child(["1:imm-1"])
    assert await machine.read_type_definition() == ua.NodeId(1007, imm)
    names = {
        (name.NamespaceIndex, name.Name)
        for node in await machine.get_children()
        if (name := await node.read_browse_name())
    }
    mandatory = {
        "MachineInformation",
        "MachineConfiguration",
        "MachineMESConfiguration",
        "MachineStatus",
        "MachineMESStatus",
        "PowerUnits",
        "Moulds",
        "InjectionUnits",
    }
    assert names >= {(imm, name) for name in mandatory}
    counters = await machine.get_child([f"{imm}:Jobs", f"{general}:ActiveJobValues"])
    assert await counters.read_type_definition() == ua.NodeId(1031, general)
    maker = await machine.get_child([f"{imm}:MachineInformation", f"{di}:Manufacturer"])
    assert (await maker.read_value()).Text == "示例"


async def test_mode_status_message_counters_and_energy_follow_the_machine(
    served: tuple[OpcuaMachines, Client, Clock, Ledger],
) -> None:
    plant, client, clock, ledger = served
    machine = plant.machine("imm-1")
    shown: dict[str, tuple[int, int, bool]] = {}
    for step in range(4_000):
        clock.s = BEGIN_S + step * 60
        await plant.serve()
        if machine.state in shown:
            continue
        shown[machine.state] = (
            await value(client, "MachineStatus.MachineMode"),
            await value(client, "MachineMESStatus.ProductionControl.ProductionStatus"),
            await value(client, "MachineMESStatus.StandstillMessage.Severity") > 0,
        )
        page = ledger.as_dict()["imm-1"]
        assert await value(client, "Jobs.ActiveJobValues.JobPartsCounter") == page["parts"][-1] == machine.parts
        assert await value(client, "Energy.PowerConsumption") == page["quantity"][-1]
        if len(shown) == 4:
            break
    assert shown == {"running": (1, 4, False), "idle": (1, 1, False), "fault": (1, 1, True), "off": (5, 1, False)}
