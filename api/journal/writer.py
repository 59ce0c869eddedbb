"""One thread writes the journal: whatever waits is committed together, so that many gateways share one sync."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from api.journal.batch import AnnounceEntry, Batch
from api.journal.digests import NOBODY_CAN_TELL
from api.journal.port import JournalBusyError, JournalError, Outcome, UnkeepableError

_MAX_GROUP: Final = 256
_MAX_WAITING: Final = 4096
_GATHER_S: Final = 0.002
"""The writer waits this long for company, so that batches that arrive together share one sync and one wake-up."""

log = structlog.get_logger(__name__)

Key = tuple[str, int, int]
"""(gateway, epoch, sequence)."""


@dataclass(slots=True)
class Waiting:
    """A batch or an announcement that waits to be journalled, and who waits for the answer."""

    batch: Batch | None
    announce: AnnounceEntry | None
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Outcome]
    outcome: Outcome | None = None
    error: JournalError | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """What a group of batches comes to."""

    fresh: list[Batch]
    """Those to be journalled, with their positions."""
    announces: list[AnnounceEntry]
    conflicts: list[str]
    """Gateways whose batch had the key of another one, or of one that nobody can compare it with any more."""
    duplicates: list[str]
    """Gateways whose batch is journalled already."""
    position: int
    """The last position that is taken."""


def decide(group: Iterable[Waiting], position: int, known_digest: Callable[[Key], bytes | None]) -> Decided:
    """Say of each batch whether it is new, and give it its outcome (what is missing before it aside).

    `known_digest`: the digest of a journalled batch, its first bytes where its day was dropped, NOBODY_CAN_TELL where
    that is too long ago, None for one that never came.
    """
    fresh: list[Batch] = []
    announces: list[AnnounceEntry] = []
    conflicts: list[str] = []
    duplicates: list[str] = []
    taken: dict[Key, bytes] = {}
    for waiting in group:
        batch = waiting.batch
        if batch is None:
            if waiting.announce is not None:
                announces.append(waiting.announce)
            waiting.outcome = Outcome("journalled", 0, [])
            continue
        key = (batch.gateway, batch.epoch, batch.sequence)
        known = taken.get(key)
        if known is None:
            known = known_digest(key)
        if known is None:
            position += 1
            fresh.append(batch._replace(position=position))
            taken[key] = batch.digest
            waiting.outcome = Outcome("journalled", position, [])
        elif known != NOBODY_CAN_TELL and batch.digest.startswith(known):
            duplicates.append(batch.gateway)
            waiting.outcome = Outcome("duplicate", 0, [])
        else:
            conflicts.append(batch.gateway)
            waiting.outcome = Outcome("conflict", 0, [])
    return Decided(fresh, announces, conflicts, duplicates, position)


def tell_missing(group: Iterable[Waiting], missing: Callable[[Batch], list[tuple[int, int, int]]]) -> None:
    """Add to each batch's outcome what is lacking before it."""
    for waiting in group:
        if waiting.batch is not None and waiting.outcome is not None:
            outcome = waiting.outcome
            waiting.outcome = Outcome(outcome.result, outcome.position, missing(waiting.batch))


class GroupWriter:
    """Owns the thread. `commit` journals a group and gives each its outcome, or raises for all of it: JournalError
    where the engine fails; anything else, UnkeepableError too, is a fault of a batch, and each is tried alone."""

    def __init__(self, commit: Callable[[list[Waiting]], None]) -> None:
        self._commit = commit
        # its limit is kept by `submit`: the queue that has one costs a lock and a wake-up for every batch
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self.last_error = ""
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    async def submit(self, batch: Batch | None, announce: AnnounceEntry | None) -> Outcome:
        """Wait until a batch or an announcement is journalled. Raises JournalError."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Outcome] = loop.create_future()
        if self._queue.qsize() >= _MAX_WAITING:
            raise JournalBusyError(f"{_MAX_WAITING} batches wait for the journal")
        self._queue.put(Waiting(batch, announce, loop, done))
        return await done

    def close(self) -> None:
        """Write what waits, then stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        running = True
        while running:
            group: list[Waiting] = []
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

    def _write(self, group: list[Waiting]) -> None:
        try:
            self._commit(group)
            self.last_error = ""
        except Exception as error:  # noqa: BLE001 (logged in _fail)
            # a fault of one batch is neither that of those beside it, nor the end of this thread
            if len(group) > 1 and (isinstance(error, UnkeepableError) or not isinstance(error, JournalError)):
                for waiting in group:
                    self._write([waiting])
                return
            self._fail(group, error)
        by_loop: defaultdict[asyncio.AbstractEventLoop, list[Waiting]] = defaultdict(list)
        for waiting in group:
            by_loop[waiting.loop].append(waiting)
        for loop, answered in by_loop.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_answer, answered)

    def _fail(self, group: list[Waiting], error: Exception) -> None:
        if isinstance(error, JournalError):
            failed = error
            log.error("journal_write_failed", error=str(error), batches=len(group))
        else:
            failed = JournalError(f"{type(error).__name__}: {error}")
            log.error("journal_write_failed", batches=len(group), exc_info=error)
        if not isinstance(error, UnkeepableError):
            self.last_error = str(failed)
        for waiting in group:
            waiting.error = failed


def _answer(group: list[Waiting]) -> None:
    for waiting in group:
        if waiting.done.done():
            continue
        if waiting.error is not None:
            waiting.done.set_exception(type(waiting.error)(str(waiting.error)))
        elif waiting.outcome is not None:
            waiting.done.set_result(waiting.outcome)
