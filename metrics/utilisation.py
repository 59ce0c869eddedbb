"""How machines are used: time elements and KPIs of ISO 22400-2, state shares, stops, load profile, idle energy.

Two ways, never mixed. Where a calendar gives the planned busy time, the KPIs of ISO 22400-2:2014 apply. Where
none does, the running share of the time whose state is known stands alone and is never called OEE.
Times are tenths of a second and quantities thousandths of their unit, as in the record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from metrics.days import DayStates, day_states, merge
from metrics.record import STATE_COLUMNS, TENTHS_PER_S, Records, local_day, local_day_start_s
from metrics.timeline import in_order, windows

QUARTER_S: Final = 900
"""Calendars run over whole quarter hours, which every window divides; demand is a mean over one."""

UNKNOWN: Final = -1
"""A time element that nobody measured or planned."""

FULL_QUARTER_S: Final = 882
"""A quarter hour metered for less (98 %) has no demand: the spans of a window are rounded to 1 s."""

_S_PER_H: Final = 3600
_WH_PER_KWH: Final = 1000
_INT64_MAX: Final = int(np.iinfo(np.int64).max)


# ------------------------------------------------------------------------------- ISO 22400-2


@dataclass(frozen=True, slots=True)
class TimeElements:
    """Time and quantity elements of ISO 22400-2 per work unit. Arrays of length k; UNKNOWN where not known.

    Times in 0.1 s, quantities in pieces. In brackets the standard's abbreviation.
    """

    planned_busy: NDArray[np.int64]
    """[PBT] planned busy time: from the shift calendar."""
    busy: NDArray[np.int64]
    """[AUBT] actual unit busy time."""
    processing: NDArray[np.int64]
    """[AUPT] actual unit processing time: production and setup."""
    production: NDArray[np.int64]
    """[APT] actual production time."""
    setup: NDArray[np.int64]
    """[AUST] actual unit setup time."""
    delay: NDArray[np.int64]
    """[ADET] actual unit delay time."""
    order_execution: NDArray[np.int64]
    """[AOET] actual order execution time."""
    run_per_item: NDArray[np.int64]
    """[PRU] planned run time per item."""
    produced: NDArray[np.int64]
    """[PQ] produced quantity."""
    good: NDArray[np.int64]
    """[GQ] good quantity."""

    def __len__(self) -> int:
        return len(self.planned_busy)


@dataclass(frozen=True, slots=True)
class Indicators:
    """KPIs of ISO 22400-2 per work unit. Arrays of length k; NaN where an element is unknown or divides by 0."""

    allocation_efficiency: NDArray[np.float64]
    availability: NDArray[np.float64]
    utilisation_efficiency: NDArray[np.float64]
    technical_efficiency: NDArray[np.float64]
    effectiveness: NDArray[np.float64]
    quality_ratio: NDArray[np.float64]
    oee_index: NDArray[np.float64]
    nee_index: NDArray[np.float64]
    setup_ratio: NDArray[np.float64]
    throughput_per_h: NDArray[np.float64]


def iso_22400(elements: TimeElements) -> Indicators:
    """KPIs of ISO 22400-2:2014 from their elements.

    Allocation efficiency AUBT/PBT, availability APT/PBT, utilisation efficiency APT/AUBT, technical efficiency
    APT/(APT+ADET), effectiveness PRU·PQ/APT, quality ratio GQ/PQ, OEE index availability × effectiveness ×
    quality, NEE index AUPT/PBT × effectiveness × quality, setup ratio AUST/AUPT, throughput PQ/AOET (pieces an
    hour). An element that is not known makes its KPIs unknown: none is ever assumed.
    """
    e = elements
    effectiveness = _product_ratio(e.run_per_item, e.produced, e.production)
    quality = _ratio(e.good, e.produced)
    availability = _ratio(e.production, e.planned_busy)
    with_delay = np.where((e.production >= 0) & (e.delay >= 0), e.production + e.delay, UNKNOWN)
    return Indicators(
        allocation_efficiency=_ratio(e.busy, e.planned_busy),
        availability=availability,
        utilisation_efficiency=_ratio(e.production, e.busy),
        technical_efficiency=_ratio(e.production, with_delay),
        effectiveness=effectiveness,
        quality_ratio=quality,
        oee_index=availability * effectiveness * quality,
        nee_index=_ratio(e.processing, e.planned_busy) * effectiveness * quality,
        setup_ratio=_ratio(e.setup, e.processing),
        throughput_per_h=_ratio(e.produced, e.order_execution) * (TENTHS_PER_S * _S_PER_H),
    )


def _ratio(top: NDArray[np.int64], bottom: NDArray[np.int64]) -> NDArray[np.float64]:
    """The last division; NaN where either is unknown or there is nothing to divide by."""
    out = np.full(len(bottom), np.nan)
    np.divide(top, bottom, out=out, where=(top >= 0) & (bottom > 0))
    return out


def _product_ratio(one: NDArray[np.int64], other: NDArray[np.int64], bottom: NDArray[np.int64]) -> NDArray[np.float64]:
    product = np.where((one >= 0) & (other >= 0), one.astype(np.float64) * other, UNKNOWN)
    out = np.full(len(bottom), np.nan)
    np.divide(product, bottom, out=out, where=(product >= 0) & (bottom > 0))
    return out


@dataclass(frozen=True, slots=True)
class Calendar:
    """Planned busy time: intervals `[start_s, end_s)`, s UTC, whole quarter hours. Arrays of length p."""

    device: NDArray[np.int64]
    """Row in the caller's table of devices."""
    start_s: NDArray[np.int64]
    end_s: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.device)


