"""Final days: local days whose minute records are no longer all there. Their day states stand as they are.

A day becomes final when its records expire, or when a store was lost with days that the journal no longer holds.
It is never computed again from what is left; what comes later for it is listed as "too late, not counted".
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import structlog

from api.journal.port import Kept, TooLate
from api.store.port import Append
from metrics.record import Records, local_day, local_day_start_s

log = structlog.get_logger(__name__)


class FinalDays:
    """Says which days are final, and takes out what comes too late. `sealed` are days whose records are all there."""

    def __init__(self, kept: Kept, sealed: Callable[[], Collection[int]]) -> None:
        self._kept = kept
        self._sealed = sealed

    def __call__(self, day: int) -> bool:
        """Whether a local day is final."""
        before = self._kept.final_before
        return before is not None and day < before[0] and day not in self._sealed()

    def finish_before(self, day: int, position: int) -> None:
        """Make every local day before `day` final that is not sealed; what came up to `position` was counted."""
        self._kept.finish_before(day, position)

    def take_out(self, batch: Append) -> Append:
        """The batch without the records of final days, which are listed."""
        before = self._kept.final_before
        if before is None or not len(batch.records) or batch.records.start.min() >= local_day_start_s(before[0]):
            return batch
        days = local_day(batch.records.start)
        final = np.array([day for day in np.unique(days).tolist() if self(day)])
        late = np.isin(days, final)
        if not late.any():
            return batch
        if batch.position > before[1]:
            self._kept.add_too_late(_entries(batch, days, late))
            log.warning("too_late_not_counted", gateway=batch.gateway, rows=int(late.sum()), position=batch.position)
        return Append(batch.position, batch.gateway, batch.devices, batch.records.take(~late))


def _entries(
    batch: Append, days: np.ndarray[tuple[int], np.dtype[np.int64]], late: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> list[TooLate]:
    entries = []
    records: Records = batch.records
    for device in np.unique(records.device[late]).tolist():
        for day in np.unique(days[late & (records.device == device)]).tolist():
            at = late & (records.device == device) & (days == day)
            connected = int(records.connected[at].sum(dtype=np.int64))
            quantity = int(records.quantity[at].sum())
            entries.append(
                TooLate(batch.position, batch.gateway, batch.devices[device], day, int(at.sum()), connected, quantity)
            )
    return entries
