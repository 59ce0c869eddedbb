"""Injection moulding machines (OPC 40077, with the general types of OPC 40083)."""

from __future__ import annotations

from collections.abc import Sequence

from asyncua import ua

from collectors.opcua.address_space import AddressSpace, Found
from collectors.opcua.recognition import counters, identity
from collectors.opcua.recognition.machine import Machine, Parts
from collectors.opcua.recognition.states import MouldingInput, MouldingState

_STATE: tuple[tuple[MouldingInput, tuple[str, ...]], ...] = (
    ("present", ("MachineStatus", "IsPresent")),
    ("mode", ("MachineStatus", "MachineMode")),
    ("production", ("MachineMESStatus", "ProductionControl", "ProductionStatus")),
    ("standstill", ("MachineMESStatus", "StandstillMessage", "Severity")),
)


async def recognise(space: AddressSpace, root: ua.NodeId, path: str, nodes: Sequence[Found]) -> Machine:
    """The machine whose IMM_MES_Interface is at `root`.

    Pieces are those of the running job: the counter begins again with each job, which the gateway sees as a reset.
    """
    parts = Parts()
    inputs = [(kind, found) for kind, where in _STATE if (found := _at(nodes, where)) is not None]
    kinds = tuple(kind for kind, _ in inputs)
    if "mode" in kinds:
        parts.state(MouldingState(kinds), [(found, float) for _, found in inputs])
        parts.absent_slot = kinds.index("present") if "present" in kinds else None
    who = await identity.read(space, identity.of_machine(nodes))
    await counters.count(space, nodes, parts, (root, path, "injection-moulding", who))
    return parts.machine(root, path, "injection-moulding", who)


def _at(nodes: Sequence[Found], path: tuple[str, ...]) -> Found | None:
    return next((n for n in nodes if n.path == path), None)