@dataclass(frozen=True, slots=True)
class Planned:
    """What devices did in their planned busy time. Arrays of length d, one row per device; 0.1 s."""

    planned: NDArray[np.int64]
    running: NDArray[np.int64]
    idle: NDArray[np.int64]
    fault: NDArray[np.int64]
    off: NDArray[np.int64]
    parts: NDArray[np.int64]
    """Pieces counted in the planned busy time."""

    @property
    def unknown(self) -> NDArray[np.int64]:
        """Planned busy time whose state nobody knows."""
        known = self.running + self.idle + self.fault + self.off
        return np.asarray(np.maximum(self.planned - known, 0))

    def availability(self) -> Share:
        """Availability APT/PBT: evidenced, and up to where the unknown time would carry it."""
        return _share(self.running, self.planned, self.unknown)

    def elements(self, run_per_item: NDArray[np.int64], good: NDArray[np.int64]) -> TimeElements:
        """Elements of ISO 22400-2 as machine states give them, for devices whose state was known all the time.

        Running is production (APT). On and not running, within planned busy time, is delay (ADET); busy is
        both. Setup is not told apart from idle by a state alone, and without orders there is no
        order execution time: these stay unknown. Where any planned time is of unknown state, the elements
        that come from states are unknown as well: `availability` then says what is evidenced.
        """
        sure = self.unknown == 0

        def when_sure(values: NDArray[np.int64]) -> NDArray[np.int64]:
            return np.where(sure, values, UNKNOWN)

        nothing = np.full(len(self.planned), UNKNOWN, np.int64)
        delay = self.idle + self.fault
        return TimeElements(
            planned_busy=self.planned,
            busy=when_sure(self.running + delay),
            processing=nothing,
            production=when_sure(self.running),
            setup=nothing,
            delay=when_sure(delay),
            order_execution=nothing,
            run_per_item=np.asarray(run_per_item, np.int64),
            produced=when_sure(self.parts),
            good=np.asarray(good, np.int64),
        )


