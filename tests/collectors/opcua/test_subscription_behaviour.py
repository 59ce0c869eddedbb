"""Subscribing: within what each make of server takes, with deadbands where it has them, and no bad node in the way."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import pytest
from asyncua import Server, ua

from collectors.model import Quality
from collectors.opcua.collector import OpcuaCollector
from collectors.opcua.profile import OpcuaProfile, SubscriptionSettings
from simulators.opcua_subscriptions import MAKES, NO_LIMITS, ServerLimits
from simulators.opcua_typed_server import delete_node
from tests.collectors.opcua.plants import (
    Seen,
    collector,
    entry,
    fast_clock,
    machine,
    plain_server,
    profile,
    serving,
    watching,
)
from tests.waiting import until

PLC: Final = "urn:plantpulse:simulator:opcua"


def plc(tags: list[str], **changed: Any) -> OpcuaProfile:
    """Gauges by node id, as many as named."""
    nodes = [{"tag": tag, "node": f"nsu={PLC};s={tag}"} for tag in tags]
    return profile(recognise="nodes", device_class="plc", nodes=nodes, **changed)


def settings(**changed: Any) -> dict[str, Any]:
    return {"publishing_s": 0.1, "sampling_s": 0.05, "keep_alive_s": 0.4} | changed


def plc_collector(address: str, given: OpcuaProfile, retry_s: float = 300.0) -> OpcuaCollector:
    return OpcuaCollector([(entry(address), given)], time.time_ns, retry_s=retry_s)


@asynccontextmanager
async def plc_server(
    tags: list[str], limits: ServerLimits = NO_LIMITS, value: float = 20.0
) -> AsyncIterator[tuple[Server, str, dict[str, Any]]]:
    """A server with these variables; gives it, its address and its nodes by name."""
    async with plain_server(limits=limits) as (server, address):
        folder = await server.nodes.objects.add_folder(ua.NodeId("PLC", 1), "1:PLC")
        nodes = {
            tag: await folder.add_variable(ua.NodeId(tag, 1), f"1:{tag}", value, ua.VariantType.Double) for tag in tags
        }
        yield server, address(), nodes


def tags_read(seen: Seen) -> set[int]:
    return {int(tag) for samples in seen.samples.get("cell", []) for tag in samples.tag}


# Limits -----------------------------------------------------------------------------------------


async def test_an_s7_1200_is_asked_in_hundreds_and_what_it_does_not_monitor_is_polled() -> None:
    tags = [f"v{number}" for number in range(1_040)]
    async with (
        plc_server(tags, MAKES["s7-1200"]) as (server, address, nodes),
        watching(plc_collector(address, plc(tags))) as seen,
    ):
        await seen.until(lambda s: tags_read(s) == set(range(1_040)))
        service = server.iserver.subscription_service
        assert service.most_in_a_request == 100
        assert len(service.items) == 1_000
        assert not [trouble for trouble in seen.troubles if trouble.code]
        await nodes["v1039"].write_value(77.5)
        await seen.until(lambda s: s.latest("cell", "v1039") == 77.5)


async def test_an_s7_1200_takes_no_deadband_and_is_never_asked_for_one() -> None:
    async with serving(machine("cnc-1"), limits=MAKES["s7-1200"]) as plant, watching(collector(plant.address)) as seen:
        await seen.until(lambda s: "cell" in s.samples and len(s.values("cell", "power")) >= 3)
        assert len(plant.subscriptions.items) == 4
        assert not [trouble for trouble in seen.troubles if trouble.code]


async def test_an_s7_1500_keeps_an_absolute_deadband_and_refuses_one_in_percent() -> None:
    tags = ["absolute", "percent"]
    deadband = {"absolute": 5.0, "percent": "10%"}
    async with plc_server(tags, MAKES["s7-1500"]) as (_, address, nodes):
        given = plc(tags, subscription=settings(deadband=deadband))
        async with watching(plc_collector(address, given)) as seen:
            await seen.until(lambda s: tags_read(s) == {0, 1})
            for value in (23.0, 26.0, 28.0, 31.5):
                for node in nodes.values():
                    await node.write_value(value)
            await seen.until(lambda s: s.latest("cell", "absolute") == 31.5 and s.latest("cell", "percent") == 31.5)
            assert [value for value, _, _ in seen.values("cell", "absolute")] == [20.0, 26.0, 31.5]
            assert [value for value, _, _ in seen.values("cell", "percent")] == [20.0, 23.0, 26.0, 28.0, 31.5]
            assert not [trouble for trouble in seen.troubles if trouble.code]


async def test_kepware_keeps_deadbands_in_percent_of_a_node_s_range_and_thousands_go_in_few_requests() -> None:
    tags = [f"v{number}" for number in range(1_200)]
    async with plc_server(tags, MAKES["kepware"]) as (server, address, nodes):
        range_node = await nodes["v0"].add_property(
            ua.NodeId("v0.EURange", 1), "0:EURange", ua.Range(Low=0.0, High=200.0)
        )
        assert range_node is not None
        given = plc(tags, subscription=settings(deadband={"v0": "5%", "v1": "5%"}))
        async with watching(plc_collector(address, given)) as seen:
            await seen.until(lambda s: tags_read(s) == set(range(1_200)))
            assert server.iserver.subscription_service.most_in_a_request == 1_000
            for value in (29.0, 31.0):
                await nodes["v0"].write_value(value)
                await nodes["v1"].write_value(value)
            await seen.until(lambda s: s.latest("cell", "v1") == 31.0 and s.latest("cell", "v0") == 31.0)
            assert [value for value, _, _ in seen.values("cell", "v0")] == [20.0, 31.0]
            # without a range the server refuses the percentage, and every change is reported
            assert [value for value, _, _ in seen.values("cell", "v1")] == [20.0, 29.0, 31.0]


async def test_limits_that_a_server_reports_are_kept_and_those_that_it_does_not_are_found() -> None:
    tags = [f"v{number}" for number in range(90)]
    for reports in (True, False):
        limits = replace(NO_LIMITS, items_per_request=7, nodes_per_read=20, nodes_per_browse=3, reports=reports)
        async with (
            plc_server(tags, limits) as (server, address, _),
            watching(plc_collector(address, plc(tags))) as seen,
        ):
            await seen.until(lambda s: tags_read(s) == set(range(90)))
            service = server.iserver.subscription_service
            assert len(service.items) == 90
            assert (service.most_in_a_request == 7) is reports


async def test_a_tag_without_a_deadband_of_its_own_reports_every_change() -> None:
    async with (
        plc_server(["power", "flow"]) as (_, address, nodes),
        watching(plc_collector(address, plc(["power", "flow"]))) as seen,
    ):
        await seen.until(lambda s: tags_read(s) == {0, 1})
        for value in (20.004, 20.02):
            for node in nodes.values():
                await node.write_value(value)
        await seen.until(lambda s: s.latest("cell", "power") == 20.02 and s.latest("cell", "flow") == 20.02)
        assert [value for value, _, _ in seen.values("cell", "power")] == [20.0, 20.02], "10 W is the default"
        assert [value for value, _, _ in seen.values("cell", "flow")] == [20.0, 20.004, 20.02]


async def test_a_deadband_that_swallows_a_bad_value_keeps_no_dead_machine_alive() -> None:
    limits = replace(NO_LIMITS, deadband_hides_bad=True)
    async with serving(machine("cnc-1"), limits=limits) as plant, watching(collector(plant.address)) as seen:
        await seen.until(lambda s: "cell" in s.samples)
        await plant.unplug("cnc-1")
        await seen.until(lambda s: (p := s.latest_proof("cell")) is not None and p.lasts_s == 0)
        assert seen.values("cell", "power")[-1][1] == Quality.GOOD, "the server did hide it"
        assert [t.code for t in seen.troubles] == ["opcua.all-nodes-bad"]


@pytest.mark.parametrize(
    ("publishing_s", "sampling_s", "bridge_s", "queue", "asked_for"),
    [(0.5, 0.5, 60.0, 0, 120), (10.0, 0.1, 0.0, 0, 100), (1.0, 0.0, 30.0, 0, 30), (0.5, 0.5, 60.0, 40, 40)],
)
def test_queues_are_asked_for_as_long_as_a_publication_and_a_cut_take(
    publishing_s: float, sampling_s: float, bridge_s: float, queue: int, asked_for: int
) -> None:
    given = {"publishing_s": publishing_s, "sampling_s": sampling_s, "bridge_s": bridge_s, "queue": queue}
    assert SubscriptionSettings.model_validate(given).queued == asked_for


# Queues -----------------------------------------------------------------------------------------


async def test_every_value_between_two_publications_comes_where_the_queue_holds_them() -> None:
    async with plc_server(["v"]) as (_, address, nodes):
        given = plc(["v"], subscription=settings(publishing_s=0.5, sampling_s=0.05, keep_alive_s=1.0))
        async with watching(plc_collector(address, given)) as seen:
            await seen.until(lambda s: tags_read(s) == {0})
            wanted = [float(number) for number in range(100, 110)]
            for value in wanted:
                await nodes["v"].write_value(value)
            await seen.until(lambda s: s.latest("cell", "v") == wanted[-1])
            assert [value for value, _, _ in seen.values("cell", "v")][1:] == wanted


async def test_an_overflowing_queue_is_a_visible_gap() -> None:
    async with plc_server(["v"], replace(NO_LIMITS, most_queued=3)) as (_, address, nodes):
        given = plc(["v"], subscription=settings(publishing_s=0.5, keep_alive_s=1.0))
        async with watching(plc_collector(address, given)) as seen:
            await seen.until(lambda s: tags_read(s) == {0})
            await nodes["v"].write_value(1.0)
            await seen.until(lambda s: s.latest("cell", "v") == 1.0)
            (_, _, before_ns) = seen.values("cell", "v")[-1]
            seen.forget()
            for value in range(10, 20):
                await nodes["v"].write_value(float(value))
            await seen.until(lambda s: tags_read(s) == {0} and s.latest("cell", "v") == 19.0)
            (hole, *rest) = seen.values("cell", "v")
            assert hole[1] == Quality.BAD
            assert before_ns < hole[2] < rest[0][2], "what is not known begins after the last value that is"
            assert [value for value, _, _ in rest] == [17.0, 18.0, 19.0]
            assert seen.shed == {"server_queue_overflow": 1}
            assert [t.code for t in seen.troubles] == ["opcua.queue-overflow"]
            assert "v" in seen.troubles[0].en


async def test_a_state_whose_changes_were_lost_is_unknown_in_between() -> None:
    nodes = [{"tag": "state", "role": "state", "path": "PLC/state", "states": {1: "running", 2: "idle", 3: "fault"}}]
    async with plc_server(["state"], replace(NO_LIMITS, most_queued=2), value=1.0) as (_, address, written):
        given = profile(
            recognise="nodes",
            device_class="plc",
            nodes=nodes,
            subscription=settings(publishing_s=0.5, keep_alive_s=1.0),
        )
        async with watching(plc_collector(address, given)) as seen:
            await seen.until(lambda s: tags_read(s) == {0})
            await written["state"].write_value(2.0)
            await seen.until(lambda s: s.latest("cell", "state") == 2)
            seen.forget()
            for state in (1.0, 3.0, 1.0, 3.0, 1.0):
                await written["state"].write_value(state)
            await seen.until(lambda s: tags_read(s) == {0} and s.latest("cell", "state") == 1)
            assert [quality for _, quality, _ in seen.values("cell", "state")] == [Quality.BAD, 0, 0]


# Bad nodes --------------------------------------------------------------------------------------


async def test_a_node_that_is_not_there_is_listed_and_read_once_it_is() -> None:
    async with (
        plc_server(["v"]) as (server, address, _),
        watching(plc_collector(address, plc(["v", "later"]), retry_s=0.3)) as seen,
    ):
        await seen.until(lambda s: tags_read(s) == {0} and bool(s.troubles))
        assert [t.code for t in seen.troubles] == ["opcua.node-refused"]
        assert "later (BadNodeIdUnknown)" in seen.troubles[0].en
        folder = server.get_node(ua.NodeId("PLC", 1))
        await folder.add_variable(ua.NodeId("later", 1), "1:later", 5.0, ua.VariantType.Double)
        await seen.until(lambda s: tags_read(s) == {0, 1})
        assert seen.values("cell", "later") == [(5.0, Quality.GOOD, 0)], "the first value is the state now"
        await seen.until(lambda s: s.troubles[-1].code == "")


@pytest.mark.parametrize("by_item", [True, False], ids=["told-by-its-item", "told-by-the-subscription"])
async def test_a_vanished_node_turns_bad_alone_is_listed_and_taken_up_again(by_item: bool) -> None:
    async with (
        plc_server(["v", "gone"], replace(NO_LIMITS, tells_deletion=by_item)) as (server, address, nodes),
        watching(plc_collector(address, plc(["v", "gone"]), retry_s=0.5)) as seen,
    ):
        await seen.until(lambda s: tags_read(s) == {0, 1})
        await delete_node(server, nodes["gone"].nodeid)
        await seen.until(lambda s: s.values("cell", "gone")[-1][1] == Quality.BAD and bool(s.troubles))
        assert "gone (BadNodeIdUnknown)" in seen.troubles[-1].en
        await nodes["v"].write_value(3.0)
        await seen.until(lambda s: s.latest("cell", "v") == 3.0)
        folder = server.get_node(ua.NodeId("PLC", 1))
        await folder.add_variable(ua.NodeId("gone", 1), "1:gone", 9.0, ua.VariantType.Double)
        await seen.until(lambda s: s.latest("cell", "gone") == 9.0)
        await seen.until(lambda s: s.troubles[-1].code == "")
        assert len(server.iserver.sessions_asked_at_s) == 1


async def test_a_named_node_that_appears_later_is_found_without_a_new_session() -> None:
    nodes = [{"tag": "v", "path": "PLC/v"}, {"tag": "later", "path": "PLC/later"}]
    async with plc_server(["v"]) as (server, address, written):
        given = profile(recognise="nodes", device_class="plc", nodes=nodes)
        async with watching(plc_collector(address, given, retry_s=0.3)) as seen:
            await seen.until(lambda s: tags_read(s) == {0} and bool(s.troubles))
            assert [t.code for t in seen.troubles] == ["opcua.node-missing"]
            folder = server.get_node(ua.NodeId("PLC", 1))
            await folder.add_variable(ua.NodeId("later", 1), "1:later", 5.0, ua.VariantType.Double)
            await seen.until(lambda s: [tag.name for tag in s.devices["cell"].tags] == ["v", "later"])
            await written["v"].write_value(4.0)
            await seen.until(lambda s: tags_read(s) == {0, 1} and s.latest("cell", "v") == 4.0)
            assert seen.latest("cell", "later") == 5.0
            assert len(server.iserver.sessions_asked_at_s) == 1
            await until(lambda: len(server.iserver.subscription_service.items) == 2)


# Polling ----------------------------------------------------------------------------------------


async def test_where_a_profile_says_so_the_server_is_polled_and_only_what_changes_is_passed_on() -> None:
    async with plc_server(["v", "w"]) as (server, address, nodes):
        given = plc(["v", "w"], subscription=settings(mode="poll"))
        async with watching(plc_collector(address, given)) as seen:
            await seen.until(lambda s: tags_read(s) == {0, 1})
            assert not server.iserver.subscription_service.items
            await nodes["v"].write_value(8.0)
            await seen.until(lambda s: s.latest("cell", "v") == 8.0)
            assert len(seen.values("cell", "w")) == 1
            began_ns = time.time_ns()
            await seen.until(lambda s: (p := s.latest_proof("cell")) is not None and p.at_ns > began_ns + 500_000_000)
            await server.stop()
            errors = []
            try:
                await seen.until(lambda s: False)
            except Exception as error:  # noqa: BLE001
                errors.append(error)
            assert [type(error).__name__ for error in errors] == ["LinkError"]


# Clocks -----------------------------------------------------------------------------------------


async def test_a_machine_s_wrong_clock_is_noticed_and_shown_and_its_times_are_kept() -> None:
    clock = fast_clock()
    async with (
        serving(machine("cnc-1"), now_s=lambda: clock() + 7_200) as plant,
        watching(collector(plant.address, tolerance_s=60.0)) as seen,
    ):
        await seen.until(lambda s: bool(s.troubles))
        assert [(t.subject, t.code) for t in seen.troubles] == [("cell", "opcua.clock-wrong")]
        assert "ahead of the gateway" in seen.troubles[0].en
        assert seen.latest_proof("cell").lasts_s > 0
        assert seen.values("cell", "energy_import")[-1][2] > time.time_ns() + 7_000_000_000_000
