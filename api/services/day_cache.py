"""Day states in memory, read from the register as pages ask for them."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import numpy as np
import zstandard
from sqlalchemy import Engine, select

from api.clock import Clock
from api.register.counters import read_counter
from api.register.models import DeviceDay
from metrics.days import DayStates, merge

_CHECK_S: Final = 0.5
_MAX_DAYS: Final = 100_000
_MAX_RANGES: Final = 64


@dataclass(frozen=True, slots=True)
class DayRange:
    """Day states of all gateways over some days, in one table of devices."""

    states: DayStates
    digests: dict[tuple[str, int], str]
    """Digest by (gateway, local day)."""


class DayCache:
    """Day states by (gateway, day); devices of all gateways share one table, `number` gives the row."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.RLock()
        self._numbers: dict[tuple[str, str], int] = {}
        self._days: OrderedDict[tuple[str, int], tuple[str, DayStates]] = OrderedDict()
        self._ranges: OrderedDict[tuple[int, int], tuple[int, DayRange]] = OrderedDict()
        self._version = -1
        self._checked_s = -_CHECK_S

    def number(self, gateway: str, device: str) -> int:
        """The device's row in the shared table."""
        with self._lock:
            return self._numbers.setdefault((gateway, device), len(self._numbers))

    def stale(self) -> None:
        """Day states have changed: look at the next question."""
        self._checked_s = -_CHECK_S

    def range(self, from_day: int, to_day: int) -> DayRange:
        """Day states of the local days `[from_day, to_day)`."""
        with self._lock:
            version = self._current_version()
            held = self._ranges.get((from_day, to_day))
            if held is not None and held[0] == version:
                self._ranges.move_to_end((from_day, to_day))
                return held[1]
            made = self._read(from_day, to_day)
            self._ranges[from_day, to_day] = (version, made)
            while len(self._ranges) > _MAX_RANGES:
                self._ranges.popitem(last=False)
            return made

    def _current_version(self) -> int:
        now_s = self._clock.monotonic_s()
        if now_s - self._checked_s >= _CHECK_S:
            with self._engine.connect() as connection:
                self._version = read_counter(connection, "device_day")
            self._checked_s = now_s
        return self._version

    def _read(self, from_day: int, to_day: int) -> DayRange:
        d = DeviceDay
        days: list[DayStates] = []
        digests: dict[tuple[str, int], str] = {}
        with self._engine.connect() as connection:
            found = connection.execute(
                select(d.gateway, d.day, d.digest).where(d.day >= from_day, d.day < to_day).order_by(d.day, d.gateway)
            ).all()
            for gateway, day, digest in found:
                held = self._days.get((gateway, day))
                if held is None or held[0] != digest:
                    row = connection.execute(
                        select(d.digest, d.devices, d.content).where(d.gateway == gateway, d.day == day)
                    ).one()
                    held = (row.digest, self._states(gateway, json.loads(row.devices), row.content))
                    self._days[gateway, day] = held
                self._days.move_to_end((gateway, day))
                digests[gateway, day] = held[0]
                days.append(held[1])
        while len(self._days) > _MAX_DAYS:
            self._days.popitem(last=False)
        return DayRange(merge(*days), digests)

    def _states(self, gateway: str, devices: list[str], content: bytes) -> DayStates:
        states = DayStates.from_bytes(zstandard.ZstdDecompressor().decompress(content))
        table = np.array([self.number(gateway, device) for device in devices], np.uint32)
        return states.with_devices(table)
