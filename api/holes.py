"""Day states with the holes settled that new hardware leaves in its gateway's counters (see metrics.hand_over).

A day whose records do not touch a hand-over is computed from its records alone. Around a hand-over a day state depends
on the records of some days, on the times of hand-over and on what devices announced: all of them are kept, so the same
bits come of them again. What changes one of those days has every day of the hole computed again, so late batches
of the old hardware make a hole smaller and are never counted beside its estimate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import numpy as np
from sqlalchemy import Connection, Engine, select

from api.day_rows import day_row, mark_days, read_content, row_of_states, states_of_records
from api.register.models import AnnouncementRow, DeviceDay, GatewayCredential
from api.store.port import IntervalStore
from gateway.wire import Announcement
from metrics.days import NEVER, DayStates, merge
from metrics.hand_over import SETTLED, Hole, holes, settlement
from metrics.record import MAX_WINDOW_S, Records, local_day

REACH_DAYS: Final = 31
"""The readings around a hole lie at most so many days apart; what is longer stays unknown."""

_NS: Final = 1_000_000_000

Row = dict[str, Any]
Key = tuple[str, int]
"""(gateway, local day)."""


@dataclass(frozen=True, slots=True)
class _Span:
    """A device's last day with a reading before a hand-over, and its first one from there on."""

    device: str
    first: int
    last: int

    def days(self) -> range:
        return range(self.first, self.last + 1)


@dataclass(frozen=True, slots=True)
class _Made:
    """Day states of some devices."""

    devices: list[str]
    states: DayStates

    def holds_records(self) -> bool:
        """Whether any record is in them, and not only shares of holes."""
        return bool(self.states.records.any())


@dataclass(frozen=True, slots=True)
class _Stored(_Made):
    """A day as it stands in the register."""

    generation: int


class HoleSettler:
    """Computes rows of `device_day`. `final` says of a local day that its states must stay."""

    def __init__(self, engine: Engine, store: IntervalStore, final: Callable[[int], bool] = lambda _: False) -> None:
        self._engine = engine
        self._store = store
        self._final = final

    def rows(self, keys: Mapping[Key, int], now_ns: int) -> list[Row]:
        """Rows of days by their generations, and of every other day of a hole that is, or was, on one of them.

        A day without records has one only where a hole reaches over it, or where one did.
        """
        with self._engine.connect() as connection:
            hand_overs = hand_overs_of(connection, {gateway for gateway, _ in keys})
        near: dict[str, dict[int, int]] = {}
        plain: list[Key] = []
        for (gateway, day), generation in keys.items():
            if within_reach(hand_overs.get(gateway, ()), day):
                near.setdefault(gateway, {})[day] = generation
            else:
                plain.append((gateway, day))
        made = [
            day_row(records, keys[records.gateway, records.day], now_ns)
            for records in (self._store.read_days(plain) if plain else ())
        ]
        for gateway, days in near.items():
            around = _Around(self._engine, self._store, self._final, gateway, days, hand_overs[gateway])
            made += around.rows(now_ns)
        return made


