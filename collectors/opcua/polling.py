"""Reading a server's nodes in turns: where a profile says so, and for nodes that it monitors no more of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from asyncua import Client, ua

from collectors.model import LinkError
from collectors.opcua import tasks
from collectors.opcua.decode import Changes, changes_of
from collectors.opcua.errors import lost
from collectors.opcua.limits import Limits

_READ_WITHIN_S: Final = 10.0


class Polling:
    """Reads `nodes` of a connected client every `period_s` and hands on what changed.

    `handles` are the nodes' client handles. `on_changes` is called for every round, with no rows where
    nothing changed; `on_lost` or `on_failed` once.
    """

    def __init__(
        self,
        address: str,
        client: Client,
        limits: Limits,
        period_s: float,
        on_changes: Callable[[Changes], None],
        on_lost: Callable[[LinkError], None],
        on_failed: tasks.OnFailed,
    ) -> None:
        self._address, self._client, self._limits, self._period_s = address, client, limits, period_s
        self._on_changes, self._on_lost, self._on_failed = on_changes, on_lost, on_failed
        self._nodes: list[ua.NodeId] = []
        self._handles: list[int] = []
        self._last: dict[int, tuple[Any, ...]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self, nodes: Sequence[ua.NodeId], handles: Sequence[int]) -> None:
        """Read these from now on."""
        self._nodes, self._handles = list(nodes), list(handles)
        self._task = tasks.start(self._run(), f"opcua poll {self._address}", self._on_failed)

    async def stop(self) -> None:
        """Read no more. Safe twice."""
        task, self._task = self._task, None
        await tasks.stop(task)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        try:
            while True:
                async with asyncio.timeout(_READ_WITHIN_S):
                    self._on_changes(await self._round())
                due_s = max(due_s + self._period_s, loop.time())
                await asyncio.sleep(due_s - loop.time())
        except (OSError, TimeoutError, ua.UaError) as error:
            self._on_lost(lost(self._address, error))

    async def _round(self) -> Changes:
        changed: list[tuple[int, ua.DataValue]] = []
        step = self._limits.nodes_per_read
        for start in range(0, len(self._nodes), step):
            nodes, handles = self._nodes[start : start + step], self._handles[start : start + step]
            values = await self._client.uaclient.session.read_attributes(nodes, ua.AttributeIds.Value)
            for handle, value in zip(handles, values, strict=True):
                now = (value.Value, value.StatusCode.value, value.SourceTimestamp)
                if self._last.get(handle) != now:
                    self._last[handle] = now
                    changed.append((handle, value))
        return changes_of(changed)


def one_change(handle: int, status: int) -> Changes:
    """A node that has no value, and why."""
    return Changes(
        np.array([handle], np.uint32),
        np.array([np.nan]),
        np.array([status], np.uint32),
        np.zeros(1, np.int64),
        {},
    )
