"""One link for as long as it is configured: connect, read, connect again. What happens to it stays with it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter as Counts
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final, Literal, TypeVar

import structlog

from collectors.base import AsksSilentDevices, Collector, TakesEntries
from collectors.model import Clock, ConfigError, LinkError, Trouble
from gateway.account import Account
from gateway.intake import Intake
from gateway.links import Link
from gateway.supervision import RESTART_MOST_S, name_of
from gateway.troubles import Troubles
from gateway.windows import Windows

CLOSE_TIMEOUT_S: Final = 2.0
_YIELD_EVERY: Final = 32
_log = structlog.get_logger("gateway")
T = TypeVar("T")

LinkState = Literal["connecting", "connected", "waiting", "stopped"]
"""`waiting`: before the next attempt; `stopped`: its configuration cannot work, a person must act."""


class _CalledError(Exception):
    """Somebody wants the loop to look up: other entries, or another attempt now."""


class LinkLoop:
    """Runs the collector of one link and owns its retries. `change` and `retry` may be called at any time
    from its event loop."""

    def __init__(self, link: Link, intake: Intake, windows: Windows, troubles: Troubles, clock: Clock) -> None:
        self._link = link
        self._intake, self._windows, self._troubles, self._clock = intake, windows, troubles, clock
        self._guard: asyncio.Timeout | None = None
        self._next: Link | None = None
        self._changed: frozenset[str] = frozenset()
        self._is_called = False
        self._crashes = 0
        self._logged = ""
        self.state: LinkState = "connecting"
        self.connects = 0
        """Links made since the start."""
        self._unclosed: int | None = None
        """`connects` when a link could not be closed; None: the last one could."""
        self.errors: Counts[str] = Counts()
        """Lost links, failed attempts and crashes since the start, by code."""

    @property
    def name(self) -> str:
        """The link's address."""
        return self._link.name

    @property
    def protocol(self) -> str:
        """The protocol it speaks."""
        return self._link.protocol

    @property
    def entries(self) -> frozenset[str]:
        """Ids of the entries that it reads, or will read in a moment."""
        return (self._next or self._link).entries

    def change(self, link: Link, changed: frozenset[str]) -> None:
        """Go on with the entries of `link`, a fresh one of the same name. `changed`: ids of entries that are
        new, gone or different; the others keep what they have."""
        self._next = link
        self._changed |= changed
        self._call()

    def retry(self, device: str = "") -> int:
        """Try again now what waits: the link, or a silent device of it (id of a device or an entry; blank:
        all). Returns how many links and units that concerns."""
        if device and device.split("/", 1)[0] not in self.entries:
            return 0
        if self.state in ("waiting", "stopped"):
            self._is_called = True
            self._call()
            return 1
        collector = self._link.collector
        return collector.retry(device) if isinstance(collector, AsksSilentDevices) else 0

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                pause_s = await self._session()
                now_ns = self._clock()
                for account in self._accounts():
                    account.lose_link(now_ns)
                await self._close()
                if self._next is None:
                    self.state = "stopped" if pause_s is None else "waiting"
                    try:
                        await self._unless_called(partial(_pause, pause_s))
                    except _CalledError:
                        self._crashes = 0
                if self._next is not None:
                    self._link, self._next, self._changed = self._next, None, frozenset()
                now_ns = self._clock()
                for account in self._accounts():
                    account.watch(now_ns)
        finally:
            await self._close()

    async def _close(self) -> None:
        """Give back the collector's link; one that cannot be closed in time is left behind, told in the log once."""
        collector = self._link.collector
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await collector.close()
        except Exception:  # noqa: BLE001 (whatever it is, it stays with this link)
            if self._unclosed is None:
                _log.exception("close failed", link=collector.link)
            self._unclosed = self.connects
        else:
            if self._unclosed is not None and self._unclosed != self.connects:  # there was a link to give back
                self._unclosed = None
                _log.info("close works again", link=collector.link)

    async def _session(self) -> float | None:
        """Connect and read until the link is lost. Returns s to wait before the next attempt; None: until
        a person has acted."""
        collector = self._link.collector
        pause_s = collector.reconnect_s * random.uniform(1.0, 1.3)  # noqa: S311 (jitter)
        self.state = "connecting"
        try:
            await self._unless_called(collector.connect)
            self.state = "connected"
            self.connects += 1
            if not self._crashes:
                self._troubles.clear(collector.link)
            await self._read(collector)
        except _CalledError:
            return 0.0
        except LinkError as error:
            self.errors[error.code] += 1
            self._troubles.report(error.trouble(collector.link))
        except ConfigError as error:
            self.errors[error.code] += 1
            self._troubles.report(error.trouble(collector.link))
            self._unwatch()
            return None
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            return self._crashed("cancelled from inside", pause_s)
        except Exception as error:  # noqa: BLE001 (a bug in one collector must not stop its neighbours)
            if self._logged != name_of(error):
                self._logged = name_of(error)
                _log.exception("collector failed", link=collector.link)
            return self._crashed(name_of(error), pause_s)
        return pause_s

    async def _read(self, collector: Collector) -> None:
        """Hand on what comes, for ever. Raises what `read` raises, and _CalledError where other entries need
        another link."""
        batches = 0
        while True:
            try:
                batch = await self._unless_called(collector.read)
            except _CalledError:
                if not await self._adopt(collector):
                    raise
                continue
            await self._intake.take(self._link.protocol, batch)
            if self._crashes:
                self._crashes, self._logged = 0, ""
                self._troubles.clear(collector.link)
            batches += 1
            if batches % _YIELD_EVERY == 0:
                await asyncio.sleep(0)  # a link with a backlog never suspends by itself

    async def _adopt(self, collector: Collector) -> bool:
        """Let the running collector go on with other entries; False where it cannot."""
        link, changed = self._next, self._changed
        if link is None:
            return True
        if type(collector) is not type(link.collector) or not isinstance(collector, TakesEntries):
            return False
        if not await collector.adopt(link.collector, changed):
            return False
        now_ns = self._clock()
        for account in self._accounts():
            if account.entry in changed:
                account.lose_link(now_ns)
        self._link = Link(link.protocol, collector)
        if self._next is link:
            self._next, self._changed = None, frozenset()
        return True

    def _crashed(self, what: str, pause_s: float) -> float:
        self._crashes += 1
        self.errors["collector_failed"] += 1
        self._unwatch()
        self._troubles.report(
            Trouble(
                self.name,
                "collector_failed",
                f"采集程序出错（{what}），第 {self._crashes} 次，已单独重启，其他设备不受影响。",
                f"the collector failed ({what}), {self._crashes} times; it is restarted alone, other devices go on.",
                "请把日志报告给软件维护方。",
                "Report the log to the maintainers of the software.",
            )
        )
        return float(min(max(pause_s, 1.0) * 2 ** (self._crashes - 1), RESTART_MOST_S))

    def _accounts(self) -> Iterator[Account]:
        """The accounts of this link's devices."""
        entries = self._link.entries
        return (a for a in self._windows.accounts.values() if a.entry in entries and not a.ended_ns)

    def _unwatch(self) -> None:
        now_ns = self._clock()
        for account in self._accounts():
            account.unwatch(now_ns)

    def _call(self) -> None:
        if self._guard is not None:
            self._guard.reschedule(asyncio.get_running_loop().time())

    async def _unless_called(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something that may be broken off: _CalledError where somebody called before it was done."""
        if self._next is not None or self._is_called:
            self._is_called = False
            raise _CalledError
        try:
            async with asyncio.timeout(None) as self._guard:
                return await work()
        except TimeoutError:
            if self._guard is not None and self._guard.expired():
                self._is_called = False
                raise _CalledError from None
            raise
        finally:
            self._guard = None


async def _pause(pause_s: float | None) -> None:
    if pause_s is None:
        await asyncio.Event().wait()
    else:
        await asyncio.sleep(pause_s)
