"""Gaps that wait to be told: what stands for batches that will never come."""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.outbox.database import Database
from gateway.wire import MAX_GAP_ROWS, MAX_ROWS, Gap, Ingest, is_device_id, records_of
from metrics.record import TENTHS_PER_S

MAX_GAPS_PER_BATCH: Final = 100
MAX_NOTED: Final = 500
"""More gaps than these are told together: a gap takes as much room as the batch that was dropped for want of room."""


class GapNotes:
    """The gaps that the next batches carry to the county, each with the (epoch, sequence) it stands for."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, gap: Gap, epoch: int) -> None:
        """Note a gap of a message of `epoch`."""
        lost = gap.stands_for(epoch)
        noted = msgspec.structs.replace(gap, sequence=lost[1] if lost else 0, batch=lost)
        self._db.execute("INSERT INTO gaps (body) VALUES (?)", (msgspec.msgpack.encode(noted),))
        if self.room() < 0:
            self._join_oldest()

    def size_bytes(self) -> int:
        """Of all that wait to be told."""
        return int(self._db.one("SELECT coalesce(sum(length(body)), 0) FROM gaps"))

    def room(self) -> int:
        """How many more are told each by itself."""
        return MAX_NOTED - int(self._db.one("SELECT count(*) FROM gaps"))

    def _join_oldest(self) -> None:
        """Tell the two oldest as one. The county asks for the number that is told no longer, and hears that it is
        not kept."""
        found = self._db.execute("SELECT ordinal, body FROM gaps ORDER BY ordinal LIMIT 2").fetchall()
        (gone, _), (kept, _) = found
        joined = _joined(*(msgspec.msgpack.decode(body, type=Gap) for _, body in found))
        self._db.execute("DELETE FROM gaps WHERE ordinal = ?", (gone,))
        self._db.execute("UPDATE gaps SET body = ? WHERE ordinal = ?", (msgspec.msgpack.encode(joined), kept))

    def add_all_of(self, message: Ingest, gap: Gap) -> None:
        """Put a gap in the place of a batch, and pass on those that it carried."""
        for found in [*message.gaps, gap]:
            self.add(found, message.epoch)

    def take(self, epoch: int) -> list[Gap]:
        """Gaps to send with the next batch, which is of `epoch`; they are noted no longer."""
        found = self._db.execute("SELECT ordinal, body FROM gaps ORDER BY ordinal LIMIT ?", (MAX_GAPS_PER_BATCH,))
        rows = found.fetchall()
        self._db.executemany("DELETE FROM gaps WHERE ordinal = ?", [(ordinal,) for ordinal, _ in rows])
        return [seen_from(msgspec.msgpack.decode(body, type=Gap), epoch, epoch) for _, body in rows]

    def move(self, from_s: int, by_s: int) -> None:
        """Gaps that begin at or after `from_s` happened `by_s` later."""
        for ordinal, body in self._db.execute("SELECT ordinal, body FROM gaps").fetchall():
            gap = msgspec.msgpack.decode(body, type=Gap)
            if gap.start_s >= max(from_s, 1):
                moved = msgspec.structs.replace(gap, start_s=gap.start_s + by_s, end_s=gap.end_s + by_s)
                self._db.execute("UPDATE gaps SET body = ? WHERE ordinal = ?", (msgspec.msgpack.encode(moved), ordinal))


def seen_from(gap: Gap, was: int, epoch: int) -> Gap:
    """A gap of a message of epoch `was`, as a message of `epoch` says it."""
    lost = gap.stands_for(was)
    if lost is None or lost[0] == epoch:
        return msgspec.structs.replace(gap, sequence=lost[1] if lost else 0, batch=None)
    return msgspec.structs.replace(gap, sequence=0, batch=lost)


def gap_of(message: Ingest, reason: str) -> Gap:
    """What stands for a batch that will never come."""
    records = records_of(message)
    return Gap(
        [ref.id for ref in message.devices if is_device_id(ref.id)],
        int(records.start.min()) if len(records) else 0,
        int((records.start + records.length // TENTHS_PER_S).max()) if len(records) else 0,
        message.rows,
        reason,
        message.sequence,
    )


def _joined(first: Gap, second: Gap) -> Gap:
    """Two gaps as one, which stands for the second's number; that of the first is told no longer."""
    devices = sorted({*first.devices, *second.devices})
    return msgspec.structs.replace(
        second,
        devices=devices if len(devices) <= MAX_ROWS else [],
        start_s=min((gap.start_s for gap in (first, second) if gap.start_s), default=0),
        end_s=max(first.end_s, second.end_s),
        rows=min(first.rows + second.rows, MAX_GAP_ROWS),
        reason=second.reason if second.rows else first.reason,
    )
