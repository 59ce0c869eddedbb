"""What the gateway knows of one device: its open windows, counters, states and proofs of connection."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collectors.model import Device, Proof, Quality, Role, Samples
from gateway.clock import NS_PER_S
from gateway.counters import Counter, Growth, split_by_local_day
from gateway.inference import PowerState
from gateway.late import Gap, LateData, LateSample
from gateway.spans import OPEN_END, Span, add, clipped, cut, intersection, total
from metrics.record import TENTHS_PER_S, THOUSANDTHS, UNKNOWN_READING, Flag, MachineState

TENTH_NS: Final = NS_PER_S // TENTHS_PER_S
MINUTE_NS: Final = 60 * NS_PER_S
OFFSET_MINUTES: Final = 10
_HOUR_S: Final = 3600
_STATES: Final = frozenset(int(s) for s in MachineState)
_IDLE: Final = (MachineState.IDLE, MachineState.FAULT)
_MAX_U32: Final = (1 << 32) - 1
MAX_PART: Final = 255
"""Parts of one window; what comes after them is dropped and counted."""
_COUNTS: Final = (
    *("running", "idle", "fault", "off"),
    *("quantity", "quantity_idle", "quantity_span", "parts", "good", "bad"),
)
_MAX_SPANS: Final = 4096
"""Spans of proof kept in open windows: beyond it the oldest is forgotten, never another one invented."""

_NO_ROLE, _STATE, _QUANTITY, _PARTS, _POWER = range(5)
_CODE_OF_ROLE: Final = {Role.STATE: _STATE, Role.QUANTITY: _QUANTITY, Role.PARTS: _PARTS, Role.POWER: _POWER}


@dataclass(slots=True)
class Tally:
    """What was counted in one open window."""

    good: int = 0
    bad: int = 0
    quantity: int = 0
    quantity_idle: int = 0
    span_s: int = 0
    known: bool = False
    """Whether any difference of the quantity's counter is known."""
    parts: int = 0
    flags: int = 0
    reading: int = UNKNOWN_READING
    """The counter at the last good sample."""


@dataclass(frozen=True, slots=True)
class Row:
    """One interval record, as it goes into a batch. Units as in `metrics.record.RECORD_COLUMNS`."""

    device: str
    start: int
    length: int
    observed: int
    part: int
    connected: int
    running: int
    idle: int
    fault: int
    off: int
    quantity: int
    quantity_idle: int
    quantity_span: int
    reading: int
    parts: int
    good: int
    bad: int
    flags: int


class ClockOffset:
    """How far a device's clock is from the time line, transmission included: the smallest delay seen.

    Of the last `OFFSET_MINUTES` minutes in which the device gave its time, only those are kept whose
    smallest delay no later minute undercut.
    """

    __slots__ = ("lows", "minute", "minutes")

    def __init__(self) -> None:
        self.minute = 0
        """The last minute (since 1970) in which the device gave its time."""
        self.minutes = 0
        """How many such minutes there were."""
        self.lows: list[tuple[int, int]] = []
        """Pairs (number of the minute, smallest delay in ns), delays rising."""

    def corrected(
        self, source_ns: NDArray[np.int64], received_ns: NDArray[np.int64], live: bool = True
    ) -> NDArray[np.int64]:
        """Source times on the time line, never later than reception; reception where there is no source time.

        Samples that are not live (queued, sent again, historical) say nothing of the offset.
        """
        given = source_ns > 0
        if not given.any():
            return received_ns
        if not live:
            offset_ns = self.lows[0][1] if self.lows else 0
            return np.where(given, np.minimum(source_ns + offset_ns, received_ns), received_ns)
        delay = int((received_ns - source_ns)[given].min())
        minute = int(received_ns[-1]) // MINUTE_NS
        lows = self.lows
        if minute > self.minute:
            self.minute, self.minutes = minute, self.minutes + 1
            while lows and lows[0][0] <= self.minutes - OFFSET_MINUTES:
                del lows[0]
        if not lows or lows[-1][0] < self.minutes or lows[-1][1] > delay:
            while lows and lows[-1][1] >= delay:
                lows.pop()
            lows.append((self.minutes, delay))
        return np.where(given, source_ns + lows[0][1], received_ns)


