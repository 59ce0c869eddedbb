"""What readers ask first is computed when the service starts, so that none of them waits for a year to be read."""

from __future__ import annotations

import gc
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from api.register.models import DeviceDay
from api.schemas import Session
from api.services.access import Reader
from api.services.figures import list_figures
from api.services.periods import day_id
from metrics.record import local_day

if TYPE_CHECKING:
    from api.runtime import County

_MANY: Final = 5000
"""A county with fewer days of gateways answers at once without."""

log = structlog.get_logger(__name__)


class WarmUp:
    """A thread that asks the county's headlines of this year's months, the newest first, then of the year, and ends."""

    def __init__(self, county: County) -> None:
        self._county = county
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="warm-up", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """Finish the question at hand, and ask no more."""
        self._closed = True
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        county = self._county
        try:
            with county.engine.connect() as connection:
                days = connection.execute(select(func.count()).select_from(DeviceDay)).scalar_one()
            if days < _MANY:
                return
            now_ns = county.clock.now_ns()
            expires_at = datetime.fromtimestamp(now_ns / 1e9, UTC) + timedelta(hours=1)
            reader = Reader(Session(username="", role="viewer", enterprise=None, expires_at=expires_at), "")
            today = day_id(int(local_day(now_ns // 1_000_000_000)))
            # month by month, the newest first: the year is its months added up
            months = [f"{today[:4]}-{month:02d}" for month in range(int(today[5:7]), 0, -1)]
            for asked in (*months, today[:4]):
                if self._closed:
                    return
                list_figures(county, reader, None, asked, None)
            # a register of 60,000 machines stays: looking through it for garbage stopped all answers for 0.2 s
            gc.collect()
            gc.freeze()
            log.info("figures_warm", days=days)
        except (SQLAlchemyError, OSError, ValueError) as error:
            log.warning("warm_up_failed", error=str(error))
