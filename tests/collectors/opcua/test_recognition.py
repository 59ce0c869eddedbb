"""An endpoint and nothing else: machines, who they are and what they say, found by type over a real socket."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from asyncua import Server, ua

from collectors.model import ConfigError, Identity, LinkError, Role
from collectors.opcua import tools
from collectors.opcua.collector import OpcuaCollector
from metrics.record import Evidence, MachineState
from simulators.opcua_instances import Instances
from simulators.opcua_nodesets import MACHINE_TOOL, MACHINERY, type_space
from tests.collectors.opcua.plants import (
    VENDOR_NAMESPACES,
    collector,
    entry,
    machine,
    plain_server,
    profile,
    serving,
    watching,
)
from tests.collectors.opcua.secured import Told


async def test_several_machines_on_one_server_are_several_devices_named_by_product_uri() -> None:
    async with (
        serving(machine("cnc-1"), machine("cnc-2"), machine("robot-1", "robot")) as plant,
        watching(collector(plant.address)) as seen,
    ):
        await seen.until(lambda s: len(s.samples) == 3)
        assert {d: v.device_class for d, v in seen.devices.items()} == {
            "cell/urn:test:cnc-1": "cnc",
            "cell/urn:test:cnc-2": "cnc",
            "cell/urn:test:robot-1": "robot",
        }
        first = seen.devices["cell/urn:test:cnc-1"]
        assert first.identity == Identity("示例数控", "VMC-850", "SN-cnc-1", "urn:test:cnc-1")
        assert first.evidence is Evidence.SELF_IDENTIFIED
        assert (first.entry, first.carrier, first.unit, first.direction) == ("cell", "electricity", "kWh", "import")
        assert [(t.name, t.role, t.unit, t.modulus) for t in first.tags] == [
            ("state", Role.STATE, "", None),
            ("energy_import", Role.QUANTITY, "kWh", None),
            ("power", Role.POWER, "kW", None),
            ("parts", Role.PARTS, "1", 2.0**32),
        ]
        robot = seen.devices["cell/urn:test:robot-1"]
        assert [t.role for t in robot.tags] == [Role.STATE, Role.QUANTITY]
        assert robot.identity.manufacturer == "示例数控"


async def test_one_machine_is_the_entry_itself() -> None:
    async with serving(machine("robot-1", "robot")) as plant, watching(collector(plant.address)) as seen:
        await seen.until(lambda s: bool(s.samples))
        assert list(seen.devices) == ["cell"]


async def test_units_are_those_of_the_vocabulary_whatever_the_server_counts_in() -> None:
    cnc = machine("cnc-1", start_energy_kwh=41250.5, start_parts=118300)
    robot = machine("robot-1", "robot", start_energy_kwh=8120.25)
    for still in (cnc, robot):
        still.advance(1.8e9)
        still.hold()
    async with serving(cnc, robot) as plant, watching(collector(plant.address)) as seen:
        await seen.until(lambda s: len(s.samples) == 2)
        assert seen.latest("cell/urn:test:cnc-1", "energy_import") == int(cnc.energy_kwh * 1000) / 1000
        assert seen.latest("cell/urn:test:cnc-1", "power") == pytest.approx(cnc.power_kw, abs=1e-3)
        assert seen.latest("cell/urn:test:cnc-1", "parts") == cnc.parts
        assert seen.latest("cell/urn:test:robot-1", "energy_import") == int(robot.energy_kwh * 1000) / 1000


async def test_namespaces_are_found_by_uri_wherever_the_server_has_them() -> None:
    async with (
        serving(machine("cnc-1"), vendor_namespaces=VENDOR_NAMESPACES) as plant,
        watching(collector(plant.address)) as seen,
    ):
        await seen.until(lambda s: bool(s.samples))
        device = seen.devices["cell"]
        assert device.device_class == "cnc"
        assert device.identity.serial == "SN-cnc-1"
        assert len(device.tags) == 4


async def test_a_profile_takes_only_the_machines_of_its_classes() -> None:
    async with serving(machine("cnc-1"), machine("robot-1", "robot")) as plant:
        entries = [
            (entry(plant.address, entry_id="arms"), profile(classes=["robot"])),
            (entry(plant.address, entry_id="rest"), profile()),
        ]
        async with watching(OpcuaCollector(entries, time.time_ns)) as seen:
            await seen.until(lambda s: len(s.samples) == 2)
            assert {d: v.device_class for d, v in seen.devices.items()} == {"arms": "robot", "rest": "cnc"}


async def test_a_subtype_of_a_machine_tool_is_a_machine_tool_and_a_plain_machine_is_a_machine() -> None:
    types = type_space()
    async with plain_server(types) as (server, address):
        own = ua.NodeId("MyMillType", 1)
        base = server.get_node(ua.NodeId(13, types.index(MACHINE_TOOL)))
        await base.add_object_type(own, ua.QualifiedName("MyMillType", 1))
        await _add_machine(server, "mill", own, serial="M-1")
        await _add_machine(server, "press", ua.NodeId(ua.ObjectIds.BaseObjectType), serial="P-1", identify=False)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: len(s.devices) == 2)
            assert seen.devices["cell/M-1"].device_class == "cnc"
            press = seen.devices["cell/press"]
            assert press.device_class == "machine"
            assert press.evidence is Evidence.NATIVE
            assert {t.code for t in seen.troubles if t.subject == press.id} == {"opcua.nothing-to-read"}


async def test_a_plc_is_read_by_the_names_that_its_profile_gives() -> None:
    plc = profile(
        recognise="nodes",
        device_class="plc",
        carrier="electricity",
        unit="kWh",
        direction="import",
        nodes=[
            {"tag": "parts", "role": "parts", "node": "nsu=urn:plantpulse:simulator:opcua;s=PieceCount"},
            {"tag": "state", "role": "state", "path": "Line1/State", "states": {0: "off", 5: "running"}},
            {"tag": "energy", "role": "quantity", "unit": "kWh", "path": "Line1/Wh", "scale": 0.001},
            {"tag": "gone", "path": "Line1/NotThere"},
            {"tag": "opcua.refused", "node": "nsu=urn:plantpulse:simulator:opcua;s=NotThereEither"},
        ],
    )
    async with plain_server() as (server, address):
        line = await server.nodes.objects.add_folder(ua.NodeId("Line1", 1), "1:Line1")
        state = await line.add_variable(ua.NodeId("State", 1), "1:State", 5, ua.VariantType.Int16)
        await line.add_variable(ua.NodeId("Wh", 1), "1:Wh", 1_234_500, ua.VariantType.UInt32)
        await line.add_variable(ua.NodeId("PieceCount", 1), "1:Pieces", 77, ua.VariantType.UInt32)
        async with watching(OpcuaCollector([(entry(address()), plc)], time.time_ns)) as seen:
            await seen.until(lambda s: "cell" in s.samples)
            device = seen.devices["cell"]
            assert (device.device_class, device.evidence, device.carrier) == ("plc", Evidence.NATIVE, "electricity")
            assert seen.latest("cell", "state") == MachineState.RUNNING
            assert seen.latest("cell", "energy") == pytest.approx(1234.5)
            assert seen.latest("cell", "parts") == 77
            assert {t.code for t in seen.troubles} == {"opcua.node-missing", "opcua.node-refused"}
            assert seen.latest_proof("cell").lasts_s > 0
            await state.write_value(9, ua.VariantType.Int16)
            await seen.until(lambda s: s.latest("cell", "state") == MachineState.UNKNOWN)


async def test_a_server_without_machines_says_what_to_do() -> None:
    async with plain_server() as (_, address):
        source = collector(address())
        try:
            with pytest.raises(LinkError) as failure:
                await source.connect()
        finally:
            await source.close()
        assert failure.value.code == "opcua.nothing-recognised"
        assert "browse" in failure.value.next_en


async def test_scan_names_every_machine_and_the_profile_that_fits(tmp_path: Path) -> None:
    async with serving(machine("cnc-1"), machine("robot-1", "robot")) as plant:
        found = await tools.scan(plant.address, 10, time.time_ns, tmp_path, Told())
    assert [(f.name, f.device_class, f.profile, f.evidence) for f in found] == [
        ("urn:test:cnc-1", "cnc", "opcua-machinetool", Evidence.SELF_IDENTIFIED),
        ("urn:test:robot-1", "robot", "opcua-robotics", Evidence.SELF_IDENTIFIED),
    ]


async def test_read_gives_each_tag_once_with_its_unit_and_the_state_as_a_word(tmp_path: Path) -> None:
    still = machine("cnc-1")
    async with serving(still) as plant:
        given = entry(plant.address)
        readings = {r.tag: r for r in await tools.read_once(given, [], time.time_ns, tmp_path, Told())}
        assert set(readings) == {"state", "energy_import", "power", "parts"}
        assert readings["state"].value in ("running", "idle", "fault", "off")
        assert readings["energy_import"].unit == "kWh"
        assert readings["energy_import"].value == pytest.approx(still.energy_kwh, abs=0.1)
        assert all(r.source_ns > 0 for r in readings.values())
        only = await tools.read_once(given, ["parts"], time.time_ns, tmp_path, Told())
        assert [r.tag for r in only] == ["parts"]
        with pytest.raises(ConfigError, match="energy_import"):
            await tools.read_once(given, ["voltage"], time.time_ns, tmp_path, Told())


async def _add_machine(server: Server, name: str, type_id: ua.NodeId, *, serial: str, identify: bool = True) -> Any:
    types = type_space()
    root = Instances(server.iserver.aspace, 1).create(
        name, type_id, below=ua.NodeId(1001, types.index(MACHINERY)), name=ua.QualifiedName(name, 1)
    )
    if identify:
        node = server.get_node(ua.NodeId(f"{name}.Identification.SerialNumber", 1))
        await node.write_value(ua.Variant(serial, ua.VariantType.String))
    return root
