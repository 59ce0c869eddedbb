"""Day states of all gateways as one table of columns a local day: read once, and held while there is room.

A day is read by one thread, while others go on: a year takes seconds, and nobody who asks about another day waits
for it. Of the tables that are held the newest days' stay longest, whoever reads a year meanwhile.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
import zstandard
from numpy.typing import NDArray
from sqlalchemy import Engine, select

from api.register.models import DeviceDay, DeviceDayVersion
from metrics.days import DAY_COLUMNS, DayStates, merge, read_columns

T = TypeVar("T")

Entry = tuple[str, int]
"""The digest of a gateway's day, and the version's row (0: the one that stands)."""
Entries = Mapping[str, Entry]
"""By gateway. A mapping that was given is never changed."""

RECENT_DAYS: Final = 62
"""So many of the newest days are given up last: the present month and its look-back are made of them."""
_ROWS_AT_ONCE: Final = 500

_READ: Final = frozenset(
    (
        *("day", "device", "observed", "connected", "running", "idle", "fault", "off", "parts", "flags"),
        *("first_connected_s", "last_connected_s"),
        *("quantity", "quantity_idle", "quantity_estimated", "quantity_span_s"),
    )
)
"""Columns that figures read; the others are zeros here that take no memory."""


class Numbers:
    """Rows of the table of devices that all gateways share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: dict[tuple[str, str], int] = {}
        self._gateway: list[int] = []
        self._gateways: dict[str, int] = {}
        self._tables: dict[tuple[str, str], NDArray[np.uint32]] = {}

    def number(self, gateway: str, device: str) -> int:
        """The device's row."""
        found = self._numbers.get((gateway, device))
        if found is not None:
            return found
        with self._lock:
            return self._number(gateway, device)

    def _number(self, gateway: str, device: str) -> int:
        found = self._numbers.get((gateway, device))
        if found is None:
            found = self._numbers[gateway, device] = len(self._gateway)
            self._gateway.append(self._gateways.setdefault(gateway, len(self._gateways)))
        return found

    def table(self, gateway: str, devices: str) -> NDArray[np.uint32]:
        """Rows of a list of devices, given in JSON; one gateway's list is much the same every day."""
        with self._lock:
            found = self._tables.get((gateway, devices))
            if found is None:
                found = np.array([self._number(gateway, device) for device in json.loads(devices)], np.uint32)
                if len(self._tables) > 20_000:
                    self._tables.clear()
                self._tables[gateway, devices] = found
            return found

    def rows_of(self, device: NDArray[np.uint32], gateways: Iterable[str]) -> NDArray[np.bool_]:
        """Which devices are those of some gateways."""
        with self._lock:
            owner = np.array(self._gateway, np.int64)
            wanted = np.zeros(len(self._gateways) + 1, np.bool_)
            for gateway in gateways:
                wanted[self._gateways.get(gateway, len(self._gateways))] = True
        return np.asarray(wanted[owner[device]])


