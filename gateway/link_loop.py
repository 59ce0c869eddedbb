"""One link for as long as the gateway runs: connect, read, connect again. What happens to it stays with it."""

from __future__ import annotations

import asyncio
import random
from typing import Final

import structlog

from collectors.base import Collector
from collectors.model import Clock, ConfigError, LinkError, Trouble
from gateway.intake import Intake
from gateway.links import Link
from gateway.supervision import RESTART_MOST_S
from gateway.troubles import Troubles
from gateway.windows import Windows

CLOSE_TIMEOUT_S: Final = 2.0
_YIELD_EVERY: Final = 32
_log = structlog.get_logger("gateway")


class LinkLoop:
    """Runs one collector and owns its retries."""

    def __init__(self, link: Link, intake: Intake, windows: Windows, troubles: Troubles, clock: Clock) -> None:
        self._protocol, self._collector = link.protocol, link.collector
        self._intake, self._windows, self._troubles, self._clock = intake, windows, troubles, clock
        self._devices: set[str] = set()

    async def run(self) -> None:
        """Work until cancelled, or until the collector says that its configuration cannot work."""
        collector = self._collector
        crashes = 0
        while True:
            pause_s = collector.reconnect_s * random.uniform(1.0, 1.3)  # noqa: S311 (jitter)
            try:
                await collector.connect()
                self._troubles.clear(collector.link)
                batches = 0
                while True:
                    batch = await collector.read()
                    self._devices.update(device.id for device in batch.devices)
                    await self._intake.take(self._protocol, batch)
                    crashes = 0
                    batches += 1
                    if batches % _YIELD_EVERY == 0:
                        await asyncio.sleep(0)  # a link with a backlog never suspends by itself
            except LinkError as error:
                self._troubles.report(error.trouble(collector.link))
            except ConfigError as error:
                self._troubles.report(error.trouble(collector.link))
                self._unwatch()
                await close(collector)
                return
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is None or task.cancelling():
                    await close(collector)
                    raise
                crashes += 1
                self._crashed("cancelled from inside", crashes)
            except Exception as error:  # noqa: BLE001 (a bug in one collector must not stop its neighbours)
                crashes += 1
                self._crashed(f"{type(error).__name__}: {error}", crashes)
                _log.exception("collector failed", link=collector.link)
            now_ns = self._clock()
            for device_id in self._devices:
                if (account := self._windows.accounts.get(device_id)) is not None:
                    account.lose_link(now_ns)
            await close(collector)
            if crashes:
                pause_s = min(max(pause_s, 1.0) * 2 ** (crashes - 1), RESTART_MOST_S)
            await asyncio.sleep(pause_s)
            for device_id in self._devices:
                if (account := self._windows.accounts.get(device_id)) is not None:
                    account.watch(self._clock())

    def _crashed(self, what: str, crashes: int) -> None:
        self._unwatch()
        self._troubles.report(
            Trouble(
                self._collector.link,
                "collector_failed",
                f"采集程序出错（{what}），第 {crashes} 次，已单独重启，其他设备不受影响。",
                f"the collector failed ({what}), {crashes} times; it is restarted alone, other devices go on.",
                "请把日志报告给软件维护方。",
                "Report the log to the maintainers of the software.",
            )
        )

    def _unwatch(self) -> None:
        for device_id in self._devices:
            if (account := self._windows.accounts.get(device_id)) is not None:
                account.unwatch(self._clock())


async def close(collector: Collector) -> None:
    """Give back a collector's link; one that cannot be closed in time is left behind, told in the log."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await collector.close()
    except Exception:  # noqa: BLE001 (whatever it is, it stays with this link)
        _log.exception("close failed", link=collector.link)
