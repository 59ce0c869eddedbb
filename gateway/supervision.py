"""Parts of the runtime that are started again when a mistake of ours ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from collectors.model import Trouble
from gateway.troubles import Troubles

RESTART_MOST_S: Final = 60.0
"""Longest pause before a part that keeps failing is started again."""
_log = structlog.get_logger("gateway")


async def supervise(name: str, work: Callable[[], Awaitable[None]], troubles: Troubles) -> None:
    """Start a part again that failed by a mistake of ours; the other parts go on."""
    pause_s = 1.0
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 (told in the log and on the pages)
            _log.exception("part failed", part=name)
            troubles.report(
                Trouble(
                    f"gateway/{name}",
                    "part_failed",
                    f"网关内部出错（{error}），正在重启该部分。",
                    f"a part of the gateway failed ({error}); it is started again.",
                    "请把日志报告给软件维护方。",
                    "Report the log to the maintainers of the software.",
                )
            )
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, RESTART_MOST_S)
