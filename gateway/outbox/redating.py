"""Records made before the time was known get their dates, all in one transaction with the checkpoint."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final, Self

import msgspec
import numpy as np

from gateway.clock import AGAIN_PART, NS_PER_S
from gateway.outbox.announced import Announced
from gateway.outbox.batches import Batches
from gateway.outbox.database import Database
from gateway.outbox.gap_notes import GapNotes
from gateway.wire import Ingest, decode, ingest_message, records_of
from metrics.record import Flag, Records

_KEY: Final = "undated"


@dataclass(frozen=True, slots=True)
class Undated:
    """Which records bear dates that may be wrong: those of windows at or after `from_s`, in batches behind `ordinal`.

    Windows at or after `this_boot_s` were made since the machine was switched on last: their distance from now is
    known, whatever the date was. Windows whose dates are right end at `dated_until_s`.
    """

    ordinal: int
    from_s: int
    this_boot_s: int
    dated_until_s: int

    @classmethod
    def read(cls, db: Database) -> Self | None:
        """The mark in the outbox, None where every date is known."""
        found = db.meta(_KEY)
        return cls(*(int(number) for number in found.split())) if found else None

    def write(self, db: Database) -> None:
        """Leave the mark."""
        db.set_meta(_KEY, f"{self.ordinal} {self.from_s} {self.this_boot_s} {self.dated_until_s}")

    @staticmethod
    def forget(db: Database) -> None:
        """Every date is known."""
        db.forget_meta(_KEY)

    def dated(self, records: Records, by_s: int) -> Records:
        """The records with their dates moved by whole windows; those that no longer bear a doubt lose its flag.

        A window that already has its records gets another part of each, as after a clock that was set back.
        """
        undated = records.start >= self.from_s
        start = np.where(undated, records.start + by_s, records.start)
        known = records.start >= self.this_boot_s
        flags = np.where(known, records.flags & ~np.uint32(Flag.CLOCK_UNSYNCHRONISED), records.flags)
        again = undated & (start < self.dated_until_s)
        return dataclasses.replace(
            records,
            start=start,
            part=np.where(again, records.part | AGAIN_PART, records.part).astype(np.uint8),
            observed=np.where(again, 0, records.observed).astype(records.observed.dtype),
            connected=np.where(again, 0, records.connected).astype(records.connected.dtype),
            flags=np.where(again, flags | np.uint32(Flag.CLOCK_SET_BACK), flags).astype(records.flags.dtype),
        )


def redate(db: Database, batches: Batches, gaps: GapNotes, announced: Announced, by_ns: int, by_s: int) -> int:
    """Move everything that is marked as undated by `by_ns`, windows by `by_s` (whole windows), inside the
    transaction that is open. Returns how many records were moved."""
    mark = Undated.read(db)
    if mark is None:
        return 0
    moved = 0
    if by_ns:
        for ordinal, body in batches.unsent_after(mark.ordinal):
            message = decode(body, Ingest)
            records = mark.dated(records_of(message), by_s)
            moved += message.rows
            again = ingest_message(
                message.gateway,
                message.epoch,
                message.sequence,
                message.devices,
                records,
                previous=message.previous,
                gaps=message.gaps,
            )
            batches.rewrite(ordinal, msgspec.structs.replace(again, version=message.version), by_ns)
        gaps.move(mark.from_s, by_s)
        announced.move(mark.from_s * NS_PER_S, by_ns)
    Undated.forget(db)
    return moved
