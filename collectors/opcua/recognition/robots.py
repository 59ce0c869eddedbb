"""Robots (OPC 40010-1): each motion device of a system is one."""

from __future__ import annotations

from collections.abc import Sequence

from asyncua import ua

from collectors.opcua.address_space import AddressSpace, Found
from collectors.opcua.recognition import counters, identity
from collectors.opcua.recognition.machine import Machine, Parts
from collectors.opcua.recognition.states import RobotInput, RobotState


async def recognise_arm(space: AddressSpace, root: ua.NodeId, path: str, nodes: Sequence[Found]) -> Machine:
    """A motion device without a system around it."""
    parts = Parts()
    _state(nodes, nodes, parts)
    who = await identity.read(space, [n for n in nodes if len(n.path) == 1])
    await counters.count(space, nodes, parts, (root, path, "robot", who))
    return parts.machine(root, path, "robot", who)


async def recognise(space: AddressSpace, root: ua.NodeId, path: str, nodes: Sequence[Found]) -> list[Machine]:
    """One machine for each motion device of the system at `root`.

    What the controllers count belongs to a robot only where it is the system's one; else each controller is a
    meter of its own.
    """
    arms = [n for n in nodes if len(n.path) == 2 and n.path[0] == "MotionDevices"]
    robots: list[Machine] = []
    for arm in arms:
        own = [n for n in nodes if n.path[: len(arm.path)] == arm.path]
        parts = Parts()
        _state(nodes, own, parts)
        who = await identity.read(space, _direct(own, arm))
        name = path if len(arms) == 1 else f"{path}/{arm.name}"
        await counters.count(space, nodes if len(arms) == 1 else own, parts, (arm.node, name, "robot", who))
        robots.append(parts.machine(arm.node, name, "robot", who))
    if len(arms) > 1:
        robots.extend(await _meters(space, path, nodes))
    return robots


async def _meters(space: AddressSpace, path: str, nodes: Sequence[Found]) -> list[Machine]:
    meters: list[Machine] = []
    for controller in (n for n in nodes if len(n.path) == 2 and n.path[0] == "Controllers"):
        own = [n for n in nodes if n.path[:2] == controller.path]
        who = await identity.read(space, _direct(own, controller))
        parts, name = Parts(), f"{path}/{controller.name}"
        await counters.count(space, own, parts, (controller.node, name, "meter-electricity", who))
        if parts.counted.carrier:
            meters.append(parts.machine(controller.node, name, "meter-electricity", who))
    return meters


def _direct(nodes: Sequence[Found], above: Found) -> list[Found]:
    return [n for n in nodes if len(n.path) == len(above.path) + 1]


def _state(nodes: Sequence[Found], own: Sequence[Found], parts: Parts) -> None:
    def parameters(found: Sequence[Found], folder: str, name: str) -> list[Found]:
        return [n for n in found if (not folder or n.path[0] == folder) and n.path[-2:] == ("ParameterSet", name)]

    kinds: list[tuple[RobotInput, list[Found]]] = [
        ("mode", parameters(nodes, "SafetyStates", "OperationalMode")),
        ("emergency_stop", parameters(nodes, "SafetyStates", "EmergencyStop")),
        ("protective_stop", parameters(nodes, "SafetyStates", "ProtectiveStop")),
        ("program_loaded", parameters(nodes, "Controllers", "TaskProgramLoaded")),
        ("in_control", parameters(own, "", "InControl")),
        (
            "moving",
            parameters(own, "", "OnPath") or [n for n in parameters(own, "", "ActualSpeed") if "Axes" in n.path],
        ),
        ("executing", [n for n in nodes if n.path[-3:] == ("SystemOperationStateMachine", "CurrentState", "Number")]),
    ]
    inputs = [(kind, found) for kind, several in kinds for found in several]
    if inputs:
        parts.state(RobotState(tuple(kind for kind, _ in inputs)), [(found, float) for _, found in inputs])