def planned_busy(
    records: Records,
    position: NDArray[np.int64] | None,
    calendar: Calendar,
    n_devices: int,
    from_day: int,
    to_day: int,
    as_of_s: int,
) -> Planned:
    """What each device did within its planned busy time of the local days `[from_day, to_day)`.

    `records` as `metrics.days.day_states` takes them, of any days; `position` their places in the journal;
    `as_of_s` the time of computation, s UTC: what is planned after it does not count yet.
    Raises ValueError for a calendar whose intervals are not whole quarter hours, overlap or name a device
    outside the table.
    """
    from_s, to_s = local_day_start_s(from_day), min(local_day_start_s(to_day), as_of_s)
    plan = _plan(calendar, n_devices, from_s, to_s)
    inside = (records.start >= from_s) & (records.start < to_s)
    if len(plan):
        key = records.device.astype(np.int64) * (to_s - from_s) + (records.start - from_s)
        begins = plan.device * (to_s - from_s) + (plan.start_s - from_s)
        last = np.searchsorted(begins, key, side="right") - 1
        at = np.maximum(last, 0)
        inside &= (last >= 0) & (plan.device[at] == records.device) & (records.start < plan.end_s[at])
    else:
        inside &= False
    chosen = records.take(inside)
    place = None if position is None else position[inside]
    day = local_day(chosen.start)
    states = merge(
        *(
            day_states(chosen.take(day == d), None if place is None else place[day == d], int(d), n_devices)
            for d in np.unique(day)
        )
    )
    planned = np.zeros(n_devices, np.int64)
    np.add.at(planned, plan.device, (plan.end_s - plan.start_s) * TENTHS_PER_S)
    return Planned(planned=planned, **{name: _by_device(states, name, n_devices) for name in (*STATE_COLUMNS, "parts")})


def _plan(calendar: Calendar, n_devices: int, from_s: int, to_s: int) -> Calendar:
    """The calendar within `[from_s, to_s)`, in order of device and time."""
    if bool(((calendar.start_s % QUARTER_S != 0) | (calendar.end_s % QUARTER_S != 0)).any()):
        raise ValueError("a planned interval does not run over whole quarter hours")
    if bool((calendar.end_s <= calendar.start_s).any()):
        raise ValueError("a planned interval ends before it begins")
    if bool(((calendar.device < 0) | (calendar.device >= n_devices)).any()):
        raise ValueError(f"a planned interval names a device outside the table of {n_devices}")
    order = np.lexsort((calendar.start_s, calendar.device))
    device = calendar.device[order]
    start_s, end_s = calendar.start_s[order], calendar.end_s[order]
    clash = np.flatnonzero((device[1:] == device[:-1]) & (start_s[1:] < end_s[:-1]))
    if len(clash):
        raise ValueError(f"planned intervals of device {int(device[clash[0]])} overlap")
    start_s, end_s = np.maximum(start_s, from_s), np.minimum(end_s, to_s)
    kept = start_s < end_s
    return Calendar(device[kept], start_s[kept], end_s[kept])


def _by_device(states: DayStates, name: str, n_devices: int) -> NDArray[np.int64]:
    sums = np.zeros(n_devices, np.int64)
    np.add.at(sums, states.device, getattr(states, name).astype(np.int64))
    return sums


# ----------------------------------------------------------------------------- without a calendar


@dataclass(frozen=True, slots=True)
class Share:
    """A share of time with its bounds. Arrays of length k, 0 to 1; NaN where there is no time."""

    value: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    coverage: NDArray[np.float64]
    """Share of the whole time whose state is known."""


def _share(part: NDArray[np.int64], whole: NDArray[np.int64], unknown: NDArray[np.int64]) -> Share:
    """`part` of `whole`; the unknown time may belong to it or not."""
    value = _ratio(part, whole)
    return Share(value, value.copy(), _ratio(np.minimum(part + unknown, whole), whole), _ratio(whole - unknown, whole))


@dataclass(frozen=True, slots=True)
class StateShares:
    """How a stretch of time was spent. Arrays of length k; the five shares add up to 1; NaN without time."""

    running: NDArray[np.float64]
    idle: NDArray[np.float64]
    fault: NDArray[np.float64]
    off: NDArray[np.float64]
    unknown: NDArray[np.float64]
    running_of_known: Share
    """Running share of the time whose state is known (运行时间占比). It is not OEE and not availability.

    Bounds: what it would be over the whole time, were all of the unknown spent not running, or running."""


