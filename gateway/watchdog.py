"""What systemd hears: ready, alive while there is progress, stopping. Without NOTIFY_SOCKET nothing is sent.

The protocol is sd_notify(3): one datagram of `KEY=value` lines to the socket that NOTIFY_SOCKET names.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

WRITE_LATE_S: Final = 30.0
"""A checkpoint may come this long after it was due: a slow card is no standstill."""
CLOSE_LATE_S: Final = 30.0
_US_PER_S: Final = 1_000_000
_FEEDS_PER_TIMEOUT: Final = 4
_log = structlog.get_logger("gateway")


@dataclass(slots=True)
class Progress:
    """What the runtime has got done, in s of `monotonic_s`: a loop that only turns round makes no progress."""

    checkpoint_s: float
    """How often a checkpoint is due."""
    monotonic_s: Callable[[], float] = time.monotonic
    _turned_s: float = field(init=False)
    _written_s: float = field(init=False)
    _overdue_since_s: float | None = None

    def __post_init__(self) -> None:
        self._turned_s = self._written_s = self.monotonic_s()

    def turned(self, window_due_ns: int, now_ns: int) -> None:
        """The loop that keeps windows went round; `window_due_ns`: when the next window closes."""
        self._turned_s = self.monotonic_s()
        if now_ns < window_due_ns:
            self._overdue_since_s = None
        elif self._overdue_since_s is None:
            self._overdue_since_s = self._turned_s

    def written(self) -> None:
        """A checkpoint was written, or the disk said that it takes none: either way the disk answered."""
        self._written_s = self.monotonic_s()

    def mending(self) -> None:
        """A damaged outbox is carried over into a new one: that may take minutes, and it goes on."""
        self._turned_s = self._written_s = self.monotonic_s()
        self._overdue_since_s = None

    def stalls(self) -> list[str]:
        """What has not gone on for too long: of `loop`, `checkpoint`, `window`. Empty while all goes on."""
        now_s = self.monotonic_s()
        found = []
        if now_s - self._turned_s > WRITE_LATE_S:
            found.append("loop")
        if now_s - self._written_s > self.checkpoint_s + WRITE_LATE_S:
            found.append("checkpoint")
        if self._overdue_since_s is not None and now_s - self._overdue_since_s > CLOSE_LATE_S:
            found.append("window")
        return found


class Watchdog:
    """Speaks to the service manager that started this process, if one did."""

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic_s = monotonic_s
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        timeout_us = environment.get("WATCHDOG_USEC", "")
        meant = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        timeout_s = int(timeout_us) / _US_PER_S if meant and timeout_us.isdecimal() else None
        self._every_s = None if timeout_s is None else timeout_s / _FEEDS_PER_TIMEOUT
        self._fed_s = float("-inf")
        self._failed = self._is_ready = False

    def ready(self) -> None:
        """The service does its work. Said once; later calls say nothing."""
        if not self._is_ready:
            self._is_ready = True
            self._send("READY=1")

    def reloading(self) -> None:
        """A new configuration is read; `reloaded` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """It was taken, or refused: the work goes on."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        """The service ends in order."""
        self._send("STOPPING=1")

    def feed(self, progress: Progress) -> None:
        """Say that the service is alive, where there is progress; called as the work goes round."""
        if self._every_s is None or self._monotonic_s() - self._fed_s < self._every_s:
            return
        if not progress.stalls():
            self._fed_s = self._monotonic_s()
            self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode(), self._address)
        except OSError as error:
            if not self._failed:
                _log.warning("the service manager cannot be told", address=self._address, error=str(error))
            self._failed = True
        else:
            self._failed = False