class _Around:
    """Some days of one gateway around its hand-overs."""

    def __init__(
        self,
        engine: Engine,
        store: IntervalStore,
        final: Callable[[int], bool],
        gateway: str,
        days: Mapping[int, int],
        hand_overs_s: Sequence[int],
    ) -> None:
        self._engine = engine
        self._store = store
        self._final = final
        self._gateway = gateway
        self._days = days
        first, last = min(days), max(days)
        self._hand_overs = [h for h in hand_overs_s if first - 2 * REACH_DAYS <= _day(h) <= last + 2 * REACH_DAYS]
        self._made: dict[int, _Made] = {}
        self._make(days)
        with engine.connect() as connection:
            self._stored = _stored(connection, gateway, first - 3 * REACH_DAYS, last + 3 * REACH_DAYS)

    def rows(self, now_ns: int) -> list[Row]:
        spans = self._spans()
        wanted = {day for day in self._touched(spans) if not self._final(day)}
        # of a hole that reaches into a final day not all records are there: what stands is all that is known
        spans = {s for s in spans if not wanted.isdisjoint(s.days()) and not any(self._final(day) for day in s.days())}
        self._make(wanted)
        found = self._holes(spans)
        rows: list[Row] = []
        for day in sorted(wanted):
            made = self._row(day, found, now_ns)
            if made is not None:
                rows.append(made)
        return rows

    def _make(self, days: Iterable[int]) -> None:
        """Compute days from their records alone."""
        keys = [(self._gateway, day) for day in sorted(days) if day not in self._made]
        for records in self._store.read_days(keys) if keys else ():
            self._made[records.day] = _Made(records.devices, states_of_records(records))

    def _spans(self) -> set[_Span]:
        """Where each device's readings around each hand-over lie: by day states, which say so of every day."""
        index: dict[int, _Made] = {day: s for day, s in self._stored.items() if day not in self._days} | self._made
        spans: set[_Span] = set()
        for hand_over_s in self._hand_overs:
            turn = _day(hand_over_s)
            before: dict[str, int] = {}
            after: dict[str, int] = {}
            for day in sorted(index):
                devices, states = index[day].devices, index[day].states
                first_s, last_s = states.first_reading_s, states.last_reading_s
                if turn - REACH_DAYS <= day <= turn:
                    there = states.device[(first_s != NEVER) & (first_s < hand_over_s)]
                    before |= {devices[d]: day for d in there.tolist()}
                if turn <= day <= turn + REACH_DAYS:
                    there = states.device[(last_s != NEVER) & (last_s >= hand_over_s)]
                    after = {devices[d]: day for d in there.tolist()} | after
            spans |= {_Span(device, before[device], after[device]) for device in before.keys() & after.keys()}
        return {span for span in spans if span.last - span.first <= REACH_DAYS}

    def _touched(self, spans: Collection[_Span]) -> set[int]:
        """The days asked for, and all of every hole that is, or was, on one of them."""
        settled = {day for day, s in self._stored.items() if bool((s.states.flags & np.uint32(SETTLED)).any())}
        turns = {_day(hand_over_s) for hand_over_s in self._hand_overs}
        touched = set(self._days)
        for day in self._days:
            touched.update(*(s.days() for s in spans if s.first <= day <= s.last))
            if day in settled or day in turns:
                touched |= {other for other in settled if abs(other - day) <= REACH_DAYS}
        return touched

    def _holes(self, spans: Collection[_Span]) -> list[tuple[str, Hole]]:
        names = sorted({s.device for s in spans})
        number = {name: i for i, name in enumerate(names)}
        records: list[Records] = []
        positions = [np.empty(0, np.int64)]
        keys = [(self._gateway, day) for day in sorted(set[int]().union(*(s.days() for s in spans)))]
        for held in self._store.read_days(keys) if keys else ():
            table = np.array([number.get(name, len(names)) for name in held.devices], np.uint32)
            device = table[held.records.device]
            chosen = device < len(names)
            records.append(Records(**(held.records.take(chosen).columns() | {"device": device[chosen]})))
            positions.append(held.position[chosen])
        found = holes(Records.concat(records), np.concatenate(positions), self._hand_overs)
        found = [hole for hole in found if _Span(names[hole.device], *hole.days) in spans]
        with self._engine.connect() as connection:
            said = _announced(connection, self._gateway, {names[hole.device] for hole in found})
        return [(names[hole.device], hole) for hole in found if is_one_counter(said.get(names[hole.device], []), hole)]

    def _row(self, day: int, found: Sequence[tuple[str, Hole]], now_ns: int) -> Row | None:
        made, stored = self._made.get(day), self._stored.get(day)
        settled = settlement([hole for _, hole in found], day)
        if made is None and (stored.holds_records() if stored else not len(settled)):
            return None  # what stands was computed from records that the store does not show: it is left alone
        devices, states = ([], DayStates.empty()) if made is None else (made.devices, made.states)
        if len(settled):
            names = {hole.device: name for name, hole in found}
            added = [names[number] for number in settled.device.tolist()]
            row_of = {name: i for i, name in enumerate(sorted({*devices, *added}))}
            states = merge(
                states.with_devices(np.array([row_of[name] for name in devices], np.uint32)),
                replace(settled, device=np.array([row_of[name] for name in added], np.uint32)),
            )
            devices = list(row_of)
        generation = self._days.get(day)
        if generation is None:
            generation = max(self._days.values()) if stored is None else stored.generation
        return row_of_states(self._gateway, day, devices, states, generation, now_ns)


