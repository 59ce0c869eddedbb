"""What the gateway knows of one device: its open windows, counters, states and proofs of connection."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from collectors.model import Device, Proof, Quality, Role, Samples
from gateway.clock import NS_PER_S
from gateway.counters import Counter, Growth, Share, split_by_local_day
from gateway.device_clock import ClockOffset
from gateway.inference import PowerState
from gateway.late import Gap, LateData, LateSample
from gateway.row import Row, Tally, tenths
from gateway.spans import OPEN_END, moved
from gateway.supplements import Supplements
from gateway.track import Track
from metrics.record import DAY_S, TENTHS_PER_S, THOUSANDTHS, UNKNOWN_READING, Flag, MachineState

_HOUR_S: Final = 3600
_STATES: Final = frozenset(int(s) for s in MachineState)
_IDLE: Final = (MachineState.IDLE, MachineState.FAULT)
_MAX_U32: Final = (1 << 32) - 1
_AGAIN_KEPT_NS: Final = DAY_S * NS_PER_S
_NO_ROLE, _STATE, _QUANTITY, _PARTS, _POWER = range(5)
_CODE_OF_ROLE: Final = {Role.STATE: _STATE, Role.QUANTITY: _QUANTITY, Role.PARTS: _PARTS, Role.POWER: _POWER}


class Account:
    """Accumulates one device. Times in ns on the gateway's time line, windows by their start in s UTC."""

    def __init__(self, device_id: str, entry: str, window_s: int) -> None:
        self.id, self.entry, self.window_s = device_id, entry, window_s
        self.announcement = 0
        self.serial = ""
        self.device: Device | None = None
        self.counts = True
        """Whether its counters are counted, and not only its states and times."""
        self.ended_ns = 0
        """Since when it is no longer configured: it ends with the window that holds this; 0 while it is."""
        self.track = Track()
        self.heard_ns = self.heard_source_ns = 0
        """Time of the last sample in order that bore a source time, on the time line and on the device's
        clock; 0 where there was none: such a device has nothing that could come late."""
        self.late = LateData(window_s)
        self.tallies: dict[int, Tally] = {}
        self.quantity = Counter(THOUSANDTHS)
        self.parts = Counter(1)
        self.power = PowerState()
        self.offset = ClockOffset()
        self.closed_ns = 0
        """Every window that ends at or before this is closed."""
        self.later = Supplements(device_id, window_s)
        self.wants_reading = True
        self._role_of_tag = np.zeros(0, np.uint8)
        self._shown: tuple[bool, int] = (False, MachineState.UNKNOWN)
        self._since_ns = 0

    # What the gateway watches -------------------------------------------------------------------

    def watch(self, now_ns: int) -> None:
        """From now on the gateway observes this device."""
        self.track.watch(now_ns)

    def unwatch(self, from_ns: int, to_ns: int = OPEN_END) -> None:
        """The gateway was not watching in this time."""
        self.track.unwatch(from_ns, to_ns)

    def lose_link(self, at_ns: int) -> None:
        """The collector's link is gone: a proof that lasts until a death message ends with it."""
        self.track.lose_link(at_ns)

    def end(self, at_ns: int) -> None:
        """The device is no longer configured: nothing is watched or proven any more."""
        if not self.ended_ns:
            self.ended_ns = at_ns
            self.unwatch(at_ns)
            self.track.withdraw(at_ns)

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
        codes = _CODE_OF_ROLE if self.counts else {role: _CODE_OF_ROLE[role] for role in (Role.STATE, Role.POWER)}
        self._role_of_tag = np.array([codes.get(tag.role, _NO_ROLE) for tag in device.tags], np.uint8)
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
            self.track.withdraw(proof.at_ns)
            return
        if proof.at_ns > self.track.proven_until_ns:
            self._begin_gap()
            self.late.end(proof.at_ns)
        self.track.prove(proof.at_ns, proof.lasts_s)

    # Samples ------------------------------------------------------------------------------------

    def _begin_gap(self) -> None:
        """Nothing proves the device connected since its last proof ran out: a gap, if late data can come."""
        if self.heard_ns:
            track = self.track
            self.late.begin(self.heard_ns, self.heard_source_ns, track.proven_until_ns, track.latest())

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
        if now_ns > self.track.proven_until_ns:
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
        known_ns = self.track.events[-1][0] if self.track.events else 0
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
            self.track.say(at_ns, int(value) if known else MachineState.UNKNOWN, self.closed_ns)
        elif role == _QUANTITY:
            if self._is_reading(self.quantity, value, quality):
                self._count_quantity(value, at_ns)
        elif role == _PARTS:
            if self._is_reading(self.parts, value, quality):
                self._count_parts(value, at_ns)
        elif self.device is not None and self.device.power_thresholds is not None:
            if quality == Quality.BAD or not np.isfinite(value):
                self.power.forget()
                self.track.say(at_ns, MachineState.UNKNOWN, self.closed_ns)
                return
            if self.track.state_at(at_ns) == MachineState.UNKNOWN:
                self.power.forget()
            changed = self.power.take(abs(value), at_ns, self.device.power_thresholds)
            if changed is not None:
                since_ns, state = changed
                self.track.say(max(since_ns, self.closed_ns), state, self.closed_ns)

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

    def _count_quantity(self, value: float, at_ns: int) -> None:
        counter = self.quantity
        growth = counter.take(value, at_ns)
        if counter.last_ns == at_ns and counter.last is not None:
            self._tally(at_ns).reading = counter.last
        if growth is not None:
            self._count_quantity_growth(growth, at_ns)

    def _count_quantity_growth(self, growth: Growth, at_ns: int) -> None:
        """Count a growth in the window that holds `at_ns`, its earlier days in their own."""
        idle = self._idle_part(growth)
        if growth.flag:
            self.wants_reading = True
            self.flag(at_ns, growth.flag)
        for share in split_by_local_day(growth, idle):
            start_s, tally = self._place_of_share(share.day_end_s, at_ns)
            if tally is not None:
                tally.quantity += share.amount
                tally.quantity_idle += share.idle
                tally.span_s += share.span_s
                tally.known = True
            elif share.amount or share.span_s:
                self._supplement(start_s, _flags(growth, share), share.amount, share.idle, share.span_s, 0)

    def _count_parts(self, value: float, at_ns: int) -> None:
        growth = self.parts.take(value, at_ns)
        if growth is not None:
            self._count_parts_growth(growth, at_ns)

    def _count_parts_growth(self, growth: Growth, at_ns: int) -> None:
        if growth.flag:
            self.flag(at_ns, growth.flag)
        for share in split_by_local_day(growth, 0):
            start_s, tally = self._place_of_share(share.day_end_s, at_ns)
            if tally is not None:
                tally.parts += share.amount
            elif share.amount:
                self._supplement(start_s, _flags(growth, share), 0, 0, 0, share.amount)

    def _place_of_share(self, day_end_s: int | None, at_ns: int) -> tuple[int, Tally | None]:
        """Where a day's share is counted: (start of the window in s, its tally; None where it is closed).

        The last day's at its sample, an earlier day's in that day's last window.
        """
        start_s = at_ns // NS_PER_S // self.window_s * self.window_s
        if day_end_s is not None:
            start_s = day_end_s - self.window_s
        start_ns = start_s * NS_PER_S
        return start_s, self._tally(start_ns) if start_ns >= self.closed_ns else None

    def _supplement(self, start_s: int, flags: Flag, quantity: int, idle: int, span_s: int, parts: int) -> None:
        """A share of a growth that belongs into a closed window."""
        self.later.add(
            start_s,
            flags,
            quantity=quantity,
            quantity_idle=idle,
            quantity_span=max(span_s, 1) if quantity or span_s else 0,
            parts=min(parts, _MAX_U32),
        )

    def write_late(self, now_ns: int) -> None:
        """Turn what was gathered for closed windows into supplements."""
        for start_s, found in self.late.take_out(self.closed_ns, now_ns):
            running, idle, fault, off = tenths(found.states_ns)
            self.later.add(
                start_s,
                Flag.HISTORICAL,
                running=running,
                idle=idle,
                fault=fault,
                off=off,
                good=min(found.good, _MAX_U32),
                bad=min(found.bad, _MAX_U32),
            )

    def _idle_part(self, growth: Growth) -> int:
        """The part of a growth that was counted while on and not running, by the states of its span."""
        if growth.amount == 0 or growth.to_ns <= growth.from_ns:
            return 0
        idle_ns, whole_ns = self.track.share_of(_IDLE, growth.from_ns, growth.to_ns)
        return growth.amount * idle_ns // whole_ns

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

    def due_starts(self, end_ns: int) -> list[int]:
        """Starts in s of the open windows before `end_ns` for which a record is due, in order."""
        starts = {s for s in self.tallies if s * NS_PER_S < end_ns}
        return sorted(starts | self.track.starts(self.closed_ns, end_ns, self.window_s))

    def row(self, start_s: int, now_ns: int, flags: Flag) -> Row | None:
        """The record of a window as it stands at `now_ns`; None where it has no part left."""
        start_ns = start_s * NS_PER_S
        observed, connected, (running, idle, fault, off) = self.track.times(
            start_ns, start_ns + self.window_s * NS_PER_S, now_ns
        )
        part = 0
        if self.later.comes_again(start_s):  # its own record says what was observed then
            observed = connected = 0
            flags |= Flag.CLOCK_SET_BACK
            if (next_part := self.later.next_part(start_s)) is None:
                return None
            part = next_part
        tally = self.tallies.get(start_s, Tally())
        reading = UNKNOWN_READING
        self.wants_reading |= start_s % _HOUR_S == 0
        if tally.reading != UNKNOWN_READING and self.wants_reading:
            reading, self.wants_reading = tally.reading, False
        return Row(
            self.id,
            start_s,
            self.window_s * TENTHS_PER_S,
            observed,
            part,
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
        if self.track.proven_until_ns < end_ns:
            self._begin_gap()
        self.closed_ns = end_ns
        self.tallies = {s: t for s, t in self.tallies.items() if s * NS_PER_S >= end_ns}
        self.late.expire(end_ns)
        self.later.forget(self._more_may_come)
        self.track.close(end_ns)

    def _more_may_come(self, start_s: int) -> bool:
        """Whether a closed window can still get another part: late data, or a day's share of a growth."""
        end_ns = (start_s + self.window_s) * NS_PER_S
        start_ns = start_s * NS_PER_S
        slow = any(
            (c.last is not None and c.last_ns < end_ns) or c.bridges_in(start_ns, end_ns)
            for c in (self.quantity, self.parts)
        )
        again = self.closed_ns - _AGAIN_KEPT_NS < end_ns <= self.later.again_until_ns
        return slow or again or self.late.may_come(start_s)

    # The time line is set -------------------------------------------------------------------------

    def shift(self, by_ns: int, from_ns: int, again_until_ns: int) -> None:
        """What happened at or after `from_ns` happened `by_ns` later; windows before `again_until_ns` come again."""
        window_ns = self.window_s * NS_PER_S
        closed_ns = (self.closed_ns + by_ns) // window_ns * window_ns
        by_s = (closed_ns - self.closed_ns) // NS_PER_S
        self.track.shift(by_ns, from_ns)
        self.late.shift(by_ns, by_s, from_ns)
        self.offset.shift(by_ns)
        self.power.candidate_ns = moved(self.power.candidate_ns, by_ns, from_ns)
        self.heard_ns = moved(self.heard_ns, by_ns, from_ns)
        self._since_ns = moved(self._since_ns, by_ns, from_ns)
        self.tallies = {s + by_s: tally for s, tally in self.tallies.items()}
        self.closed_ns, self.later.again_until_ns = closed_ns, again_until_ns
        for counter in (self.quantity, self.parts):
            counter.shift(by_ns, from_ns)

    def skip_to(self, closed_ns: int) -> None:
        """Windows before `closed_ns` are closed without a record: what was counted for them counts in the next one."""
        self.closed_ns = closed_ns
        for start_s in [s for s in self.tallies if s * NS_PER_S < closed_ns]:
            self._tally(closed_ns).add(self.tallies.pop(start_s))

    def date_parts(self, by_s: int, from_s: int) -> None:
        """Closed windows from `from_s` on are moved by `by_s`."""
        self.later.date(by_s, from_s)

    def begin_undated(self, *, since_known: bool) -> None:
        """From now on the time line may be wrong: what reaches over this instant waits until it is known.

        `since_known`: whether it was right until now.
        """
        self.offset.forget()
        for counter in (self.quantity, self.parts):
            counter.begin_bridge(is_timed=since_known)

    def end_undated(self) -> None:
        """The time line is right: count what grew while the machine was switched off."""
        for counter, count in ((self.quantity, self._count_quantity_growth), (self.parts, self._count_parts_growth)):
            for growth in counter.end_bridges():
                count(growth, growth.to_ns)

    # Presence -----------------------------------------------------------------------------------

    def presence(self, now_ns: int) -> tuple[bool, int, int]:
        """(connected, state, since ns): how the gateway judges the device now."""
        connected = self.track.is_proven(now_ns)
        shown = (connected, self.track.state_at(now_ns) if connected else int(MachineState.UNKNOWN))
        if shown != self._shown or self._since_ns == 0:
            self._shown, self._since_ns = shown, now_ns
        return *shown, self._since_ns


def _flags(growth: Growth, share: Share) -> Flag:
    """What is said of a share that comes when its window is closed; an earlier day's is estimated."""
    return growth.flag | Flag.HISTORICAL | (Flag(0) if share.day_end_s is None else Flag.ESTIMATED)
