"""Presence in memory: how each device is now, as its gateway judges it. Lost with a restart, made again within 5 s."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, Literal

from api.clock import Clock
from gateway.wire import DevicePresence, Live

SILENT_AFTER_S: Final = 15.0
"""A gateway that has not been heard for this long is silent: of its machines nothing is known."""

HEARTBEAT_S: Final = 5.0
_MAX_SUBSCRIBERS: Final = 500

Connection = Literal["connected", "not-connected", "gateway-silent", "never-seen"]


@dataclass(slots=True)
class GatewayNow:
    """The last presence of a gateway."""

    message: Live
    heard_ns: int
    heard_s: float
    devices: dict[str, DevicePresence]


class Subscription:
    """One reader of the stream. It holds no queue: a slow reader gets the newest state when it is ready again."""

    def __init__(self, presence: LivePresence) -> None:
        self._presence = presence
        self._wake = asyncio.Event()
        self._wake.set()
        self._loop = asyncio.get_running_loop()
        self._closed = False

    def __aiter__(self) -> AsyncIterator[None]:
        return self

    async def __anext__(self) -> None:
        if not self._closed:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
        if self._closed:
            raise StopAsyncIteration
        self._wake.clear()

    def wake(self) -> None:
        """Something changed. May be called from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    def close(self) -> None:
        """End the stream."""
        self._closed = True
        self._presence.forget(self)
        self.wake()


class TooManySubscribersError(Exception):
    """More streams are open than the limit."""


class LivePresence:
    """Presence of all gateways. Calls may come from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._gateways: dict[str, GatewayNow] = {}
        self._subscribers: set[Subscription] = set()
        self._lock = threading.Lock()
        self._heard: Callable[[Live], None] = lambda _: None

    def on_heard(self, heard: Callable[[Live], None]) -> None:
        """Call `heard` with every message that this process takes."""
        self._heard = heard

    def take(self, message: Live) -> None:
        """Replace what is known of a gateway; wakes the streams when a device changed."""
        if self._replace(message, 0.0):
            self._heard(message)

    def take_shared(self, message: Live, age_s: float) -> None:
        """The same of a message that another process heard `age_s` ago."""
        self._replace(message, age_s)

    def _replace(self, message: Live, age_s: float) -> bool:
        """Returns whether the message is the newest."""
        now = GatewayNow(
            message,
            self._clock.now_ns() - int(age_s * 1e9),
            self._clock.monotonic_s() - age_s,
            {device.id: device for device in message.devices},
        )
        with self._lock:
            before = self._gateways.get(message.gateway)
            was_silent = self.silent(message.gateway)
            if before is not None and before.message.sent_ns > message.sent_ns and not was_silent:
                return False  # an older message that was overtaken
            if before is not None and now.heard_s < before.heard_s:
                return False  # heard here since
            self._gateways[message.gateway] = now
        if before is None or was_silent or _shown(before) != _shown(now):
            for subscriber in list(self._subscribers):
                subscriber.wake()
        return True

    def gateway(self, gateway: str) -> GatewayNow | None:
        """The last presence of a gateway since the service started."""
        return self._gateways.get(gateway)

    def gateways(self) -> dict[str, GatewayNow]:
        """The last presence of every gateway."""
        return dict(self._gateways)

    def silent(self, gateway: str) -> bool:
        """Whether a gateway has not been heard for 15 s."""
        now = self._gateways.get(gateway)
        return now is None or self._clock.monotonic_s() - now.heard_s >= SILENT_AFTER_S

    def device(self, gateway: str, device: str) -> tuple[Connection, DevicePresence | None]:
        """How a device is now. Of a silent gateway's device nothing is known: that is never `not-connected`."""
        now = self._gateways.get(gateway)
        seen = None if now is None else now.devices.get(device)
        if now is not None and self.silent(gateway):
            return "gateway-silent", seen
        if seen is None:
            return "never-seen", None
        return ("connected" if seen.connected else "not-connected"), seen

    def subscribe(self) -> Subscription:
        """A stream of wake-ups: at once, on every change, and at least every 5 s. Raises TooManySubscribersError."""
        if len(self._subscribers) >= _MAX_SUBSCRIBERS:
            raise TooManySubscribersError
        subscription = Subscription(self)
        self._subscribers.add(subscription)
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """A stream has ended."""
        self._subscribers.discard(subscription)

    def close(self) -> None:
        """End all streams."""
        for subscription in list(self._subscribers):
            subscription.close()

    @property
    def subscribers(self) -> int:
        """Streams that are open."""
        return len(self._subscribers)


def _shown(now: GatewayNow) -> dict[str, tuple[bool, str]]:
    return {device.id: (device.connected, device.state) for device in now.devices.values()}
