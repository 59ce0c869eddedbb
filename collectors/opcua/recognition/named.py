"""A server without a companion specification: the nodes that a profile names, by node id or browse path."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from asyncua import ua

from collectors.model import Identity, Role, Tag, Trouble
from collectors.opcua.address_space import AddressSpace, Found
from collectors.opcua.profile import STATE_OF_WORD, NodeTag
from collectors.opcua.recognition.machine import Derive, Machine, Parts
from collectors.opcua.values import Scaled
from metrics.record import MachineState


async def named_nodes(space: AddressSpace, nodes: Iterable[NodeTag]) -> Machine:
    """The nodes that a profile names, as one device; what is not there is among its troubles."""
    parts = Parts()
    for named in sorted(nodes, key=lambda n: n.role is not Role.STATE):  # the state is tag 0
        found = await _find(space, named)
        if found is None:
            parts.troubles.append(_missing(named))
            continue
        if named.role is Role.STATE:
            words = {number: STATE_OF_WORD[word] for number, word in named.states.items()}
            parts.state(_state_of_words(words), [(found, float)])
        else:
            tag = Tag(named.tag, named.unit, named.role, named.modulus)
            parts.tag(tag, found, Scaled(named.scale, 1.0))
    return parts.machine(ua.NodeId(ua.ObjectIds.ObjectsFolder), "", "plc", Identity())


async def _find(space: AddressSpace, named: NodeTag) -> Found | None:
    if named.node:
        try:
            node = space.parse(named.node)
        except ValueError:
            node = None
        return None if node is None else Found(node, (named.node,), ua.NodeClass.Variable, ua.NodeId())
    node = await space.at(named.path)
    return None if node is None else Found(node, tuple(named.path.split("/")), ua.NodeClass.Variable, ua.NodeId())


def _missing(named: NodeTag) -> Trouble:
    where = named.node or named.path
    return Trouble(
        "",
        "opcua.node-missing",
        f"服务器上没有节点 {where}（点 {named.tag}）。",
        f"the server has no node {where} (tag {named.tag}).",
        "运行 plantpulse-gateway browse 查看节点，修改型号文件。",
        "Run plantpulse-gateway browse to see its nodes and correct the profile.",
    )


def _state_of_words(words: dict[int, MachineState]) -> Derive:
    def derive(values: Sequence[float | None]) -> MachineState | None:
        return None if values[0] is None else words.get(int(values[0]), MachineState.UNKNOWN)

    return derive
