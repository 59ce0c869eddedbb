"""Day states in memory: one table of columns a local day, kept up to date by what has changed.

Figures read whole days of all gateways. So a day is held as one table, in which the rows of a gateway are replaced when
its digest changes. Every stretch of days has a token that changes when, and only when, a
day state in it does: what was computed from it is good as long as the token is.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
import zstandard
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, func, select

from api.clock import Clock
from api.register.counters import read_counter
from api.register.models import DeviceDay, DeviceDayVersion
from metrics.days import DAY_COLUMNS, DayStates, merge

T = TypeVar("T")

_CHECK_S: Final = 0.5
_MAX_TOKENS: Final = 512
_MAX_SUMS: Final = 32
_MAX_KNOWN: Final = 4
_OVERLAP: Final = 2
"""Changes are asked for from so many numbers before: a transaction may end after one that was counted later."""
_ROWS_AT_ONCE: Final = 500
TABLE_BYTES: Final = 1 << 30
"""Tables of days are held up to this size, those used longest ago given up first."""

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


_Span = tuple[int, int]
_Index = dict[int, dict[str, tuple[str, int]]]
"""By day and gateway: the digest, and the version's row (0: the one that stands)."""


class DayBook:
    """Day states as known at one time: now, or an instant of the past."""

    def __init__(
        self, engine: Engine, numbers: Numbers, known_ns: int | None = None, present: DayBook | None = None
    ) -> None:
        self._engine = engine
        self._numbers = numbers
        self._known_ns = known_ns
        self._present = present
        self._most_bytes = TABLE_BYTES if present is None else TABLE_BYTES // 8
        self._lock = threading.RLock()
        self._index: _Index = {}
        self._tables: OrderedDict[int, tuple[dict[str, tuple[str, int]], DayStates]] = OrderedDict()
        self._bytes = 0
        self._tokens: OrderedDict[_Span, tuple[str, dict[str, str]]] = OrderedDict()
        self._sums: OrderedDict[_Span, dict[str, Any]] = OrderedDict()

    def number(self, gateway: str, device: str) -> int:
        """The device's row in the shared table."""
        return self._numbers.number(gateway, device)

    def token(self, from_day: int, to_day: int) -> str:
        """Changes when, and only when, a day state of the local days `[from_day, to_day)` does."""
        with self._lock:
            return self._digests(from_day, to_day)[0]

    def by_gateway(self, from_day: int, to_day: int) -> Mapping[str, str]:
        """A digest over each gateway's day states of the local days `[from_day, to_day)`."""
        with self._lock:
            return self._digests(from_day, to_day)[1]

    def digest(self, gateway: str, day: int) -> str:
        """The digest of a gateway's day states of a local day; empty where it has none."""
        with self._lock:
            self._load_index(day, day + 1)
            return self._index[day].get(gateway, ("", 0))[0]

    def tables(self, from_day: int, to_day: int) -> list[DayStates]:
        """Day states of the local days `[from_day, to_day)`, a table each; days without any are left out."""
        with self._lock:
            self._digests(from_day, to_day)
            return [self._table(day) for day in range(from_day, to_day) if self._index.get(day)]

    def day(self, day: int) -> DayStates:
        """Day states of one local day, devices ascending."""
        with self._lock:
            self._digests(day, day + 1)
            return self._table(day) if self._index.get(day) else DayStates.empty()

    def note_changes(self, changed: Sequence[tuple[int, str, str]]) -> None:
        """Note day states that were written: (day, gateway, digest)."""
        with self._lock:
            days: set[int] = set()
            for day, gateway, digest in changed:
                known = self._index.get(day)
                if known is not None and known.get(gateway, ("", 0))[0] != digest:
                    known[gateway] = (digest, 0)
                    days.add(day)
            if days:
                _forget(self._tokens, days)
                _forget(self._sums, days)

    def _digests(self, from_day: int, to_day: int) -> tuple[str, dict[str, str]]:
        held = self._tokens.get((from_day, to_day))
        if held is None:
            self._load_index(from_day, to_day)
            # the last day may be one that runs: what comes before it is summed once
            before = self._summed(from_day, to_day - 1)
            last = self._index.get(to_day - 1, {}) if to_day > from_day else {}
            sums = {g: one.copy() for g, one in before.items()} | {g: hashlib.sha256() for g in last if g not in before}
            for gateway, (digest, _) in last.items():
                sums[gateway].update(f"{to_day - 1} {digest}\n".encode())
            each = {gateway: one.hexdigest() for gateway, one in sorted(sums.items())}
            whole = hashlib.sha256("".join(f"{g} {d}\n" for g, d in each.items()).encode()).hexdigest()
            held = self._tokens[from_day, to_day] = (whole, each)
            while len(self._tokens) > _MAX_TOKENS:
                self._tokens.popitem(last=False)
        self._tokens.move_to_end((from_day, to_day))
        return held

    def _summed(self, from_day: int, to_day: int) -> dict[str, Any]:
        """By gateway a SHA-256 that is not finished, over its digests of the local days `[from_day, to_day)`."""
        if from_day >= to_day:
            return {}
        held = self._sums.get((from_day, to_day))
        if held is None:
            sums: dict[str, Any] = defaultdict(hashlib.sha256)
            for day in range(from_day, to_day):
                for gateway, (digest, _) in self._index.get(day, {}).items():
                    sums[gateway].update(f"{day} {digest}\n".encode())
            held = self._sums[from_day, to_day] = dict(sums)
            while len(self._sums) > _MAX_SUMS:
                self._sums.popitem(last=False)
        self._sums.move_to_end((from_day, to_day))
        return held

    def _load_index(self, from_day: int, to_day: int) -> None:
        missing = [day for day in range(from_day, to_day) if day not in self._index]
        if not missing:
            return
        found: _Index = {day: {} for day in missing}
        with self._engine.connect() as connection:
            for gateway, day, digest, row in self._rows(connection, missing[0], missing[-1] + 1):
                if day in found:
                    found[day][gateway] = (digest, row)
        self._index |= found

    def _rows(self, connection: Connection, from_day: int, to_day: int) -> Iterable[tuple[str, int, str, int]]:
        d, v = DeviceDay, DeviceDayVersion
        now = select(d.gateway, d.day, d.digest, d.computed_ns).where(d.day >= from_day, d.day < to_day)
        if self._known_ns is None:
            return [(gateway, day, digest, 0) for gateway, day, digest, _ in connection.execute(now)]
        newest = (
            select(v.gateway, v.day, func.max(v.computed_ns).label("computed_ns"))
            .where(v.day >= from_day, v.day < to_day, v.computed_ns <= self._known_ns)
            .group_by(v.gateway, v.day)
            .subquery()
        )
        before = select(v.gateway, v.day, v.digest, v.row_id).join(
            newest,
            (newest.c.gateway == v.gateway) & (newest.c.day == v.day) & (newest.c.computed_ns == v.computed_ns),
        )
        rows = {(g, day): (digest, row) for g, day, digest, row in connection.execute(before)}
        rows |= {
            (g, day): (digest, 0)
            for g, day, digest, computed_ns in connection.execute(now)
            if computed_ns <= self._known_ns
        }
        return [(g, day, digest, row) for (g, day), (digest, row) in rows.items()]

    def _table(self, day: int) -> DayStates:
        wanted = self._index[day]
        held = self._tables.get(day)
        if held is not None and held[0] == wanted:
            self._tables.move_to_end(day)
            return held[1]
        same = None if self._present is None else self._present.same_table(day, wanted)
        if same is not None:
            return same
        kept: list[DayStates] = []
        fresh = dict(wanted)
        if held is not None:
            gone = {gateway for gateway, digest in held[0].items() if wanted.get(gateway) != digest}
            if len(gone) * 2 < len(held[0]):
                kept = [held[1].take(~self._numbers.rows_of(held[1].device, gone))]
                fresh = {gateway: digest for gateway, digest in wanted.items() if held[0].get(gateway) != digest}
            self._bytes -= _size(held[1])
        made = _only_read(merge(*kept, *self._decode(day, fresh)))
        self._tables[day] = (dict(wanted), made)
        self._tables.move_to_end(day)
        self._bytes += _size(made)
        while self._bytes > self._most_bytes and len(self._tables) > 1:
            self._bytes -= _size(self._tables.popitem(last=False)[1][1])
        return made

    def same_table(self, day: int, wanted: Mapping[str, tuple[str, int]]) -> DayStates | None:
        """The table of a day, if it is at hand and holds exactly these digests."""
        with self._lock:
            held = self._tables.get(day)
            if held is None or held[0].keys() != wanted.keys():
                return None
            return held[1] if all(held[0][gateway][0] == wanted[gateway][0] for gateway in wanted) else None

    def _decode(self, day: int, wanted: Mapping[str, tuple[str, int]]) -> list[DayStates]:
        d, v = DeviceDay, DeviceDayVersion
        blobs: list[tuple[str, str, bytes]] = []
        with self._engine.connect() as connection:
            standing = [gateway for gateway, (_, row) in wanted.items() if not row]
            replaced = [row for _, row in wanted.values() if row]
            for some in _some(standing):
                now = select(d.gateway, d.devices, d.content).where(d.day == day, d.gateway.in_(some))
                blobs.extend((g, devices, content) for g, devices, content in connection.execute(now))
            for rows in _some(replaced):
                then = select(v.gateway, v.devices, v.content).where(v.row_id.in_(rows))
                blobs.extend((g, devices, content) for g, devices, content in connection.execute(then))
        parts: dict[str, list[NDArray[Any]]] = {c.name: [] for c in DAY_COLUMNS}
        decompress = zstandard.ZstdDecompressor().decompress
        for gateway, devices, content in blobs:
            states = DayStates.from_bytes(decompress(content))
            for name, column in states.columns().items():
                parts[name].append(column)
            parts["device"][-1] = self._numbers.table(gateway, devices)[states.device]
        if not blobs:
            return []
        columns = {name: np.concatenate(found) for name, found in parts.items()}
        order = np.argsort(columns["device"], kind="stable")
        return [DayStates(**{name: column[order] for name, column in columns.items()})]


