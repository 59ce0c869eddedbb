"""A gateway whose links are cut again and again holds afterwards what it held before, and nothing once it has ended."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections import Counter as Counts
from pathlib import Path

import pytest

from collectors.mqtt.inbox import Inbox as MqttInbox
from collectors.opcua.inbox import Inbox as OpcuaInbox
from gateway.config import load
from gateway.runner import Gateway
from simulators.broker import Mosquitto
from simulators.chain import Chain
from simulators.scenario import load as load_scenario
from tests.gateway.county_stub import CREDENTIAL, CountyStub
from tests.gateway.outputs.plants import is_accounted_for, mqtt_output, sending
from tests.gateway.running import gateway_of
from tests.waiting import until

UNPLUGGED = ("cnc-1", "moulding-1", "edm-1", "asm-1")
"""A machine of OPC UA, Modbus, JSON over MQTT, and Sparkplug."""
STEADY_S = 3.0
UNDER_LOAD_S = 60.0


def descriptors() -> Counts[str]:
    """Open descriptors of this process by what they lead to: sockets alike, files by name."""
    found: Counts[str] = Counts()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue  # the one that listed them
        found["socket" if target.startswith("socket:") else target] += 1
    return found


def threads() -> Counts[str]:
    """Threads by name, but for those that the loop keeps for calls to the system: they are made when first needed."""
    names = (thread.name for thread in threading.enumerate())
    return Counts(name.rstrip("0123456789") for name in names if not name.startswith("asyncio_"))


def tasks() -> Counts[str]:
    """Tasks by their names, those without one alike."""
    return Counts(task.get_name().rstrip("0123456789") for task in asyncio.all_tasks())


def inboxes() -> list[MqttInbox | OpcuaInbox]:
    """Every inbox of this process that somebody holds, those of tests before this one among them."""
    gc.collect()
    return [found for found in gc.get_objects() if isinstance(found, MqttInbox | OpcuaInbox)]


def waiting(gateway: Gateway, ours: list[MqttInbox | OpcuaInbox]) -> dict[str, int]:
    """What stands in every queue of a gateway that has these inboxes."""
    assert gateway.outputs is not None
    return {
        "inboxes": sum(len(inbox) for inbox in ours),
        "outputs": sum(sender.waiting_rows for sender in gateway.outputs.senders),
        "unwritten": len(gateway.keeper.unwritten),
        "unsent": gateway.uplink.depth.unsent,
    }


def within(now: Counts[str], most: Counts[str]) -> bool:
    return not now - most


async def steady() -> tuple[Counts[str], Counts[str], Counts[str]]:
    """The most descriptors, tasks and threads that are held at once for a while."""
    held = descriptors(), tasks(), threads()
    until_s = time.monotonic() + STEADY_S
    while time.monotonic() < until_s:
        await asyncio.sleep(0.02)
        held = held[0] | descriptors(), held[1] | tasks(), held[2] | threads()
    return held


def all_connected(gateway: Gateway) -> bool:
    presence = gateway.windows.presence(gateway.clock())
    return bool(presence) and all(device.connected for device in presence)


@pytest.mark.timeout(400)
async def test_descriptors_tasks_threads_and_queues_are_back_at_their_start_after_a_minute_of_cuts(
    county: CountyStub, mosquitto: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = load_scenario()
    settings = {"window_s": 10, "checkpoint_s": 0.5}
    chain = Chain(scenario, tmp_path / "chain", port=0, gateway_settings=settings)
    chain.url = county.url
    chain.credential_file.parent.mkdir(parents=True)
    chain.credential_file.write_text(CREDENTIAL)
    try:
        await chain.start_plant()
        chain.write_gateway_config()
        before = descriptors(), tasks(), threads()
        of_others = inboxes()
        config = sending(load(chain.config_file), mqtt_output(mosquitto.address))
        async with gateway_of(config, monkeypatch) as (gateway, _):
            await until(lambda: all_connected(gateway) and county.rows, 60)
            held = await steady()
            until_s = time.monotonic() + UNDER_LOAD_S
            while time.monotonic() < until_s:
                await cut_everything_once(chain, county, mosquitto, gateway)
            await until(lambda: all_connected(gateway) and not gateway.troubles.listed(), 60)
            await until(lambda: within(tasks(), held[1]), 30)
            await until(lambda: within(descriptors(), held[0]), 30)
            await until(lambda: within(threads(), held[2]), 30)
            ours = [inbox for inbox in inboxes() if not any(inbox is other for other in of_others)]
            assert ours
            never_empty = waiting(gateway, ours)  # samples go on coming: each is empty once, not all at one moment

            def each_was_empty() -> bool:
                for name, held in waiting(gateway, ours).items():
                    if not held:
                        never_empty.pop(name, None)
                return not never_empty

            try:
                await until(each_was_empty, 40)
            except TimeoutError:
                pytest.fail(f"these were never seen empty: {never_empty}")
            assert is_accounted_for(gateway)
        await until(lambda: within(tasks(), before[1]), 10)
        await until(lambda: within(threads(), before[2]), 10)
        gc.collect()
        await until(lambda: within(descriptors(), before[0]), 10)
    finally:
        await chain.stop()
    assert county.doubled == []


async def cut_everything_once(chain: Chain, county: CountyStub, broker: Mosquitto, gateway: Gateway) -> None:
    """Machines of every protocol, the county and the plant's own broker are away at once, and come back."""
    for machine in UNPLUGGED:
        await chain.order(f"unplug {machine}")
    await county.stop()
    await broker.stop()
    await until(lambda: len(gateway.troubles.listed()) >= 2, 30)
    before = gateway.intake.samples.total()
    await until(lambda: gateway.intake.samples.total() > before + 20, 30)
    await broker.start()
    await county.start()
    for machine in UNPLUGGED:
        await chain.order(f"plug {machine}")
    gateway.links.retry("")  # as a person does who does not want to wait for the next attempt
    await until(lambda: all_connected(gateway), 60)
