"""Each row of the state mapping: a companion specification's state is one of ours, or not known."""

from __future__ import annotations

import pytest

from collectors.opcua.recognition.states import MouldingState, RobotInput, RobotState, ToolState
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
    assert ToolState(("item_state",))([number]) is state


@pytest.mark.parametrize(("warm_up", "state"), [(1, IDLE), (0, RUNNING), (None, RUNNING)])
def test_a_machine_that_warms_up_is_idle(warm_up: float | None, state: MachineState) -> None:
    assert ToolState(("item_state", "warm_up"))([3, warm_up]) is state
    assert ToolState(("channel", "warm_up"))([0, warm_up]) is state
    assert ToolState(("item_state", "warm_up"))([1, warm_up]) is FAULT


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
    assert ToolState(("channel",) * len(channels))(channels) is state


@pytest.mark.parametrize(
    ("channels", "dry_runs", "state"),
    [([0, 2], [1, 0], IDLE), ([0, 0], [1, 0], RUNNING), ([0, 0], [0, 1], RUNNING), ([0, 0], [1, 1], IDLE)],
)
def test_a_channel_in_dry_run_does_not_run(channels: list[float], dry_runs: list[float], state: MachineState) -> None:
    assert ToolState(("channel", "channel", "dry_run", "dry_run"))([*channels, *dry_runs]) is state


@pytest.mark.parametrize(
    ("program", "state"),
    [(0, IDLE), (1, RUNNING), (2, IDLE), (3, IDLE), (4, IDLE), (9, UNKNOWN), (None, None)],
)
def test_program_state_where_there_is_no_channel(program: float | None, state: MachineState | None) -> None:
    assert ToolState(("program",))([program]) is state


@pytest.mark.parametrize(
    ("channel", "active", "severity", "state"),
    [
        (1, 1, 700, FAULT),
        (2, 1, 667, FAULT),
        (2, 1, 666, IDLE),  # a warning
        (2, 0, 900, IDLE),  # over
        (0, 1, 900, RUNNING),  # an alarm that does not stop it
        (2, None, None, IDLE),
    ],
)
def test_a_stopped_machine_with_a_severe_alarm_is_at_fault(
    channel: float, active: float | None, severity: float | None, state: MachineState
) -> None:
    assert ToolState(("channel", "alarm", "severity"))([channel, active, severity]) is state
    program = {0: 1, 1: 3, 2: 2}[int(channel)]
    assert ToolState(("program", "alarm", "severity"))([program, active, severity]) is state


RED, GREEN, BLUE, YELLOW = 1, 2, 3, 4


@pytest.mark.parametrize(
    ("lit", "state"),
    [
        ({GREEN}, RUNNING),
        ({YELLOW}, IDLE),
        ({RED}, FAULT),
        (set(), IDLE),
        ({GREEN, YELLOW}, RUNNING),
        ({GREEN, RED}, FAULT),
        ({BLUE}, IDLE),
    ],
)
def test_stacklight_where_nothing_else_says_the_state(lit: set[int], state: MachineState) -> None:
    lamps = [number for colour in (RED, GREEN, BLUE, YELLOW) for number in (float(colour in lit), float(colour))]
    assert ToolState(("lamp_on", "lamp_colour") * 4)(lamps) is state


def test_a_stacklight_that_is_not_known_says_nothing() -> None:
    assert ToolState(("lamp_on", "lamp_colour"))([None, GREEN]) is None
    assert ToolState(("lamp_on", "lamp_colour"))([1, None]) is None


def test_a_red_lamp_makes_a_stopped_machine_a_faulty_one_and_leaves_a_running_one_alone() -> None:
    state = ToolState(("channel", "lamp_on", "lamp_colour"))
    assert [state([channel, 1, RED]) for channel in (0, 1, 2)] == [RUNNING, FAULT, FAULT]


@pytest.mark.parametrize(
    ("mode", "production", "severity", "state"),
    [
        (1, 4, 0, RUNNING),
        (2, 4, 0, RUNNING),
        (1, 4, 800, RUNNING),  # it produces
        (1, 0, 0, IDLE),
        (1, 1, 0, IDLE),
        (1, 2, 0, IDLE),
        (1, 3, 0, IDLE),
        (1, 5, 0, IDLE),  # dry run
        (0, 4, 0, IDLE),
        (3, 4, 0, IDLE),  # by hand: ProductionStatus means nothing
        (4, 4, 0, IDLE),
        (1, 1, 800, FAULT),
        (3, 1, 1, FAULT),
        (5, 1, 0, OFF),
        (5, 1, 800, OFF),
        (6, 4, 0, UNKNOWN),
        (None, 4, 0, None),
        (1, None, 0, None),
        (3, None, 0, IDLE),
    ],
)
def test_injection_moulding_machine(
    mode: float | None, production: float | None, severity: float, state: MachineState | None
) -> None:
    assert MouldingState(("mode", "production", "standstill"))([mode, production, severity]) is state


def test_an_injection_moulding_machine_that_is_not_at_its_server_is_unknown() -> None:
    state = MouldingState(("present", "mode", "production"))
    assert [state([present, 1, 4]) for present in (1, 0)] == [RUNNING, UNKNOWN]


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


@pytest.mark.parametrize(("number", "state"), [(1, IDLE), (2, IDLE), (3, RUNNING), (None, None)])
def test_where_nothing_tells_of_motion_the_controller_s_own_state_does(
    number: float | None, state: MachineState | None
) -> None:
    inputs: tuple[RobotInput, ...] = ("mode", "program_loaded", "in_control", "executing")
    assert RobotState(inputs)((3, 1, 1, number)) is state
