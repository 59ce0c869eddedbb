"""How fast a link goes: pauses, time limits, and whether it can keep the period its devices ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collectors.modbus import telling
from collectors.modbus.device import PolledDevice
from collectors.modbus.link import Link
from collectors.modbus.plan import Request
from collectors.model import Trouble

_NS: Final = 1_000_000_000
FRAME_CHARACTERS: Final = 13
"""Characters of a read request and of its reply's frame, data apart."""
IDENTIFICATION_BYTES: Final = 60
"""What an identification may take on a line: maker, product code and revision of usual length."""
_TOLD_AFTER: Final = 3
"""Cycles in a row that take longer than their period before a person is told."""
_VERDICT_SHARE: Final = 1.25
_LONGEST_VERDICT_S: Final = 10.0
_LIVENESS_CYCLES: Final = 2.5
"""What a reply proves on a link that cannot keep the period: so many of its cycles."""


class Pace:
    """The pace of one link with the devices behind it."""

    def __init__(self, link: Link, devices: Sequence[PolledDevice]) -> None:
        self._link = link
        self._overloads = 0
        self._busy_ns = 0
        """Time that the requests of this cycle took."""
        self.set_for(devices)

    def set_for(self, devices: Sequence[PolledDevice]) -> None:
        """Take pauses, period and the estimate of a cycle from the devices that are polled."""
        timings = [unit.profile.timing for unit in devices]
        self.gap_s = max(self._link.frame_gap_s, *(timing.request_gap_ms / 1000 for timing in timings))
        self.connect_pause_s = max(timing.connect_pause_ms for timing in timings) / 1000
        self._link.reopen_pause_s = self.connect_pause_s
        self.period_ns = min(s.every_ns for unit in devices for s in unit.schedules)
        fastest = [
            request
            for unit in devices
            for schedule in unit.schedules
            for request in schedule.poll.requests
            if schedule.every_ns == self.period_ns
        ]
        # by their characters alone; nothing is known of a network
        cycle_s = sum(self._characters_s(request) + self.gap_s for request in fastest)
        self._cycle_ns = int(cycle_s * _NS) if self._link.transmission_s(1) else 0

    def usual_limit_s(self, device: PolledDevice, reply_bytes: int) -> float:
        """How long to wait for a reply: the device's time, and that of the characters on the line."""
        return device.timeout_s + self._link.transmission_s(FRAME_CHARACTERS + reply_bytes)

    def limit_s(self, device: PolledDevice, request: Request) -> float:
        """The usual limit; for a silent unit behind a TCP gateway also that of the gateway's verdict."""
        limit_s = self.usual_limit_s(device, request.reply_bytes)
        if device.breaker.is_closed:
            return limit_s
        verdict_s = min(self._link.verdict_s(device.entry.unit) * _VERDICT_SHARE, _LONGEST_VERDICT_S)
        return max(limit_s, verdict_s)

    def took(self, time_ns: int) -> None:
        """A request of this cycle took so long."""
        self._busy_ns += time_ns + int(self.gap_s * _NS)

    def cycle_over(self, subject: str) -> Trouble | None:
        """Notice that the requests of a cycle took longer than its period, however often somebody reads. What is
        to be told, where that begins or ends."""
        if not self._busy_ns:
            return None
        self._cycle_ns, self._busy_ns = self._busy_ns, 0
        was_told = self._overloads >= _TOLD_AFTER
        self._overloads = self._overloads + 1 if self._cycle_ns > self.period_ns else 0
        is_told = self._overloads >= _TOLD_AFTER
        if is_told == was_told:
            return None
        if not is_told:
            return telling.well(subject)
        return telling.overloaded(subject, self._cycle_ns / _NS, self.period_ns / _NS)

    def proves_s(self, device: PolledDevice) -> float:
        """How long a reply proves the connection: the liveness, or longer where the link cannot keep the period."""
        if self._cycle_ns <= self.period_ns:
            return device.device.liveness_s
        return max(device.device.liveness_s, _LIVENESS_CYCLES * self._cycle_ns / _NS)

    def _characters_s(self, request: Request) -> float:
        return self._link.transmission_s(FRAME_CHARACTERS + request.reply_bytes)
