"""Another way to the county, taken while the gateway runs: only once the county answers there."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Final

import structlog

from collectors.model import Trouble
from gateway.county_way import LaterError, PoisonError, Way
from gateway.proxy import ProxyError
from gateway.troubles import Troubles
from gateway.uplink import Uplink
from gateway.uplink_config import UplinkConfig
from gateway.uplink_troubles import Words, words_of_link
from gateway.wire import WireError

RETRY_S: Final = 2.0
TRIAL_S: Final = 60.0
"""A way on which the county has not answered by then is told, and tried more seldom."""
RETRY_LATE_S: Final = 30.0
SUBJECT: Final = "uplink/change"
_log = structlog.get_logger("gateway")


class WayChange:
    """Tries the way that the plant's file names beside the one that is taken. `run` is its task.

    A slip in the file must not cut a gateway off that nobody can reach by hand: it stays with the way that works
    until the other one does.
    """

    def __init__(self, uplink: Uplink, troubles: Troubles, taken: Callable[[UplinkConfig], Awaitable[None]]) -> None:
        self._uplink, self._troubles, self._taken = uplink, troubles, taken
        self._wanted = uplink.config
        self._asked = asyncio.Event()

    def ask(self, wanted: UplinkConfig) -> None:
        """The file names this way now; it may be the one that is taken."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._asked.set()

    async def run(self) -> None:
        """Try what is asked for; ends by cancellation only."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            if self._wanted == self._uplink.config:
                self._troubles.clear(SUBJECT)
                continue
            way, before = Way(self._wanted), self._uplink.config
            async with AsyncExitStack() as unused:
                unused.push_async_callback(way.close)
                if not await self._answers(way):
                    continue
                unused.pop_all()
            await self._uplink.take_way(way)
            self._troubles.clear(SUBJECT)
            _log.info("the county answers on the new way: taken", keys=changed_keys(before, way.config))
            await self._taken(way.config)

    async def _answers(self, way: Way) -> bool:
        """Whether the county answers on this way; False where another one is asked for meanwhile."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while not self._asked.is_set():
            why = await self._try(way)
            if why is None:
                return True
            is_late = loop.time() - began_s >= TRIAL_S
            if is_late:
                self._troubles.report(_waits(self._uplink.config, way.config, why))
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_LATE_S if is_late else RETRY_S):
                    await self._asked.wait()
        return False

    async def _try(self, way: Way) -> Words | None:
        """Why the county does not answer on this way; None where it does."""
        try:
            await way.open()
            await self._uplink.try_way(way)
        except LaterError as later:
            if later.__cause__ is not None and not isinstance(later.__cause__, WireError):
                return words_of_link(later.__cause__)
            told = later.trouble
            return Words(told.code, told.zh.rstrip("。"), told.en.rstrip("."), told.next_zh, told.next_en)
        except (PoisonError, OSError, ssl.SSLError, ProxyError) as error:
            return words_of_link(error)
        return None


def changed_keys(old: UplinkConfig, new: UplinkConfig) -> list[str]:
    """Names of the keys that differ."""
    return [name for name in type(old).model_fields if getattr(old, name) != getattr(new, name)]


def _waits(old: UplinkConfig, new: UplinkConfig, why: Words) -> Trouble:
    keys = ", ".join(f"uplink.{key}: {getattr(old, key)} → {getattr(new, key)}" for key in changed_keys(old, new))
    return Trouble(
        SUBJECT,
        "uplink_change_waits",
        f"上行的改动（{keys}）没有生效：{why.zh}。网关仍按原来的方式上行。",
        f"the change of the uplink ({keys}) is not in force: {why.en}. The gateway goes on as before.",
        f"{why.next_zh}县里一应答就自动生效；要放弃这个改动，请在工厂文件里改回原值。注意：重启后按文件执行。",
        f"{why.next_en} It is taken by itself once the county answers there; to give it up, restore the file. After a "
        "restart the file's way is the only one.",
    )
