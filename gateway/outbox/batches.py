"""The table of batches: what waits, what the county has, what it will never take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

from gateway.outbox.database import Database
from gateway.wire import Ingest, encode

_PENDING: Final = """
SELECT ordinal, epoch, sequence, rows, created_ns, body, settled_ns FROM batches
WHERE ordinal = ({ordinal})
"""
_NEWEST_TRUSTED: Final = "SELECT max(ordinal) FROM batches WHERE state = 0 AND settled_ns = 0"
_REFUSED_AFTER: Final = (
    "SELECT min(ordinal) FROM batches INDEXED BY refused WHERE state = 0 AND settled_ns != 0 AND ordinal > {after}"
)
_OLDEST: Final = "SELECT min(ordinal) FROM batches WHERE state = 0"


class BatchState(IntEnum):
    """UNSENT: not confirmed yet. ACKED: journalled by the county. POISONED: refused for ever, kept to look at."""

    UNSENT = 0
    ACKED = 1
    POISONED = 2


@dataclass(frozen=True, slots=True)
class Pending:
    """A batch to send. `ordinal` orders all batches of this outbox, over every epoch."""

    ordinal: int
    epoch: int
    sequence: int
    rows: int
    created_ns: int
    body: bytes
    suspect_ns: int = 0
    """When the county first refused it, or the batch it is a half of; 0: never."""


class SetAside(NamedTuple):
    """A batch that the county will never take, as shown to people."""

    epoch: int
    sequence: int
    rows: int
    since_ns: int
    reason: str


@dataclass(frozen=True, slots=True)
class Depth:
    """What the outbox holds."""

    unsent: int = 0
    unsent_rows: int = 0
    oldest_unsent_ns: int = 0
    """When the oldest unsent batch was made, 0 if there is none."""
    acked: int = 0
    poisoned: int = 0
    size_bytes: int = 0
    """Of the file, free pages apart."""
    dropped_batches: int = 0
    dropped_rows: int = 0
    set_aside: tuple[SetAside, ...] = ()
    """The latest of those set aside, newest first."""


class Batches:
    """All batches of an outbox.

    `settled_ns` of an unsent one says when the county first refused it, 0 for most.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._tried_ordinal = 0
        """The refused one that was given out last."""

    def add(self, message: Ingest, created_ns: int, suspect_ns: int = 0) -> None:
        """A batch to send, behind all others."""
        body = encode(message)
        self._db.execute(
            "INSERT INTO batches (epoch, sequence, state, rows, created_ns, body, settled_ns) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (message.epoch, message.sequence, BatchState.UNSENT, message.rows, created_ns, body, suspect_ns),
        )

    def rewrite(self, ordinal: int, message: Ingest, by_ns: int = 0) -> None:
        """Other content in the place of a batch that nobody has; it was made `by_ns` later."""
        body = encode(message)
        self._db.execute(
            "UPDATE batches SET epoch = ?, sequence = ?, rows = ?, body = ?, created_ns = created_ns + ? "
            "WHERE ordinal = ?",
            (message.epoch, message.sequence, message.rows, body, by_ns, ordinal),
        )

    def unsent_after(self, ordinal: int) -> list[tuple[int, bytes]]:
        """(ordinal, body) of the batches that wait, behind a given one."""
        return self._db.execute(
            "SELECT ordinal, body FROM batches WHERE state = 0 AND ordinal > ? ORDER BY ordinal", (ordinal,)
        ).fetchall()

    def last_ordinal(self) -> int:
        """The ordinal of the newest batch, 0 where there is none."""
        return int(self._db.one("SELECT coalesce(max(ordinal), 0) FROM batches"))

    def body(self, ordinal: int) -> tuple[bytes, int] | None:
        """A batch's body, and since when it is suspected; None where it is no longer there."""
        row: tuple[bytes, int] | None = self._db.execute(
            "SELECT body, settled_ns FROM batches WHERE ordinal = ?", (ordinal,)
        ).fetchone()
        return row

    def key_and_body(self, ordinal: int) -> tuple[int, int, bytes] | None:
        """(epoch, sequence, body) of a batch; None where it is no longer there."""
        row: tuple[int, int, bytes] | None = self._db.execute(
            "SELECT epoch, sequence, body FROM batches WHERE ordinal = ?", (ordinal,)
        ).fetchone()
        return row

    def size_bytes(self, ordinal: int) -> int:
        """Bytes of a batch's body."""
        return int(self._db.one("SELECT length(body) FROM batches WHERE ordinal = ?", (ordinal,)))

    def delete_where(self, condition: str, values: Sequence[Any]) -> None:
        """Delete batches for good."""
        self._db.execute(f"DELETE FROM batches WHERE {condition}", values)  # noqa: S608 (conditions of ours)

    def next_unsent(self, newest: bool) -> Pending | None:
        """The newest batch that is not confirmed; or the next of what is left of refused ones, in turns, else the
        oldest."""
        refused = [_REFUSED_AFTER.format(after=after) for after in (self._tried_ordinal, 0)]
        for ordinal in (*([_NEWEST_TRUSTED] if newest else []), *refused, _OLDEST):
            row = self._db.execute(_PENDING.format(ordinal=ordinal)).fetchone()
            if row is not None:
                found = Pending(*row)
                if found.suspect_ns:
                    self._tried_ordinal = found.ordinal
                return found
        return None

    def waiting_of_each_kind(self) -> tuple[int, int]:
        """How many batches wait that were never refused, and how many that were."""
        row: tuple[int, int] = self._db.execute(
            "SELECT coalesce(sum(settled_ns = 0), 0), coalesce(sum(settled_ns != 0), 0) FROM batches WHERE state = 0"
        ).fetchone()
        return row

    def settle(self, ordinal: int, state: BatchState, now_ns: int, reason: str = "") -> None:
        """A batch waits no longer."""
        self._db.execute(
            "UPDATE batches SET state = ?, settled_ns = ?, reason = ? WHERE ordinal = ?",
            (state, now_ns, reason, ordinal),
        )

    def send_again(self, epoch: int, first: int, last: int) -> int:
        """Confirmed batches wait once more; how many there were."""
        return self._db.execute(
            "UPDATE batches SET state = 0, settled_ns = 0 WHERE epoch = ? AND sequence BETWEEN ? AND ? AND state = ?",
            (epoch, first, last, BatchState.ACKED),
        ).rowcount

    def waiting(self, epoch: int, first: int, last: int) -> set[int]:
        """Sequences of an epoch that are not confirmed."""
        rows = self._db.execute(
            "SELECT sequence FROM batches WHERE epoch = ? AND sequence BETWEEN ? AND ? AND state = 0",
            (epoch, first, last),
        )
        return {sequence for (sequence,) in rows}

    def set_aside(self, at_most: int = 20) -> list[SetAside]:
        """The latest batches that were set aside, newest first."""
        rows = self._db.execute(
            "SELECT epoch, sequence, rows, settled_ns, reason FROM batches WHERE state = ? "
            "ORDER BY settled_ns DESC, ordinal DESC LIMIT ?",
            (BatchState.POISONED, at_most),
        )
        return [SetAside(*row) for row in rows]

    def depth(self) -> Depth:
        """How much is held and waits."""
        unsent, rows, oldest = self._db.execute(
            "SELECT count(*), coalesce(sum(rows), 0), coalesce(min(created_ns), 0) FROM batches WHERE state = 0"
        ).fetchone()
        counts = dict(self._db.execute("SELECT state, count(*) FROM batches WHERE state != 0 GROUP BY state"))
        return Depth(
            unsent,
            rows,
            oldest,
            counts.get(BatchState.ACKED, 0),
            counts.get(BatchState.POISONED, 0),
            self._db.used_bytes(),
            self._db.number("dropped_batches"),
            self._db.number("dropped_rows"),
            tuple(self.set_aside()) if counts.get(BatchState.POISONED) else (),
        )
