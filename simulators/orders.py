"""Orders to a simulator on standard input, one a line, each answered by one line of JSON on standard output."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import Awaitable, Callable
from typing import Any


class OrderError(Exception):
    """An order that a simulator cannot follow, in Chinese and English."""


async def obey_lines(obey: Callable[[str], Awaitable[dict[str, Any]]]) -> None:
    """Obey what comes until it ends or this is cancelled; its end only ends the orders, not the simulator.

    `obey` follows one order and gives its answer; it raises OrderError or OSError for what it cannot do.
    """
    if not _can_give_orders():
        return
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        while line := await reader.readline():
            if not line.strip():
                continue
            try:
                answer = await obey(line.decode(errors="replace").strip())
            except (OrderError, OSError) as error:
                answer = {"error": str(error)}
            sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
            sys.stdout.flush()
    finally:
        transport.close()


def _can_give_orders() -> bool:
    """Whether standard input is a pipe, a socket or a terminal, and not closed, a file or /dev/null."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or sys.stdin.isatty()
