"""The companion specifications' types: exactly what the official files say, and kept safely for the next start."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from asyncua import ua

from simulators.opcua_nodesets import (
    DI,
    MACHINE_TOOL,
    MACHINERY,
    PACKAGE,
    ROBOTICS,
    LazyNodes,
    NodesetsMissingError,
    TypeSpace,
    _build,
    type_space,
)


@pytest.fixture(scope="module")
def types() -> TypeSpace:
    return type_space()


def name_of(nodes: LazyNodes, node: ua.NodeId) -> str:
    value = nodes[node].attributes[ua.AttributeIds.BrowseName].value
    assert value is not None
    return str(value.Value.Value.Name)


@pytest.mark.parametrize(
    ("uri", "identifier", "name"),
    [
        (DI, 5001, "DeviceSet"),
        (MACHINERY, 1001, "Machines"),
        (MACHINERY, 1002, "MachineryItemState_StateMachineType"),
        (MACHINERY, 5006, "Executing"),
        (MACHINE_TOOL, 13, "MachineToolType"),
        (ROBOTICS, 1002, "MotionDeviceSystemType"),
        (ROBOTICS, 1004, "MotionDeviceType"),
    ],
)
def test_the_types_stand_where_the_specifications_put_them(
    types: TypeSpace, uri: str, identifier: int, name: str
) -> None:
    assert name_of(types.nodes(), ua.NodeId(identifier, types.index(uri))) == name


def test_references_are_those_of_the_files_and_run_both_ways(types: TypeSpace) -> None:
    nodes = types.nodes()
    arm = ua.NodeId(1004, types.index(ROBOTICS))
    maker = [r for r in nodes[arm].references if r.BrowseName.Name == "Manufacturer"]
    assert [r.ReferenceTypeId for r in maker] == [ua.NodeId(ua.ObjectIds.HasProperty)]
    back = [r for r in nodes[maker[0].NodeId].references if r.NodeId == arm]
    assert [(r.ReferenceTypeId, r.IsForward) for r in back] == [(ua.NodeId(ua.ObjectIds.HasProperty), False)]
    assert maker[0].TypeDefinition == ua.NodeId(ua.ObjectIds.PropertyType)


def test_values_of_the_files_are_there(types: TypeSpace) -> None:
    nodes = types.nodes()
    executing = nodes[ua.NodeId(5006, types.index(MACHINERY))]
    number = next(r.NodeId for r in executing.references if r.BrowseName.Name == "StateNumber")
    value = nodes[number].attributes[ua.AttributeIds.Value].value
    assert value is not None
    assert value.Value.Value == 3


def test_every_kept_node_opens(types: TypeSpace) -> None:
    nodes = types.nodes()
    assert len(nodes) == len(types.pickles) > 8_000
    assert all(nodes[node].nodeid == node for node in types.pickles)


def test_two_servers_share_no_node(types: TypeSpace) -> None:
    node = ua.NodeId(1001, types.index(MACHINERY))
    first, second = types.nodes(), types.nodes()
    first[node].references.clear()
    assert second[node].references
    del first[node]
    assert node not in first
    assert node in second
    with pytest.raises(KeyError):
        first[node]


def test_missing_files_name_the_command_that_brings_them(tmp_path: Path) -> None:
    with pytest.raises(NodesetsMissingError, match="npm ci --prefix simulators/nodesets") as failure:
        type_space(package=tmp_path / "nothing", cache=tmp_path)
    assert "没有" in str(failure.value)


def test_what_is_kept_is_used_and_what_others_could_have_written_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = 0

    def build(package: Path, vendor_namespaces: tuple[str, ...]) -> TypeSpace:
        nonlocal built
        built += 1
        return TypeSpace(("urn:built",), {})

    monkeypatch.setattr("simulators.opcua_nodesets._build", build)
    monkeypatch.setattr("simulators.opcua_nodesets._type_space", _type_space_without_memory())
    cache = tmp_path / "cache"

    def load() -> None:
        assert type_space(package=PACKAGE, cache=cache).namespaces == ("urn:built",)

    load()
    load()
    assert built == 1
    (kept,) = cache.iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    kept.chmod(0o666)
    load()
    assert built == 2
    assert kept.stat().st_mode & 0o022 == 0
    kept.write_bytes(b"broken")
    load()
    assert built == 3
    with kept.open("wb") as file:
        pickle.dump(({"layout": 0}, ("urn:old",), {}), file)
    load()
    assert built == 4
    os.utime(kept)
    load()
    assert built == 4


def _type_space_without_memory() -> object:
    from simulators import opcua_nodesets

    return opcua_nodesets._type_space.__wrapped__


def test_the_files_are_read_without_asking_the_cache(types: TypeSpace) -> None:
    read = _build(PACKAGE, ())
    assert read.namespaces == types.namespaces
    assert set(read.pickles) == set(types.pickles)
