"""Roll-up: from day states to what assets and meters did in a period, and on to scopes.

Only integers are added here, so any order and any split of days, devices and scopes gives the same
bits. Times are tenths of seconds and quantities thousandths of their unit, as in the record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import date
from enum import IntEnum
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from metrics.days import NEVER, DayStates
from metrics.record import DAY_S, STATE_COLUMNS, TENTHS_PER_S, local_day_start_s

NO_END: Final = 2**31 - 1
"""`to_day` of a binding that still holds."""

PeriodKind = Literal["day", "month", "quarter", "year"]


class Period(NamedTuple):
    """Whole local days `[from_day, to_day)`, as days since 1970-01-01 in Asia/Shanghai."""

    id: str
    kind: PeriodKind
    from_day: int
    to_day: int

    @property
    def start_s(self) -> int:
        """Start of the period, s UTC."""
        return local_day_start_s(self.from_day)

    @property
    def end_s(self) -> int:
        """End of the period, s UTC, not in it."""
        return local_day_start_s(self.to_day)

    def elapsed_tenths(self, as_of_s: int) -> int:
        """How much of the period is over at `as_of_s` (s UTC), 0.1 s."""
        return max(0, min(self.end_s, as_of_s) - self.start_s) * TENTHS_PER_S


def period(period_id: str) -> Period:
    """The period named `2026-11-23`, `2026-11`, `2026-Q4` or `2026`. Raises ValueError for another text."""
    match = _PERIOD.fullmatch(period_id)
    if not match:
        raise ValueError(f"period {period_id!r}: expected 2026-11-23, 2026-11, 2026-Q4 or 2026")
    year, quarter, month, day = (None if g is None else int(g) for g in match.group("year", "quarter", "month", "day"))
    assert year is not None
    if day is not None and month is not None:
        first = _day_number(date(year, month, day))
        return Period(period_id, "day", first, first + 1)
    kind: PeriodKind = "year"
    from_month, months = 1, 12
    if month is not None:
        kind, from_month, months = "month", month, 1
    elif quarter is not None:
        kind, from_month, months = "quarter", quarter * 3 - 2, 3
    after = from_month + months
    end = date(year + after // 13, (after - 1) % 12 + 1, 1)
    return Period(period_id, kind, _day_number(date(year, from_month, 1)), _day_number(end))


def cumulative(last: Period) -> Period:
    """From the first day of a period's year to its end (累计): `2026-01..2026-11` up to November.

    Its kind is `year`: it is counted like one. Raises ValueError for a period that is cumulative already.
    """
    if _UP_TO in last.id:
        raise ValueError(f"period {last.id} is cumulative already")
    year = period(last.id[:4])
    first = f"{last.id[:4]}-01-01"[: len(last.id)] if last.kind in ("day", "month") else f"{last.id[:4]}-Q1"
    return year if last.kind == "year" else Period(f"{first}{_UP_TO}{last.id}", "year", year.from_day, last.to_day)


def same_a_year_before(asked: Period) -> Period:
    """The period of the year before, for 同比. A 29th of February has none: raises ValueError."""

    def before(text: str) -> str:
        return f"{int(text[:4]) - 1:04d}{text[4:]}"

    if _UP_TO in asked.id:
        return cumulative(period(before(asked.id.split(_UP_TO)[1])))
    return period(before(asked.id))


_UP_TO: Final = ".."
_PERIOD: Final = re.compile(r"(?P<year>[12]\d{3})(-Q(?P<quarter>[1-4])|-(?P<month>\d\d)(-(?P<day>\d\d))?)?", re.ASCII)


def _day_number(day: date) -> int:
    return (day - date(1970, 1, 1)).days


class Series(IntEnum):
    """What a binding shows of its asset or meter. One binding per object, series and time.

    A quantity series is one carrier and direction: QUANTITY plus any number the caller gives it.
    """

    STATE = 0
    QUANTITY = 1


@dataclass(frozen=True, slots=True)
class Bindings:
    """Which device showed which object (asset or meter), dated. Arrays of equal length b."""

    object: NDArray[np.int64]
    """Index of the asset or meter in the caller's table."""
    device: NDArray[np.int64]
    """Index of the device in the table that the day states use."""
    series: NDArray[np.int64]
    """Series.STATE, or Series.QUANTITY and above, one number per carrier and direction."""
    from_day: NDArray[np.int64]
    """First local day."""
    to_day: NDArray[np.int64]
    """Local day after the last one, or NO_END."""

    def __len__(self) -> int:
        return len(self.object)


