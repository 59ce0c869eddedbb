"""kill -9 of a gateway that reads a simulated plant over sockets: the county's sums are those of the plant's ledger."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path

import pytest

from gateway import checkpoint
from simulators.chain import Chain
from simulators.scenario import load
from tests.e2e.held_plant import hold, served_again
from tests.e2e.truth import grown
from tests.faults.test_gateway_kill import every_batch_came_once, saved_checkpoint
from tests.gateway.county_stub import CREDENTIAL, CountyStub
from tests.waiting import until

LONGEST_LIFE_S = 4.0
"""It is killed while it starts, while it connects, and while it works."""


def all_have_been_read(chain: Chain) -> bool:
    """Whether every counter of the plant is in the gateway's checkpoint: what it grows by from here on counts."""
    chain.processes.check()
    blob = saved_checkpoint(chain.gateway_data / "outbox.sqlite3")
    accounts = {account.id: account for account in checkpoint.read(blob).accounts} if blob else {}
    for spec in chain.scenario.machines:
        account = accounts.get(spec.device)
        if account is None or (spec.counts and account.quantity.last is None):
            return False
        if spec.counts_parts and account.parts.last is None:
            return False
    return True


async def kill_many(folder: Path, kills: int, seed: int) -> None:
    """Kill the gateway of the demo's plant (OPC UA, Modbus, MQTT, Sparkplug) at random, and compare at the end."""
    rng = random.Random(seed)
    print(f"seed {seed}", file=sys.stderr)
    scenario = load()
    chain = Chain(scenario, folder, port=0, gateway_settings={"window_s": 10, "checkpoint_s": 0.5})
    chain.credential_file.parent.mkdir(parents=True)
    chain.credential_file.write_text(CREDENTIAL)
    async with CountyStub() as county:
        chain.url = county.url
        try:
            await chain.start_plant()
            chain.write_gateway_config()
            counted_from_s = await hold(chain)
            await chain.start_gateway(close_short=True)
            await until(lambda: all_have_been_read(chain), 60)
            first_pages = await chain.ledger()
            await chain.order("release")
            for _ in range(kills):
                await asyncio.sleep(rng.uniform(0.0, LONGEST_LIFE_S))
                assert await chain.stop_gateway(signal.SIGKILL) == -signal.SIGKILL
                await chain.start_gateway(close_short=True)
            ids = {spec.device for spec in scenario.machines}
            seen = len(county.live)
            await until(lambda: {d.id for live in county.live[seen:] for d in live.devices if d.connected} >= ids, 60)
            await hold(chain)
            await served_again(chain, 2)  # the last value that was served has been seen
            pages = await chain.ledger()
            assert await chain.stop_gateway() == 0, "not everything was delivered"
        finally:
            await chain.stop()
    every_batch_came_once(county, chain.gateway_data)
    assert county.refused == []
    totals = {
        spec.device: grown(spec, first_pages[spec.id], pages[spec.id], counted_from_s) for spec in scenario.machines
    }
    found = {device: {column: county.total(device, column) for column in grew} for device, grew in totals.items()}
    assert found == totals
    assert sum(grew.get("quantity", 0) > 0 for grew in totals.values()) > len(totals) / 2, "most counted nothing"


@pytest.mark.timeout(240)
async def test_a_gateway_killed_over_a_plant_of_every_protocol_counts_everything_once(tmp_path: Path) -> None:
    await kill_many(tmp_path, kills=3, seed=3)


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_a_hundred_kills_over_a_plant_of_every_protocol_lose_and_double_nothing(tmp_path: Path) -> None:
    await kill_many(tmp_path, kills=100, seed=4)
