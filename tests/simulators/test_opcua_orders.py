"""Faults on order, while a server runs; and the server for load."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import AsyncIterator

import pytest
from asyncua import Client, ua

from simulators.ledger import Ledger
from simulators.opcua_load import NAMESPACE, STEP, LoadServer, name
from simulators.opcua_nodesets import MACHINERY
from simulators.opcua_orders import obey
from simulators.opcua_server import OpcuaMachines
from simulators.orders import OrderError
from simulators.physics import Machine

logging.getLogger("asyncua").setLevel(logging.CRITICAL)

SERIAL = ua.NodeId("cnc-1.Identification.SerialNumber", 1)
STATE = "cnc-1.MachineryBuildingBlocks.MachineryItemState.CurrentState"


@pytest.fixture
async def plant() -> AsyncIterator[OpcuaMachines]:
    plant = OpcuaMachines([Machine("cnc-1", "cnc", seed=5, serial="SN-1")], Ledger(), period_s=0.02)
    await plant.start()
    yield plant
    await plant.stop()


async def test_a_slow_server_takes_its_time_to_answer(plant: OpcuaMachines) -> None:
    async with Client(plant.address) as client:
        await obey(plant, "slow 0.3")
        began = time.monotonic()
        assert await client.get_node(SERIAL).read_value() == "SN-1"
        assert time.monotonic() - began >= 0.3
        await obey(plant, "slow 0")


async def test_silence_refusals_and_forgotten_sessions_are_switched_on_and_off(plant: OpcuaMachines) -> None:
    await obey(plant, "silent")
    assert plant.faults.is_silent
    await obey(plant, "speak")
    assert not plant.faults.is_silent
    await obey(plant, "refuse")
    with pytest.raises(ua.UaError):
        await Client(plant.address).connect()
    await obey(plant, "accept")
    async with Client(plant.address):
        assert plant.sessions == 1
        await obey(plant, "drop")
        assert plant.sessions == 0


async def test_a_wrong_clock_a_vanished_node_and_a_cut_machine(plant: OpcuaMachines) -> None:
    async with Client(plant.address) as client:
        number = client.get_node(ua.NodeId(f"{STATE}.Number", 1))
        await obey(plant, "unplug cnc-1")
        assert (await number.read_data_value(raise_on_bad_status=False)).StatusCode.value == (
            ua.StatusCodes.BadNoCommunication
        )
        await obey(plant, "clock 3600")
        await obey(plant, "plug cnc-1")
        ahead_s = (await number.read_data_value()).SourceTimestamp.timestamp() - time.time()
        assert 3_500 < ahead_s < 3_700
        await obey(plant, "delete cnc-1 Number")
        gone = await number.read_data_value(raise_on_bad_status=False)
        assert gone.StatusCode.value == ua.StatusCodes.BadNodeIdUnknown


async def test_a_restart_keeps_the_port_and_may_change_every_namespace_index(plant: OpcuaMachines) -> None:
    address = plant.address
    async with Client(address) as client:
        before = await client.get_namespace_index(MACHINERY)
    await obey(plant, "restart urn:vendor:plc urn:vendor:other")
    assert plant.address == address
    async with Client(address) as client:
        assert await client.get_namespace_index(MACHINERY) == before + 2
        assert await client.get_node(SERIAL).read_value() == "SN-1"


async def test_what_cannot_be_obeyed_is_said(plant: OpcuaMachines) -> None:
    with pytest.raises(OrderError, match="unknown order; one of: silent"):
        await obey(plant, "explode")
    with pytest.raises(OrderError, match="cnc-9"):
        await obey(plant, "unplug cnc-9")
    with pytest.raises(OrderError, match="fast"):
        await obey(plant, "slow fast")
    await obey(plant, "hold cnc-1")
    assert plant.machine("cnc-1").held
    await obey(plant, "release cnc-1")
    assert not plant.machine("cnc-1").held


async def test_a_load_server_has_as_many_variables_as_asked_for_and_changes_them_all() -> None:
    load = LoadServer(1_000, 0.1)
    await load.start()
    try:
        async with Client(load.address) as client:
            index = await client.get_namespace_index(NAMESPACE)
            last = client.get_node(ua.NodeId(name(999), index))
            async with asyncio.timeout(10):
                while (seen := await last.read_value()) < 2 * STEP:  # noqa: ASYNC110 - the server tells nobody
                    await asyncio.sleep(0.05)
            assert seen % STEP == 999
    finally:
        await load.stop()
    with pytest.raises(ValueError, match="variables"):
        LoadServer(0, 1.0)


async def test_the_command_serves_injection_moulding_machines_and_obeys_on_standard_input() -> None:
    command = [sys.executable, "-m", "simulators.cli", "imm", "--port", "0", "--count", "2", "--rhythm", "two-shifts"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            address = (await process.stdout.readline()).decode().strip()
            async with Client(address) as client:
                serial = client.get_node(ua.NodeId("imm-2.MachineInformation.SerialNumber", 1))
                assert await serial.read_value() == "SIM-IMM-2"
                answers = []
                for order in ("unplug imm-2", "explode"):
                    process.stdin.write(f"{order}\n".encode())
                    answers.append(json.loads(await process.stdout.readline()))
                assert answers[0] == {"ok": "unplug imm-2"}
                assert "explode" in answers[1]["error"]
                mode = client.get_node(ua.NodeId("imm-2.MachineStatus.MachineMode", 1))
                value = await mode.read_data_value(raise_on_bad_status=False)
                assert value.StatusCode.value == ua.StatusCodes.BadNoCommunication
    finally:
        process.terminate()
        await process.wait()
    assert process.returncode == 0
