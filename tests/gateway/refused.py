"""An outbox with batches that the county refused for ever."""

from __future__ import annotations

import time
from pathlib import Path

from gateway.outbox import Outbox
from gateway.wire import DeviceRef
from tests.api.county_fixtures import minutes

REASON = '422 {"detail": "<b>start</b> is in the future"}'


def with_two_refused(
    data_dir: Path, rows: int = 1, gateway: str = "g-1", age_days: float = 0.05
) -> list[tuple[int, int]]:
    """An outbox with two batches that the county refused; their (epoch, sequence), the latest first."""
    outbox = Outbox(data_dir / "outbox.sqlite3", gateway)
    for device in ("m-1", "m-2"):
        outbox.commit([([DeviceRef(device)], minutes(0, 60, rows))], b"c", 1)
    now_ns = time.time_ns() - round(age_days * 86_400e9)
    batches = [outbox.next_unsent(newest=True), outbox.next_unsent(newest=False)]
    for k, one in enumerate(batches):  # the newer batch first: the order is that of the refusal
        assert one is not None
        assert outbox.refuse(one.ordinal, now_ns + k, REASON, as_it_is=True) == rows
    outbox.close()
    return [(one.epoch, one.sequence) for one in reversed(batches) if one is not None]
