"""Where a machine tool's state comes from, over a real socket: what it has, in order, and what makes it a fault."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asyncua import ua

from collectors.opcua.collector import OpcuaCollector
from metrics.record import MachineState
from simulators.opcua_nodesets import IA, MACHINE_TOOL, MACHINERY
from tests.collectors.opcua.models import Built
from tests.collectors.opcua.plants import Seen, collector, plain_server, watching

RUNNING, IDLE, FAULT = MachineState.RUNNING, MachineState.IDLE, MachineState.FAULT
GREEN, RED = 2, 1


async def becomes(seen: Seen, state: MachineState, change: Callable[[], Awaitable[None]]) -> None:
    await change()
    await seen.until(lambda s: "cell" in s.samples and s.latest("cell", "state") == state)


def channel(built: Built, name: str, wanted: frozenset[str] = frozenset()) -> str:
    return built.part(f"mill.Monitoring.{name}", MACHINE_TOOL, 16, wanted=wanted)


async def lamp(built: Built, name: str, colour: int) -> str:
    path = built.part(
        f"mill.Monitoring.Stacklight.{name}",
        IA,
        1006,
        wanted=frozenset({"SignalOn", "SignalColor"}),
        reference=ua.ObjectIds.HasOrderedComponent,
    )
    await built.flag(f"{path}.SignalOn", value=False)
    await built.integer(f"{path}.SignalColor", colour)
    return f"{path}.SignalOn"


async def test_a_server_that_gives_only_the_state_s_id_is_read_by_id() -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        machinery = built.types.index(MACHINERY)
        wanted = {"MachineryBuildingBlocks", "MachineryBuildingBlocks.MachineryItemState"}
        built.machine("mill", wanted=frozenset(wanted))
        path = "mill.MachineryBuildingBlocks.MachineryItemState.CurrentState.Id"

        async def say(number: int) -> None:
            await built.say(path, ua.NodeId(number, machinery), ua.VariantType.NodeId)

        await say(5004)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: "cell" in s.samples and s.latest("cell", "state") == FAULT)
            await becomes(seen, RUNNING, lambda: say(5006))


async def test_an_executing_machine_that_warms_up_is_idle() -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        blocks = "MachineryBuildingBlocks"
        wanted = {
            blocks,
            f"{blocks}.MachineryItemState",
            f"{blocks}.MachineryItemState.CurrentState.Number",
            "Monitoring.MachineTool.IsWarmUp",
        }
        built.machine("mill", wanted=frozenset(wanted))
        number = f"mill.{blocks}.MachineryItemState.CurrentState.Number"
        await built.say(number, 3, ua.VariantType.UInt32)
        await built.flag("mill.Monitoring.MachineTool.IsWarmUp", value=True)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: "cell" in s.samples and s.latest("cell", "state") == IDLE)
            warm = "mill.Monitoring.MachineTool.IsWarmUp"
            await becomes(seen, RUNNING, lambda: built.flag(warm, value=False))


async def test_without_item_state_the_channels_say_the_state() -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        built.machine("mill")
        paths = [channel(built, name) for name in ("Channel1", "Channel2")]
        for path in paths:
            await built.integer(f"{path}.ChannelState", 2)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: "cell" in s.samples and s.latest("cell", "state") == IDLE)
            await becomes(seen, RUNNING, lambda: built.integer(f"{paths[1]}.ChannelState", 0))


async def test_a_channel_that_makes_a_dry_run_does_not_produce() -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        built.machine("mill")
        path = channel(built, "Channel1", frozenset({"ChannelModifiers", "ChannelModifiers.DryRun"}))
        await built.integer(f"{path}.ChannelState", 0)
        dry = f"{path}.ChannelModifiers.DryRun"
        await built.flag(dry, value=True)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: "cell" in s.samples and s.latest("cell", "state") == IDLE)
            await becomes(seen, RUNNING, lambda: built.flag(dry, value=False))


async def test_a_severe_alarm_makes_a_stopped_machine_a_faulty_one() -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        built.machine("mill", wanted=frozenset({"Notification.Messages"}))
        path = channel(built, "Channel1")
        await built.integer(f"{path}.ChannelState", 1)
        alarm = built.part("mill.Notification.Messages.Alert1", MACHINE_TOOL, 39)
        await built.flag(f"{alarm}.ActiveState.Id", value=False)
        await built.say(f"{alarm}.Severity", 800, ua.VariantType.UInt16)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: "cell" in s.samples and s.latest("cell", "state") == IDLE)
            await becomes(seen, FAULT, lambda: built.flag(f"{alarm}.ActiveState.Id", value=True))
            await becomes(seen, IDLE, lambda: built.say(f"{alarm}.Severity", 300, ua.VariantType.UInt16))


async def test_a_red_lamp_makes_a_stopped_machine_a_faulty_one() -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        built.machine("mill", wanted=frozenset({"Monitoring.Stacklight"}))
        path = channel(built, "Channel1")
        await built.integer(f"{path}.ChannelState", 1)
        red = await lamp(built, "Red", RED)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: "cell" in s.samples and s.latest("cell", "state") == IDLE)
            await becomes(seen, FAULT, lambda: built.flag(red, value=True))


async def test_without_channels_the_program_s_state_says_the_state() -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        built.machine("mill")
        number = "mill.Production.ActiveProgram.State.CurrentState.Number"

        async def say(state: int) -> None:
            await built.say(number, state, ua.VariantType.UInt32)

        await say(3)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: "cell" in s.samples and s.latest("cell", "state") == IDLE)
            await becomes(seen, RUNNING, lambda: say(1))


async def test_a_machine_that_has_nothing_but_a_stacklight_is_read_by_its_colours() -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        # a machine of its own, not a MachineToolType, whose program would be a better source
        built.machine("mill", "", ua.ObjectIds.BaseObjectType)
        built.folders("mill.Monitoring")
        built.part("mill.Monitoring.Stacklight", IA, 1002)
        green, red = await lamp(built, "Green", GREEN), await lamp(built, "Red", RED)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: "cell" in s.samples and s.latest("cell", "state") == IDLE)
            await becomes(seen, RUNNING, lambda: built.flag(green, value=True))
            await becomes(seen, FAULT, lambda: built.flag(red, value=True))


async def test_a_component_s_state_is_not_its_machine_s() -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        built.machine("mill", "", ua.ObjectIds.BaseObjectType)
        state = "mill.Components.Chuck.MachineryBuildingBlocks.MachineryItemState.CurrentState.Number"
        await built.variable(state, 3, ua.VariantType.UInt32)
        source: OpcuaCollector = collector(address())
        async with watching(source) as seen:
            await seen.until(lambda s: bool(s.devices))
            assert seen.devices["cell"].tags == ()