@dataclass(frozen=True, slots=True)
class ConnectionPeriod:
    """Whether and how long each asset was proven connected in a period: what rates are computed from.

    Arrays of length a, one row per asset of the caller's table.
    """

    bound: NDArray[np.int64]
    """Time bound to a device, over the series in `observed`, 0.1 s. 0: never bound."""
    observed: NDArray[np.int64]
    """Time watched, of the series watched least for its bound time, 0.1 s; at most `bound`."""
    shown: NDArray[np.bool_]
    """Proven connected at least once, by any device bound to it."""
    connected: NDArray[np.int64]
    """Time proven connected by the state device, 0.1 s."""
    state_bound: NDArray[np.int64]
    """Time bound to a state device, 0.1 s."""
    state_observed: NDArray[np.int64]
    """Time its state device was watched, 0.1 s; at most `state_bound`."""
    first_connected_s: NDArray[np.int64]
    last_connected_s: NDArray[np.int64]
    """First and last proof by any device bound to it, s UTC; -1: none."""

    def __len__(self) -> int:
        return len(self.bound)

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Some of the assets, as often as `rows` names them: for scopes that overlap, see metrics.scopes."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True, slots=True)
class AssetPeriod(ConnectionPeriod):
    """What an asset showed in a period, its states included."""

    running: NDArray[np.int64]
    idle: NDArray[np.int64]
    fault: NDArray[np.int64]
    off: NDArray[np.int64]
    """States by the state device, 0.1 s."""
    parts: NDArray[np.int64]
    """Pieces counted by the state device."""


@dataclass(frozen=True, slots=True)
class MeterPeriod:
    """What a meter counted in a period. Arrays of length m, one row per meter of the caller's table."""

    bound_s: NDArray[np.int64]
    """Time bound to a device, s."""
    span_s: NDArray[np.int64]
    """Time that the quantity covers, s; may exceed `bound_s` by the rounding of windows."""
    quantity: NDArray[np.int64]
    quantity_idle: NDArray[np.int64]
    quantity_estimated: NDArray[np.int64]
    """0.001 of the meter's unit."""
    observed: NDArray[np.int64]
    connected: NDArray[np.int64]
    """0.1 s."""
    first_connected_s: NDArray[np.int64]
    last_connected_s: NDArray[np.int64]
    """s UTC; -1: none."""
    flags: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.bound_s)


def present_tenths(
    entered_day: NDArray[np.int64], left_day: NDArray[np.int64], from_day: int, to_day: int, as_of_s: int
) -> NDArray[np.int64]:
    """How long each asset was in the register in `[from_day, to_day)` and before `as_of_s` (s UTC), (a,), 0.1 s.

    `entered_day` its first local day, `left_day` the day after its last one, or NO_END.
    """
    return _in_force_tenths(np.maximum(entered_day, from_day), np.minimum(left_day, to_day), as_of_s)


def _in_force_tenths(start: NDArray[np.int64], end: NDArray[np.int64], as_of_s: int) -> NDArray[np.int64]:
    start_s = np.minimum(local_day_start_s(0) + start * DAY_S, as_of_s)
    end_s = np.minimum(local_day_start_s(0) + end * DAY_S, as_of_s)
    in_force_s: NDArray[np.int64] = np.maximum(end_s - start_s, 0)
    return in_force_s * TENTHS_PER_S


