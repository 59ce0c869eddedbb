"""Tasks of a session: stopped from within or without, and a mistake of ours that ends one is never silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

OnFailed = Callable[[BaseException], None]


def start(work: Coroutine[Any, Any, None], name: str, on_failed: OnFailed) -> asyncio.Task[None]:
    """Run `work`; `on_failed` is told where it ends with an exception."""
    task = asyncio.create_task(work, name=name)

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            on_failed(error)

    task.add_done_callback(ended)
    return task


async def stop(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait for its end; nothing where there is none, or where it is the one that asks."""
    if task is not None and task is not asyncio.current_task():
        task.cancel()
        await asyncio.wait({task})
