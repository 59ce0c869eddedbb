"""The durable outbox: batches, checkpoint and announcements in one SQLite file, fully synced."""

from __future__ import annotations

from gateway.outbox.batches import BatchState, Depth, Pending, SetAside
from gateway.outbox.schema import DiskError, OutboxError
from gateway.outbox.store import Outbox, Redating
from gateway.outbox.thread import OutboxThread

__all__ = [
    "BatchState",
    "Depth",
    "DiskError",
    "Outbox",
    "OutboxError",
    "OutboxThread",
    "Pending",
    "Redating",
    "SetAside",
]