class Account:
    """Accumulates one device. Times in ns on the gateway's time line, windows by their start in s UTC.

    `watched` is what the gateway observed, `proven` where connection was proven, `events` the states
    said, each valid until the next event or the next end of a proven span.
    """

    def __init__(self, device_id: str, entry: str, window_s: int) -> None:
        self.id, self.entry, self.window_s = device_id, entry, window_s
        self.announcement = 0
        self.serial = ""
        self.device: Device | None = None
        self.ended_ns = 0
        """Since when it is no longer configured: it ends with the window that holds this; 0 while it is."""
        self.watched: list[Span] = []
        self.proven: list[Span] = []
        self.withdrawn_ns = 0
        self.last_proof_ns = 0
        self.proven_until_ns = 0
        """Where the latest proof runs out; OPEN_END while it lasts until it is withdrawn."""
        self.heard_ns = self.heard_source_ns = 0
        """Time of the last sample in order that bore a source time, on the time line and on the device's
        clock; 0 where there was none: such a device has nothing that could come late."""
        self.late = LateData(window_s)
        self.events: list[tuple[int, int]] = []
        self.tallies: dict[int, Tally] = {}
        self.quantity = Counter(THOUSANDTHS)
        self.parts = Counter(1)
        self.power = PowerState()
        self.offset = ClockOffset()
        self.closed_ns = 0
        """Every window that ends at or before this is closed."""
        self.wants_reading = True
        self.parts_used: dict[int, int] = {}
        """Last part given to windows that more can still come for, by their start in s."""
        self.supplements: list[Row] = []
        """Records for closed windows, to be written with the next batch."""
        self.past_last_part = 0
        """Supplements dropped since this was last asked for: their window has no part left."""
        self._role_of_tag = np.zeros(0, np.uint8)
        self._shown: tuple[bool, int] = (False, MachineState.UNKNOWN)
        self._since_ns = 0

    # What the gateway watches -------------------------------------------------------------------

    def watch(self, now_ns: int) -> None:
        """From now on the gateway observes this device."""
        if not self.watched or self.watched[-1][1] != OPEN_END:
            add(self.watched, now_ns, OPEN_END)

    def unwatch(self, from_ns: int, to_ns: int = OPEN_END) -> None:
        """The gateway was not watching in this time."""
        cut(self.watched, from_ns, to_ns)

    def end(self, at_ns: int) -> None:
        """The device is no longer configured: nothing is watched or proven any more."""
        if not self.ended_ns:
            self.ended_ns = at_ns
            self.unwatch(at_ns)
            self.withdraw(at_ns)

    def begin_again(self, now_ns: int) -> None:
        """The device is configured again, before its last window was written."""
        if self.ended_ns:
            self.ended_ns = 0
            self.watch(now_ns)

    def describe(self, device: Device, now_ns: int) -> None:
        """Take over what was found at the address. Another serial number starts new counter chains."""
        serial = device.identity.serial
        if self.serial and serial and self.serial != serial:
            self.quantity.forget()
            self.parts.forget()
            self.wants_reading = True
            self.flag(now_ns, Flag.COUNTER_REPLACED)
        self.serial = serial or self.serial
        self.device = device
        self._role_of_tag = np.array([_CODE_OF_ROLE.get(tag.role, _NO_ROLE) for tag in device.tags], np.uint8)
        for role, counter, rated in (
            (Role.QUANTITY, self.quantity, device.rated_max_per_h),
            (Role.PARTS, self.parts, None),
        ):
            index = device.tag_index(role)
            counter.describe(None if index is None else device.tags[index].modulus, rated)

    # Proof --------------------------------------------------------------------------------------

    def prove(self, proof: Proof) -> None:
        """Evidence of connection, or (`lasts_s` 0) its withdrawal."""
        if proof.lasts_s == 0:
            self.withdraw(proof.at_ns)
            return
        end_ns = OPEN_END if proof.lasts_s == float("inf") else proof.at_ns + round(proof.lasts_s * NS_PER_S)
        if proof.at_ns < self.withdrawn_ns:
            end_ns = min(end_ns, self.withdrawn_ns)
        if proof.at_ns > self.proven_until_ns:
            self._begin_gap()
            self.late.end(proof.at_ns)
        self.proven_until_ns = max(self.proven_until_ns, end_ns)
        add(self.proven, proof.at_ns, end_ns)
        if len(self.proven) > _MAX_SPANS:
            _, oldest_end_ns = self.proven.pop(0)
            self.events = [e for e in self.events if e[0] >= oldest_end_ns]
        self.last_proof_ns = max(self.last_proof_ns, proof.at_ns)

    def withdraw(self, at_ns: int) -> None:
        """What was proven before proves nothing from `at_ns` on."""
        cut(self.proven, at_ns)
        self.proven_until_ns = min(self.proven_until_ns, at_ns)
        self.withdrawn_ns = max(self.withdrawn_ns, at_ns)

    def lose_link(self, at_ns: int) -> None:
        """The collector's link is gone: a proof that lasts until a death message ends with it."""
        if self.proven and self.proven[-1][1] == OPEN_END:
            self.withdraw(at_ns)

    # Samples ------------------------------------------------------------------------------------

    def _begin_gap(self) -> None:
        """Nothing proves the device connected since its last proof ran out: a gap, if late data can come."""
        if self.heard_ns:
            state = self.events[-1][1] if self.events else MachineState.UNKNOWN
            self.late.begin(self.heard_ns, self.heard_source_ns, self.proven_until_ns, state)

    def take(self, samples: Samples, live: bool = True) -> tuple[int, int]:
        """Count samples; `live` where their batch proves the device connected now.

        Returns how many (came too late or again, bear a tag that is not known).
        """
        n = len(samples)
        if n == 0:
            return 0, 0
        tag, value, quality, source = samples.tag, samples.value, samples.quality, samples.source_ns
        at = samples.received_ns
        dated = bool(source.any())
        if dated:
            at = self.offset.corrected(source, at, live)
        late = unknown = 0
        if int(tag.max()) >= len(self._role_of_tag):
            known = tag < len(self._role_of_tag)
            tag, value, quality, at, source = tag[known], value[known], quality[known], at[known], source[known]
            unknown = n - len(tag)
            if len(tag) == 0:
                return 0, unknown
        first_ns, last_ns = int(at.min()), int(at.max())
        if first_ns < self.closed_ns or (dated and self._may_be_late(first_ns, int(samples.received_ns.max()))):
            known_ns = int(samples.received_ns.max())
            in_time, counted = self._take_late(tag, value, quality, at, source, known_ns, live)
            late = n - unknown - counted
            tag, value, quality, at, source = (
                tag[in_time],
                value[in_time],
                quality[in_time],
                at[in_time],
                source[in_time],
            )
            if len(tag) == 0:
                return late, unknown
            first_ns, last_ns = int(at.min()), int(at.max())
        if dated:
            newest = int(at.argmax())
            if source[newest] > 0 and at[newest] >= self.heard_ns:
                self.heard_ns, self.heard_source_ns = int(at[newest]), int(source[newest])
        self._count_quality(at, quality, first_ns, last_ns)
        roles = self._role_of_tag[tag]
        rows = roles.nonzero()[0]
        if len(rows) > 1 and first_ns != last_ns:
            rows = rows[np.argsort(at[rows], kind="stable")]
        for row in rows.tolist():
            self._event(int(roles[row]), int(at[row]), float(value[row]), int(quality[row]))
        return late, unknown

    def _may_be_late(self, first_ns: int, now_ns: int) -> bool:
        """Whether some of the samples may lie in a gap."""
        if now_ns > self.proven_until_ns:
            self._begin_gap()
        return bool(self.late.gaps) and self.late.gaps[-1].end_ns > first_ns

    def _take_late(
        self,
        tag: NDArray[np.uint16],
        value: NDArray[np.float64],
        quality: NDArray[np.uint8],
        at: NDArray[np.int64],
        source: NDArray[np.int64],
        now_ns: int,
        live: bool,
    ) -> tuple[NDArray[np.bool_], int]:
        """Gather what lies in gaps. Returns (which samples belong to open windows, how many count at all).

        A sample of an open window counts there; what it says of a gap's states goes into a supplement
        all the same, for no part states time that was not proven.
        """
        in_time = at >= self.closed_ns
        counted, slow = in_time.copy(), ~in_time
        late_rows: list[tuple[Gap, int]] = []
        for row in np.argsort(at, kind="stable").tolist():
            if source[row] <= 0:
                continue
            gap = self.late.gap_at(int(at[row]), int(source[row]))
            if gap is not None:
                slow[row] = False
                if source[row] > gap.mark_source_ns:
                    counted[row] = True
                    late_rows.append((gap, row))
                else:
                    in_time[row] = counted[row] = False
            elif not live and in_time[row] and self.late.gaps and at[row] <= self.late.gaps[-1].start_ns:
                in_time[row] = counted[row] = False  # sent again: it was counted before the gap
        assert self.device is not None, "samples come after their device"
        for gap, row in late_rows:  # the watermarks move only now: samples of one time are one
            sample = self._late_sample(
                int(tag[row]), float(value[row]), int(quality[row]), int(at[row]), int(source[row])
            )
            self.late.take(
                gap,
                sample,
                now_ns,
                self.device.liveness_s,
                self.device.power_thresholds,
                count_quality=not in_time[row],
            )
        if slow.any():
            self._latest_of_late(tag[slow], at[slow], value[slow], quality[slow])
        return in_time, int(np.count_nonzero(counted))

    def _late_sample(self, tag: int, value: float, quality: int, at_ns: int, source_ns: int) -> LateSample:
        role = self._role_of_tag[tag]
        state: int | None = None
        power_kw: float | None = None
        if role == _STATE:
            known = quality != Quality.BAD and value in _STATES
            state = int(value) if known else int(MachineState.UNKNOWN)
        elif role == _POWER and self.device is not None and self.device.power_thresholds is not None:
            if quality == Quality.BAD or not np.isfinite(value):
                state = int(MachineState.UNKNOWN)
            else:
                power_kw = abs(value)
        return LateSample(at_ns, source_ns, quality == Quality.GOOD, state, power_kw)

    def _latest_of_late(
        self,
        tag: NDArray[np.uint16],
        at: NDArray[np.int64],
        value: NDArray[np.float64],
        quality: NDArray[np.uint8],
    ) -> None:
        """A state that came too late for its window is still what a machine that reports by exception
        does now: it holds from the first open window on."""
        known_ns = self.events[-1][0] if self.events else 0
        for role in (_STATE, _POWER):
            rows = np.flatnonzero((self._role_of_tag[tag] == role) & (at > known_ns))
            if len(rows):
                row = rows[np.argmax(at[rows])]
                self._event(role, self.closed_ns, float(value[row]), int(quality[row]))

    def _count_quality(self, at: NDArray[np.int64], quality: NDArray[np.uint8], first_ns: int, last_ns: int) -> None:
        window_ns = self.window_s * NS_PER_S
        if first_ns // window_ns == last_ns // window_ns:
            tally = self._tally(first_ns)
            bad = int(np.count_nonzero(quality))
            tally.good += len(quality) - bad
            tally.bad += bad
            return
        windows = at // window_ns
        for window in np.unique(windows).tolist():
            here = quality[windows == window]
            tally = self._tally(window * window_ns)
            bad = int(np.count_nonzero(here))
            tally.good += len(here) - bad
            tally.bad += bad

    def _event(self, role: int, at_ns: int, value: float, quality: int) -> None:
        if role == _STATE:
            known = quality != Quality.BAD and value in _STATES
            self._say_state(at_ns, int(value) if known else MachineState.UNKNOWN)
        elif role == _QUANTITY:
            if self._is_reading(self.quantity, value, quality):
                self._count_quantity(value, at_ns)
        elif role == _PARTS:
            if self._is_reading(self.parts, value, quality):
                self._count_parts(value, at_ns)
        elif self.device is not None and self.device.power_thresholds is not None:
            if quality == Quality.BAD or not np.isfinite(value):
                self.power.forget()
                self._say_state(at_ns, MachineState.UNKNOWN)
                return
            if self.state_at(at_ns) == MachineState.UNKNOWN:
                self.power.forget()
            changed = self.power.take(abs(value), at_ns, self.device.power_thresholds)
            if changed is not None:
                since_ns, state = changed
                self._say_state(max(since_ns, self.closed_ns), state)

    @staticmethod
    def _is_reading(counter: Counter, value: float, quality: int) -> bool:
        if quality != Quality.GOOD:
            return False
        if 0 <= value < 1e15:
            return True
        counter.dropped += 1
        return False

    def dropped_readings(self) -> int:
        """Counter readings that were none (a glitch, a negative or absurd number), since this was last asked for."""
        dropped = self.quantity.dropped + self.parts.dropped
        if dropped:
            self.quantity.dropped = self.parts.dropped = 0
        return dropped

    def _say_state(self, at_ns: int, state: int) -> None:
        events = self.events
        if not events or at_ns > events[-1][0]:
            if events:
                last_ns, last = events[-1]
                if self._next_end(last_ns) > at_ns:
                    if last == state:
                        return
                    if last_ns >= self.closed_ns and last_ns // TENTH_NS == at_ns // TENTH_NS:
                        events[-1] = (last_ns, state)  # finer than a record can say; keeps the list bounded
                        return
            events.append((at_ns, state))
            return
        index = bisect_left(events, at_ns, key=lambda e: e[0])
        if events[index][0] == at_ns:
            events[index] = (at_ns, state)
        else:
            events.insert(index, (at_ns, state))

    def _next_end(self, at_ns: int) -> int:
        """The first end of a proven span after `at_ns`: no state is known beyond it."""
        for _, end_ns in self.proven:
            if end_ns > at_ns:
                return end_ns
        return OPEN_END

    def state_at(self, at_ns: int) -> int:
        """The state that holds at an instant, if it is proven and said; else UNKNOWN."""
        index = bisect_left(self.events, at_ns + 1, key=lambda e: e[0]) - 1
        if index < 0 or self._next_end(self.events[index][0]) <= at_ns:
            return MachineState.UNKNOWN
        return self.events[index][1]

    def _count_quantity(self, value: float, at_ns: int) -> None:
        counter = self.quantity
        growth = counter.take(value, at_ns)
        if counter.last_ns == at_ns and counter.last is not None:
            self._tally(at_ns).reading = counter.last
        if growth is None:
            return
        idle = self._idle_part(growth)
        if growth.flag:
            self.wants_reading = True
            self._tally(at_ns).flags |= growth.flag
        for share in split_by_local_day(growth, idle):
            tally = self._tally_of_share(share.day_end_s, at_ns)
            if tally is not None:
                tally.quantity += share.amount
                tally.quantity_idle += share.idle
                tally.span_s += share.span_s
                tally.known = True
            elif share.amount or share.span_s:
                self._supplement(share.day_end_s or 0, share.amount, share.idle, share.span_s, 0)

    def _count_parts(self, value: float, at_ns: int) -> None:
        growth = self.parts.take(value, at_ns)
        if growth is None:
            return
        if growth.flag:
            self._tally(at_ns).flags |= growth.flag
        for share in split_by_local_day(growth, 0):
            tally = self._tally_of_share(share.day_end_s, at_ns)
            if tally is not None:
                tally.parts += share.amount
            elif share.amount:
                self._supplement(share.day_end_s or 0, 0, 0, 0, share.amount)

    def _tally_of_share(self, day_end_s: int | None, at_ns: int) -> Tally | None:
        """Where a day's share is counted: the last day's at its sample, an earlier day's in that
        day's last window while it is open; None where that is closed."""
        if day_end_s is None:
            return self._tally(at_ns)
        start_ns = (day_end_s - self.window_s) * NS_PER_S
        return self._tally(start_ns) if start_ns >= self.closed_ns else None

    def _supplement(self, day_end_s: int, quantity: int, idle: int, span_s: int, parts: int) -> None:
        """An earlier day's share of a growth, put at that day's last window."""
        self._add_part(
            day_end_s - self.window_s,
            Flag.ESTIMATED | Flag.HISTORICAL,
            quantity=quantity,
            quantity_idle=idle,
            quantity_span=max(span_s, 1) if quantity or span_s else 0,
            parts=min(parts, _MAX_U32),
        )

    def write_late(self, now_ns: int) -> None:
        """Turn what was gathered for closed windows into supplements."""
        for start_s, found in self.late.take_out(self.closed_ns, now_ns):
            running, idle, fault, off = _tenths(found.states_ns)
            self._add_part(
                start_s,
                Flag.HISTORICAL,
                running=running,
                idle=idle,
                fault=fault,
                off=off,
                good=min(found.good, _MAX_U32),
                bad=min(found.bad, _MAX_U32),
            )

    def _add_part(self, start_s: int, flags: Flag, **counts: int) -> None:
        """The next part of a closed window: it proves no connection and was not observed."""
        part = self.parts_used.get(start_s, 0) + 1
        if part > MAX_PART:
            self.past_last_part += 1
            return
        self.parts_used[start_s] = part
        values = dict.fromkeys(_COUNTS, 0) | counts
        self.supplements.append(
            Row(
                self.id,
                start_s,
                self.window_s * TENTHS_PER_S,
                observed=0,
                part=part,
                connected=0,
                reading=UNKNOWN_READING,
                flags=int(flags),
                **values,
            )
        )

    def _idle_part(self, growth: Growth) -> int:
        """The part of a growth that was counted while on and not running, by the states of its span."""
        if growth.amount == 0 or growth.to_ns <= growth.from_ns:
            return 0
        if self.events:
            since_ns, state = self.events[-1]
            if since_ns <= growth.from_ns and self._next_end(since_ns) >= growth.to_ns:
                return growth.amount if state in _IDLE else 0
        stated = self._state_spans(growth.from_ns, growth.to_ns)
        covered = self._covered(growth.from_ns, growth.to_ns, growth.to_ns)
        idle_ns = sum(total(intersection([span], covered)) for span, state in stated if state in _IDLE)
        return growth.amount * idle_ns // (growth.to_ns - growth.from_ns)

    def _tally(self, at_ns: int) -> Tally:
        start_s = at_ns // NS_PER_S // self.window_s * self.window_s
        tally = self.tallies.get(start_s)
        if tally is None:
            tally = self.tallies[start_s] = Tally()
        return tally

    def flag(self, at_ns: int, flag: Flag) -> None:
        """Put a flag on the window that holds an instant, or on the first open one after it."""
        self._tally(max(at_ns, self.closed_ns)).flags |= int(flag)

    # Windows ------------------------------------------------------------------------------------

    def _covered(self, start_ns: int, end_ns: int, now_ns: int) -> list[Span]:
        """Where connection is proven and observed."""
        watched = clipped(self.watched, start_ns, min(end_ns, now_ns))
        return intersection(clipped(self.proven, start_ns, end_ns), watched)

    def _state_spans(self, start_ns: int, end_ns: int) -> list[tuple[Span, int]]:
        """The states said in a time, each until the next one or until its proof ends."""
        found: list[tuple[Span, int]] = []
        ends = [end for _, end in self.proven]
        next_end = 0
        for index, (at_ns, state) in enumerate(self.events):
            while next_end < len(ends) and ends[next_end] <= at_ns:
                next_end += 1
            until_ns = self.events[index + 1][0] if index + 1 < len(self.events) else OPEN_END
            if next_end < len(ends):
                until_ns = min(until_ns, ends[next_end])
            span = (max(at_ns, start_ns), min(until_ns, end_ns))
            if span[0] < span[1] and state != MachineState.UNKNOWN:
                found.append((span, state))
        return found

    def due_starts(self, end_ns: int) -> list[int]:
        """Starts in s of the open windows before `end_ns` for which a record is due, in order."""
        starts = {s for s in self.tallies if s * NS_PER_S < end_ns}
        for a, b in clipped(self.watched, self.closed_ns, end_ns):
            first = a // NS_PER_S // self.window_s * self.window_s
            last = (b - 1) // NS_PER_S
            starts.update(range(first, last + 1, self.window_s))
        return sorted(starts)

    def row(self, start_s: int, now_ns: int, flags: Flag) -> Row:
        """The record of a window as it stands at `now_ns`."""
        start_ns, end_ns = start_s * NS_PER_S, (start_s + self.window_s) * NS_PER_S
        watched = clipped(self.watched, start_ns, min(end_ns, now_ns))
        covered = intersection(clipped(self.proven, start_ns, end_ns), watched)
        states_ns = [0] * len(MachineState)
        covered_at = 0
        for span, state in self._state_spans(start_ns, end_ns):
            while covered_at < len(covered) and covered[covered_at][1] <= span[0]:
                covered_at += 1
            for a, b in covered[covered_at:]:
                if a >= span[1]:
                    break
                states_ns[state] += min(b, span[1]) - max(a, span[0])
        connected = total(covered) // TENTH_NS
        running, idle, fault, off = _tenths(states_ns[1:])
        tally = self.tallies.get(start_s, Tally())
        reading = UNKNOWN_READING
        self.wants_reading |= start_s % _HOUR_S == 0
        if tally.reading != UNKNOWN_READING and self.wants_reading:
            reading, self.wants_reading = tally.reading, False
        return Row(
            self.id,
            start_s,
            self.window_s * TENTHS_PER_S,
            total(watched) // TENTH_NS,
            0,
            connected,
            running,
            idle,
            fault,
            off,
            tally.quantity,
            tally.quantity_idle,
            min(max(tally.span_s, 1), _MAX_U32) if tally.known else 0,
            reading,
            min(tally.parts, _MAX_U32),
            min(tally.good, _MAX_U32),
            min(tally.bad, _MAX_U32),
            tally.flags | int(flags),
        )

    def close(self, end_ns: int) -> None:
        """Every window that ends at or before `end_ns` is written: forget what only they needed."""
        if self.proven_until_ns < end_ns:
            self._begin_gap()
        self.closed_ns = end_ns
        self.tallies = {s: t for s, t in self.tallies.items() if s * NS_PER_S >= end_ns}
        self.supplements = []
        self.late.expire(end_ns)
        self.parts_used = {s: n for s, n in self.parts_used.items() if self._more_may_come(s)}
        self.watched = [s for s in self.watched if s[1] > end_ns]
        keep = bisect_left(self.events, end_ns + 1, key=lambda e: e[0]) - 1
        if keep >= 0:
            holds = self._next_end(self.events[keep][0]) > end_ns
            del self.events[: keep if holds else keep + 1]
        self.proven = [s for s in self.proven if s[1] > end_ns]

    def _more_may_come(self, start_s: int) -> bool:
        """Whether a closed window can still get another part: late data, or a day's share of a growth."""
        end_ns = (start_s + self.window_s) * NS_PER_S
        slow = any(c.last is not None and c.last_ns < end_ns for c in (self.quantity, self.parts))
        return slow or self.late.may_come(start_s)

    # Presence -----------------------------------------------------------------------------------

    def presence(self, now_ns: int) -> tuple[bool, int, int]:
        """(connected, state, since ns): how the gateway judges the device now."""
        connected = any(a <= now_ns < b for a, b in self.proven[-2:])
        shown = (connected, self.state_at(now_ns) if connected else int(MachineState.UNKNOWN))
        if shown != self._shown or self._since_ns == 0:
            self._shown, self._since_ns = shown, now_ns
        return *shown, self._since_ns


def _tenths(times_ns: list[int]) -> list[int]:
    """Round times to tenths of a second so that their sum is the sum of the times, rounded down."""
    tenths = [t // TENTH_NS for t in times_ns]
    missing = sum(times_ns) // TENTH_NS - sum(tenths)
    by_remainder = sorted(range(len(times_ns)), key=lambda i: times_ns[i] % TENTH_NS, reverse=True)
    for i in by_remainder[:missing]:
        tenths[i] += 1
    return tenths