def asset_period(
    states: DayStates | Sequence[DayStates],
    bindings: Bindings,
    n_assets: int,
    from_day: int,
    to_day: int,
    as_of_s: int,
) -> AssetPeriod:
    """Credit device days to the assets that the devices were bound to on those days.

    Parameters: `states` day states of all devices, any days (those outside `[from_day, to_day)` do not
    count), also in several blocks of days that do not share any: the same bits come of it; `bindings` into
    `n_assets` assets; `as_of_s` the time of computation, s UTC: bound time ends there in a period that is not over.
    Raises ValueError where two bindings of one asset and series overlap.
    """
    credit = _Credit(states, bindings, n_assets, from_day, to_day, as_of_s)
    of_state = credit.only(bindings.series == Series.STATE)
    connection = _connection(credit, of_state)
    columns: dict[str, Any] = {f.name: getattr(connection, f.name) for f in fields(connection)}
    columns |= {name: of_state.sums(name) for name in (*STATE_COLUMNS, "parts")}
    return AssetPeriod(**columns)


def connection_period(
    states: DayStates, bindings: Bindings, n_assets: int, from_day: int, to_day: int, as_of_s: int
) -> ConnectionPeriod:
    """The part of `asset_period` that rates are computed from, for less than half of the work."""
    credit = _Credit(states, bindings, n_assets, from_day, to_day, as_of_s)
    return _connection(credit, credit.only(bindings.series == Series.STATE))


def _connection(credit: _Credit, of_state: _Credit) -> ConnectionPeriod:
    bindings, n_assets = credit.bindings, credit.n_objects
    # Time watched is judged series by series; the series watched least speaks for the asset.
    present = np.unique(np.append(bindings.series, Series.STATE))
    cell = bindings.object * len(present) + np.searchsorted(present, bindings.series)
    by_series = (n_assets, len(present))
    bound_by_series = _sum_by(credit.bound, cell, n_assets * len(present)).reshape(by_series)
    observed_by_series = credit.sums_by_binding("observed")
    observed_by_series = _sum_by(observed_by_series, cell, n_assets * len(present)).reshape(by_series)
    observed_by_series = np.minimum(observed_by_series, bound_by_series)
    share = np.full(by_series, np.inf)
    np.divide(observed_by_series, bound_by_series, out=share, where=bound_by_series > 0)
    least = (np.arange(n_assets), share.argmin(axis=1))
    state = int(np.searchsorted(present, Series.STATE))
    first, last = credit.proofs()
    return ConnectionPeriod(
        bound=bound_by_series[least],
        observed=observed_by_series[least],
        shown=last != NEVER,
        connected=of_state.sums("connected"),
        state_bound=bound_by_series[:, state].copy(),
        state_observed=observed_by_series[:, state].copy(),
        first_connected_s=first,
        last_connected_s=last,
    )


def meter_period(
    states: DayStates | Sequence[DayStates],
    bindings: Bindings,
    n_meters: int,
    from_day: int,
    to_day: int,
    as_of_s: int,
) -> MeterPeriod:
    """Credit device days to the meters that the devices were bound to; as `asset_period`, any series."""
    credit = _Credit(states, bindings, n_meters, from_day, to_day, as_of_s)
    first, last = credit.proofs()
    return MeterPeriod(
        bound_s=_sum_by(credit.bound, bindings.object, n_meters) // TENTHS_PER_S,
        span_s=credit.sums("quantity_span_s"),
        quantity=credit.sums("quantity"),
        quantity_idle=credit.sums("quantity_idle"),
        quantity_estimated=credit.sums("quantity_estimated"),
        observed=credit.sums("observed"),
        connected=credit.sums("connected"),
        first_connected_s=first,
        last_connected_s=last,
        flags=credit.flags(),
    )


