"""An alarm for a cloned gateway: two epochs of one gateway that both deliver present windows, in turn."""

from __future__ import annotations

from typing import Final, Protocol

RECENT_S: Final = 600
"""Windows that ended within this count as present; an alarm lasts as long after the last sign of it."""


class EpochAlarm(Protocol):
    """Says of a gateway whether two epochs of it deliver side by side."""

    def delivered(self, gateway: str, epoch: int, newest_end_s: int, now_s: int) -> None:
        """A batch of `epoch` was journalled now whose newest window ended at `newest_end_s`."""
        ...

    def alarm(self, gateway: str, now_s: int) -> bool:
        """Whether two epochs of a gateway deliver side by side."""
        ...


class EpochWatch:
    """Remembers, per gateway, which epochs deliver present windows."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._left_at: dict[tuple[str, int], int] = {}
        self._alarm_at: dict[str, int] = {}

    def delivered(self, gateway: str, epoch: int, newest_end_s: int, now_s: int) -> None:
        """A batch of `epoch` arrived whose newest window ended at `newest_end_s`."""
        if newest_end_s < now_s - RECENT_S:
            return
        last = self._last.get(gateway)
        if last == epoch:
            return
        if last is not None:
            self._left_at[gateway, last] = now_s
        # an epoch that was left for another one and delivers the present again runs beside it
        if now_s - self._left_at.pop((gateway, epoch), -RECENT_S) < RECENT_S:
            self._alarm_at[gateway] = now_s
        self._last[gateway] = epoch

    def alarm(self, gateway: str, now_s: int) -> bool:
        """Whether two epochs of a gateway deliver side by side."""
        return now_s - self._alarm_at.get(gateway, -RECENT_S) < RECENT_S
