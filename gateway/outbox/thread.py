"""One thread that owns an outbox: the event loop never waits for the disk."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
import structlog

from gateway.outbox.salvage import MAY_BE_DAMAGE, is_damage
from gateway.outbox.store import Outbox
from gateway.wire import WireError

T = TypeVar("T")
_log = structlog.get_logger("gateway")


class OutboxThread:
    """Runs an outbox's methods one after the other, away from the event loop."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._damage: Exception | None = None
        """Damage that was met and could not be mended yet: the disk may be full."""

    async def call(self, method: Callable[..., T], *arguments: Any) -> T:
        """Run a method of the outbox. Once begun it runs to its end, also when the caller is cancelled.

        Where the file turns out to be damaged it is set aside, what can be read goes into a new one, and
        the method is run again there.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, method, arguments)

    def _run(self, method: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        if self._damage is None:
            try:
                return method(*arguments)
            except MAY_BE_DAMAGE as error:
                if not is_damage(error):
                    raise
                self._damage = error
                _log.error("the outbox is damaged: mending it", file=str(self.outbox.path), error=str(error))
        try:
            self.outbox.salvage(self._damage)
        except OSError as error:  # a disk that is full or gone is told as one by whoever called
            raise sqlite3.OperationalError(str(error)) from error
        self._damage = None
        try:
            return method(*arguments)
        except (WireError, msgspec.DecodeError) as error:  # nothing that a new file could hold: tell it, go on
            raise sqlite3.DatabaseError(str(error)) from error

    def stop(self) -> None:
        """Wait for what is being written, then close the file."""
        self._thread.shutdown(wait=True)
        self.outbox.close()
