"""What the machines of a server are called, and that nobody is renamed in silence."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from asyncua import ua

from collectors.model import Identity
from collectors.opcua.collector import OpcuaCollector
from collectors.opcua.device_names import DeviceNames, device_names
from collectors.opcua.factory import access_to
from collectors.opcua.recognition.machine import Machine
from tests.collectors.opcua.plants import (
    entry,
    machine,
    profile,
    serving,
    watching,
)


def shown(path: str, serial: str = "", uri: str = "", maker: str = "示例") -> Machine:
    identity = Identity(manufacturer=maker, serial=serial, product_uri=uri)
    return Machine(ua.NodeId(path, 1), path, "cnc", identity, (), (), None)


def test_names_come_from_product_uri_then_serial_then_path_and_never_from_an_order() -> None:
    several = [
        shown("mill", "", "urn:maker/mill"),
        shown("lathe", "0000", "urn:x:1"),
        shown("saw", "0000"),
        shown("drill", "D-7"),
        shown("press", "D-8", "urn:twice"),
        shown("shear", "D-9", "urn:twice"),
    ]
    names = ["urn:maker_mill", "urn:x:1", "saw", "D-7", "D-8", "D-9"]
    assert device_names(several) == names
    assert device_names(several[::-1]) == names[::-1]
    twins = [replace(shown("mill"), root=ua.NodeId(number, 2)) for number in (71, 72)]
    assert device_names(twins) == ["mill~71", "mill~72"]


def test_one_machine_is_the_entry_and_stays_it_when_a_second_one_comes() -> None:
    names = DeviceNames()
    mill, lathe = shown("mill", "S-1", "urn:1"), shown("lathe", "S-2", "urn:2")
    assert names.remember("cell", [mill]) == ["cell"]
    assert names.remember("cell", [lathe, mill]) == ["cell/urn:2", "cell"]
    assert names.remember("cell", [lathe]) == ["cell/urn:2"]


def test_two_machines_of_which_one_is_left_keep_their_ids() -> None:
    names = DeviceNames()
    mill, lathe = shown("mill", "S-1", "urn:1"), shown("lathe", "S-2", "urn:2")
    assert names.remember("cell", [mill, lathe]) == ["cell/urn:1", "cell/urn:2"]
    assert names.remember("cell", [mill]) == ["cell/urn:1"]
    assert names.remember("cell", [lathe, mill]) == ["cell/urn:2", "cell/urn:1"]


def test_another_machine_at_the_address_of_a_single_one_takes_over_its_id() -> None:
    names = DeviceNames()
    assert names.remember("cell", [shown("mill", "S-1", "urn:1")]) == ["cell"]
    assert names.remember("cell", [shown("mill", "S-9", "urn:9")]) == ["cell"]


def test_a_machine_that_says_nothing_of_itself_for_a_while_is_known_by_where_it_stands() -> None:
    names = DeviceNames()
    mill, lathe = shown("mill", "S-1", "urn:1"), shown("lathe", "S-2", "urn:2")
    names.remember("cell", [mill, lathe])
    assert names.remember("cell", [shown("mill"), lathe]) == ["cell/urn:1", "cell/urn:2"]
    assert names.remember("cell", [lathe, shown("moved", "S-1", "urn:1")]) == ["cell/urn:2", "cell/urn:1"]


def test_a_machine_whose_product_uri_appears_later_keeps_the_id_that_its_serial_gave() -> None:
    names = DeviceNames()
    lathe = shown("lathe", "S-2")
    assert names.remember("cell", [shown("mill", "S-1"), lathe]) == ["cell/S-1", "cell/S-2"]
    assert names.remember("cell", [shown("mill", "S-1", "urn:1"), lathe]) == ["cell/S-1", "cell/S-2"]


def test_equal_serials_of_two_makers_are_two_machines() -> None:
    names = DeviceNames()
    one, other = shown("a", "0000", maker="A"), shown("b", "0000", maker="B")
    assert names.remember("cell", [one, other]) == ["cell/a", "cell/b"]
    assert names.remember("cell", [other, one]) == ["cell/b", "cell/a"]


def test_further_counters_follow_the_id_of_their_machine() -> None:
    names = DeviceNames()
    mill, lathe = shown("mill", "S-1", "urn:1"), shown("lathe", "S-2", "urn:2")
    export = replace(mill, meter="export")
    assert names.remember("cell", [mill, export]) == ["cell", "cell/export"]
    air = replace(lathe, meter="compressed-air")
    assert names.remember("cell", [mill, export, lathe, air]) == [
        "cell",
        "cell/export",
        "cell/urn:2",
        "cell/urn:2.compressed-air",
    ]


def test_ids_are_remembered_over_a_restart_and_of_each_entry_by_itself(tmp_path: Path) -> None:
    mill, lathe = shown("mill", "S-1", "urn:1"), shown("lathe", "S-2", "urn:2")
    first, second = DeviceNames(tmp_path), DeviceNames(tmp_path)
    assert first.ids("cell", []) == second.ids("hall", []) == []
    first.remember("cell", [mill, lathe])
    second.remember("hall", [mill, lathe])
    again = DeviceNames(tmp_path)
    assert again.ids("cell", [lathe]) == ["cell/urn:2"]
    assert again.ids("hall", [mill]) == ["hall/urn:1"]
    assert again.ids("new", [mill]) == ["new"]


def test_a_damaged_file_names_devices_anew_and_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "devices.json").write_bytes(b"{")
    mill, lathe = shown("mill", "S-1", "urn:1"), shown("lathe", "S-2", "urn:2")
    assert DeviceNames(tmp_path).remember("cell", [mill, lathe]) == ["cell/urn:1", "cell/urn:2"]
    assert DeviceNames(tmp_path).ids("cell", [mill]) == ["cell/urn:1"]


async def test_a_server_that_shows_one_machine_fewer_after_a_gateway_s_restart_renames_nobody(tmp_path: Path) -> None:
    async def ids(*machines: str) -> set[str]:
        async with serving(*(machine(m) for m in machines)) as plant:
            given = entry(plant.address)
            source = OpcuaCollector([(given, profile())], time.time_ns, access=access_to([given], tmp_path))
            async with watching(source) as seen:
                await seen.until(lambda s: len(s.samples) == len(machines))
                return set(seen.devices)

    assert await ids("cnc-1", "cnc-2") == {"cell/urn:test:cnc-1", "cell/urn:test:cnc-2"}
    assert await ids("cnc-1") == {"cell/urn:test:cnc-1"}
