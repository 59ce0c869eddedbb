"""Moves journalled batches into the interval store, in groups, from one thread.

Batches are handed over in memory while the store keeps up. Whatever is not at hand (after a restart, or when more
waited than the limit) is read from the journal again. A day is marked dirty before its records are applied: after a
crash in between, the mark is there and the records come from the journal.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from api.day_rows import DayMarks
from api.journal.batch import Batch
from api.shared.duty import AlwaysOnDuty, Duty
from api.store.port import Append, IntervalStore, StoreError
from api.verdict import replayed
from metrics.record import local_day

GROUP_ROWS: Final = 240_000
"""A group is applied when it is this large, just below two row groups of DuckDB (122,880 each), or GROUP_S old."""
SMALL_GROUP_ROWS: Final = 120_000
"""A group that did not fill is at most this large, just below one row group. From one row group on DuckDB writes rows
into the file at once, not into its log first, and what does not fill a row group is written again at a checkpoint:
groups of 125,000 to 235,000 rows cost three quarters more CPU a record than full ones."""
GROUP_S: Final = 1.0
_MAX_READY_ROWS: Final = 3 * GROUP_ROWS
_REPLAY_BATCHES: Final = 64
_BACKOFF_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

log = structlog.get_logger(__name__)


class BatchSource(Protocol):
    """What the applier asks of the journal."""

    @property
    def position(self) -> int:
        """The last position that is synced."""
        ...

    def after(self, position: int, limit: int) -> list[Batch]:
        """At most `limit` batches beyond a position, in order."""
        ...


class Applier:
    """Owns the thread that appends to the store. `mark_dirty` raises the days' generations, durably; `take_out`
    returns a batch without what comes too late; `settle` is told how far the store is, before anything is applied."""

    def __init__(
        self,
        journal: BatchSource,
        store: IntervalStore,
        mark_dirty: Callable[[DayMarks], None],
        take_out: Callable[[Append], Append] = lambda batch: batch,
        duty: Duty | None = None,
        settle: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._settle = settle
        self._duty = duty or AlwaysOnDuty()
        self._take_out = take_out
        self._journal = journal
        self._store = store
        self._mark_dirty = mark_dirty
        self._ready: dict[int, Append] = {}
        self._ready_rows = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._asked_for = 0
        self._applied = 0
        self._known = False
        self._failures = 0
        self.last_error = ""
        try:
            if self._duty.holds():
                self._ask()
        except StoreError as error:  # a store on another machine may be away now
            self.last_error = f"{type(error).__name__}: {error}"
        self._thread = threading.Thread(target=self._run, name="applier", daemon=True)

    def start(self) -> None:
        """Begin to apply."""
        self._thread.start()

    @property
    def applied(self) -> int:
        """The position up to which the store has everything; 0 while that is not `known`."""
        return self._applied

    @property
    def known(self) -> bool:
        """Whether the store has said yet how far it is: not while it has been away since the start, and not while
        another process applies."""
        return self._known

    def offer(self, batch: Append) -> None:
        """Hand over a batch that was journalled just now. When too many wait, it is left to the journal."""
        with self._changed:
            if self._ready_rows < _MAX_READY_ROWS and self._duty.holds():
                self._ready[batch.position] = batch
                self._ready_rows += len(batch.records)
            if self._ready_rows >= GROUP_ROWS:
                self._changed.notify_all()

    @property
    def behind(self) -> bool:
        """Whether two full groups wait: what comes faster would have to be read from the journal again. Never while
        the store fails, when nothing is gained by waiting."""
        return self._ready_rows >= 2 * GROUP_ROWS and not self.last_error

    def wait_applied(self, position: int, timeout_s: float) -> bool:
        """Wait until the store has everything up to a position; its group is not waited for to fill."""
        with self._changed:
            self._asked_for = max(self._asked_for, position)
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._applied >= position, timeout_s)

    def close(self) -> None:
        """Apply what waits (once; what fails stays in the journal), then stop."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._due, GROUP_S)
                stopping = self._stopping
            if not self._duty.holds():
                self._stand_by()
                if stopping:
                    return
                continue
            progress = True
            while progress and self._duty.holds():
                try:
                    progress = self._apply_group()
                    self._failures = 0
                    self.last_error = ""
                except Exception as error:  # noqa: BLE001 (whatever the store or register raise: try again later)
                    self._failed(error)
                    if stopping:
                        return
                    break
                if stopping and self._known and not progress:
                    return

    def _stand_by(self) -> None:
        """Another process applies: what waits here is in the journal for it."""
        with self._changed:
            self._known = False
            self._ready.clear()
            self._ready_rows = 0
            self._asked_for = 0
            self.last_error = ""

    def _due(self) -> bool:
        return self._stopping or self._ready_rows >= GROUP_ROWS or self._asked_for > self._applied

    def _failed(self, error: Exception) -> None:
        if not self._failures:
            log.error("apply_failed", error=str(error), applied=self._applied)
        self.last_error = f"{type(error).__name__}: {error}"
        pause_s = _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
        self._failures += 1
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, pause_s)

    def _ask(self) -> None:
        if not self._known:
            self._applied = self._store.applied()
            self._settle(self._applied)
            self._known = True

    def _apply_group(self) -> bool:
        """Apply one group. Returns whether there may be more at once."""
        self._ask()
        group, rows = self._at_hand()
        if not group:
            if self._journal.position <= self._applied:
                return False
            group, rows = self._from_journal()
            if not group:
                raise StoreError(f"the journal has nothing after position {self._applied}")
        group = [self._take_out(batch) for batch in group]
        reached = group[-1].position
        marks: dict[tuple[str, int], int] = {}
        for batch in group:
            if len(batch.records):
                start = batch.records.start
                for day in range(local_day(int(start.min())), local_day(int(start.max())) + 1):
                    marks[batch.gateway, day] = batch.position
        if marks:
            self._mark_dirty(marks)
        self._store.append(group, reached)
        with self._changed:
            self._applied = reached
            for batch in group:
                taken = self._ready.pop(batch.position, None)
                if taken is not None:
                    self._ready_rows -= len(taken.records)
            self._changed.notify_all()
        return rows >= GROUP_ROWS or self._journal.position > reached

    def _at_hand(self) -> tuple[list[Append], int]:
        """The batches that follow the applied position without a hole, up to a group's size."""
        waiting: list[Append] = []
        with self._changed:
            rows = 0
            position = self._applied + 1
            while rows < GROUP_ROWS and (batch := self._ready.get(position)) is not None:
                waiting.append(batch)
                rows += len(batch.records)
                position += 1
            for stale in [p for p in self._ready if p <= self._applied]:
                self._ready_rows -= len(self._ready.pop(stale).records)
        return _cut(waiting, rows)

    def _from_journal(self) -> tuple[list[Append], int]:
        """The same from the journal."""
        found: list[Append] = []
        rows = 0
        position = self._applied
        while rows < GROUP_ROWS and (batches := self._journal.after(position, _REPLAY_BATCHES)):
            position = batches[-1].position
            for batch in map(replayed, batches):
                found.append(batch)
                rows += len(batch.records)
                if rows >= GROUP_ROWS:
                    break
        return _cut(found, rows)


def _cut(batches: list[Append], rows: int) -> tuple[list[Append], int]:
    """A full group as it is; of fewer rows those that make a small one, at least one batch. Also how many rows."""
    if rows >= GROUP_ROWS or rows <= SMALL_GROUP_ROWS:
        return batches, rows
    kept = taken = 0
    while not kept or taken + len(batches[kept].records) <= SMALL_GROUP_ROWS:
        taken += len(batches[kept].records)
        kept += 1
    return batches[:kept], taken
