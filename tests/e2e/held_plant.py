"""A simulated plant that stands still: what it serves then is what whoever reads it must hold."""

from __future__ import annotations

import time
from typing import Final

from simulators.chain import Chain
from tests.waiting import until

_BY_THE_SECOND: Final = ("edm-1", "stamping-1")
"""Machines that publish by the second: once they have done so all others were updated too."""


async def hold(chain: Chain) -> float:
    """Hold the plant until every value has been served; the moment from which a gateway counts, s UTC.

    Only when every machine has been updated since is what is held also what is served.
    """
    await chain.order("hold")
    await served_again(chain, 3)
    return time.time()


async def served_again(chain: Chain, times: int) -> None:
    """Wait until every machine has been updated so often. Raises TimeoutError, ProgramError."""
    before = (await chain.order("served"))["served"]

    async def updated() -> bool:
        chain.processes.check()
        now = (await chain.order("served"))["served"]
        return all(now[machine] >= before[machine] + times for machine in _BY_THE_SECOND)

    await until(updated, every_s=0.2)
