"""Machine states from the companion specifications' own states. Pure; an input of None is not known.

Sources: OPC 40001-1 (MachineryItemState), OPC 40501-1 (ChannelState), OPC 40010-1 (robots, which
before 1.02 have no variable for "running").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from metrics.record import MachineState

ITEM_STATES: Final = {
    0: MachineState.OFF,  # NotAvailable: switched off, or saving energy
    1: MachineState.FAULT,  # OutOfService: blocked by an error
    2: MachineState.IDLE,  # NotExecuting
    3: MachineState.RUNNING,  # Executing
}
"""MachineryItemState's StateNumber."""

ITEM_STATE_NODES: Final = {5005: 0, 5004: 1, 5007: 2, 5006: 3}
"""Node id of the state in Machinery's namespace to its number, for servers that give only `Id`."""

_CHANNEL_ACTIVE: Final = 0
_CHANNEL_STATES: Final = (0, 1, 2)
_AUTOMATIC_MODES: Final = (3, 4)

RobotInput = Literal["mode", "emergency_stop", "protective_stop", "program_loaded", "in_control", "moving"]


def of_item_state(number: float | None) -> MachineState | None:
    """State of a machine from MachineryItemState's number; UNKNOWN for one that is not defined."""
    return None if number is None else ITEM_STATES.get(int(number), MachineState.UNKNOWN)


def of_channels(states: Sequence[float | None]) -> MachineState | None:
    """State of a machine tool from its channels' ChannelState: running while any is Active (0).

    Interrupted (1) and Reset (2) are idle: a channel alone says nothing of faults.
    """
    if _CHANNEL_ACTIVE in states:
        return MachineState.RUNNING
    if None in states:
        return None
    if any(state not in _CHANNEL_STATES for state in states):
        return MachineState.UNKNOWN
    return MachineState.IDLE


@dataclass(frozen=True, slots=True)
class RobotState:
    """State of a motion device from its safety state, its controller's tasks and itself.

    `inputs` says what each value means; a kind may occur several times (two tasks) or not at all (an
    optional node). Running: automatic mode, a program loaded, in control, moving. A stop is a fault.
    In control and not moving is idle; not in control is off: its drives have no power, and it is the
    robot that says so.
    """

    inputs: tuple[RobotInput, ...]

    def __call__(self, values: Sequence[float | None]) -> MachineState | None:
        given: dict[str, list[float | None]] = {}
        for kind, value in zip(self.inputs, values, strict=True):
            given.setdefault(kind, []).append(value)
        stops = given.get("emergency_stop", []) + given.get("protective_stop", [])
        if any(stops):
            return MachineState.FAULT
        if None in stops:
            return None
        in_control = _any(given.get("in_control", [1.0]))
        if in_control is None:
            return None
        if not in_control:
            return MachineState.OFF
        if "moving" not in given:
            return MachineState.UNKNOWN
        automatic = _any([None if mode is None else mode in _AUTOMATIC_MODES for mode in given.get("mode", [])])
        conditions = (automatic, _any(given.get("program_loaded", [])), _any(given["moving"]))
        if False in conditions:
            return MachineState.IDLE
        return None if None in conditions else MachineState.RUNNING


def _any(values: Sequence[float | bool | None]) -> bool | None:
    if any(values):
        return True
    return None if None in values or not values else False
