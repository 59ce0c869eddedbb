"""Which records' keys a store has already, so that a later record of a key never overwrites the first.

Kept by gateway and hour, one byte for each device and 10 s; an hour is asked of the store once, when a record of
it comes and it is not at hand. The least used hours are given up beyond a limit. Two keys of windows of unlike
length may share a byte: then the later one is taken for a copy, which is kept under its own time as well.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.record import MIN_WINDOW_S, Records

HOUR_S: Final = 3600
_SLOTS: Final = HOUR_S // MIN_WINDOW_S
_MAX_CELLS: Final = 96_000_000
"""One byte each: four hours of 60,000 devices."""


_GATEWAYS_A_QUESTION: Final = 50


class Stored(NamedTuple):
    """Times at which a device of a gateway has a record of this part, one entry a record."""

    gateway: str
    device: str
    part: int
    start_s: list[int]


Load = Callable[[Sequence[str], int, int], Iterable[Stored]]
"""(gateways, from s, before s) → what the store has there of batches before those that are being added."""


class _Hour:
    """Keys of one gateway and hour."""

    def __init__(self, devices: int) -> None:
        self.seen = np.zeros(max(devices, 8) * _SLOTS, np.bool_)
        """Part 0, by device and slot."""
        self.counts: dict[tuple[int, int], int] = {}
        """Records by (cell, part), where there is a supplement or more than one record."""

    def grow(self, devices: int) -> None:
        if devices * _SLOTS > len(self.seen):
            grown = np.zeros(max(devices, len(self.seen) // _SLOTS * 2) * _SLOTS, np.bool_)
            grown[: len(self.seen)] = self.seen
            self.seen = grown

    def count(self, cell: int, part: int) -> int:
        """Add a record. Returns how many there were."""
        before = self.counts.get((cell, part))
        if before is None:
            before = int(part == 0 and bool(self.seen[cell]))
        self.counts[cell, part] = before + 1
        if part == 0:
            self.seen[cell] = True
        return before


class SeenKeys:
    """The keys that are stored. `load` asks the store for an hour that is not at hand."""

    def __init__(self, load: Load, max_cells: int = _MAX_CELLS) -> None:
        self._load = load
        self._max_cells = max_cells
        self._cells = 0
        self._numbers: dict[str, dict[str, int]] = {}
        self._hours: OrderedDict[tuple[str, int], _Hour] = OrderedDict()
        self._touched: set[tuple[str, int]] = set()

    def prepare(self, parts: Iterable[tuple[str, Records]]) -> None:
        """Ask for the hours that these gateways' records need, many gateways at once. Raises what `load` raises."""
        missing: dict[int, dict[str, None]] = {}
        for gateway, records in parts:
            for hour in np.unique(records.start // HOUR_S).tolist():
                if (gateway, hour) not in self._hours:
                    missing.setdefault(hour, {})[gateway] = None
        for hour, gateways in missing.items():
            names = list(gateways)
            for first in range(0, len(names), _GATEWAYS_A_QUESTION):
                self._fetch(names[first : first + _GATEWAYS_A_QUESTION], hour)

    def copies(self, gateway: str, devices: list[str], records: Records) -> NDArray[np.int64] | None:
        """Add a batch. Returns for each row how many records of its key came before; None if none did for any.

        Raises IndexError for a device outside the table, and what `load` raises.
        """
        numbers = self._numbers.setdefault(gateway, {})
        table = np.array([numbers.setdefault(device, len(numbers)) for device in devices], np.int64)
        device = table[records.device]
        hours = records.start // HOUR_S
        copies: NDArray[np.int64] | None = None
        for hour in np.unique(hours).tolist():
            rows = np.flatnonzero(hours == hour)
            at_hand = self._hour(gateway, hour, len(numbers))
            cell = device[rows] * _SLOTS + records.start[rows] % HOUR_S // MIN_WINDOW_S
            first = (records.part[rows] == 0) & ~at_hand.seen[cell]
            if not (np.diff(cell) > 0).all():
                once = np.zeros(len(rows), np.bool_)
                once[np.unique(np.where(records.part[rows] == 0, cell, -1), return_index=True)[1]] = True
                first &= once
            at_hand.seen[cell[first]] = True
            for i in np.flatnonzero(~first).tolist():
                before = at_hand.count(int(cell[i]), int(records.part[rows[i]]))
                if before:
                    copies = np.zeros(len(records), np.int64) if copies is None else copies
                    copies[rows[i]] = before
        return copies

    def _hour(self, gateway: str, hour: int, devices: int) -> _Hour:
        key = (gateway, hour)
        if key not in self._hours:
            self._fetch([gateway], hour)
        found = self._hours[key]
        self._touched.add(key)
        self._hours.move_to_end(key)
        before = len(found.seen)
        found.grow(max(devices, len(self._numbers[gateway])))
        self._cells += len(found.seen) - before
        return found

    def _fetch(self, gateways: Sequence[str], hour: int) -> None:
        made = {gateway: _Hour(len(self._numbers.setdefault(gateway, {}))) for gateway in gateways}
        for stored in self._load(gateways, hour * HOUR_S, (hour + 1) * HOUR_S):
            numbers = self._numbers[stored.gateway]
            number = numbers.setdefault(stored.device, len(numbers))
            found = made[stored.gateway]
            found.grow(len(numbers))
            for start_s in stored.start_s:
                found.count(number * _SLOTS + start_s % HOUR_S // MIN_WINDOW_S, stored.part)
        for gateway, found in made.items():
            self._hours[gateway, hour] = found
            self._touched.add((gateway, hour))
            self._cells += len(found.seen)

    def settle(self) -> None:
        """What was added is stored. Only now are hours given up: the store could not have said what was under way."""
        self._touched.clear()
        while self._cells > self._max_cells and self._hours:
            _, dropped = self._hours.popitem(last=False)
            self._cells -= len(dropped.seen)

    def forget(self) -> None:
        """What was added since the last `settle` may not have been stored: ask again."""
        for key in self._touched:
            dropped = self._hours.pop(key, None)
            if dropped is not None:
                self._cells -= len(dropped.seen)
        self._touched.clear()
