"""Each row of the state mapping: a companion specification's state is one of ours, or not known."""

from __future__ import annotations

import pytest

from collectors.opcua.states import RobotInput, RobotState, of_channels, of_item_state
from metrics.record import MachineState

RUNNING, IDLE, FAULT, OFF, UNKNOWN = (
    MachineState.RUNNING,
    MachineState.IDLE,
    MachineState.FAULT,
    MachineState.OFF,
    MachineState.UNKNOWN,
)


@pytest.mark.parametrize(
    ("number", "state"),
    [(0, OFF), (1, FAULT), (2, IDLE), (3, RUNNING), (4, UNKNOWN), (-1, UNKNOWN), (None, None)],
)
def test_machinery_item_state(number: float | None, state: MachineState | None) -> None:
    assert of_item_state(number) is state


@pytest.mark.parametrize(
    ("channels", "state"),
    [
        ([0], RUNNING),
        ([1], IDLE),
        ([2], IDLE),
        ([2, 0], RUNNING),
        ([1, 2], IDLE),
        ([7], UNKNOWN),
        ([None], None),
        ([2, None], None),
        ([None, 0], RUNNING),
    ],
)
def test_channel_state(channels: list[float | None], state: MachineState | None) -> None:
    assert of_channels(channels) is state


INPUTS: tuple[RobotInput, ...] = (
    "mode",
    "emergency_stop",
    "protective_stop",
    "program_loaded",
    "in_control",
    "moving",
)


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ((3, 0, 0, 1, 1, 1), RUNNING),
        ((4, 0, 0, 1, 1, 1), RUNNING),
        ((1, 0, 0, 1, 1, 1), IDLE),  # moved by hand at reduced speed
        ((2, 0, 0, 1, 1, 1), IDLE),
        ((0, 0, 0, 1, 1, 1), IDLE),
        ((3, 0, 0, 0, 1, 1), IDLE),  # no program
        ((3, 0, 0, 1, 1, 0), IDLE),  # motors ready, not moving
        ((3, 1, 0, 1, 1, 1), FAULT),
        ((3, 0, 1, 1, 0, 0), FAULT),
        ((3, 0, 0, 1, 0, 0), OFF),  # drives without power, and no stop
        ((None, 1, None, None, None, None), FAULT),  # a stop is a stop, whatever else is not known
        ((3, None, 0, 1, 1, 1), None),
        ((3, 0, 0, 1, None, 1), None),
        ((None, 0, 0, 1, 1, 1), None),
        ((None, 0, 0, 1, 1, 0), IDLE),  # it does not move: no mode makes that running
        ((3, 0, 0, 1, 1, None), None),
    ],
)
def test_robot(values: tuple[float | None, ...], state: MachineState | None) -> None:
    assert RobotState(INPUTS)(values) is state


def test_robot_without_optional_in_control_is_judged_by_the_rest() -> None:
    inputs = tuple(kind for kind in INPUTS if kind != "in_control")
    assert RobotState(inputs)((3, 0, 0, 1, 1)) is RUNNING


def test_robot_that_shows_no_motion_stays_unknown() -> None:
    inputs = tuple(kind for kind in INPUTS if kind != "moving")
    assert RobotState(inputs)((3, 0, 0, 1, 1)) is UNKNOWN


def test_one_of_several_axes_or_tasks_is_enough() -> None:
    inputs = (*INPUTS, "moving", "program_loaded")
    assert RobotState(inputs)((3, 0, 0, 0, 1, 0, 12.5, 1)) is RUNNING
