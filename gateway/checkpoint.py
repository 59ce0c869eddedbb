"""The checkpoint: all open windows as one small compressed blob, and how a run goes on from it.

Times are kept in whole ms before the moment of saving, so that fifty devices fit into 3 kB.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import zstandard

from gateway.account import Account
from gateway.clock import NS_PER_S
from gateway.counters import Bridge, Counter, Held
from gateway.late import Gap, Gathered
from gateway.row import Row, Tally
from gateway.spans import OPEN_END, Span
from gateway.windows import Windows
from metrics.record import Flag

CHECKPOINT_VERSION: Final = 1
_US: Final = 1_000
_MS: Final = 1_000_000
_LEVEL: Final = 9
LIMIT_BYTES_PER_DEVICE: Final = 60
LEAST_LIMIT_BYTES: Final = 3000


class CheckpointError(Exception):
    """A checkpoint that cannot be used: damaged, or of another window length."""


class SavedCounter(msgspec.Struct, array_like=True, frozen=True):
    """A counter's last reading, those held back (first and latest, each with its age, and how many), and the last
    one before a reset with the reset's age; bridges: the readings on both sides of a time of unknown length, each
    with its age. Ages in ms. `suspect` was the one held back in older checkpoints."""

    last: int | None
    age: int
    suspect: int | None
    suspect_age: int
    held: tuple[int, int, int, int, int] | None = None
    before: tuple[int, int] | None = None
    bridges: list[tuple[int, int, int | None, int, bool]] = []


class SavedAccount(msgspec.Struct, array_like=True, frozen=True):
    """One device. `watched`, `proven`: ages (start, end); `events`: (age, state); `tallies` by start in s;
    `offset`: minute, minutes, smallest delays in µs; `until`: where the latest proof runs out; `heard`: the last
    dated sample, and how far the device's clock stood behind the line; `gaps`: age of the start, then from the
    start on: where states may be stated, the end (−1: open), the state at the watermark, the watermark, and
    the device's clock behind it; `gathered`: start in s, ms by state, good, bad; `gathering`: its age.
    """

    id: str
    entry: str
    watched: list[tuple[int, int]]
    proven: list[tuple[int, int]]
    withdrawn: int
    proof: int
    events: list[tuple[int, int]]
    tallies: dict[int, list[int]]
    quantity: SavedCounter
    parts: SavedCounter
    power: tuple[int, int, int]
    offset: tuple[int, int, list[tuple[int, int]]]
    parts_used: dict[int, int]
    supplements: list[list[int]]
    until: int = -1
    heard: tuple[int, int] | None = None
    gaps: list[list[int]] = []
    gathered: list[list[int]] = []
    gathering: int = 0


class SavedClock(msgspec.Struct, array_like=True, frozen=True):
    """The time line: it goes on as it was until the machine is switched on again (`boot`)."""

    boot: str
    ahead_ns: int
    is_known: bool


class SavedWindows(msgspec.Struct, array_like=True, frozen=True):
    """The whole checkpoint. `saved_ms` on the time line; `closed_s`: windows up to there are written; `again_s`:
    those before it come again after the clock was set back."""

    version: int
    window_s: int
    saved_ms: int
    closed_s: int
    shed: dict[str, int]
    accounts: list[SavedAccount]
    again_s: int = 0
    clock: SavedClock | None = None


_TALLY_FIELDS: Final = tuple(Tally.__dataclass_fields__)
_ROW_FIELDS: Final = tuple(name for name in Row.__dataclass_fields__ if name != "device")


def save(windows: Windows, now_ns: int, clock: SavedClock | None = None) -> bytes:
    """The state of all accounts at `now_ns`, within the size that a checkpoint may have.

    Where it would be larger, the shortest gaps are forgotten, a quarter at a time, and counted; while late
    data is gathered it may be larger for a minute.
    """
    limit = max(LEAST_LIMIT_BYTES, LIMIT_BYTES_PER_DEVICE * len(windows.accounts))
    blob = _save(windows, now_ns, clock)
    if any(account.late.gathered for account in windows.accounts.values()):
        return blob
    while len(blob) > limit and windows.forget_gaps():
        blob = _save(windows, now_ns, clock)
    return blob


def _save(windows: Windows, now_ns: int, clock: SavedClock | None) -> bytes:
    now_ms = now_ns // _MS
    closed_ns = windows.closed_ns

    def age(at_ns: int) -> int:
        return now_ms - at_ns // _MS

    def counter(c: Counter) -> SavedCounter:
        return SavedCounter(
            c.last,
            age(c.last_ns) if c.last is not None else 0,
            None,
            0,
            None
            if c.held is None
            else (c.held.first, age(c.held.first_ns), c.held.latest, age(c.held.latest_ns), c.held.readings),
            None if c.before is None else (c.before, age(c.before_ns)),
            [
                (b.last, age(b.last_ns), b.first, age(b.first_ns) if b.first is not None else 0, b.is_timed)
                for b in c.bridges
            ],
        )

    def spans(of: list[Span]) -> list[tuple[int, int]]:
        # A proof never outlives the process that saw it: what is open ends with the checkpoint.
        ages = [(age(max(a, closed_ns)), max(0, age(b))) for a, b in of if b > closed_ns]
        return [(a, b) for a, b in ages if a > b]

    saved = [
        SavedAccount(
            a.id,
            a.entry,
            spans(a.track.watched),
            spans(a.track.proven),
            age(a.track.withdrawn_ns) if a.track.withdrawn_ns else -1,
            age(a.track.last_proof_ns) if a.track.last_proof_ns else -1,
            [(age(at), state) for at, state in a.track.events],
            {s: [int(getattr(t, f)) for f in _TALLY_FIELDS] for s, t in a.tallies.items()},
            counter(a.quantity),
            counter(a.parts),
            (a.power.state, a.power.candidate, age(a.power.candidate_ns) if a.power.candidate_ns else 0),
            (a.offset.minute, a.offset.minutes, [(n, delay_ns // _US) for n, delay_ns in a.offset.lows]),
            a.later.used,
            [[getattr(row, f) for f in _ROW_FIELDS] for row in a.later.rows],
            *_late_of(a, now_ms),
        )
        for a in windows.accounts.values()
    ]
    message = SavedWindows(
        CHECKPOINT_VERSION,
        windows.window_s,
        now_ms,
        closed_ns // NS_PER_S,
        dict(windows.shed),
        saved,
        windows.again_until_ns // NS_PER_S,
        clock,
    )
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(msgspec.msgpack.encode(message))


def _late_of(a: Account, now_ms: int) -> tuple[Any, ...]:
    """The last fields of a SavedAccount; those that say nothing are left out."""
    until = max(0, now_ms - _up(a.track.proven_until_ns)) if a.track.proven_until_ns else -1
    if not a.heard_ns:
        return (until,)
    heard = (now_ms - _up(a.heard_ns), _up(a.heard_ns) - _up(a.heard_source_ns))
    gaps = []
    for gap in a.late.gaps:
        start, mark = _up(gap.start_ns), _up(gap.mark_ns)
        end = -1 if gap.end_ns == OPEN_END else _up(gap.end_ns) - start
        behind = mark - _up(gap.mark_source_ns)
        gaps.append([now_ms - start, _up(gap.stated_ns) - start, end, gap.state, mark - start, behind])
    if not a.late.gathered:
        return (until, heard, gaps) if gaps else (until, heard)
    gathered = [[s, *(t // _MS for t in g.states_ns), g.good, g.bad] for s, g in sorted(a.late.gathered.items())]
    return until, heard, gaps, gathered, now_ms - a.late.since_ns // _MS


def _up(at_ns: int) -> int:
    """A time in ms, rounded up: a watermark never falls behind what was counted."""
    return -(-at_ns // _MS)


def read(blob: bytes) -> SavedWindows:
    """Decode a checkpoint. Raises CheckpointError for a damaged one."""
    try:
        message = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(blob), type=SavedWindows)
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise CheckpointError(f"not a checkpoint: {error}") from error
    if message.version != CHECKPOINT_VERSION:
        raise CheckpointError(f"checkpoint version {message.version}, this gateway reads {CHECKPOINT_VERSION}")
    return message


def close_old(saved: SavedWindows) -> tuple[list[Row], SavedWindows]:
    """Close the windows of a checkpoint short, as they stood: (their records, what goes on).

    For a gateway whose window length was changed, or that does not know how long it was off: what was counted in the
    old windows is kept.
    """
    at_ns = saved.saved_ms * _MS
    windows = Windows(saved.window_s, dict.fromkeys(a.entry for a in saved.accounts), at_ns)
    resume(saved, windows, at_ns)
    return windows.close_short(at_ns), read(save(windows, at_ns, saved.clock))


def resume(saved: SavedWindows, windows: Windows, now_ns: int) -> None:
    """Let new windows go on where the checkpoint ended.

    What was open stays open; the time between the checkpoint and now is not observed; no proof, and so
    no state, reaches over it; counters go on, their next difference spans the hole. An entry that is
    no longer configured ends with its open windows. The windows must be of the checkpoint's length, or the
    checkpoint's windows all closed (`close_old`).
    """
    length = windows.window_s
    windows.closed_ns = -(-saved.closed_s // length) * length * NS_PER_S
    windows.again_until_ns = saved.again_s * NS_PER_S
    windows.shed.update(saved.shed)
    for account in windows.accounts.values():
        account.closed_ns, account.later.again_until_ns = windows.closed_ns, windows.again_until_ns
    for device in saved.accounts:
        account = windows.accounts.get(device.id) or windows.open(device.id, device.entry, now_ns)
        _restore(account, device, saved.saved_ms)
        for start_s in list(account.tallies):
            account.tallies[start_s].flags |= int(Flag.RESUMED)
        if device.entry not in windows.entries:
            account.end(saved.saved_ms * _MS)
            continue
        account.flag(saved.saved_ms * _MS, Flag.RESUMED)
        account.flag(now_ns, Flag.RESUMED)
    saved_ids = {device.id for device in saved.accounts}
    for entry in windows.entries:
        found = any(a.entry == entry and a.id != entry for a in windows.accounts.values())
        if found and entry not in saved_ids:
            windows.accounts.pop(entry, None)


def _restore(account: Account, device: SavedAccount, saved_ms: int) -> None:
    def at(age_ms: int) -> int:
        return (saved_ms - age_ms) * _MS

    for counter, was in ((account.quantity, device.quantity), (account.parts, device.parts)):
        counter.last, counter.last_ns = was.last, at(was.age)
        if was.suspect is not None:
            counter.held = Held(was.suspect, at(was.suspect_age), was.suspect, at(was.suspect_age), 1)
        if was.held is not None:
            first, first_age, latest, latest_age, readings = was.held
            counter.held = Held(first, at(first_age), latest, at(latest_age), readings)
        if was.before is not None:
            counter.before, counter.before_ns = was.before[0], at(was.before[1])
        counter.bridges = [
            Bridge(last, at(last_age), first, at(first_age) if first is not None else 0, is_timed)
            for last, last_age, first, first_age, is_timed in was.bridges
        ]
    state, candidate, candidate_age = device.power
    account.power.state, account.power.candidate, account.power.candidate_ns = state, candidate, at(candidate_age)
    account.offset.minute, account.offset.minutes, lows = device.offset
    account.offset.lows = [(n, delay_us * _US) for n, delay_us in lows]
    account.wants_reading = True
    account.later.used = dict(device.parts_used)
    track = account.track
    track.last_proof_ns = at(device.proof) if device.proof >= 0 else 0
    track.withdrawn_ns = at(device.withdrawn) if device.withdrawn >= 0 else 0
    account.later.rows = [Row(account.id, *values) for values in device.supplements]
    track.watched = [*((at(a), at(b)) for a, b in device.watched), *track.watched]
    track.proven = [(at(a), at(b)) for a, b in device.proven]
    track.events = [(at(age), state) for age, state in device.events]
    for start_s, values in device.tallies.items():
        good, bad, quantity, idle, span_s, known, parts, flags, reading = values
        account.tallies[start_s] = Tally(good, bad, quantity, idle, span_s, bool(known), parts, flags, reading)
    track.proven_until_ns = at(device.until) if device.until >= 0 else 0
    if device.heard is not None:
        age, behind = device.heard
        account.heard_ns, account.heard_source_ns = at(age), at(age + behind)
    late = account.late
    late.gaps, late.since_ns = [], at(device.gathering)
    for start_age, stated, end, state, mark, behind in device.gaps:
        start_ns, mark_age = at(start_age), start_age - mark
        end_ns = OPEN_END if end < 0 else start_ns + end * _MS
        late.gaps.append(Gap(start_ns, start_ns + stated * _MS, end_ns, at(mark_age), at(mark_age + behind), state))
    late.gathered = {s: Gathered([t * _MS for t in times], good, bad) for s, *times, good, bad in device.gathered}
