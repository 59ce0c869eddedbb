"""What a cut link becomes in the record: the machine's times come late and complete, the connection stays cut."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import suppress
from typing import Final

import pytest

from collectors.model import Batch, Clock, LinkError
from collectors.opcua.collector import OpcuaCollector
from gateway.row import Row
from gateway.windows import Windows
from metrics.record import Flag
from tests.collectors.opcua.plants import FAST, entry, fast_clock, machine, profile, serving
from tests.collectors.opcua.relay import Relay, cuttable

WINDOW_S: Final = 30
BEFORE_S: Final = 3.0
CUT_S: Final = 5.0
"""Of real time: two and a half minutes of the plant's."""
SETTLED_S: Final = 5.0
"""Late values are gathered for a minute."""
_TENTHS: Final = 10


@pytest.mark.long
async def test_late_values_become_supplements_and_no_connection_is_invented() -> None:
    clock_s = fast_clock()

    def now_ns() -> int:
        return int(clock_s() * 1e9)

    async with serving(machine("cnc-1"), now_s=clock_s) as plant, cuttable(plant.address) as relay:
        given = profile(liveness_s=2.0 * FAST)
        collector = OpcuaCollector([(entry(relay.address), given)], now_ns)
        windows = Windows(WINDOW_S, ["cell"], now_ns())
        began_ns = now_ns()
        rows = await _run(collector, windows, relay, now_ns)
    known_s: dict[int, float] = defaultdict(float)
    connected_s: dict[int, float] = defaultdict(float)
    for row in rows:
        known_s[row.start] += (row.running + row.idle + row.fault + row.off) / _TENTHS
        connected_s[row.start] += row.connected / _TENTHS
    supplements = [row for row in rows if row.part > 0]
    assert supplements
    assert all(row.flags & Flag.HISTORICAL and not row.connected and not row.observed for row in supplements)
    whole = sorted(start for start in known_s if start * 10**9 > began_ns + WINDOW_S * 10**9)[:-2]
    assert len(whole) >= 7
    assert min(connected_s[start] for start in whole) < WINDOW_S / 2, "the cut does not show"
    silent = [start for start in whole if connected_s[start] == 0]
    assert len(silent) >= 2
    assert all(known_s[start] > 0.8 * WINDOW_S for start in silent[:-1]), known_s
    # between the last late value and the first new proof nobody knows; without late values half would be missing
    assert sum(known_s[start] for start in whole) > 0.75 * WINDOW_S * len(whole), known_s


async def _run(collector: OpcuaCollector, windows: Windows, relay: Relay, now_ns: Clock) -> list[Row]:
    """As the gateway does: read, account, close windows; cut the link in between."""
    rows: list[Row] = []
    loop = asyncio.get_running_loop()
    await collector.connect()
    loop.call_later(BEFORE_S, relay.cut)
    loop.call_later(BEFORE_S + CUT_S, relay.mend)
    end_s = time.monotonic() + BEFORE_S + CUT_S + SETTLED_S
    while time.monotonic() < end_s:
        batch = Batch()
        try:
            async with asyncio.timeout(0.2):
                batch = await collector.read()
        except TimeoutError:
            pass
        except LinkError:
            await collector.close()
            await asyncio.sleep(0.1)  # the pause of a runner
            with suppress(LinkError):
                await collector.connect()
        for device in batch.devices:
            windows.introduce(device, 1, now_ns())
        windows.take(batch.proofs, batch.samples)
        rows += windows.close_due(now_ns())
    rows += windows.close_short(now_ns())
    await collector.close()
    return rows
