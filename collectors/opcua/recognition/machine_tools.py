"""Machine tools (OPC 40501-1), and every other machine of OPC 40001-1: which nodes say the state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from asyncua import ua

from collectors.model import DeviceClass
from collectors.opcua.address_space import AddressSpace, Found
from collectors.opcua.recognition import counters, identity
from collectors.opcua.recognition.machine import Machine, Parts
from collectors.opcua.recognition.namespaces import MACHINERY
from collectors.opcua.recognition.states import ITEM_STATE_NODES, ToolInput, ToolState
from collectors.opcua.values import Convert

_UNDEFINED: Final = -1.0

_Input = tuple[ToolInput, Found, Convert]


async def recognise(
    space: AddressSpace, root: ua.NodeId, path: str, device_class: DeviceClass, nodes: Sequence[Found]
) -> Machine:
    """The machine at `root`, whose `nodes` are all that is below it."""
    parts = Parts()
    inputs = state_inputs(space, nodes)
    if inputs:
        kinds = tuple(kind for kind, _, _ in inputs)
        parts.state(ToolState(kinds), [(found, convert) for _, found, convert in inputs])
    who = await identity.read(space, identity.of_machine(nodes))
    await counters.count(space, nodes, parts, (root, path, device_class, who))
    return parts.machine(root, path, device_class, who)


def state_inputs(space: AddressSpace, nodes: Sequence[Found]) -> list[_Input]:
    """What the state follows from; empty where the machine says nothing of it."""
    warm_up: list[_Input] = [
        ("warm_up", n, float) for n in nodes if n.path == ("Monitoring", "MachineTool", "IsWarmUp")
    ]
    # a component may have a state too: the machine's own is the nearest, and none below Components
    item_states = [
        n for n in nodes if n.path[-3:-1] == ("MachineryItemState", "CurrentState") and n.path[0] != "Components"
    ]
    item_state = _number_or_id(space, item_states)
    if item_state is not None:
        return [("item_state", *item_state), *warm_up]
    channels = [n for n in nodes if n.name == "ChannelState" and n.path[0] == "Monitoring"]
    if channels:
        dry: list[_Input] = [
            ("dry_run", n, float)
            for channel in channels
            for n in nodes
            if n.path == (*channel.path[:-1], "ChannelModifiers", "DryRun")
        ]
        return [*(("channel", n, float) for n in channels), *dry, *_faults(nodes), *warm_up]
    running = ("Production", "ActiveProgram", "State", "CurrentState", "Number")
    program = next((n for n in nodes if n.path == running), None)
    if program is not None:
        return [("program", program, float), *_faults(nodes), *warm_up]
    return _lamps(nodes)


def _number_or_id(space: AddressSpace, nodes: Sequence[Found]) -> tuple[Found, Convert] | None:
    """MachineryItemState's number; where the server gives only the state's node id, the number that it stands for."""
    for name in ("Number", "Id"):
        found = next((n for n in nodes if n.name == name), None)
        if found is not None:
            return found, float if name == "Number" else _item_state_number(space.index(MACHINERY))
    return None


def _item_state_number(index: int | None) -> Convert:
    def convert(value: Any) -> float:
        number = ITEM_STATE_NODES.get(value.Identifier) if value.NamespaceIndex == index else None
        return _UNDEFINED if number is None else float(number)

    return convert


def _faults(nodes: Sequence[Found]) -> list[_Input]:
    """Alarms that the server shows as nodes (not those that it only sends as events), and the stacklight."""
    inputs: list[_Input] = []
    for active in (n for n in nodes if n.path[:2] == ("Notification", "Messages")):
        if active.path[-2:] != ("ActiveState", "Id"):
            continue
        severity = next((n for n in nodes if n.path == (*active.path[:-2], "Severity")), None)
        if severity is not None:
            inputs.extend([("alarm", active, float), ("severity", severity, float)])
    return [*inputs, *_lamps(nodes)]


def _lamps(nodes: Sequence[Found]) -> list[_Input]:
    inputs: list[_Input] = []
    for lamp in (n for n in nodes if n.path[:2] == ("Monitoring", "Stacklight") and n.name == "SignalOn"):
        colour = next((n for n in nodes if n.path == (*lamp.path[:-1], "SignalColor")), None)
        if colour is not None:
            inputs.extend([("lamp_on", lamp, float), ("lamp_colour", colour, float)])
    return inputs