def state_shares(
    running: NDArray[np.int64],
    idle: NDArray[np.int64],
    fault: NDArray[np.int64],
    off: NDArray[np.int64],
    whole: NDArray[np.int64],
) -> StateShares:
    """Shares of time by state; all (k,), 0.1 s, sums of day states over any assets and days.

    `whole` is the time that was to be watched (bound time); where the states sum to more, their sum is taken.
    """
    known = running + idle + fault + off
    whole = np.maximum(whole, known)
    unknown = whole - known
    return StateShares(
        running=_ratio(running, whole),
        idle=_ratio(idle, whole),
        fault=_ratio(fault, whole),
        off=_ratio(off, whole),
        unknown=_ratio(unknown, whole),
        running_of_known=Share(
            value=_ratio(running, known),
            lower=_ratio(running, whole),
            upper=_ratio(running + unknown, whole),
            coverage=_ratio(known, whole),
        ),
    )


@dataclass(frozen=True, slots=True)
class Stops:
    """Stops of devices, as far as windows show them. Arrays of length d, one row per device."""

    idle: NDArray[np.int64]
    fault: NDArray[np.int64]
    """Stops by what was seen in them: fault where any fault time was, else idle."""
    switched_off: NDArray[np.int64]
    """Ends of work: the machine was mostly off afterwards. Not a stop."""
    censored: NDArray[np.int64]
    """Stretches of running whose end nobody saw: state unknown, or the data ends."""
    running: NDArray[np.int64]
    """Time running, 0.1 s, censored stretches included."""
    stopped: NDArray[np.int64]
    """Length of the idle and fault stops, 0.1 s; one still going on counts as far as it is seen."""

    def mean_between_s(self) -> NDArray[np.float64]:
        """Mean running time between stops, s; NaN without a stop (then `running` is only a lower bound)."""
        return _ratio(self.running, self.idle + self.fault) / TENTHS_PER_S

    def mean_between_faults_s(self) -> NDArray[np.float64]:
        """Mean running time between stops with a fault, s; NaN without one."""
        return _ratio(self.running, self.fault) / TENTHS_PER_S

    def mean_stop_s(self) -> NDArray[np.float64]:
        """Mean length of a stop, s; NaN without one."""
        return _ratio(self.stopped, self.idle + self.fault) / TENTHS_PER_S


