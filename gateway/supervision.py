"""Parts of the runtime that are started again when a mistake of ours ends them."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from collectors.model import Trouble
from gateway import outbox_troubles
from gateway.troubles import Troubles

RESTART_FIRST_S: Final = 1.0
RESTART_MOST_S: Final = 60.0
"""Longest pause before a part that keeps failing is started again."""
WELL_AFTER_S: Final = 60.0
"""A part that was started again and works this long is well."""
_log = structlog.get_logger("gateway")


def name_of(error: BaseException) -> str:
    """An error as people are told it."""
    return f"{type(error).__name__}: {error}"


async def supervise(name: str, work: Callable[[], Awaitable[None]], troubles: Troubles) -> None:
    """Start a part again that failed by a mistake of ours; the other parts go on.

    The first failure of a kind is logged with its traceback; the same failure again is not.
    """
    subject = f"gateway/{name}"
    loop = asyncio.get_running_loop()
    pause_s, logged = RESTART_FIRST_S, ""
    while True:
        started_s = time.monotonic()
        well = loop.call_later(WELL_AFTER_S, troubles.clear, subject)
        try:
            await work()
        except sqlite3.Error as error:  # the disk's trouble, no mistake of ours; over with the next checkpoint
            troubles.report(outbox_troubles.not_writable(error))
            pause_s = RESTART_FIRST_S
        except Exception as error:  # noqa: BLE001 (told in the log and on the pages)
            if name_of(error) != logged:
                logged = name_of(error)
                _log.exception("part failed", part=name)
            troubles.report(
                Trouble(
                    subject,
                    "part_failed",
                    f"网关内部出错（{error}），正在重启该部分。",
                    f"a part of the gateway failed ({error}); it is started again.",
                    "请把日志报告给软件维护方。",
                    "Report the log to the maintainers of the software.",
                )
            )
        finally:
            well.cancel()
        if time.monotonic() - started_s > WELL_AFTER_S:
            pause_s, logged = RESTART_FIRST_S, ""
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, RESTART_MOST_S)
