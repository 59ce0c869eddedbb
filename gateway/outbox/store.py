"""The outbox: what is *accepted* is committed here, and kept until the county has journalled it.

A confirmed batch is marked and kept on for its days within the byte limit: a restored county asks for it
again. All methods block; the runtime calls them on one thread of its own (`OutboxThread`).
"""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np

from collectors.causes import cause_of
from gateway.outbox.announced import Announced
from gateway.outbox.batches import Batches, BatchState, Depth, Pending
from gateway.outbox.database import Database
from gateway.outbox.gap_notes import GapNotes, gap_of, seen_from
from gateway.outbox.limits import Keeper, Limits
from gateway.outbox.redating import Undated, redate
from gateway.outbox.salvage import INTERRUPTED, MAY_BE_DAMAGE, Salvaged, finish, is_damage, salvage
from gateway.outbox.schema import DiskError, new_epoch, prepare
from gateway.wire import DeviceRef, Gap, Ingest, WireError, decode, ingest_message, records_of
from metrics.record import Records

MAX_UNPROVEN_PIECES: Final = 64
"""A batch at which the county fails is cut into so many while nothing shows that the county takes others."""
_MAX_NOTED: Final = 100_000
_MAX_PAST_EPOCHS: Final = 50


class Redating(NamedTuple):
    """How much later than they say the undated records were made: exactly, and in whole windows."""

    by_ns: int
    by_s: int
    batches: Sequence[tuple[list[DeviceRef], Records]] = ()
    """Undated records that were not written yet."""


