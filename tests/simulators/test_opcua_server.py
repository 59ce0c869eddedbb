"""Simulated machines on OPC UA: real types, values that follow the machine, a ledger of what was served."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asyncua import Client, ua

from simulators.ledger import Ledger
from simulators.opcua_nodesets import DI, MACHINE_TOOL, MACHINERY, ROBOTICS
from simulators.opcua_server import OpcuaMachines
from simulators.physics import Machine

logging.getLogger("asyncua").setLevel(logging.CRITICAL)


def machine(machine_id: str, kind: str) -> Machine:
    return Machine(
        machine_id,
        kind,
        seed=5,
        start_energy_kwh=100.0,
        start_parts=40,
        manufacturer="示例",
        model="M-1",
        serial=f"SN-{machine_id}",
        product_uri=f"urn:test:{machine_id}",
    )


class Clock:
    def __init__(self) -> None:
        self.s = 1.8e9

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def plant(clock: Clock, ledger: Ledger) -> AsyncIterator[OpcuaMachines]:
    machines = [machine("cnc-1", "cnc"), machine("robot-1", "robot")]
    plant = OpcuaMachines(machines, ledger, period_s=0.02, now_s=clock)
    await plant.start()
    yield plant
    await plant.stop()


@pytest.fixture
async def client(plant: OpcuaMachines) -> AsyncIterator[Client]:
    async with Client(plant.address) as client:
        yield client


def own(path: str) -> ua.NodeId:
    return ua.NodeId(path, 1)


async def data(client: Client, path: str) -> Any:
    return await client.get_node(own(path)).read_data_value(raise_on_bad_status=False)


async def test_machines_are_instances_of_the_companion_specifications_types(client: Client) -> None:
    machines = client.get_node(ua.NodeId(1001, await client.get_namespace_index(MACHINERY)))
    (cnc,) = await machines.get_children(refs=ua.ObjectIds.Organizes)
    assert await cnc.read_type_definition() == ua.NodeId(13, await client.get_namespace_index(MACHINE_TOOL))
    device_set = client.get_node(ua.NodeId(5001, await client.get_namespace_index(DI)))
    names = {(await node.read_browse_name()).Name: node for node in await device_set.get_children()}
    robotics = await client.get_namespace_index(ROBOTICS)
    assert await names["robot-1"].read_type_definition() == ua.NodeId(1002, robotics)


async def test_children_are_named_in_the_specifications_namespaces(client: Client) -> None:
    machinery = await client.get_namespace_index(MACHINERY)
    tool = await client.get_namespace_index(MACHINE_TOOL)
    cnc = client.get_node(own("cnc-1"))
    block = await cnc.get_child([f"{machinery}:MachineryBuildingBlocks", f"{machinery}:MachineryItemState"])
    monitored = await cnc.get_child([f"{tool}:Monitoring", f"{tool}:MachineTool", f"{machinery}:MachineryItemState"])
    assert block.nodeid == monitored.nodeid
    with pytest.raises(ua.UaError):
        await cnc.get_child([f"{tool}:Production", f"{tool}:ProductionPlan"])


async def test_served_values_are_the_machine_s_and_stand_in_the_ledger(client: Client, ledger: Ledger) -> None:
    page = ledger.as_dict()["cnc-1"]
    energy = await data(client, "cnc-1.Monitoring.Consumption.Electricity.Main.AcActiveEnergyTotalImportHp")
    assert energy.Value.Value / 1000 == page["quantity"][-1]
    parts = await data(client, "cnc-1.Production.Statistics.PartsProducedInLifetime")
    assert parts.Value.Value == page["parts"][-1]
    assert energy.SourceTimestamp.timestamp() == page["at_s"][-1]
    robot = ledger.as_dict()["robot-1"]
    assert robot["parts"][-1] is None
    total = await data(client, "robot-1.Controllers.Controller.ParameterSet.TotalEnergyConsumption")
    assert total.Value.Value == robot["quantity"][-1]


async def test_only_what_changes_is_written_again(client: Client, clock: Clock, ledger: Ledger) -> None:
    path = "cnc-1.Identification.SerialNumber"
    first = await data(client, path)
    energy = "cnc-1.Monitoring.Consumption.Electricity.Main.AcActiveEnergyTotalImportHp"
    before = await data(client, energy)
    served = ledger.count("cnc-1")
    await asyncio.sleep(0.1)
    assert ledger.count("cnc-1") == served, "time stood still, so nothing was to be served"
    clock.s += 60
    async with asyncio.timeout(5):
        while (after := await data(client, energy)).Value.Value == before.Value.Value:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert after.SourceTimestamp.timestamp() == clock.s
    assert (await data(client, path)).SourceTimestamp == first.SourceTimestamp


async def test_an_unplugged_machine_s_live_nodes_are_bad_and_its_neighbour_s_are_not(
    plant: OpcuaMachines, client: Client, clock: Clock
) -> None:
    state = "cnc-1.MachineryBuildingBlocks.MachineryItemState.CurrentState.Number"
    await plant.unplug("cnc-1")
    await plant.unplug("cnc-1")
    clock.s += 600
    await asyncio.sleep(0.1)
    gone = await data(client, state)
    assert gone.StatusCode.value == ua.StatusCodes.BadNoCommunication
    assert gone.Value.Value is None
    neighbour = await data(client, "robot-1.SafetyStates.Safety.ParameterSet.OperationalMode")
    assert neighbour.StatusCode.is_good()
    await plant.plug("cnc-1")
    back = await data(client, state)
    assert back.StatusCode.is_good()
    assert back.Value.Value in (0, 1, 2, 3)
    with pytest.raises(KeyError):
        await plant.plug("cnc-9")


async def test_stop_ends_connections_at_once_and_twice_and_frees_the_port(plant: OpcuaMachines, ledger: Ledger) -> None:
    client = Client(plant.address)
    await client.connect()
    began = time.monotonic()
    await plant.stop()
    await plant.stop()
    assert time.monotonic() - began < 1.5
    with pytest.raises((ConnectionError, ua.UaError)):
        await data(client, "cnc-1")
    await client.disconnect()
    again = OpcuaMachines([machine("cnc-1", "cnc")], ledger, port=int(plant.address.rpartition(":")[2]))
    await again.start()
    assert again.address == plant.address
    await again.stop()


async def test_orders_from_clients_are_counted_and_refused(plant: OpcuaMachines, client: Client) -> None:
    assert plant.orders == 0
    node = client.get_node(own("cnc-1.Identification.SerialNumber"))
    with pytest.raises(ua.uaerrors.BadUserAccessDenied):
        await node.write_value(ua.Variant("changed", ua.VariantType.String))
    assert plant.orders == 1


def test_a_machine_without_an_opc_ua_face_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="meter-water"):
        OpcuaMachines([machine("m-1", "meter-water")], ledger)