def is_one_counter(said: Sequence[Announcement], hole: Hole) -> bool:
    """Whether both ends of a hole are readings of one counter, by what its device announced, oldest first.

    Both hardware must have told of it: the same profile, carrier, unit and direction, and no other maker, model, serial
    number or product URI where both are known.
    """
    from_ns, to_ns = hole.from_s * _NS, (hole.to_s + MAX_WINDOW_S) * _NS
    counting = [one for one in said if one.carrier]
    before = [one for one in counting if one.at_ns <= from_ns]
    after = [one for one in counting if from_ns < one.at_ns <= to_ns]
    return bool(before) and bool(after) and all(_agree(before[-1], one) for one in after)


def _agree(one: Announcement, other: Announcement) -> bool:
    strict = ("profile", "carrier", "unit", "direction")
    if any(getattr(one, name) != getattr(other, name) for name in strict):
        return False
    told = [(getattr(one, name), getattr(other, name)) for name in ("manufacturer", "model", "serial", "product_uri")]
    return all(a == b for a, b in told if a and b)


def within_reach(hand_overs_s: Iterable[int], day: int) -> bool:
    """Whether a hole of one of the hand-overs can touch a local day."""
    return any(abs(_day(hand_over_s) - day) <= REACH_DAYS for hand_over_s in hand_overs_s)


def hand_overs_of(connection: Connection, gateways: Collection[str] | None = None) -> dict[str, list[int]]:
    """When new hardware took over, s UTC, ascending, by gateway; of some gateways or of all."""
    c = GatewayCredential
    asked = select(c.gateway, c.hand_over_s).where(c.hand_over_s.is_not(None)).distinct()
    found: dict[str, list[int]] = {}
    for gateway, hand_over_s in connection.execute(asked.order_by(c.gateway, c.hand_over_s)):
        if hand_over_s is not None and (gateways is None or gateway in gateways):
            found.setdefault(gateway, []).append(hand_over_s)
    return found


def mark_hand_overs(engine: Engine, gateway: str) -> bool:
    """Have the days of a gateway's hand-overs computed again: a device has told what it is. Returns whether any is."""
    d = DeviceDay
    with engine.connect() as connection:
        days = {_day(hand_over_s) for hand_over_s in hand_overs_of(connection, {gateway}).get(gateway, [])}
        if not days:
            return False
        standing = connection.execute(select(d.day, d.generation).where(d.gateway == gateway, d.day.in_(days)))
        known = {row.day: row.generation for row in standing}
    mark_days(engine, {(gateway, day): known.get(day, 0) for day in days}, raising=False)
    return True


def _day(at_s: int) -> int:
    return int(local_day(at_s))


def _stored(connection: Connection, gateway: str, first: int, last: int) -> dict[int, _Stored]:
    d = DeviceDay
    found: dict[int, _Stored] = {}
    for row in connection.execute(
        select(d.day, d.generation, d.devices, d.content).where(d.gateway == gateway, d.day.between(first, last))
    ):
        try:
            found[row.day] = _Stored(json.loads(row.devices), read_content(row.content), row.generation)
        except ValueError:  # damaged: it says nothing of its day until it is computed again
            continue
    return found


def _announced(connection: Connection, gateway: str, devices: Collection[str]) -> dict[str, list[Announcement]]:
    a = AnnouncementRow
    asked = select(a.device, a.content).where(a.gateway == gateway, a.device.in_(sorted(devices)))
    found: dict[str, list[Announcement]] = {}
    for device, content in connection.execute(asked.order_by(a.at_ns, a.arrived_ns, a.number)):
        found.setdefault(device, []).append(msgspec.msgpack.decode(content, type=Announcement))
    return found
