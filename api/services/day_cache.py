"""Day states in memory: one table of columns a local day, kept up to date by what has changed.

Figures read whole days of all gateways. So a day is held as one table, in which the rows of a gateway are replaced when
its digest changes. Every stretch of days has a token that changes when, and only when, a
day state in it does: what was computed from it is good as long as the token is.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, select

from api.clock import Clock
from api.register.counters import read_counter
from api.register.models import DeviceDay, DeviceDayVersion
from api.services.day_tables import DayTables, Entries, Entry, Numbers
from metrics.days import DayStates

_CHECK_S: Final = 0.5
_MAX_TOKENS: Final = 512
_MAX_SUMS: Final = 32
_MAX_KNOWN: Final = 4
_OVERLAP: Final = 2
"""Changes are asked for from so many numbers before: a transaction may end after one that was counted later."""
TABLE_BYTES: Final = 1 << 30
"""Tables of days are held up to this size, those used longest ago given up first."""

_Span = tuple[int, int]
_Index = dict[int, Entries]
"""By day and gateway. A day that changes gets new entries: those who still read by the ones before may go on."""


class DayBook:
    """Day states as known at one time: now, or an instant of the past."""

    def __init__(
        self, engine: Engine, numbers: Numbers, known_ns: int | None = None, present: DayBook | None = None
    ) -> None:
        self._engine = engine
        self._numbers = numbers
        self._known_ns = known_ns
        self._tables: DayTables
        if present is None:
            self._tables = DayTables(engine, numbers, TABLE_BYTES)
        else:
            self._tables = DayTables(engine, numbers, TABLE_BYTES // 8, present._tables)
        self._lock = threading.RLock()
        self._index: _Index = {}
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
            wanted = [(day, entries) for day in range(from_day, to_day) if (entries := self._index.get(day))]
        return [self._tables.table(day, entries) for day, entries in wanted]

    def day(self, day: int) -> DayStates:
        """Day states of one local day, devices ascending."""
        found = self.tables(day, day + 1)
        return found[0] if found else DayStates.empty()

    def note_changes(self, changed: Sequence[tuple[int, str, str]]) -> None:
        """Note day states that were written: (day, gateway, digest)."""
        with self._lock:
            days: dict[int, dict[str, Entry]] = {}
            for day, gateway, digest in changed:
                known = self._index.get(day)
                if known is not None and known.get(gateway, ("", 0))[0] != digest:
                    days.setdefault(day, {})[gateway] = (digest, 0)
            if days:
                self._index |= {day: {**self._index[day], **entries} for day, entries in days.items()}
                _forget(self._tokens, days)
                _forget(self._sums, days)

    def _digests(self, from_day: int, to_day: int) -> tuple[str, dict[str, str]]:
        held = self._tokens.get((from_day, to_day))
        if held is None:
            self._load_index(from_day, to_day)
            # the last day that has any may be one that runs: what comes before it is summed once
            last_day = max((day for day in range(from_day, to_day) if self._index[day]), default=from_day)
            before, last = self._summed(from_day, last_day), self._index.get(last_day, {}) if from_day < to_day else {}
            sums = {g: one.copy() for g, one in before.items()} | {g: hashlib.sha256() for g in last if g not in before}
            for gateway, (digest, _) in last.items():
                sums[gateway].update(f"{last_day} {digest}\n".encode())
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
        found: dict[int, dict[str, Entry]] = {day: {} for day in missing}
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


def _forget(held: OrderedDict[_Span, Any], days: Iterable[int]) -> None:
    for span in [s for s in held if any(s[0] <= day < s[1] for day in days)]:
        del held[span]
