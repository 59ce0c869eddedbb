"""From simulated machines to the county's sums, over real processes and sockets, with everything that goes wrong.

One plant, one county and one gateway serve all tests of this module, in the order they stand in: a machine
unplugged, the county killed, the gateway killed, then everything is set beside the plant's ledger.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import numpy as np
import pytest
import pytest_asyncio

from simulators.chain import Chain
from simulators.county_client import PortalClient
from simulators.physics import local_date
from simulators.scenario import expected_cnc, expected_networking, load
from tests.e2e.held_plant import hold, served_again
from tests.e2e.truth import Timeline, grown, keys_are_unique, state_seconds, stored_records

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

WINDOW_S: Final = 10
POLL_S: Final = 1.0
SLACK_S: Final = 0.5
"""Time for a served value to be read and stamped on a loaded machine."""
LIVENESS_S: Final = 6.0
UNPLUGGED: Final = {"opcua": "cnc-1", "modbus": "moulding-1", "mqtt": "edm-1", "sparkplug": "asm-1"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Chain]:
    folder = tmp_path_factory.mktemp("chain")
    made = Chain(load(), folder, port=0, gateway_settings={"window_s": WINDOW_S, "checkpoint_s": 1.0})
    try:
        await asyncio.gather(made.start_plant(), made.prepare_county())
        made.write_gateway_config()
        made.endpoints["counted_from_s"] = await hold(made)  # every first value has been seen
        await asyncio.gather(made.start_county(), made.start_gateway(close_short=True))
        yield made
    finally:
        await made.stop()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def portal(chain: Chain) -> AsyncIterator[PortalClient]:
    async with chain.portal() as client:
        yield client


async def until(
    condition: Callable[[], Awaitable[Any]], timeout_s: float, what: str, chain: Chain | None = None
) -> float:
    """Wait until the condition holds; gives the time it took in s."""
    began_s = time.monotonic()
    while not await condition():
        if chain is not None:
            chain.processes.check()
        assert time.monotonic() - began_s < timeout_s, f"{what}: not within {timeout_s} s"
        await asyncio.sleep(0.2)
    return time.monotonic() - began_s


async def connections(portal: PortalClient) -> dict[str, str]:
    return {d["device"]: d["live"]["connection"] for d in (await portal.get("/live"))["devices"]}


async def all_connected(portal: PortalClient, chain: Chain) -> bool:
    found = await connections(portal)
    return all(found.get(device) == "connected" for device in chain.scenario.protocol_of_device())


async def figure(portal: PortalClient, definition: str) -> dict[str, Any]:
    today = local_date(time.time()).isoformat()
    figures = (await portal.get("/indicators", period=today, look_back_days=1))["figures"]
    found: dict[str, Any] = next(f for f in figures if f["definition"]["id"] == definition)
    return found


async def test_every_device_of_the_plant_is_connected(chain: Chain, portal: PortalClient) -> None:
    await until(lambda: all_connected(portal, chain), 30, "all devices connected", chain)
    await served_again(chain, 2)  # every counter has been seen while it stood still
    await chain.order("release")


async def test_all_three_protocols_deliver_and_the_rates_equal_the_register(chain: Chain, portal: PortalClient) -> None:
    networking, cnc = expected_networking(chain.scenario), expected_cnc(chain.scenario)

    async def as_expected() -> bool:
        found = await figure(portal, "networking-rate")
        return (found["numerator"], found["denominator"]) == tuple(networking)

    await until(as_expected, 45, "networking rate of the live day", chain)
    found = await figure(portal, "cnc-rate")
    assert (found["numerator"], found["denominator"]) == tuple(cnc)
    assert found["value"] == pytest.approx(float(cnc.rate))
    samples = chain.delivered_samples()
    assert set(samples) == {"opcua", "modbus", "mqtt"}
    assert all(count > 0 for count in samples.values()), samples


async def test_a_figure_opens_down_to_the_devices_that_show_it(chain: Chain, portal: PortalClient) -> None:
    today = local_date(time.time()).isoformat()
    opened = await portal.get("/indicators/networking-rate/explain", period=today, look_back_days=1)
    counted = [row for row in opened["rows"] if row["counted"] == "numerator"]
    assert len(counted) == opened["figure"]["numerator"]
    assert len([r for r in opened["rows"] if r["counted"] != "excluded"]) == opened["figure"]["denominator"]
    device_of = chain.scenario.device_of_machine()
    shown = {a.number: device_of[a.shown_by] for a in chain.scenario.assets if a.shown_by}
    assert {row["number"]: row["device"] for row in counted} == shown
    evidence = {m.device: m.evidence for m in chain.scenario.machines}
    assert {row["device"]: row["evidence"] for row in counted} == {d: evidence[d] for d in shown.values()}


async def test_an_unplugged_machine_shows_within_ten_seconds_and_its_neighbours_stay(
    chain: Chain, portal: PortalClient
) -> None:
    device_of = chain.scenario.device_of_machine()
    gone = {device_of[machine] for machine in UNPLUGGED.values()}
    others = set(chain.scenario.protocol_of_device()) - gone
    for machine in UNPLUGGED.values():
        await chain.order(f"unplug {machine}")
    began_s = time.monotonic()
    took_s: dict[str, float] = {}
    while set(took_s) != gone:
        found = await connections(portal)
        for device in gone - set(took_s):
            if found[device] == "not-connected":
                took_s[device] = time.monotonic() - began_s
        assert {d: found[d] for d in others} == dict.fromkeys(others, "connected")
        assert time.monotonic() - began_s < 10.0, f"still connected: {gone - set(took_s)}; gone: {took_s}"
        await asyncio.sleep(0.2)
    for machine in UNPLUGGED.values():
        await chain.order(f"plug {machine}")
    await until(lambda: all_connected(portal, chain), 30, "all devices connected again", chain)


async def test_a_killed_county_loses_and_doubles_nothing(chain: Chain) -> None:
    await chain.stop_county(signal.SIGKILL)
    acked = len(chain.batches(1))

    async def three_batches_wait() -> bool:
        return len(chain.batches(0)) >= 3

    await until(three_batches_wait, 60, "batches gather in the outbox", chain)
    assert chain.gateway_status()["batches_unsent"] >= 2, "the gateway's own summary knows its backlog"
    await chain.start_county()

    async def delivered() -> bool:
        return chain.gateway_status()["batches_unsent"] == 0

    await until(delivered, 40, "the outbox is empty again", chain)
    assert len(chain.batches(1)) >= acked + 3


async def test_a_killed_gateway_is_silent_not_its_machines_and_it_resumes(chain: Chain) -> None:
    async with chain.portal() as portal:  # the county was started anew: a new session
        await until(lambda: all_connected(portal, chain), 20, "presence after the county's restart", chain)
        await chain.stop_gateway(signal.SIGKILL)

        async def silent() -> bool:
            found = await connections(portal)
            assert "not-connected" not in found.values()
            return set(found.values()) == {"gateway-silent"}

        took_s = await until(silent, 25, "gateway silent", chain)
        assert took_s > 5.0
        await chain.start_gateway(close_short=True)
        await until(lambda: all_connected(portal, chain), 30, "all devices connected after the kill", chain)


async def test_the_county_holds_what_the_plant_served(chain: Chain) -> None:
    written = chain.gateway_status()["records_written"]

    async def a_window_without_faults() -> bool:
        return bool(chain.gateway_status()["records_written"] >= written + 2 * len(chain.scenario.machines))

    await until(a_window_without_faults, 3 * WINDOW_S + 10, "two windows closed", chain)
    await hold(chain)  # the last value that was served has been seen
    pages = await chain.ledger()
    assert await chain.stop_gateway() == 0, "not everything was delivered"
    sent = sum(batch.rows for batch in chain.batches())

    async def in_the_store() -> bool:
        return await chain.records_stored() >= sent

    await until(in_the_store, 20, "every record in the county's store", chain)
    await chain.stop_county()
    stored = stored_records(chain.folder / "county", chain.scenario.gateway)
    counted_from_s: float = chain.endpoints["counted_from_s"]
    counted: list[bool] = []
    for spec in chain.scenario.machines:
        page, records = pages[spec.id], stored[spec.device]
        assert keys_are_unique(records), spec.device
        for column, total in grown(spec, page, page, counted_from_s).items():
            assert int(getattr(records, column).sum()) == total, (spec.device, column)
            if column == "quantity":
                counted.append(total > 0)  # a machine may be off all the while
        check_times(spec.device, page, records, says_state=spec.says_state and any(page["state"]))
    assert sum(counted) > len(counted) / 2, "most counted nothing: the comparison says little"


def check_times(device: str, page: dict[str, Any], records: Any, *, says_state: bool) -> None:
    """Connection and states of every window against the ledger."""
    line = Timeline.of(page)
    first = records.part == 0
    starts = np.unique(records.start)
    links_s = [at_s for at_s, _ in page["links"]]
    for start in starts.tolist():
        rows = np.flatnonzero(records.start == start)
        length_s = float(records.length[rows[0]]) / 10
        end_s = start + length_s
        observed_s = float(records.observed[rows].sum()) / 10
        connected_s = float(records.connected[rows].sum()) / 10
        unobserved_s = max(length_s - observed_s, 0.0)
        assert observed_s <= length_s + 0.1, (device, start)
        truth = line.seconds(start, end_s)
        up_s = length_s - truth.get(None, 0.0) if says_state else length_s
        disturbed = any(start - LIVENESS_S - 5 <= t <= end_s + 5 for t in links_s)
        tolerance_s = unobserved_s + POLL_S + SLACK_S + (LIVENESS_S + 5 if disturbed else 0.0)
        where = f"{device} at {start}: observed {observed_s}, connected {connected_s}, truth {truth}"
        assert abs(connected_s - up_s) <= tolerance_s, where
        if not says_state:
            continue
        near = line.changes(start - 2, end_s + 2)
        for name in ("running", "idle", "fault", "off"):
            recorded_s = sum(state_seconds(records, int(row))[name] for row in rows)
            off_by_s = abs(recorded_s - truth.get(name, 0.0))
            assert off_by_s <= tolerance_s + near * SLACK_S, f"{where}; {name} recorded {recorded_s}"
    spans = records.quantity_span[first].astype(np.int64)
    assert np.all(records.quantity[first][spans == 0] == 0), device