class Outbox:
    """One gateway's outbox. Raises OutboxError where the file is no outbox of a version known here."""

    def __init__(
        self,
        path: Path,
        gateway: str,
        limits: Limits | None = None,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.path, self.gateway = path, gateway
        self.on_progress = on_progress
        """Called for every row of a damaged file that is mended, on the thread that does it; may raise to end that."""
        self.db = Database(path)
        self.announced = Announced(self.db)
        self.batches = Batches(self.db)
        self._gaps = GapNotes(self.db)
        self._keeper = Keeper(self.db, self.batches, self._gaps, limits or Limits())
        self._noted: set[tuple[int, int]] = set()
        """(epoch, sequence) that the county asked for and that got a gap."""
        self.salvaged: Salvaged | None = None
        """What became of a damaged file, where one was found since the start."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = finish(path)
            try:
                self._open()
            except MAY_BE_DAMAGE as error:
                if not is_damage(error):
                    raise
                self.salvage(error)
            if aside is not None and self.salvaged is None:
                kept = self.depth().unsent
                self.salvaged = Salvaged(aside, kept, checkpoint=self.checkpoint() is not None, error=INTERRUPTED)
        except (sqlite3.Error, OSError) as error:
            raise DiskError(
                f"无法打开待发库 {path}（{cause_of(error).zh}）。请检查磁盘空间、权限和挂载方式。 / "
                f"cannot open the outbox {path} ({cause_of(error).en}). Check the disk's space, permissions and how "
                "it is mounted."
            ) from error

    def _open(self) -> None:
        """Open the file. A page in the middle of it that is damaged shows when it is read: looking at all of a large
        file would keep a gateway with a slow card from starting. Raises sqlite3.Error."""
        self.db.open()
        try:
            prepare(self.db, self.gateway)
            self.checkpoint()
            self.announced.latest()
        except BaseException:
            self.db.close()
            raise

    def close(self) -> None:
        """Safe twice."""
        self.db.close()

    def salvage(self, error: Exception) -> None:
        """Carry what can be read of the damaged file over into a new one. Raises sqlite3.Error, OSError."""
        self.db.close()
        self.salvaged = salvage(self.path, self.gateway, str(error), self.on_progress)
        self._open()

    # Writing ------------------------------------------------------------------------------------

    def epoch(self) -> int:
        """The epoch under which new batches are numbered."""
        return self.db.number("epoch")

    def checkpoint(self) -> bytes | None:
        """The checkpoint as last saved, None on the first start."""
        body: bytes | None = self.db.one("SELECT body FROM checkpoint")
        return body

    def save_checkpoint(self, blob: bytes) -> None:
        """Replace the checkpoint, synced."""
        with self.db.transaction():
            self._replace_checkpoint(blob)

    def _replace_checkpoint(self, blob: bytes) -> None:
        self.db.execute("INSERT OR REPLACE INTO checkpoint VALUES (1, ?)", (blob,))

    def commit(
        self,
        batches: Sequence[tuple[list[DeviceRef], Records]],
        checkpoint: bytes,
        now_ns: int,
        redating: Redating | None = None,
    ) -> int:
        """Closed windows and the checkpoint that no longer holds them, in one synced transaction.

        `redating` comes first: it dates what waits and its own batches, not the others. Returns how many rows were
        written.
        """
        file_before_bytes = self.db.file_bytes()
        with self.db.transaction():
            for devices, records in redating.batches if redating is not None else ():
                self._append(devices, records, now_ns)
            if redating is not None:
                redate(self.db, self.batches, self._gaps, self.announced, redating.by_ns, redating.by_s)
            for devices, records in batches:
                self._append(devices, records, now_ns)
            self._replace_checkpoint(checkpoint)
            self._keeper.keep(now_ns, file_before_bytes)
        return sum(len(records) for _, records in (*batches, *(redating.batches if redating is not None else ())))

    def _append(self, devices: list[DeviceRef], records: Records, now_ns: int) -> None:
        epoch, sequence, previous = self._next_key()
        gaps = self._gaps.take(epoch)
        message = ingest_message(self.gateway, epoch, sequence, devices, records, previous=previous, gaps=gaps)
        self.batches.add(message, now_ns)

    def _next_key(self) -> tuple[int, int, tuple[int, int] | None]:
        epoch, sequence, before = self.epoch(), self.db.number("sequence") + 1, self.db.meta("previous")
        self.db.set_meta("sequence", sequence)
        self.db.set_meta("previous", f"{epoch} {sequence}")
        if not before:
            return epoch, sequence, None
        previous_epoch, previous_sequence = before.split()
        return epoch, sequence, (int(previous_epoch), int(previous_sequence))

    def adopt(self, batches: Sequence[tuple[list[DeviceRef], Records]], now_ns: int) -> None:
        """Take records that were made elsewhere, to be sent with ours."""
        with self.db.transaction():
            for devices, records in batches:
                self._append(devices, records, now_ns)

    def mark_undated(self, from_s: int, dated_until_s: int) -> None:
        """Windows at or after `from_s` are made while the time is not known, since the machine was switched on; those
        whose dates are right end at `dated_until_s`."""
        mark = Undated.read(self.db)
        with self.db.transaction():
            if mark is None:
                mark = Undated(self.batches.last_ordinal(), from_s, from_s, dated_until_s)
            dataclasses.replace(mark, this_boot_s=from_s).write(self.db)

    def undated(self) -> Undated | None:
        """Which records have no date yet, None where all have."""
        return Undated.read(self.db)

    def days_to_full(self, now_ns: int) -> float | None:
        """Days until unsent records are dropped, if the county stays away; None where nothing tells the rate."""
        return self._keeper.days_to_full(now_ns)

    # Sending ------------------------------------------------------------------------------------

    def next_unsent(self, newest: bool) -> Pending | None:
        """The newest batch that is not confirmed; or what is left of a refused one, else the oldest."""
        return self.batches.next_unsent(newest)

    def mark_acked(self, ordinal: int, now_ns: int) -> None:
        """The county has journalled this batch."""
        self.batches.settle(ordinal, BatchState.ACKED, now_ns)

    def refuse(self, ordinal: int, now_ns: int, reason: str, as_it_is: bool = False) -> int:
        """The county will never take this batch as it is: find the rows that are to blame.

        It is halved, and its halves are sent under numbers of their own; a single row, or any batch where it is to go
        `as_it_is`, is set aside, kept to look at, and told as a gap. Returns how many rows were set aside.
        """
        found = self.batches.body(ordinal)
        if found is None:  # it was damaged, and is told as a gap
            return 0
        body, suspect_ns = found
        message = decode(body, Ingest)
        with self.db.transaction():
            if as_it_is or _is_single(message):
                self._keeper.note_lost(message, "set aside: refused by the county")
                self.batches.settle(ordinal, BatchState.POISONED, now_ns, reason)
                return message.rows
            self._halve(ordinal, message, suspect_ns or max(now_ns, 1))
        return 0

    def verify(self, ordinal: int) -> None:
        """Raise WireError, which is damage, where a batch's number is not the one that stands in it."""
        found = self.batches.key_and_body(ordinal)
        if found is not None:
            message = decode(found[2], Ingest)
            if (message.epoch, message.sequence) != found[:2]:
                raise WireError(f"batch {ordinal} is {message.epoch}/{message.sequence}, kept as {found[0]}/{found[1]}")

    def halve_alone(self, ordinal: int, now_ns: int) -> bool:
        """Halve a batch that may be to blame, where no other one waits whose sending could show whether it is.

        Whether it was halved: no row is halved, nor what is in many pieces already.
        """
        found = self.batches.body(ordinal)
        if found is None:
            return False
        body, suspect_ns = found
        message = decode(body, Ingest)
        trusted, pieces = self.batches.waiting_of_each_kind()
        if _is_single(message) or trusted > (0 if suspect_ns else 1) or pieces >= MAX_UNPROVEN_PIECES:
            return False
        with self.db.transaction():
            self._halve(ordinal, message, suspect_ns or now_ns)
        return True

    def _halve(self, ordinal: int, message: Ingest, suspect_ns: int) -> None:
        """Two batches in the place of one; a gap without rows says that its number will never come.

        Gaps wait for a batch that is not suspected. They may be what was refused, so they name no devices any more:
        they would have every batch refused that carries them.
        """
        gone = msgspec.structs.replace(gap_of(message, "sent in two halves"), rows=0, devices=[])
        gaps = [msgspec.structs.replace(gap, devices=[]) for gap in message.gaps]
        self._gaps.add_all_of(msgspec.structs.replace(message, gaps=gaps), gone)
        records, middle = records_of(message), message.rows // 2
        for part in (slice(0, middle), slice(middle, None)):
            half = records.take(part)
            if not len(half):
                continue
            used, index = np.unique(half.device, return_inverse=True)
            half = dataclasses.replace(half, device=index.astype(half.device.dtype))
            epoch, sequence, previous = self._next_key()
            devices = [message.devices[i] for i in used.tolist()]
            batch = ingest_message(self.gateway, epoch, sequence, devices, half, previous=previous)
            self.batches.add(batch, suspect_ns, suspect_ns)
        self.batches.delete_where("ordinal = ?", (ordinal,))

    def open_epoch(self) -> int:
        """Number everything that is not confirmed anew, under a new epoch; returns the epoch.

        For an answer "same key, other bytes": another gateway writes under our epoch (a cloned card).
        """
        with self.db.transaction():
            unsent = self.batches.unsent_after(0)
            past = [*self.db.meta("past").split(), f"{self.epoch()}:{self.db.meta('sequence')}"]
            self.db.set_meta("past", " ".join(past[-_MAX_PAST_EPOCHS:]))
            if unsent:
                previous = decode(unsent[0][1], Ingest).previous
                self.db.set_meta("previous", f"{previous[0]} {previous[1]}" if previous else "")
            self.db.set_meta("epoch", new_epoch())
            self.db.set_meta("sequence", 0)
            for ordinal, body in unsent:
                epoch, sequence, previous = self._next_key()
                message = decode(body, Ingest)
                gaps = [seen_from(gap, message.epoch, epoch) for gap in message.gaps]
                message = msgspec.structs.replace(message, epoch=epoch, sequence=sequence, previous=previous, gaps=gaps)
                self.batches.rewrite(ordinal, message)
        return self.epoch()

    def resend(self, epoch: int, first: int, last: int) -> int:
        """Batches that the county lacks: those still kept are sent again, the others become gaps.

        Returns how many are sent again.
        """
        last = min(last, self._last_of(epoch))
        with self.db.transaction():
            again = self.batches.send_again(epoch, first, last)
            waiting = self.batches.waiting(epoch, first, last)
            gone = (n for n in range(first, last + 1) if n not in waiting and (epoch, n) not in self._noted)
            for sequence in islice(gone, max(0, min(self._gaps.room(), _MAX_NOTED - len(self._noted)))):
                self._noted.add((epoch, sequence))  # the county asks again for those that find no room
                self._gaps.add(Gap([], 0, 0, 0, "no longer kept", sequence), epoch)
        return again

    def _last_of(self, epoch: int) -> int:
        """The last sequence ever given under an epoch, 0 for one that was never ours."""
        if epoch == self.epoch():
            return self.db.number("sequence")
        past = dict(found.split(":") for found in self.db.meta("past").split())
        return int(past.get(str(epoch), 0))

    def depth(self) -> Depth:
        """How much is held and waits."""
        return self.batches.depth()


def _is_single(message: Ingest) -> bool:
    """Whether a batch cannot be halved."""
    return message.rows <= 1 and not message.gaps
