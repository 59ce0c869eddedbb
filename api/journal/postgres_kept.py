"""What the journal in PostgreSQL keeps for ever beside the received ranges: final days, what came too late."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Final

from sqlalchemy import Engine, text

from api.journal.port import TooLate

_FRESH_S: Final = 1.0


class PostgresKept:
    """Asks the server; the final day is remembered for a second."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._final: tuple[int, int] | None = None
        self._read_at_s = -_FRESH_S

    @property
    def final_before(self) -> tuple[int, int] | None:
        """Local days before the first are final, unless all their records are still there; what was journalled up to
        the second, a position, was counted while they were not."""
        with self._lock:
            if time.monotonic() - self._read_at_s >= _FRESH_S:
                with self._engine.connect() as connection:
                    found = connection.execute(text("select before_day, position from journal.final")).one_or_none()
                self._final = None if found is None else (found.before_day, found.position)
                self._read_at_s = time.monotonic()
            return self._final

    def finish_before(self, day: int, position: int) -> None:
        """Make every local day before `day` final for what comes after a position; that is never taken back."""
        with self._lock, self._engine.begin() as connection:
            connection.execute(
                text(
                    "insert into journal.final as f(before_day, position) values (:day, :position) "
                    "on conflict (only_one) do update set before_day = excluded.before_day, "
                    "position = excluded.position where f.before_day < excluded.before_day"
                ),
                {"day": day, "position": position},
            )
            self._read_at_s = -_FRESH_S

    def add_too_late(self, entries: Iterable[TooLate]) -> None:
        """List what came too late; what is listed already stays as it is."""
        rows = [entry._asdict() for entry in entries]
        if not rows:
            return
        with self._engine.begin() as connection:
            connection.execute(
                text(
                    "insert into journal.too_late values (:position, :gateway, :device, :day, :rows, :connected, "
                    ":quantity) on conflict do nothing"
                ),
                rows,
            )

    def too_late(self, limit: int) -> list[TooLate]:
        """The last `limit` entries of the list, the newest first."""
        with self._engine.connect() as connection:
            found = connection.execute(
                text(
                    "select position, gateway, device, day, rows, connected, quantity from journal.too_late "
                    "order by position desc, device, day limit :most"
                ),
                {"most": limit},
            ).all()
        return [TooLate(*row) for row in found]

    def too_late_rows(self) -> int:
        """How many rows are listed."""
        with self._engine.connect() as connection:
            return int(connection.execute(text("select coalesce(sum(rows), 0) from journal.too_late")).scalar_one())
