"""Machine states from the companion specifications' own states. Pure; an input of None is not known.

Sources: OPC 40001-1 (MachineryItemState), OPC 40501-1 (ChannelState, program, stacklight), OPC 10000-200
(SignalColor), OPC 10000-9 (severity of alarms), OPC 40010-1 (robots, which before 1.02 have no variable for
"running"), OPC 40083 (MachineMode, ProductionStatus, StandstillMessage of injection moulding machines).

`inputs` of a state says what each value means; a kind may occur several times (two channels) or not at all
(an optional node).
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

_ACTIVE_CHANNEL: Final = 0
_CHANNEL_STATES: Final = (0, 1, 2)
_RUNNING_PROGRAM: Final = 1
_PROGRAM_STATES: Final = (0, 1, 2, 3, 4)
_RED, _GREEN = 1, 2
_STOPS_THE_MACHINE: Final = 667
"""Severity from which an alarm counts as a fault of a stopped machine: "high" (OPC 10000-9, annex)."""
_AUTOMATIC_MODES: Final = (3, 4)
_EXECUTING: Final = 3
_SLEEP: Final = 5
_PRODUCING_MODES: Final = (1, 2)
_MACHINE_MODES: Final = (0, 1, 2, 3, 4, 5)
_PRODUCTION: Final = 4

ToolInput = Literal[
    "item_state", "channel", "dry_run", "program", "warm_up", "alarm", "severity", "lamp_on", "lamp_colour"
]
RobotInput = Literal["mode", "emergency_stop", "protective_stop", "program_loaded", "in_control", "moving", "executing"]
MouldingInput = Literal["present", "mode", "production", "standstill"]

_Given = dict[str, list[float | None]]


def _by_kind(kinds: Sequence[str], values: Sequence[float | None]) -> _Given:
    given: _Given = {}
    for kind, value in zip(kinds, values, strict=True):
        given.setdefault(kind, []).append(value)
    return given


@dataclass(frozen=True, slots=True)
class ToolState:
    """State of a machine tool, or of another machine of OPC 40001-1.

    The first of these that the machine has: MachineryItemState; its channels, running while any is Active
    and makes no dry run; its program, running while it is Running; its stacklight. Warm-up is idle. A stopped
    machine whose alarm is severe, or whose red lamp is lit, is at fault. `dry_run`: pairs with `channel`
    in order where there is one for each, else it holds for all.
    """

    inputs: tuple[ToolInput, ...]

    def __call__(self, values: Sequence[float | None]) -> MachineState | None:
        given = _by_kind(self.inputs, values)
        if "item_state" in given:
            (number,) = given["item_state"]
            state = None if number is None else ITEM_STATES.get(int(number), MachineState.UNKNOWN)
        elif "channel" in given:
            state = self._stopped_or_running(_channels(given["channel"], given.get("dry_run", [])), given)
        elif "program" in given:
            state = self._stopped_or_running(_program(given["program"]), given)
        else:
            state = _lamps(given["lamp_on"], given["lamp_colour"])
        if state is MachineState.RUNNING and any(given.get("warm_up", [])):
            return MachineState.IDLE
        return state

    def _stopped_or_running(self, state: MachineState | None, given: _Given) -> MachineState | None:
        if state is not MachineState.IDLE:
            return state
        alarms = zip(given.get("alarm", []), given.get("severity", []), strict=True)
        if any(active and severity is not None and severity >= _STOPS_THE_MACHINE for active, severity in alarms):
            return MachineState.FAULT
        lamps = zip(given.get("lamp_on", []), given.get("lamp_colour", []), strict=True)
        return MachineState.FAULT if any(on and colour == _RED for on, colour in lamps) else state


def _channels(states: Sequence[float | None], dry_runs: Sequence[float | None]) -> MachineState | None:
    dry = list(dry_runs) if len(dry_runs) == len(states) else [float(any(dry_runs))] * len(states)
    if any(state == _ACTIVE_CHANNEL and not is_dry for state, is_dry in zip(states, dry, strict=True)):
        return MachineState.RUNNING
    if None in states:
        return None
    return MachineState.IDLE if all(state in _CHANNEL_STATES for state in states) else MachineState.UNKNOWN


def _program(states: Sequence[float | None]) -> MachineState | None:
    if _RUNNING_PROGRAM in states:
        return MachineState.RUNNING
    if None in states:
        return None
    return MachineState.IDLE if all(state in _PROGRAM_STATES for state in states) else MachineState.UNKNOWN


def _lamps(on: Sequence[float | None], colours: Sequence[float | None]) -> MachineState | None:
    """Red before green before every other lamp: a machine that warns while it works is working."""
    if None in on or any(lit and colour is None for lit, colour in zip(on, colours, strict=True)):
        return None
    lit = {colour for is_on, colour in zip(on, colours, strict=True) if is_on}
    if _RED in lit:
        return MachineState.FAULT
    return MachineState.RUNNING if _GREEN in lit else MachineState.IDLE


@dataclass(frozen=True, slots=True)
class RobotState:
    """State of a motion device from its safety state, its controller's tasks and itself.

    Running: automatic mode, a program loaded, in control, moving; where nothing tells of motion, the
    controller's own Executing (from 1.02) instead. A stop is a fault. In control and not moving is idle; not
    in control is off: its drives have no power, and it is the robot that says so.
    """

    inputs: tuple[RobotInput, ...]

    def __call__(self, values: Sequence[float | None]) -> MachineState | None:
        given = _by_kind(self.inputs, values)
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
        moving = given.get("moving")
        if moving is None and "executing" in given:
            moving = [None if state is None else float(state == _EXECUTING) for state in given["executing"]]
        if moving is None:
            return MachineState.UNKNOWN
        automatic = _any([None if mode is None else mode in _AUTOMATIC_MODES for mode in given.get("mode", [])])
        conditions = (automatic, _any(given.get("program_loaded", [])), _any(moving))
        if False in conditions:
            return MachineState.IDLE
        return None if None in conditions else MachineState.RUNNING


def _any(values: Sequence[float | bool | None]) -> bool | None:
    if any(values):
        return True
    return None if None in values or not values else False


@dataclass(frozen=True, slots=True)
class MouldingState:
    """State of an injection moulding machine (OPC 40077).

    Running: automatic or semi-automatic mode, and production. SLEEP is off. A machine that does not produce
    and whose control gives a standstill message (severity above 0) is at fault: the operator's standstill
    reason alone may be a break or a missing order. Everything else, dry runs too, is idle. A machine that is
    not present at its server is unknown.
    """

    inputs: tuple[MouldingInput, ...]

    def __call__(self, values: Sequence[float | None]) -> MachineState | None:
        given = _by_kind(self.inputs, values)
        if given.get("present") == [0.0]:
            return MachineState.UNKNOWN
        (mode,) = given["mode"]
        if mode is None:
            return None
        if mode == _SLEEP:
            return MachineState.OFF
        if mode not in _MACHINE_MODES:
            return MachineState.UNKNOWN
        if mode in _PRODUCING_MODES:
            (production,) = given.get("production", [None])
            if production is None:
                return None
            if production == _PRODUCTION:
                return MachineState.RUNNING
        return MachineState.FAULT if any(given.get("standstill", [])) else MachineState.IDLE