def stops(records: Records, position: NDArray[np.int64] | None, n_devices: int, shortest_s: int = 120) -> Stops:
    """Count stops of each device: stretches of at least `shortest_s` in which no window shows it running.

    A window does not say in which order its states came, so a pause within windows that also run (between two
    work pieces) is no stop, and `shortest_s` should be two windows or more. A window of which less than half is of
    known state, or that is missing, is unknown: a stretch that ends there is censored, never a stop.
    Raises ValueError for a device outside the table.
    """
    w = windows(records, position)
    _require_devices(w.device, n_devices)
    runs = w.running > 0
    state = np.where(runs, _RUNNING, np.where(2 * w.known >= w.length, _STANDING, _UNKNOWN))
    first = w.first_of_device()
    apart = first.copy()
    apart[1:] |= w.start_s[1:] > w.end_s[:-1]
    change = apart.copy()
    change[1:] |= state[1:] != state[:-1]
    heads = np.flatnonzero(change)
    if not len(heads):
        nothing = np.zeros(n_devices, np.int64)
        return Stops(*(nothing.copy() for _ in range(6)))
    kind, device = state[heads], w.device[heads]
    sums = {name: np.add.reduceat(getattr(w, name), heads) for name in (*STATE_COLUMNS, "length")}
    joins_last = ~apart[heads]  # without a hole to the stretch before, which is of the same device

    # A standstill shorter than the shortest stop is a pause: it neither ends a stretch of running nor counts.
    standing = kind == _STANDING
    pause = standing & (sums["length"] < shortest_s * TENTHS_PER_S)
    before = np.roll(kind, 1)
    after_running = joins_last & (before == _RUNNING)
    next_joins = np.append(joins_last[1:], False)
    next_kind = np.append(kind[1:], _UNKNOWN)
    goes_on = next_joins & (next_kind == _RUNNING)
    pause_between = pause & goes_on
    stop = standing & after_running & ~pause
    mostly_off = sums["off"] * 2 > sums["length"]
    has_fault = sums["fault"] > 0

    def count(chosen: NDArray[np.bool_], values: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        out = np.zeros(n_devices, np.int64)
        np.add.at(out, device[chosen], 1 if values is None else values[chosen])
        return out

    is_stop = stop & ~mostly_off
    followed = np.append((stop | pause_between)[1:] & joins_last[1:], False)
    return Stops(
        idle=count(is_stop & ~has_fault),
        fault=count(is_stop & has_fault),
        switched_off=count(stop & mostly_off),
        censored=count((kind == _RUNNING) & ~followed),
        running=count(kind == _RUNNING, sums["running"]),
        stopped=count(is_stop, sums["length"]),
    )


_UNKNOWN, _STANDING, _RUNNING = 0, 1, 2


def _require_devices(device: NDArray[np.int64], n_devices: int) -> None:
    if len(device) and int(device.max()) >= n_devices:
        raise ValueError(f"device {int(device.max())}, the table has {n_devices}")


# --------------------------------------------------------------------------------------- energy


@dataclass(frozen=True, slots=True)
class LoadProfile:
    """What devices counted in each quarter hour of a stretch. Arrays (d, q); quantities in 0.001 of the unit."""

    from_s: int
    """Start of the first quarter hour, s UTC."""
    metered: NDArray[np.int64]
    """Counted by differences short enough to belong to the quarter hour."""
    metered_s: NDArray[np.int64]
    """Time that `metered` covers, s, at most a quarter hour."""
    spread: NDArray[np.int64]
    """Share of differences that span more (an outage), in proportion to time: belongs to a total, never to a peak."""

    def demand_kw(self) -> NDArray[np.float64]:
        """Mean power of each quarter hour, kW (for kWh counters), (d, q); NaN where it was not metered throughout."""
        demand = self.metered.astype(np.float64) * (_S_PER_H // QUARTER_S) / _WH_PER_KWH
        return np.where(self.metered_s >= FULL_QUARTER_S, demand, np.nan)

    def resolved(self) -> NDArray[np.float64]:
        """Share of the quarter hours that have a demand, (d,); NaN without quarter hours."""
        full = (self.metered_s >= FULL_QUARTER_S).sum(axis=1, dtype=np.int64)
        return _ratio(full, np.full(len(full), self.metered.shape[1], np.int64))

    def total(self) -> NDArray[np.int64]:
        """All that was counted within the stretch, (d,), 0.001 of the unit."""
        return np.asarray((self.metered + self.spread).sum(axis=1))


@dataclass(frozen=True, slots=True)
class Peak:
    """The largest demand of each device. Arrays of length d."""

    demand_kw: NDArray[np.float64]
    """Largest mean power of a quarter hour that was metered throughout, kW; NaN: there is none. The true peak may
    lie above it where `resolved` is below 1."""
    start_s: NDArray[np.int64]
    """When that quarter hour began, s UTC; -1: there is none. The first of several."""
    resolved: NDArray[np.float64]


def load_profile(
    records: Records, position: NDArray[np.int64] | None, n_devices: int, from_s: int, to_s: int
) -> LoadProfile:
    """Quarter hours of each device within `[from_s, to_s)`, s UTC, whole quarter hours.

    A record's quantity covers the `quantity_span` before its window's end. It counts as metered where it lies in one
    quarter hour, or spans at most two windows (then it is split at the quarter hour in proportion to time);
    what spans more over a boundary is spread. Every split telescopes: nothing is lost or made by rounding.
    Raises ValueError for a stretch that is not whole quarter hours or a device outside the table,
    OverflowError for a quantity too large to split exactly.
    """
    if from_s % QUARTER_S or to_s % QUARTER_S or to_s < from_s:
        raise ValueError(f"[{from_s}, {to_s}) s is not a stretch of whole quarter hours")
    r = in_order(records, position)
    counted = r.quantity_span > 0
    if not bool(counted.all()):
        r = r.take(counted)
    device = r.device.astype(np.int64)
    _require_devices(device, n_devices)
    quarters = (to_s - from_s) // QUARTER_S
    shape = (n_devices, quarters)
    span_s = r.quantity_span.astype(np.int64)
    length_s = r.length.astype(np.int64) // TENTHS_PER_S
    end_s = r.start + length_s
    begin_s = end_s - span_s
    if len(r) and int(r.quantity.max()) * int(span_s.max()) > _INT64_MAX:
        raise OverflowError(f"a quantity of {int(r.quantity.max())} over {int(span_s.max())} s leaves 63 bits")

    first = begin_s // QUARTER_S
    touched = (end_s - 1) // QUARTER_S - first + 1
    short = (touched == 1) | ((span_s <= 2 * length_s) & (touched == 2))
    # One row per record and quarter hour that it touches.
    row = np.repeat(np.arange(len(r)), touched)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(touched) - touched, touched)
    edge_s = (first[row] + nth) * QUARTER_S
    since_s = np.maximum(edge_s - begin_s[row], 0)
    until_s = np.minimum(edge_s + QUARTER_S - begin_s[row], span_s[row])
    quantity = r.quantity[row]
    share = quantity * until_s // span_s[row] - quantity * since_s // span_s[row]
    quarter = edge_s // QUARTER_S - from_s // QUARTER_S
    inside = (quarter >= 0) & (quarter < quarters)
    cell = device[row] * quarters + quarter

    def add(chosen: NDArray[np.bool_], values: NDArray[np.int64]) -> NDArray[np.int64]:
        sums = np.zeros(n_devices * quarters, np.int64)
        kept = chosen & inside
        np.add.at(sums, cell[kept], values[kept])
        return sums.reshape(shape)

    is_short = short[row]
    return LoadProfile(
        from_s=from_s,
        metered=add(is_short, share),
        metered_s=np.minimum(add(is_short, until_s - since_s), QUARTER_S),
        spread=add(~is_short, share),
    )


def peak_demand(profile: LoadProfile) -> Peak:
    """The 15-minute peak of each device (最大需量), from quarter hours that were metered throughout."""
    demand = profile.demand_kw()
    devices, quarters = demand.shape
    nowhere = np.full(devices, np.nan)
    if quarters == 0:
        return Peak(nowhere, np.full(devices, -1, np.int64), profile.resolved())
    filled = np.where(np.isnan(demand), -1.0, demand)
    at = filled.argmax(axis=1)
    highest = filled[np.arange(devices), at]
    some = highest >= 0
    return Peak(
        demand_kw=np.where(some, highest, nowhere),
        start_s=np.where(some, profile.from_s + at * QUARTER_S, -1).astype(np.int64),
        resolved=profile.resolved(),
    )


@dataclass(frozen=True, slots=True)
class IdleEnergy:
    """Energy counted while a machine was on and not running. Arrays of length d; 0.001 of the unit."""

    lower: NDArray[np.int64]
    """Shown: counted while the state was idle or fault."""
    upper: NDArray[np.int64]
    """And whatever was counted in windows whose state was not known throughout, or over a longer span."""
    quantity: NDArray[np.int64]
    """All that was counted."""
    standing: NDArray[np.int64]
    """Time idle or fault in the windows that counted, 0.1 s."""

    def share(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper bound of the idle share of the energy, (d,); NaN where nothing was counted."""
        return _ratio(self.lower, self.quantity), _ratio(self.upper, self.quantity)

    def mean_idle_kw(self) -> NDArray[np.float64]:
        """Mean power while on and not running, kW (for kWh counters), (d,); NaN without such time."""
        return _ratio(self.lower, self.standing) * (TENTHS_PER_S * _S_PER_H / _WH_PER_KWH)


def idle_energy(records: Records, position: NDArray[np.int64] | None, n_devices: int) -> IdleEnergy:
    """Idle energy (待机能耗) of each device. Raises ValueError for a device outside the table."""
    w = windows(records, position)
    _require_devices(w.device, n_devices)
    whole = (w.known == w.length) & (w.span_s * TENTHS_PER_S <= w.length)
    counts = w.span_s > 0

    def add(values: NDArray[Any]) -> NDArray[np.int64]:
        sums = np.zeros(n_devices, np.int64)
        np.add.at(sums, w.device, values)
        return sums

    return IdleEnergy(
        lower=add(w.quantity_idle),
        upper=add(np.where(whole, w.quantity_idle, w.quantity)),
        quantity=add(w.quantity),
        standing=add(np.where(counts, w.idle + w.fault, 0)),
    )
