"""What is put right before the service runs: the interval store against the journal.

A write-ahead file that lost its end opens without an error, so what the store holds of each day that is not sealed is
counted and compared with what the journal counted. From the first batch that differs on, everything is applied again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
import structlog

from api.final_days import FinalDays
from api.journal.port import Journal
from api.store.port import EmbeddedStore
from metrics.record import local_day

log = structlog.get_logger(__name__)


def settle(applied: int, journal: Journal, final: FinalDays) -> None:
    """Put right what follows from how far a store has applied the journal, where either was lost or shortened.

    Raises what the journal raises.
    """
    journal.continue_from(applied)
    first = journal.first()
    if first is not None and first[0] > applied + 1:
        # the batches between are gone with the journal's older days: their days must not be made from the rest
        day = int(local_day(first[1] // 1_000_000_000)) + 1
        log.error("store_lost_beyond_journal", applied=applied, journal_from=first[0], final_before_day=day)
        final.finish_before(day, journal.position)


def recover(store: EmbeddedStore, journal: Journal, final: FinalDays, stated: Callable[[], Iterable[int]]) -> None:
    """Make store and journal agree. What cannot be made again is left final. `stated`: days that have day states.

    Raises StoreError.
    """
    applied = store.applied()
    settle(applied, journal, final)
    if lost := _lost_days(store, journal, final, stated):
        log.error("days_lost_beyond_journal", days=lost)
        final.finish_before(lost[-1] + 1, journal.position)
    differs = first_difference(store, journal, final)
    if differs is not None:
        log.error("store_differs_from_journal", position=differs, applied=applied)
        store.rewind(differs - 1)


def _lost_days(
    store: EmbeddedStore, journal: Journal, final: FinalDays, stated: Callable[[], Iterable[int]]
) -> list[int]:
    """Days whose records are gone from the store (a sealed file is damaged, or missing) and the journal, ascending.

    Their states stand: made again from what comes late, they would be states of that alone.
    """
    first = journal.first()
    if first is not None and first[0] == 1:
        return []
    journalled_from = None if first is None else int(local_day(first[1] // 1_000_000_000)) + 1
    there = {*store.sealed_days(), *store.hot_days()}
    gone = (day for day in stated() if day not in there and (journalled_from is None or day < journalled_from))
    return sorted(day for day in gone if not final(day))


def first_difference(store: EmbeddedStore, journal: Journal, final: FinalDays) -> int | None:
    """The first journal position whose records are not all in the store, or more often than once."""
    sealed = set(store.sealed_days())
    found: list[int] = []
    closed = cache(lambda day: day in sealed or final(day))  # asked for every batch where the engine reads them all
    for day, position, rows in journal.counted(store.applied(), closed):
        at, stored = store.hot_counts(day)
        place = np.searchsorted(at, position)
        there = np.append(at, -1)[place] == position
        differs = np.where(there, np.append(stored, 0)[place], 0) != rows
        if differs.any():
            found.append(int(position[differs][0]))
    return min(found, default=None)