class DayCache(DayBook):
    """Day states as they are now; `as_known` gives those of an instant of the past."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        super().__init__(engine, Numbers())
        self._clock = clock
        self._version = -1
        self._checked_s = -_CHECK_S
        self._known: OrderedDict[int, DayBook] = OrderedDict()

    def stale(self) -> None:
        """Day states have changed: look at the next question."""
        self._checked_s = -_CHECK_S

    def as_known(self, at_ns: int) -> DayBook:
        """Day states as the county knew them at a time, ns UTC."""
        with self._lock:
            found = self._known.get(at_ns)
            if found is None:
                found = self._known[at_ns] = DayBook(self._engine, self._numbers, at_ns, self)
                while len(self._known) > _MAX_KNOWN:
                    self._known.popitem(last=False)
            self._known.move_to_end(at_ns)
            return found

    def _digests(self, from_day: int, to_day: int) -> tuple[str, dict[str, str]]:
        self._refresh()
        return super()._digests(from_day, to_day)

    def _refresh(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._checked_s < _CHECK_S:
            return
        d = DeviceDay
        changed = select(d.day, d.gateway, d.digest).where(d.changed >= max(self._version - _OVERLAP, 1))
        with self._engine.connect() as connection:
            version = read_counter(connection, "device_day")
            if version != self._version:
                if self._index:
                    self.note_changes([(day, gateway, digest) for day, gateway, digest in connection.execute(changed)])
                self._version = version
        self._checked_s = now_s


def _forget(held: OrderedDict[_Span, Any], days: set[int]) -> None:
    for span in [s for s in held if any(s[0] <= day < s[1] for day in days)]:
        del held[span]


def _some(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """A few at a time: engines limit how many values a question may hold."""
    for first in range(0, len(items), _ROWS_AT_ONCE):
        yield items[first : first + _ROWS_AT_ONCE]


def _only_read(states: DayStates) -> DayStates:
    nothing = {
        name: np.broadcast_to(np.zeros(1, column.dtype), column.shape)
        for name, column in states.columns().items()
        if name not in _READ
    }
    return DayStates(**(states.columns() | nothing))


def _size(states: DayStates) -> int:
    return sum(getattr(states, name).nbytes for name in _READ)
