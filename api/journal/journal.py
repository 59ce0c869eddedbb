"""The journal: what a gateway sent is synced here before it is acknowledged; everything behind it is derived.

A batch is known by (gateway, epoch, sequence), unique over all days. One thread writes: whatever waits is
committed in one synced transaction, so that many gateways share one sync. Batches have positions
1, 2, 3 … in the order of commit, without holes; the interval store says up to which position it has applied them.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import structlog

from api.clock import Clock
from api.journal.day_file import AnnounceEntry, Batch, DayFile
from api.journal.kept import Kept
from api.journal.ranges import Received

_MAX_GROUP: Final = 256
_MAX_WAITING: Final = 4096
_MAX_HOLES: Final = 16
_GATHER_S: Final = 0.002
"""The writer waits this long for company, so that batches that arrive together share one sync and one wake-up."""

log = structlog.get_logger(__name__)

Result = Literal["journalled", "duplicate", "conflict"]


class JournalError(Exception):
    """The batch could not be journalled; it was not acknowledged and may be sent again."""


class JournalBusyError(JournalError):
    """More batches wait than the journal's limit."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch. `position` is 0 unless it was journalled now; `missing`: (epoch, first, last)."""

    result: Result
    position: int
    missing: list[tuple[int, int, int]]


@dataclass(slots=True)
class _Waiting:
    batch: Batch | None
    announce: AnnounceEntry | None
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Outcome]
    outcome: Outcome | None = None
    error: BaseException | None = None


@dataclass(slots=True)
class Totals:
    """Counters of one gateway since the oldest day that is kept."""

    batches: int = 0
    refused_rows: int = 0
    held_rows: int = 0
    conflicts: int = 0
    duplicates: int = 0


@dataclass(slots=True)
class _State:
    received: dict[tuple[str, int], Received] = field(default_factory=dict)
    gaps: set[tuple[str, int, int]] = field(default_factory=set)
    totals: defaultdict[str, Totals] = field(default_factory=lambda: defaultdict(Totals))
    position: int = 0