class _Credit:
    """Which rows of the day states count for which binding, and so for which object."""

    def __init__(
        self,
        states: DayStates | Sequence[DayStates],
        bindings: Bindings,
        n_objects: int,
        from_day: int,
        to_day: int,
        as_of_s: int,
    ):
        _require_no_overlap(bindings)
        start = np.maximum(bindings.from_day, from_day)
        end = np.minimum(bindings.to_day, to_day)
        self.bindings = bindings
        self.n_objects = n_objects
        self.bound = _in_force_tenths(start, end, as_of_s)
        """Time that each binding was in force, (b,), 0.1 s."""
        self._parts: list[_Part] = []
        for block in (states,) if isinstance(states, DayStates) else states or (DayStates.empty(),):
            if len(block) and (int(block.day[0]) < from_day or int(block.day[-1]) >= to_day):
                block = block.take((block.day >= from_day) & (block.day < to_day))
            self._parts += _parts(block, bindings, start, end, from_day, to_day)

    def only(self, chosen: NDArray[np.bool_]) -> _Credit:
        """The same for some of the bindings, given as a mask (b,)."""
        if bool(chosen.all()):
            return self
        some = object.__new__(_Credit)
        some.__dict__ |= self.__dict__
        some._parts = [part.only(chosen) for part in self._parts]
        return some

    def sums(self, name: str) -> NDArray[np.int64]:
        """Exact sums per object of one column of the states."""
        return self._sums(name, lambda part: self.bindings.object[part.binding], self.n_objects)

    def sums_by_binding(self, name: str) -> NDArray[np.int64]:
        """Exact sums per binding of one column of the states."""
        return self._sums(name, lambda part: part.binding, len(self.bindings))

    def _sums(self, name: str, group: Callable[[_Part], NDArray[np.int64]], n_groups: int) -> NDArray[np.int64]:
        sums = [_sum_by(part.taken(part.days.sums(name)), group(part), n_groups) for part in self._parts]
        if sum(max(int(one.max(initial=0)), -int(one.min(initial=0))) for one in sums) > _INT64_MAX:
            return _sum_by(np.concatenate(sums), np.tile(np.arange(n_groups), len(sums)), n_groups)
        total = sums[0]
        for one in sums[1:]:
            total = total + one
        return total

    def proofs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last proof of connection per object, s UTC; NEVER: none."""
        first = np.full(self.n_objects, _INT64_MAX)
        last = np.full(self.n_objects, NEVER, np.int64)
        for part in self._parts:
            first_s, last_s = part.taken(part.days.first_proof_s()), part.taken(part.days.last_proof_s())
            owner = self.bindings.object[part.binding]
            proven = np.flatnonzero(last_s != NEVER)
            np.minimum.at(first, owner[proven], first_s[proven])
            np.maximum.at(last, owner[proven], last_s[proven])
        return np.where(last == NEVER, NEVER, first), last

    def flags(self) -> NDArray[np.int64]:
        """Flags of every row credited, or-ed per object."""
        flags = np.zeros(self.n_objects, np.int64)
        for part in self._parts:
            np.bitwise_or.at(flags, self.bindings.object[part.binding], part.taken(part.days.flags()))
        return flags


class _Part:
    """Rows of some days, or of days added up, and the binding that each counts for."""

    def __init__(self, days: _Days, row: NDArray[np.int64], binding: NDArray[np.int64]):
        self.days = days
        self.binding = binding
        self._row = row
        rows = len(days.device)
        self._whole = len(row) == rows and bool((row == np.arange(rows)).all())

    def only(self, chosen: NDArray[np.bool_]) -> _Part:
        """The same for some of the bindings, given as a mask (b,)."""
        kept = chosen[self.binding]
        return _Part(self.days, self._row[kept], self.binding[kept])

    def taken(self, column: NDArray[Any]) -> NDArray[Any]:
        """A column of `days`, one value for each of `binding`."""
        return column if self._whole else column[self._row]


def _parts(
    states: DayStates,
    bindings: Bindings,
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    from_day: int,
    to_day: int,
) -> list[_Part]:
    """Days are added up before they are credited, but for the devices of which a binding begins or ends within them.

    `start`, `end` (b,) local days on which each binding is in force, within `[from_day, to_day)`.
    """
    in_force = start < end
    turns = in_force & ((start != from_day) | (end != to_day))
    n_devices = 1 + max(int(states.device.max(initial=0)), int(bindings.device.max(initial=0)))
    turning = np.zeros(n_devices, np.bool_)
    turning[bindings.device[turns]] = True
    of_turning = turning[bindings.device]
    if bool(of_turning[in_force].all()):
        days = _Days(states, together=False)
        return [_Part(days, *_pairs(days, bindings, in_force, start, end, n_devices))]
    days = _Days(states, together=True)
    parts = [_Part(days, *_pairs(days, bindings, in_force & ~of_turning, start, end, n_devices))]
    if bool(turns.any()):
        days = _Days(states, together=False, rows=days.rows_of(turning))
        parts.append(_Part(days, *_pairs(days, bindings, in_force & of_turning, start, end, n_devices)))
    return parts


_TABLE_PER_ROW: Final = 4


class _Days:
    """Day states of a period, day by day or added up to one row per device.

    Added up, each column is gathered day by day into one row of all devices, so that a month of a county
    needs no sorting, and one table of indices as its only memory, however many device days are missing.
    """

    def __init__(self, states: DayStates, *, together: bool, rows: NDArray[np.int64] | None = None):
        self._states = states
        self._rows = rows
        self.device = self._column("device")
        self.day = self._column("day")
        self._shape: tuple[int, int] | None = None
        self._source: NDArray[np.int64] | None = None
        self._missing: list[NDArray[np.int64]] = []
        self._sums: dict[str, NDArray[Any]] = {}
        if not together or len(states) == 0:
            return
        new_day = np.flatnonzero(states.day[1:] != states.day[:-1]) + 1
        days = len(new_day) + 1
        width = len(states) // days
        devices = int(states.device.max()) + 1
        if len(states) == days * width and bool((states.device.reshape(days, width) == states.device[:width]).all()):
            self._shape = (days, width)
            self.device = states.device[:width]
        elif days * devices <= _TABLE_PER_ROW * len(states):
            self._shape = (days, devices)
            self._source = np.full((days, devices), len(states))
            heads = np.concatenate((np.zeros(1, np.int64), new_day, np.array([len(states)])))
            for day, (begin, end) in enumerate(pairwise(heads.tolist())):
                self._source[day, states.device[begin:end]] = np.arange(begin, end)
                self._missing.append(np.flatnonzero(self._source[day] == len(states)))
            self.device = np.arange(devices, dtype=np.uint32)
        if self._shape:
            self.day = np.broadcast_to(states.day[:1], self.device.shape)

    def _column(self, name: str) -> NDArray[Any]:
        column: NDArray[Any] = getattr(self._states, name)
        return column if self._rows is None else column[self._rows]

    def rows_of(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Rows of the day states of the chosen devices, given as a mask by device, by ascending day."""
        if self._shape is None:
            return np.flatnonzero(chosen[self.device])
        place = np.flatnonzero(chosen[self.device])
        if self._source is None:
            return (np.arange(self._shape[0])[:, None] * self._shape[1] + place).reshape(-1)
        rows = self._source[:, place].reshape(-1)
        return rows[rows < len(self._states)]

    def sums(self, name: str) -> NDArray[Any]:
        """Exact sums of a column, one for each row of `device`."""
        column = self._column(name)
        if self._shape is None:
            return column
        if name not in self._sums:
            days, top = self._shape[0], int(column.max())
            if top * days > _INT64_MAX:
                raise OverflowError(f"sums of {name} leave 63 bits")
            narrow = column.itemsize < 8 and top * days < 1 << 32
            self._sums[name] = self._reduced(column, 0, np.add, np.uint32 if narrow else np.int64)
        return self._sums[name]

    def first_proof_s(self) -> NDArray[np.int64]:
        """First proof of connection, s UTC; NEVER where there is none."""
        column = self._column("first_connected_s")
        if self._shape is None:
            return column
        # Read without a sign NEVER is the largest number there is, and no copy is needed to leave it out.
        never = int(np.iinfo(np.uint64).max)
        first: NDArray[np.int64] = self._reduced(column.view(np.uint64), never, np.minimum, np.uint64).view(np.int64)
        return first

    def last_proof_s(self) -> NDArray[np.int64]:
        """End of the last window with a proof, s UTC; NEVER where there is none."""
        column = self._column("last_connected_s")
        return column if self._shape is None else self._reduced(column, NEVER, np.maximum, np.int64)

    def flags(self) -> NDArray[np.int64]:
        """Flags of all days."""
        column = self._column("flags").astype(np.int64)
        return column if self._shape is None else self._reduced(column, 0, np.bitwise_or, np.int64)

    def _reduced(self, column: NDArray[Any], absent: int, operation: np.ufunc, dtype: type) -> NDArray[Any]:
        """A column reduced over the days; `absent` stands for a device day without a row, and changes nothing."""
        assert self._shape is not None
        if self._source is None:
            return np.asarray(operation.reduce(column.reshape(self._shape), axis=0, dtype=dtype))
        reduced: NDArray[Any] = np.full(self._shape[1], absent, dtype)
        of_day = np.empty(self._shape[1], column.dtype)
        for source, missing in zip(self._source, self._missing, strict=True):
            # "clip" saves a check; where there is no row it takes another device's, which is overwritten.
            np.take(column, source, out=of_day, mode="clip")
            of_day[missing] = absent
            operation(reduced, of_day, out=reduced)
        return reduced


