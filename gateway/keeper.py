"""Closes windows in time, writes them and the checkpoint, and acknowledges what is safe."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import Final

import structlog

from gateway import checkpoint, outbox_troubles
from gateway.clock import NS_PER_S, TimeLine
from gateway.dating import Correction, Dating
from gateway.intake import Intake
from gateway.outbox import OutboxThread, Redating
from gateway.resuming import Resumed
from gateway.row import Row
from gateway.supervision import name_of
from gateway.troubles import Troubles
from gateway.uplink import Uplink
from gateway.uplink_troubles import SET_ASIDE
from gateway.watchdog import Progress

LOOK_AHEAD_NS: Final = 600 * NS_PER_S
LOOK_AGAIN_NS: Final = 60 * NS_PER_S
"""While nobody knows how long the outbox lasts."""
MAX_UNWRITTEN_ROWS: Final = 100_000
"""Records held in memory while the disk takes none."""
_log = structlog.get_logger("gateway")


class Keeper:
    """What stands between open windows and the outbox. `tick` is called a few times a second."""

    def __init__(
        self,
        resumed: Resumed,
        intake: Intake,
        thread: OutboxThread,
        uplink: Uplink,
        troubles: Troubles,
        clock: TimeLine,
        dating: Dating,
        progress: Progress,
    ) -> None:
        self._windows, self._intake, self._thread = resumed.windows, intake, thread
        self._uplink, self._troubles, self._clock, self._dating = uplink, troubles, clock, dating
        self._progress = progress
        self._boot = resumed.boot
        self._undated_from_s, self._dated_until_s = resumed.undated_from_s, resumed.dated_until_s
        self._to_mark_s = resumed.to_mark_s
        self._redating: Redating | None = None
        self._undated_rows = 0
        """How many of `unwritten` the redating moves."""
        if not dating.is_known:
            uplink.dated.clear()
        self._interval_ns = round(progress.checkpoint_s * NS_PER_S)
        self._due_ns = clock() + self._interval_ns
        self._days_due_ns = 0
        self._ack_error = ""
        self.unwritten: list[Row] = resumed.rows
        """Closed records that are not in the outbox yet."""
        self.records_written = 0
        self.is_safe = False
        """Whether this run has written a checkpoint."""
        self.days_to_full: float | None = None
        """How long the outbox lasts, in days; None where nobody knows."""

    async def tick(self, now_ns: int) -> None:
        """Close windows that are due and write what is to be written."""
        due_ns = self._windows.next_due_ns()
        if now_ns >= due_ns:
            self.unwritten += self._windows.close_due(now_ns, self._clock.flags())
            self._due_ns = now_ns
            due_ns = self._windows.next_due_ns()
        if now_ns >= min(self._due_ns, self._intake.acks_due_ns):
            await self.write(now_ns)
            self._due_ns = now_ns + self._interval_ns
        self._progress.turned(due_ns, now_ns)

    def correct(self, correction: Correction) -> None:
        """Set the time line; what that moves is written with the next tick."""
        by_ns = correction.by_ns
        self._clock.correct(by_ns)
        if not correction.dates:
            self._windows.follow(by_ns)
        else:
            by_s = self._windows.redate(by_ns, self._undated_from_s, self._dated_until_s)
            self._redating, self._undated_rows = Redating(by_ns, by_s), len(self.unwritten)
        self._intake.shift(by_ns)
        self._due_ns = 0
        self.look_ahead_soon()
        if by_ns:
            _log.warning("time line set", seconds=round(by_ns / NS_PER_S, 1), dates=correction.dates)

    async def close_short(self, now_ns: int) -> None:
        """Close all windows now and write them."""
        self.unwritten += self._windows.close_short(now_ns, self._clock.flags())
        await self.write(now_ns)

    async def write(self, now_ns: int) -> None:
        """Write closed windows and the checkpoint, synced, then acknowledge what they hold."""
        rows, acks = list(self.unwritten), self._intake.take_acks()
        clock = checkpoint.SavedClock(self._boot, self._clock.ahead_ns, self._dating.is_known)
        blob = checkpoint.save(self._windows, now_ns, clock)
        outbox, redating = self._thread.outbox, self._redating
        if redating is not None:
            redating = redating._replace(batches=self._windows.batches(rows[: self._undated_rows]))
        batches = self._windows.batches(rows[self._undated_rows :])
        try:
            if self._to_mark_s is not None:
                await self._thread.call(outbox.mark_undated, self._to_mark_s, self._dated_until_s)
                self._to_mark_s = None
            if batches or redating is not None:
                await self._thread.call(outbox.commit, batches, blob, now_ns, redating)
            else:
                await self._thread.call(outbox.save_checkpoint, blob)
        except sqlite3.Error as error:  # a full or broken disk does not end the process
            self._progress.written()
            self._intake.give_back(acks)
            self._troubles.report(outbox_troubles.not_writable(error))
            if (surplus := len(self.unwritten) - MAX_UNWRITTEN_ROWS) > 0:
                del self.unwritten[:surplus]
                self._undated_rows = max(0, self._undated_rows - surplus)
                self._windows.shed["disk_not_writable"] += surplus
            return
        self._progress.written()
        self.is_safe = True
        self._troubles.clear(outbox_troubles.DISK)
        if outbox.salvaged is not None:
            self._troubles.report(outbox_troubles.damaged(outbox.salvaged))
        self.unwritten = self.unwritten[len(rows) :]
        if redating is not None:
            self._redating, self._undated_rows = None, 0
            self._uplink.dated.set()
        self.records_written += len(rows)
        for ack in acks:
            try:
                ack()
            except Exception as error:  # noqa: BLE001 (the samples are safe; the link tells of its own trouble)
                if name_of(error) != self._ack_error:
                    _log.exception("acknowledgement failed")
                self._ack_error = name_of(error)
        await self._intake.introduce_again()
        if rows:
            self._uplink.wake()
        await self._look_ahead(now_ns)

    def look_ahead_soon(self) -> None:
        """Ask with the next write how long the outbox lasts."""
        self._days_due_ns = 0

    async def _look_ahead(self, now_ns: int) -> None:
        """How long the outbox lasts; told when it is less than a week while the county is away."""
        if now_ns < self._days_due_ns:
            return
        with suppress(sqlite3.Error):  # the next write tells of the disk
            days = await self._thread.call(self._thread.outbox.days_to_full, now_ns)
            self.days_to_full = None if days is None else round(days, 2)
        self._days_due_ns = now_ns + (LOOK_AGAIN_NS if self.days_to_full is None else LOOK_AHEAD_NS)
        self._troubles.report(outbox_troubles.room(self.days_to_full))
        if not self._uplink.depth.poisoned:  # what was set aside is too old to be kept
            self._troubles.clear(SET_ASIDE)
