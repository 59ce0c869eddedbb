"""What a broker says of messages that it had no room for: ours, or those of other clients."""

from __future__ import annotations

import contextlib
from typing import Final

from collectors.model import ConfigError
from collectors.mqtt.session import SessionMemory

DROPPED_TOPIC: Final = "$SYS/broker/publish/messages/dropped"
"""Where mosquitto says, retained, how many messages it has dropped since it started. Others say nothing there."""
_STORED_EVERY_NS: Final = 60_000_000_000
"""Between two writes of the count while it grows."""
_OVER_AFTER_NS: Final = 3_600_000_000_000
"""Without another drop for this long the trouble is over."""


class BrokerDrops:
    """Follows the broker's count, over restarts of ours where there is a memory: most is dropped while we are away."""

    def __init__(self, memory: SessionMemory | None) -> None:
        self._memory = memory
        self._count = None if memory is None else memory.dropped
        self._stored_ns = 0
        self._grew_ns = 0

    def take(self, payload: bytes, now_ns: int) -> int:
        """Messages dropped since the count was last read; 0 for the first time. Anything but a number is nothing."""
        try:
            count = int(payload)
        except ValueError:
            return 0
        before, self._count = self._count, count
        more = 0 if before is None else count - before if count >= before else count  # a broker that restarted
        if more:
            self._grew_ns = now_ns
        if before is None or now_ns - self._stored_ns >= _STORED_EVERY_NS:
            self._stored_ns = now_ns
            self.keep()
        return more

    def over(self, now_ns: int) -> bool:
        """True once when the last drop is an hour ago."""
        if not self._grew_ns or now_ns - self._grew_ns < _OVER_AFTER_NS:
            return False
        self._grew_ns = 0
        return True

    def keep(self) -> None:
        """Write the count down, where it can be: a folder that cannot be written is told of elsewhere."""
        if self._memory is not None:
            with contextlib.suppress(ConfigError):
                self._memory.store_dropped(self._count)