class DayTables:
    """Tables by local day. `present`: those of another time, which hold the same where nothing has changed since."""

    def __init__(self, engine: Engine, numbers: Numbers, most_bytes: int, present: DayTables | None = None) -> None:
        self._engine = engine
        self._numbers = numbers
        self._most_bytes = most_bytes
        self._present = present
        self._lock = threading.Lock()
        self._held: OrderedDict[int, tuple[Entries, DayStates]] = OrderedDict()
        self._bytes = 0
        self._reading: dict[int, threading.Lock] = {}

    def table(self, day: int, wanted: Entries) -> DayStates:
        """The day states of a local day with these digests, devices ascending."""
        found = self._at_hand(day, wanted)
        if found is None:
            with self._lock:
                reading = self._reading.setdefault(day, threading.Lock())
            with reading:
                found = self._at_hand(day, wanted)
                if found is None:
                    found = self._made(day, wanted)
        return found

    def _at_hand(self, day: int, wanted: Entries) -> DayStates | None:
        with self._lock:
            held = self._held.get(day)
            if held is not None and (held[0] is wanted or held[0] == wanted):
                self._held.move_to_end(day)
                return held[1]
        return None if self._present is None else self._present._same(day, wanted)

    def _same(self, day: int, wanted: Entries) -> DayStates | None:
        """The table of a day, if it is at hand and holds exactly these digests, whichever versions they are."""
        with self._lock:
            held = self._held.get(day)
        if held is None or held[0].keys() != wanted.keys():
            return None
        return held[1] if all(held[0][gateway][0] == wanted[gateway][0] for gateway in wanted) else None

    def _made(self, day: int, wanted: Entries) -> DayStates:
        """The table read, or changed where only a few gateways differ."""
        with self._lock:
            held = self._held.get(day)
        kept: list[DayStates] = []
        fresh = wanted
        if held is not None:
            gone = {gateway for gateway, entry in held[0].items() if wanted.get(gateway) != entry}
            if len(gone) * 2 < len(held[0]):
                kept = [held[1].take(~self._numbers.rows_of(held[1].device, gone))]
                fresh = {gateway: entry for gateway, entry in wanted.items() if held[0].get(gateway) != entry}
        read, found = self._read(day, fresh)
        made = _only_read(merge(*kept, found))
        self._keep(day, wanted if read == fresh else {**wanted, **read}, made)
        return made

    def _keep(self, day: int, entries: Entries, made: DayStates) -> None:
        with self._lock:
            before = self._held.pop(day, None)
            self._bytes += _size(made) - (0 if before is None else _size(before[1]))
            self._held[day] = (entries, made)
            while self._bytes > self._most_bytes and len(self._held) > 1:
                recent = max(self._held) - RECENT_DAYS
                given_up = next((one for one in self._held if one <= recent), next(iter(self._held)))
                self._bytes -= _size(self._held.pop(given_up)[1])

    def _read(self, day: int, wanted: Entries) -> tuple[Entries, DayStates]:
        """Day states of some gateways, and what they are: a day that stood when it was asked for may have changed."""
        d, v = DeviceDay, DeviceDayVersion
        rows: list[tuple[str, Entry, str, bytes]] = []
        standing = [gateway for gateway, (_, row) in wanted.items() if not row]
        replaced = [row for _, row in wanted.values() if row]
        with self._engine.connect() as connection:
            for some in _some(standing):
                now = select(d.gateway, d.digest, d.devices, d.content).where(d.day == day, d.gateway.in_(some))
                rows.extend((g, (digest, 0), devices, c) for g, digest, devices, c in connection.execute(now))
            for numbers in _some(replaced):
                then = select(v.gateway, v.digest, v.row_id, v.devices, v.content).where(v.row_id.in_(numbers))
                rows.extend((g, (digest, row), devices, c) for g, digest, row, devices, c in connection.execute(then))
        if not rows:
            return {}, DayStates.empty()
        decompress = zstandard.ZstdDecompressor().decompress
        columns, owner = read_columns([decompress(content) for *_, content in rows], _READ)
        tables = [self._numbers.table(gateway, devices) for gateway, _, devices, _ in rows]
        first = np.cumsum([0, *(len(table) for table in tables)])
        columns["device"] = np.concatenate(tables)[first[owner] + columns["device"]]
        order = np.argsort(columns["device"], kind="stable")
        read = {gateway: entry for gateway, entry, _, _ in rows}
        return read, _with_nothing({name: column[order] for name, column in columns.items()})


def _some(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """A few at a time: engines limit how many values a question may hold."""
    for first in range(0, len(items), _ROWS_AT_ONCE):
        yield items[first : first + _ROWS_AT_ONCE]


def _with_nothing(columns: Mapping[str, NDArray[Any]]) -> DayStates:
    rows = columns["device"].shape
    nothing = {c.name: np.broadcast_to(np.zeros(1, c.dtype), rows) for c in DAY_COLUMNS if c.name not in columns}
    return DayStates(**columns, **nothing)


def _only_read(states: DayStates) -> DayStates:
    return _with_nothing({name: column for name, column in states.columns().items() if name in _READ})


def _size(states: DayStates) -> int:
    return sum(getattr(states, name).nbytes for name in _READ)
