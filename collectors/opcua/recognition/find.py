"""From an endpoint alone to machines: who they are, and which nodes say state, counters and energy.

Machines stand below Machinery's `Machines` and in DI's `DeviceSet`; their types, through supertypes,
tell the class. Node ids are resolved by namespace URI in each session.
"""

from __future__ import annotations

from dataclasses import replace

from asyncua import ua

from collectors.model import DeviceClass, Trouble
from collectors.opcua.address_space import MOST_NODES, AddressSpace
from collectors.opcua.recognition import machine_tools, moulding, robots
from collectors.opcua.recognition.machine import Machine
from collectors.opcua.recognition.namespaces import CLASS_OF_TYPE, DEVICE_SET, MACHINES, MOTION_DEVICE


async def machines(space: AddressSpace) -> list[Machine]:
    """Every machine that the server shows, ordered by path. Empty where it shows none."""
    roots: dict[ua.NodeId, tuple[str, DeviceClass | None, bool]] = {}
    for (uri, identifier), is_machine in ((MACHINES, True), (DEVICE_SET, False)):
        folder = space.node(uri, identifier)
        if folder is None:
            continue
        references = [r for r in (await space.children([folder]))[0] if r.NodeClass == ua.NodeClass.Object]
        types = await space.types_of([r.TypeDefinition for r in references])
        for reference, chain in zip(references, types, strict=True):
            known = next((c for key, c in CLASS_OF_TYPE.items() if key in chain), None)
            if is_machine or known:
                name = reference.BrowseName.Name or ""
                roots.setdefault(reference.NodeId, (name, known, MOTION_DEVICE in chain))
    found: list[Machine] = []
    for root, (path, known, is_arm) in roots.items():
        recognised = await _recognise(space, root, path, known, is_arm=is_arm)
        found.extend(recognised)
    return sorted(found, key=lambda m: m.path)


async def _recognise(
    space: AddressSpace, root: ua.NodeId, path: str, known: DeviceClass | None, *, is_arm: bool
) -> list[Machine]:
    nodes = await space.below(root)
    if is_arm:
        recognised = [await robots.recognise_arm(space, root, path, nodes)]
    elif known == "robot":
        recognised = await robots.recognise(space, root, path, nodes)
    elif known == "injection-moulding":
        recognised = [await moulding.recognise(space, root, path, nodes)]
    else:
        recognised = [await machine_tools.recognise(space, root, path, known or "machine", nodes)]
    if len(nodes) >= MOST_NODES:
        return [replace(m, troubles=(*m.troubles, _too_many_nodes(path))) for m in recognised]
    return recognised


def _too_many_nodes(path: str) -> Trouble:
    return Trouble(
        "",
        "opcua.too-many-nodes",
        f"机器 {path} 的节点超过 {MOST_NODES} 个，只查看了最近的这些。",
        f"the machine {path} has more than {MOST_NODES} nodes; only the nearest were looked at.",
        "若缺少状态、产量或电量，请写一个指明节点的型号文件。",
        "Where state, pieces or energy are missing, write a profile that names the nodes.",
    )
