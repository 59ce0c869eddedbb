"""One thread of an output's own: whatever hangs in it, neither the event loop nor the end of the process waits."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Worker:
    """Runs calls one after the other. A daemon, for a server may hold a call for as long as it likes."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def submit(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        """Begin a call; its result or error comes as the future's."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls.put((future, call))
        if not self._thread.is_alive():
            self._thread.start()
        return future

    def stop(self, last: Callable[[], Any]) -> None:
        """End the thread after what it does now and after `last`. Nothing is waited for."""
        if self._thread.is_alive():
            self._calls.put((asyncio.get_running_loop().create_future(), last))
            self._calls.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of a thread that was stopped; whether it came."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (given := self._calls.get()) is not None:
            future, call = given
            result: Any = None
            failure: BaseException | None = None
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 (handed to whoever waits)
                failure = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                future.get_loop().call_soon_threadsafe(_settle, future, result, failure)
            del future, call, given


def _settle(future: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if future.done():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
