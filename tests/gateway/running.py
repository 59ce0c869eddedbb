"""A gateway of the runtime's own making, run in this process until a block ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from collectors.model import Clock
from gateway import links, runner
from gateway.config import PlantConfig
from gateway.links import Link
from gateway.runner import Gateway, Options
from tests.waiting import until


@asynccontextmanager
async def gateway_of(
    config: PlantConfig,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[PlantConfig, Clock], Sequence[Link]] = links.make_links,
    **options: Any,
) -> AsyncIterator[tuple[Gateway, asyncio.Task[int]]]:
    """The gateway and its task; it is stopped in order when the block ends.

    It looks round more often than at a plant: a test waits for what it sees.
    """
    monkeypatch.setattr(runner, "TICK_S", 0.1)
    started: list[Gateway] = []

    class Kept(Gateway):
        async def run(self) -> int:
            started.append(self)
            return await super().run()

    monkeypatch.setattr(runner, "Gateway", Kept)
    task = asyncio.create_task(runner.run(config, Options(**options), make))
    try:
        await until(lambda: started or task.done())
        if task.done():
            task.result()
        yield started[0], task
        started[0].stop()
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
