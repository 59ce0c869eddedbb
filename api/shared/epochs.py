"""The alarm for a cloned gateway where several processes take batches: read from the journal that they share."""

from __future__ import annotations

import threading
import time
from typing import Final

from sqlalchemy import Engine, text

from api.epochs import RECENT_S, EpochWatch
from api.journal.batch import told

_FRESH_S: Final = 2.0
_NS: Final = 1_000_000_000
_RECENT: Final = text(
    "with recent as (select position, gateway, epoch, arrived_ns, newest_end_s from journal.batch "
    "where arrived_ns >= :since and newest_end_s > 0) "
    "select gateway, epoch, arrived_ns, newest_end_s from recent where gateway in "
    "(select gateway from recent group by gateway having count(distinct epoch) > 1) order by position"
)


class SharedEpochs:
    """Asks the journal, at most every two seconds, which gateways delivered under two epochs of late."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._watch = EpochWatch()
        self._read_at_s = -_FRESH_S

    def delivered(self, gateway: str, epoch: int, newest_end_s: int, now_s: int) -> None:
        """Nothing to remember: the journal has it."""

    def alarm(self, gateway: str, now_s: int) -> bool:
        """Whether two epochs of a gateway deliver side by side. Raises SQLAlchemyError."""
        with self._lock:
            if time.monotonic() - self._read_at_s >= _FRESH_S:
                self._watch = self._read(now_s)
                self._read_at_s = time.monotonic()
            return self._watch.alarm(gateway, now_s)

    def _read(self, now_s: int) -> EpochWatch:
        watch = EpochWatch()
        with self._engine.connect() as connection:
            found = connection.execute(_RECENT, {"since": (now_s - 2 * RECENT_S) * _NS}).all()
        for row in found:
            watch.delivered(row.gateway, told(row.epoch), row.newest_end_s, row.arrived_ns // _NS)
        return watch
