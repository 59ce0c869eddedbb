"""What the service does by the hour: seals finished days, drops what is beyond its retention."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy.exc import SQLAlchemyError

from api.applier import Applier
from api.clock import Clock
from api.final_days import FinalDays
from api.journal.port import Journal
from api.rollup import Rollup
from api.shared.duty import AlwaysOnDuty, Duty
from api.store.port import EmbeddedStore, IntervalStore, StoreError
from metrics.record import local_day

log = structlog.get_logger(__name__)


class Housekeeping:
    """Keeps journal and interval store at their size.

    `record_days`: how long minute records are kept; `held`: first and last local day of what is kept longer; `also`:
    what else is dropped by its age.
    """

    def __init__(
        self,
        journal: Journal,
        store: IntervalStore,
        applier: Applier,
        rollup: Rollup,
        final: FinalDays,
        clock: Clock,
        record_days: int,
        duty: Duty | None = None,
        held: Callable[[], Sequence[tuple[int, int]]] = tuple,
        also: Callable[[], None] = lambda: None,
    ) -> None:
        self._duty = duty or AlwaysOnDuty()
        self._journal = journal
        self._store = store
        self._applier = applier
        self._rollup = rollup
        self._final = final
        self._clock = clock
        self._record_days = record_days
        self._held = held
        self._also = also
        self._sealed_on = -1
        self._running = threading.Lock()
        self._closed = False
        self.last_error = ""

    def run(self) -> None:
        """Do what is due, unless another process does. What fails is logged, and tried again at the next call."""
        if not self._duty.holds():
            return
        errors: list[str] = []
        with self._running:
            for task in (self._seal, self._expire, self._drop, self._drop_versions):
                if self._closed:
                    return
                try:
                    task()
                except (StoreError, OSError, sqlite3.Error, SQLAlchemyError) as error:
                    log.error("housekeeping_failed", task=_name(task), error=str(error))
                    errors.append(str(error))
            self.last_error = "; ".join(errors)

    def close(self) -> None:
        """Finish the task at hand, then do no more."""
        self._closed = True
        with self._running:
            pass

    def _seal(self) -> None:
        """Once a day: yesterday stays open, because most of what comes late comes within a day."""
        today = self._today()
        if not isinstance(self._store, EmbeddedStore) or self._sealed_on == today:
            return
        self._store.seal(today - 1)
        self._sealed_on = today

    def _expire(self) -> None:
        """Drop minute records, once their day states are computed.

        A clock that is years ahead must not empty the store: days count from the newest one that has records.
        """
        if not isinstance(self._store, EmbeddedStore):
            self._finish()
            return
        days = [*self._store.sealed_days(), *self._store.hot_days()]
        before = min(self._today(), max(days, default=0) + 1) - self._record_days
        if min(days, default=before) >= before or self._rollup.dirty_before(before):
            return
        self._store.seal(before)  # a day that is held is not final as long as it is sealed
        self._final.finish_before(before, self._applier.applied)
        expired = self._store.expire(before, self._held())
        if expired:
            log.info("records_expired", days=len(expired))

    def _finish(self) -> None:
        """Make old days final where the engine drops records by a retention of its own: it may have half a day left."""
        newest = self._rollup.newest_day()
        if newest is None or not self._applier.known:
            return
        before = min(self._today(), newest + 1) - self._record_days
        if not self._rollup.dirty_before(before):
            self._final.finish_before(before, self._applier.applied)

    def _drop_versions(self) -> None:
        self._also()

    def _drop(self) -> None:
        dropped = self._journal.drop_before(self._applier.applied)
        if dropped:
            log.info("journal_days_dropped", days=dropped)

    def _today(self) -> int:
        return int(local_day(self._clock.now_ns() // 1_000_000_000))


def _name(task: Callable[[], None]) -> str:
    return task.__name__.removeprefix("_")
