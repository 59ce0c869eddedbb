"""The journal in files: one SQLite file a day of arrival (UTC), dropped whole. One process owns them."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import structlog

from api.clock import Clock
from api.journal.batch import AnnounceEntry, Batch
from api.journal.day_file import DayFile
from api.journal.digests import runs
from api.journal.kept import KeptFile
from api.journal.port import DayCounts, JournalError, JournalSize, Outcome, Totals, UnkeepableError
from api.journal.ranges import Receipts
from api.journal.tally import Tally
from api.journal.writer import Decided, GroupWriter, Key, Waiting, decide, tell_missing

DAY_FILES = "[0-9]*-[0-9]*-[0-9]*.sqlite"

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _State:
    received: Receipts = field(default_factory=Receipts)
    gaps: set[Key] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)
    position: int = 0
    conflicts: Counter[str] = field(default_factory=Counter)
    """By gateway, those that are not written down yet."""


def day_name(at_ns: int) -> str:
    """The UTC day of a time in ns, as `2026-11-23`."""
    return datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d")


class FileJournal:
    """The journal of one county. Opening it reads what was received; `close` writes what waits."""

    def __init__(self, folder: Path, clock: Clock, *, keep_days: int = 14) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._clock = clock
        self._keep_days = keep_days
        self._lock = threading.RLock()
        self._kept = KeptFile(folder / "kept.sqlite")
        self._days: dict[str, DayFile] = {path.stem: DayFile(path) for path in sorted(folder.glob(DAY_FILES))}
        self._state = _State()
        self._recover()
        self._writer = GroupWriter(self._commit)

    def _recover(self) -> None:
        through, position = self._kept.through()
        state = self._state
        state.received = Receipts(self._kept.load())
        state.position = position
        for name, day in self._days.items():
            state.position = max(state.position, day.last_position())
            if name > through or day.last_position() > position:
                for gateway, epoch, sequence, before, before_sequence in day.batch_keys():
                    previous = None if before is None else (before, before_sequence or 0)
                    state.received.mark(gateway, epoch, sequence, previous)
            for gateway, epoch, sequence in day.gap_keys():
                state.gaps.add((gateway, epoch, sequence))
                state.received.of(gateway, epoch).add(sequence)
        for gateway, conflicts in self._kept.counters("conflict").items():
            state.tally.totals[gateway].conflicts = conflicts
        self._recover_tally()

    def _recover_tally(self) -> None:
        """The counts of a finished day are kept: they are counted again where they are not those of all its batches."""
        kept = self._kept.day_counts()
        for name, day in self._days.items():
            last = day.last_position()
            counted_to, counts = kept.get(name, (0, []))
            if counted_to != last:
                counts = day.totals()
            self._state.tally.add(name, counts)
            if counted_to != last and name != max(self._days):
                self._keep_counts(name)

    def _keep_counts(self, name: str) -> None:
        """Where that fails, the day is counted again at the next start: no commit fails for it."""
        try:
            last = self._days[name].last_position()
            self._kept.keep_day_counts(name, last, self._state.tally.of(name), min(self._days))
        except sqlite3.Error as error:
            log.error("day_counts_not_kept", error=str(error), day=name)

    @property
    def position(self) -> int:
        """The last position that is synced."""
        return self._state.position

    @property
    def kept(self) -> KeptFile:
        """What outlives the day files."""
        return self._kept

    @property
    def last_error(self) -> str:
        """Why the last commit failed; empty after one that did not."""
        return self._writer.last_error

    def first(self) -> tuple[int, int] | None:
        """Position and time of arrival (ns UTC) of the first batch that is still here; None for none."""
        with self._lock:
            for name in sorted(self._days):
                if (found := self._days[name].first()) is not None:
                    return found
        return None

    def arrived_ns(self, position: int) -> int | None:
        """When the first batch beyond a position arrived, ns UTC; None where there is none."""
        with self._lock:
            for name in sorted(self._days):
                if (found := self._days[name].first(position)) is not None:
                    return found[1]
        return None

    def counted(self, through: int, skip: Callable[[int], bool]) -> Iterator[DayCounts]:
        """Of each local day that is not skipped, how many rows were counted of every batch up to a position."""
        with self._lock:
            files = {name: self._days[name].counted_days() for name in sorted(self._days)}
        for local in sorted(set().union(*files.values())):
            if skip(local):
                continue
            with self._lock:
                found = [self._days[name].counted(local, through) for name, has in files.items() if local in has]
            yield DayCounts(local, *(np.concatenate(column) for column in zip(*found, strict=True)))

    def heard_since(self, since_ns: int) -> set[str]:
        """Gateways of which a batch arrived since a time."""
        heard: set[str] = set()
        with self._lock:
            for name in sorted(self._days, reverse=True):
                if name < day_name(since_ns):
                    break
                heard |= self._days[name].heard_since(since_ns)
        return heard

    def continue_from(self, position: int) -> None:
        """Number the next batch beyond a position that the interval store has: of a journal that was lost."""
        with self._lock:
            if position > self._state.position:
                log.error("journal_behind_store", journal=self._state.position, store=position)
                self._state.position = position

    def totals(self) -> dict[str, Totals]:
        """Counters by gateway."""
        with self._lock:
            return dict(self._state.tally.totals)

    def size(self) -> JournalSize:
        """How large it is, and how old."""
        with self._lock:
            first = self.first()
            last = [found for day in self._days.values() if (found := day.newest_ns()) is not None]
            files = [path for path in self._folder.iterdir() if path.is_file()]
            size_bytes = sum(path.stat().st_size for path in files)
            newest_ns = max(last, default=None)
            return JournalSize(len(self._days), size_bytes, None if first is None else first[1], newest_ns)

    async def commit(self, batch: Batch) -> Outcome:
        """Journal a batch (its `position` is ignored) and say what became of it, after the sync.

        Raises JournalBusyError when too many wait, JournalError when the disk refused it.
        """
        return await self._writer.submit(batch, None)

    async def commit_announce(self, entry: AnnounceEntry) -> None:
        """Journal an announcement message; as `commit`."""
        await self._writer.submit(None, entry)

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
        self._writer.close()
        with self._lock:
            for day in self._days.values():
                day.close()
            self._kept.close()

    def _commit(self, group: list[Waiting]) -> None:
        try:
            with self._lock:
                decided = decide(group, self._state.position, self._known_digest)
                if decided.fresh or decided.announces:
                    self._today().write(decided.fresh, decided.announces)
                self._remember(decided)  # in memory alone: what is written is known from here on, whatever fails
                tell_missing(group, self._state.received.missing)
                self._count_conflicts()
        except (sqlite3.Error, OSError) as error:
            raise JournalError(str(error)) from error
        except OverflowError as error:  # SQLite's integers have 64 bits
            raise UnkeepableError(str(error)) from error

    def _count_conflicts(self) -> None:
        """Write the conflicts down. Where that fails they are written with the next commit: none fails for it."""
        waiting = self._state.conflicts
        try:
            for gateway in sorted(waiting):
                self._kept.count("conflict", gateway, waiting[gateway])
                del waiting[gateway]
        except sqlite3.Error as error:
            log.error("conflicts_not_counted", error=str(error), gateways=sorted(waiting))

    def _remember(self, decided: Decided) -> None:
        state = self._state
        state.conflicts.update(decided.conflicts)
        for gateway in decided.conflicts:
            state.tally.totals[gateway].conflicts += 1
        for gateway in decided.duplicates:
            state.tally.totals[gateway].duplicates += 1
        state.position = decided.position
        for batch in decided.fresh:
            state.received.mark(batch.gateway, batch.epoch, batch.sequence, batch.previous)
            for gap in batch.gaps:
                if (lost := gap.stands_for(batch.epoch)) is not None:
                    state.gaps.add((batch.gateway, *lost))
                    state.received.of(batch.gateway, lost[0]).add(lost[1])
            state.gaps.discard((batch.gateway, batch.epoch, batch.sequence))
        if decided.fresh:
            state.tally.add_batches(max(self._days), decided.fresh)

    def _known_digest(self, key: Key) -> bytes | None:
        """Digest of a batch that is journalled, a short one when its day was dropped; None when it never arrived."""
        gateway, epoch, sequence = key
        if not self._state.received.has(gateway, epoch, sequence):
            return None
        for name in sorted(self._days, reverse=True):
            found = self._days[name].digest_of(gateway, epoch, sequence)
            if found is not None:
                return found[0]
        return None if key in self._state.gaps else self._kept.digest_of(gateway, epoch, sequence)

    def _today(self) -> DayFile:
        name = day_name(self._clock.now_ns())
        latest = max(self._days, default="")
        name = max(name, latest)  # a clock set back must not hide a batch in an older file
        if name not in self._days:
            if latest:
                self._kept.save(self._state.received.ranges, latest, self._state.position)
                self._keep_counts(latest)
            self._days[name] = DayFile(self._folder / f"{name}.sqlite")
        return self._days[name]

    def drop_before(self, applied_position: int) -> list[str]:
        """Drop the day files beyond the days that are kept, unless something in them is not applied yet.

        Their received ranges and digests stay. Returns the days that were dropped.
        """
        dropped: list[str] = []
        while (day := self._to_drop(applied_position)) is not None:
            name = day.path.stem
            # nothing is written to it any more: it is read apart, so that batches do not wait
            old = DayFile(day.path, read_only=True)
            try:
                self._kept.keep_digests(name, runs(old.digests()))
            finally:
                old.close()
            with self._lock:
                day.close()
                del self._days[name]
                self._state.tally.drop(name)
                for suffix in ("", "-wal", "-shm"):
                    Path(f"{day.path}{suffix}").unlink(missing_ok=True)
            dropped.append(name)
        return dropped

    def _to_drop(self, applied_position: int) -> DayFile | None:
        """The oldest day, where it is to be dropped."""
        with self._lock:
            through, _ = self._kept.through()
            beyond = sorted(self._days)[: -self._keep_days]
            if not beyond or beyond[0] > through:
                return None
            day = self._days[beyond[0]]
            return None if day.last_position() > applied_position else day
