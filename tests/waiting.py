"""Waiting for what no event tells of: another process, a server in a library's hands."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

LOOK_S = 0.01


async def until(condition: Callable[[], Any], timeout_s: float = 30.0, every_s: float = LOOK_S) -> None:
    """Return once a condition (a function, or one that makes an awaitable) holds. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = condition()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(every_s)
