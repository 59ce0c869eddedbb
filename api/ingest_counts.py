"""What the uplink's routes refused since the start, by reason: shown by /metrics."""

from __future__ import annotations

import threading
from collections import Counter


class IngestCounts:
    """Counters that any thread may raise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bodies: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()

    def body(self, reason: str) -> None:
        """A whole message was refused; `reason` is the problem's code."""
        with self._lock:
            self._bodies[reason] += 1

    def rows(self, reason: str, count: int = 1) -> None:
        """Rows of a good message were refused (`reason`: the column that breaks its rule) or held (`ahead`)."""
        with self._lock:
            self._rows[reason] += count

    def bodies_by_reason(self) -> dict[str, int]:
        """Messages refused."""
        with self._lock:
            return dict(self._bodies)

    def rows_by_reason(self) -> dict[str, int]:
        """Rows refused or held."""
        with self._lock:
            return dict(self._rows)