def _pairs(
    days: _Days,
    bindings: Bindings,
    among: NDArray[np.bool_],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    n_devices: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every (row, binding) of the bindings `among` (b,) where the device was bound on that day.

    By ascending row per round: one round per place in a device's list of bindings, and nearly all have one.
    """
    some = np.flatnonzero(among)
    by_device = some[np.argsort(bindings.device[some], kind="stable")]
    counts = np.bincount(bindings.device[some], minlength=n_devices)
    first = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
    rows: list[NDArray[np.int64]] = []
    found: list[NDArray[np.int64]] = []
    for place in range(int(counts.max(initial=0))):
        has = np.flatnonzero(counts > place)
        binding_of_device = np.full(n_devices, -1, np.int64)
        binding_of_device[has] = by_device[first[has] + place]
        binding = binding_of_device[days.device]
        holds = binding >= 0
        holds &= (days.day >= start[binding]) & (days.day < end[binding])
        rows.append(np.flatnonzero(holds))
        found.append(binding[holds])
    if not rows:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate(rows), np.concatenate(found)


def _require_no_overlap(bindings: Bindings) -> None:
    order = np.lexsort((bindings.from_day, bindings.series, bindings.object))
    same = (np.diff(bindings.object[order]) == 0) & (np.diff(bindings.series[order]) == 0)
    clash = np.flatnonzero(same & (bindings.from_day[order][1:] < bindings.to_day[order][:-1]))
    if len(clash):
        one = int(order[clash[0]])
        raise ValueError(
            f"bindings of object {int(bindings.object[one])}, series {int(bindings.series[one])} overlap"
            f" from local day {int(bindings.from_day[order[clash[0] + 1]])}"
        )


def add_scopes(values: NDArray[np.int64], scope: NDArray[np.int64], n_scopes: int) -> NDArray[np.int64]:
    """Exact sums per scope (n_scopes,) of `values` (x,); `scope` (x,) in [0, n_scopes), -1: in none.

    Raises OverflowError where a sum leaves 63 bits.
    """
    inside = scope >= 0
    return _sum_by(values, scope, n_scopes) if bool(inside.all()) else _sum_by(values[inside], scope[inside], n_scopes)


_FLOAT_EXACT: Final = 1 << 53
_INT64_MAX: Final = int(np.iinfo(np.int64).max)


def _sum_by(values: NDArray[Any], group: NDArray[Any], n_groups: int) -> NDArray[np.int64]:
    """Exact integer sums per group. bincount adds in floats, so it is used only where no sum can round."""
    if len(values) == 0:
        return np.zeros(n_groups, np.int64)
    reach = max(int(values.max()), -int(values.min())) * len(values)
    if reach < _FLOAT_EXACT:
        return np.bincount(group, weights=values, minlength=n_groups).astype(np.int64)
    wide = values.astype(np.int64)
    if reach >= 1 << 63:
        # Halves of 32 bits add without overflow; the sums are put together as Python integers, and checked.
        low = _sum_by(wide & 0xFFFFFFFF, group, n_groups)
        high = _sum_by(wide >> 32, group, n_groups)
        whole = [(int(upper) << 32) + int(lower) for upper, lower in zip(high, low, strict=True)]
        if max(whole) >= 1 << 63 or min(whole) < -(1 << 63):
            raise OverflowError("a sum leaves 63 bits")
        return np.array(whole, np.int64)
    sums = np.zeros(n_groups, np.int64)
    np.add.at(sums, group, wide)
    return sums