def _day_name(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d")


class Journal:
    """The journal of one county. Opening it reads what was received; `close` writes what waits."""

    def __init__(self, folder: Path, clock: Clock, *, keep_days: int = 14) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._clock = clock
        self._keep_days = keep_days
        self._lock = threading.RLock()
        self._kept = Kept(folder / "kept.sqlite")
        self._days: dict[str, DayFile] = {
            path.stem: DayFile(path) for path in sorted(folder.glob("[0-9]*-[0-9]*-[0-9]*.sqlite"))
        }
        self._state = _State()
        self._recover()
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(_MAX_WAITING)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def _recover(self) -> None:
        through, position = self._kept.through()
        state = self._state
        state.received = self._kept.load()
        state.position = position
        for name, day in self._days.items():
            state.position = max(state.position, day.last_position())
            for gateway, batches, refused, held in day.totals():
                totals = state.totals[gateway]
                totals.batches += batches
                totals.refused_rows += refused
                totals.held_rows += held
            if name > through:
                for gateway, epoch, sequence, before, before_sequence in day.batch_keys():
                    self._mark(gateway, epoch, sequence, None if before is None else (before, before_sequence or 0))
            for gateway, epoch, sequence in day.gap_keys():
                state.gaps.add((gateway, epoch, sequence))
                self._received(gateway, epoch).add(sequence)
        for gateway, conflicts in self._kept.counters("conflict").items():
            state.totals[gateway].conflicts = conflicts

    def _received(self, gateway: str, epoch: int) -> Received:
        return self._state.received.setdefault((gateway, epoch), Received())

    def _mark(self, gateway: str, epoch: int, sequence: int, previous: tuple[int, int] | None) -> None:
        received = self._received(gateway, epoch)
        received.add(sequence)
        if previous is None or previous[0] != epoch:
            received.floor = sequence if received.floor is None else min(received.floor, sequence)

    @property
    def position(self) -> int:
        """The last position that is synced."""
        return self._state.position

    @property
    def kept(self) -> Kept:
        """What outlives the day files."""
        return self._kept

    def first(self) -> tuple[int, int] | None:
        """Position and time of arrival (ns UTC) of the first batch that is still here; None for none."""
        with self._lock:
            for name in sorted(self._days):
                if (found := self._days[name].first()) is not None:
                    return found
        return None

    def counted(self, through: int) -> dict[int, list[tuple[int, int]]]:
        """By local day, the (position, counted rows) of every batch up to a position, ascending."""
        days: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        with self._lock:
            for name in sorted(self._days):
                for day, position, rows in self._days[name].counted(through):
                    days[day].append((position, rows))
        return {day: sorted(found) for day, found in days.items()}

    def continue_from(self, position: int) -> None:
        """Number the next batch beyond a position that the interval store has: of a journal that was lost."""
        with self._lock:
            if position > self._state.position:
                log.error("journal_behind_store", journal=self._state.position, store=position)
                self._state.position = position

    def totals(self) -> dict[str, Totals]:
        """Counters by gateway."""
        with self._lock:
            return dict(self._state.totals)

    async def commit(self, batch: Batch) -> Outcome:
        """Journal a batch (its `position` is ignored) and say what became of it, after the sync.

        Raises JournalBusyError when too many wait, JournalError when the disk refused it.
        """
        return await self._submit(batch, None)

    async def commit_announce(self, entry: AnnounceEntry) -> None:
        """Journal an announcement message; as `commit`."""
        await self._submit(None, entry)

    async def _submit(self, batch: Batch | None, announce: AnnounceEntry | None) -> Outcome:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Outcome] = loop.create_future()
        try:
            self._queue.put_nowait(_Waiting(batch, announce, loop, done))
        except queue.Full:
            raise JournalBusyError(f"{_MAX_WAITING} batches wait for the journal") from None
        return await done

    def after(self, position: int, limit: int) -> list[Batch]:
        """At most `limit` batches beyond a position, in order: for whoever derives from the journal."""
        with self._lock:
            for name in sorted(self._days):
                day = self._days[name]
                if day.last_position() > position and (found := day.after(position, limit)):
                    return found
        return []

    def close(self) -> None:
        """Write what waits, then close the files."""
        self._queue.put(None)
        self._thread.join()
        with self._lock:
            for day in self._days.values():
                day.close()
            self._kept.close()

    # from here on: the writer's thread

    def _run(self) -> None:
        running = True
        while running:
            group: list[_Waiting] = []
            item = self._queue.get()
            if item is not None:
                time.sleep(_GATHER_S)
            while True:
                if item is None:
                    running = False
                    break
                group.append(item)
                if len(group) == _MAX_GROUP:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            if group:
                self._write(group)

    def _write(self, group: list[_Waiting]) -> None:
        try:
            with self._lock:
                self._commit(group)
        except (sqlite3.Error, OSError) as error:
            log.error("journal_write_failed", error=str(error), batches=len(group))
            for waiting in group:
                waiting.error = JournalError(str(error))
        by_loop: defaultdict[asyncio.AbstractEventLoop, list[_Waiting]] = defaultdict(list)
        for waiting in group:
            by_loop[waiting.loop].append(waiting)
        for loop, answered in by_loop.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_answer, answered)

    def _commit(self, group: list[_Waiting]) -> None:
        state = self._state
        position = state.position
        fresh: list[Batch] = []
        taken: dict[tuple[str, int, int], bytes] = {}
        conflicts: list[str] = []
        duplicates: list[str] = []
        for waiting in group:
            batch = waiting.batch
            if batch is None:
                continue
            key = (batch.gateway, batch.epoch, batch.sequence)
            known = taken.get(key)
            if known is None:
                known = self._known_digest(key)
            if known is None:
                position += 1
                batch = batch._replace(position=position)
                fresh.append(batch)
                taken[key] = batch.digest
                waiting.outcome = Outcome("journalled", position, [])
            elif known in (batch.digest, b""):
                duplicates.append(batch.gateway)
                waiting.outcome = Outcome("duplicate", 0, [])
            else:
                conflicts.append(batch.gateway)
                waiting.outcome = Outcome("conflict", 0, [])
        announces = [w.announce for w in group if w.announce is not None]
        if fresh or announces:
            self._today().write(fresh, announces)
        for gateway in conflicts:
            self._kept.count("conflict", gateway)
            state.totals[gateway].conflicts += 1
        for gateway in duplicates:
            state.totals[gateway].duplicates += 1
        state.position = position
        for batch in fresh:
            self._mark(batch.gateway, batch.epoch, batch.sequence, batch.previous)
            for gap in batch.gaps:
                if (lost := gap.stands_for(batch.epoch)) is not None:
                    state.gaps.add((batch.gateway, *lost))
                    self._received(batch.gateway, lost[0]).add(lost[1])
            state.gaps.discard((batch.gateway, batch.epoch, batch.sequence))
            totals = state.totals[batch.gateway]
            totals.batches += 1
            totals.refused_rows += len(batch.refused) // 4
            totals.held_rows += len(batch.held) // 4
        for waiting in group:
            if waiting.batch is not None and waiting.outcome is not None:
                waiting.outcome = Outcome(
                    waiting.outcome.result, waiting.outcome.position, self._missing(waiting.batch)
                )
            elif waiting.outcome is None:
                waiting.outcome = Outcome("journalled", 0, [])

    def _known_digest(self, key: tuple[str, int, int]) -> bytes | None:
        """Digest of a batch that is journalled; empty when its day was dropped; None when it never arrived."""
        gateway, epoch, sequence = key
        received = self._state.received.get((gateway, epoch))
        if received is None or sequence not in received:
            return None
        for name in sorted(self._days, reverse=True):
            found = self._days[name].digest_of(gateway, epoch, sequence)
            if found is not None:
                return found[0]
        return None if key in self._state.gaps else b""

    def _missing(self, batch: Batch) -> list[tuple[int, int, int]]:
        if batch.previous is None:
            return []
        epoch, sequence = batch.previous
        holes = self._received(batch.gateway, epoch).holes(sequence, _MAX_HOLES)
        return [(epoch, first, last) for first, last in holes]

    def _today(self) -> DayFile:
        name = _day_name(self._clock.now_ns())
        latest = max(self._days, default="")
        name = max(name, latest)  # a clock set back must not hide a batch in an older file
        if name not in self._days:
            if latest:
                self._kept.save(self._state.received, latest, self._state.position)
            self._days[name] = DayFile(self._folder / f"{name}.sqlite")
        return self._days[name]

    def drop_before(self, applied_position: int) -> list[str]:
        """Drop the day files beyond the days that are kept, unless something in them is not applied yet.

        Their received ranges stay. Returns the days that were dropped.
        """
        dropped: list[str] = []
        with self._lock:
            through, _ = self._kept.through()
            for name in sorted(self._days)[: -self._keep_days]:
                day = self._days[name]
                if name > through or day.last_position() > applied_position:
                    break
                day.close()
                del self._days[name]
                for suffix in ("", "-wal", "-shm"):
                    Path(f"{day.path}{suffix}").unlink(missing_ok=True)
                dropped.append(name)
        return dropped


def _answer(group: list[_Waiting]) -> None:
    for waiting in group:
        if waiting.done.done():
            continue
        if waiting.error is not None:
            waiting.done.set_exception(waiting.error)
        elif waiting.outcome is not None:
            waiting.done.set_result(waiting.outcome)
