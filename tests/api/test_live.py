"""Presence: what the page is told, when a gateway falls silent, and the stream over a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from gateway.wire import DevicePresence, Live
from tests.api.county_fixtures import CountyUnderTest, Gateway, served_county
from tests.waiting import until


def presence(gateway: Gateway, at_ns: int, *, connected: bool = True, state: Any = "running") -> Live:
    return Live(
        gateway.name, at_ns, [DevicePresence("cnc-1", connected, state, at_ns - 1000, at_ns)], backlog_batches=3
    )


async def shown(county: CountyUnderTest, device: str = "cnc-1") -> tuple[str, str]:
    devices = {d["device"]: d for d in (await county.get("/live"))["devices"]}
    return devices[device]["live"]["connection"], devices[device]["live"]["state"]


async def test_the_page_shows_what_the_gateway_judges(plant: CountyUnderTest) -> None:
    gateway = plant.gateway()
    await plant.sign_in()
    assert await shown(plant) == ("never-seen", "unknown")
    await gateway.post("live", presence(gateway, plant.clock.now_ns()))
    assert await shown(plant) == ("connected", "running")
    assert await shown(plant, "moulding-1") == ("never-seen", "unknown")
    plant.clock.advance(3)
    await gateway.post("live", presence(gateway, plant.clock.now_ns(), connected=False, state="unknown"))
    assert await shown(plant) == ("not-connected", "unknown")
    gateways = {g["id"]: g for g in (await plant.get("/gateways"))["items"]}
    assert (gateways["gw-1"]["silent"], gateways["gw-1"]["backlog_batches"]) == (False, 3)
    assets = {a["number"]: a for a in (await plant.get("/assets", enterprise="91330226MA22563400"))["items"]}
    assert assets["A1"]["live"]["connection"] == "not-connected"


async def test_machines_of_a_silent_gateway_are_unknown_and_never_called_not_connected(plant: CountyUnderTest) -> None:
    gateway = plant.gateway()
    await plant.sign_in()
    for connected in (True, False):
        await gateway.post("live", presence(gateway, plant.clock.now_ns(), connected=connected))
        plant.clock.advance(14.9)
        assert (await shown(plant))[0] == ("connected" if connected else "not-connected")
        plant.clock.advance(0.2)
        assert await shown(plant) == ("gateway-silent", "unknown")
        assert {g["id"]: g["silent"] for g in (await plant.get("/gateways"))["items"]}["gw-1"]
    await gateway.post("live", presence(gateway, plant.clock.now_ns()))
    assert await shown(plant) == ("connected", "running")


async def test_an_overtaken_message_changes_nothing(plant: CountyUnderTest) -> None:
    gateway = plant.gateway()
    await plant.sign_in()
    now_ns = plant.clock.now_ns()
    await gateway.post("live", presence(gateway, now_ns, connected=False))
    await gateway.post("live", presence(gateway, now_ns - 5_000_000_000))
    assert (await shown(plant))[0] == "not-connected"


async def events(stream: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    name = ""
    async for line in stream.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            assert name == "live"
            yield json.loads(line.removeprefix("data: "))


async def test_the_stream_tells_of_a_change_at_once(tmp_path: Path) -> None:
    async with served_county(tmp_path / "county") as county:
        county.load(tmp_path / "register")
        gateway = county.gateway()
        await county.sign_in()
        async with asyncio.timeout(20), county.client.stream("GET", "/api/v1/live/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            told = events(stream)
            await anext(told)  # the state when the stream begins
            loop = asyncio.get_running_loop()
            for connected in (True, False, True):
                sent_s = loop.time()
                await gateway.post("live", presence(gateway, county.clock.now_ns(), connected=connected))
                county.clock.advance(1)
                shot = await anext(told)
                (cnc,) = [d for d in shot["devices"] if d["device"] == "cnc-1"]
                assert cnc["live"]["connection"] == ("connected" if connected else "not-connected")
                assert cnc["asset_id"] == "a1"
                assert loop.time() - sent_s < 3
            assert county.county.live.subscribers == 1
        await until(lambda: not county.county.live.subscribers)
