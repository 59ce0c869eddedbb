"""How much one gateway may ask of the service: a bucket of requests and one of bytes, refilled all the time.

The defaults lie far above what a gateway needs that sends a week's backlog; they keep one that has gone wild from
taking the service from the others. Each process of the service counts for itself.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Final

from api.clock import Clock

BURST_S: Final = 10.0
"""A bucket holds what is allowed in this time."""
_SHOWN_S: Final = 600.0
"""For how long a gateway that was turned away is shown."""
_UNLIMITED: Final = 1e15
_MAX_GATEWAYS: Final = 20_000


@dataclass(slots=True)
class _Bucket:
    requests: float
    size_bytes: float
    filled_s: float
    refused: int = 0
    refused_s: float = -math.inf


class RateLimit:
    """Buckets by gateway. 0 for a rate: no limit. Calls may come from any thread."""

    def __init__(self, clock: Clock, requests_per_s: float, bytes_per_s: float) -> None:
        self._clock = clock
        self._requests_per_s = requests_per_s or _UNLIMITED
        self._bytes_per_s = bytes_per_s or _UNLIMITED
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def admit(self, gateway: str) -> int:
        """Count a request. Returns 0 when it may go on, or after how many seconds to come again."""
        with self._lock:
            bucket = self._filled(gateway)
            short = max((1 - bucket.requests) / self._requests_per_s, -bucket.size_bytes / self._bytes_per_s)
            if short <= 0:
                bucket.requests -= 1
                return 0
            bucket.refused += 1
            bucket.refused_s = self._clock.monotonic_s()
            return math.ceil(short)

    def spend(self, gateway: str, size_bytes: int) -> None:
        """Count a body that was read; what it takes beyond the bucket is paid by those after it."""
        with self._lock:
            self._filled(gateway).size_bytes -= size_bytes

    def refused(self, gateway: str) -> int:
        """How many requests of a gateway were turned away, while that is no longer ago than 10 minutes."""
        bucket = self._buckets.get(gateway)
        recent = bucket is not None and self._clock.monotonic_s() - bucket.refused_s < _SHOWN_S
        return bucket.refused if bucket is not None and recent else 0

    def _filled(self, gateway: str) -> _Bucket:
        now_s = self._clock.monotonic_s()
        most_requests, most_bytes = self._requests_per_s * BURST_S, self._bytes_per_s * BURST_S
        bucket = self._buckets.get(gateway)
        if bucket is None:
            if len(self._buckets) >= _MAX_GATEWAYS:
                self._buckets.clear()
            bucket = self._buckets[gateway] = _Bucket(most_requests, most_bytes, now_s)
        elif now_s > bucket.filled_s:
            passed_s = now_s - bucket.filled_s
            bucket.requests = min(most_requests, bucket.requests + passed_s * self._requests_per_s)
            bucket.size_bytes = min(most_bytes, bucket.size_bytes + passed_s * self._bytes_per_s)
            bucket.filled_s = now_s
        return bucket
