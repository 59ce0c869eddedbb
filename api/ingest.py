"""Taking in what gateways send: who it is, what it says, journalled, answered, handed on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeVar

import numpy as np
from msgspec import structs

from api.applier import Applier
from api.clock import Clock
from api.credentials import Credentials
from api.epochs import EpochAlarm
from api.ingest_counts import IngestCounts
from api.journal.batch import AnnounceEntry, Batch
from api.journal.port import Journal, JournalError, UnkeepableError
from api.live import LivePresence
from api.problems import ProblemError
from api.rate_limit import RateLimit
from api.register.announcements import Announcements
from api.store.port import Append
from api.verdict import Judged, check_names, judge, read_announce, read_batch, read_live
from gateway.wire import (
    Accepted,
    Announce,
    Ingest,
    IngestAnswer,
    Missing,
    WireError,
    encode,
)
from metrics.record import TENTHS_PER_S, Records, local_day

T = TypeVar("T")

_FOLLOW_S: Final = 1.0
_FOLLOW_STEP_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Sender:
    """A gateway whose credential was valid."""

    gateway: str
    hand_over_s: int | None = None
    """Rows that start from here on are not taken: other hardware took its place."""


class IngestService:
    """Ingest, presence and announcements of all gateways. `announced` hears which gateway has told of devices."""

    def __init__(
        self,
        journal: Journal,
        applier: Applier,
        credentials: Credentials,
        live: LivePresence,
        announcements: Announcements,
        clock: Clock,
        rate_limit: RateLimit,
        epochs: EpochAlarm,
        announced: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._journal = journal
        self._applier = applier
        self._credentials = credentials
        self._live = live
        self._announcements = announcements
        self._clock = clock
        self._announced = announced
        self.epochs = epochs
        self.after_hand_over: Counter[str] = Counter()
        """Rows of replaced hardware that were not taken since the start, by gateway."""
        self.rate_limit = rate_limit
        self.counts = IngestCounts()

    async def sender(self, credential: str) -> Sender:
        """The gateway that a credential belongs to. Raises what `Credentials.valid` raises."""
        grant = await self._credentials.valid(credential)
        return Sender(grant.gateway, grant.hand_over_s)

    def admit(self, sender: Sender) -> None:
        """Raise the problem `too-fast` for a gateway that asks more than its limit."""
        after_s = self.rate_limit.admit(sender.gateway)
        if after_s:
            raise ProblemError("too-fast", f"{sender.gateway}: retry after {after_s} s", {"retry-after": str(after_s)})

    async def take(self, sender: Sender, body: bytes, is_json: bool) -> IngestAnswer:
        """Journal a batch and answer. Raises ProblemError."""
        now_ns = self._clock.now_ns()
        # a JSON body can keep a core busy for a second: not on the loop that everyone shares
        if is_json:
            message = await asyncio.to_thread(self._read, lambda: read_batch(body, True))
        else:
            message = self._read(lambda: read_batch(body, False))
        self._own(sender, message.gateway)
        judged = self._read(lambda: _judge(message, now_ns // 1_000_000_000, sender.hand_over_s))
        batch = Batch(
            position=0,
            gateway=message.gateway,
            epoch=message.epoch,
            sequence=message.sequence,
            previous=message.previous,
            digest=sha256(body).digest(),
            is_json=is_json,
            rows=message.rows,
            refused=np.array([r.index for r in judged.refused], "<u4").tobytes(),
            held=judged.held.astype("<u4").tobytes(),
            arrived_ns=now_ns,
            body=body,
            gaps=tuple(message.gaps),
            days=_days(judged.counted),
            newest_end_s=_newest_end_s(judged.counted),
        )
        try:
            outcome = await self._journal.commit(batch)
        except JournalError as error:
            raise _problem_of(error) from error
        if outcome.result == "journalled":
            if judged.after_hand_over:
                self.after_hand_over[message.gateway] += judged.after_hand_over
            for row in judged.refused:
                self.counts.rows(row.column)
            if len(judged.held):
                self.counts.rows("ahead", len(judged.held))
            devices = [d.id for d in message.devices]
            self._applier.offer(Append(outcome.position, message.gateway, devices, judged.counted))
            self.epochs.delivered(message.gateway, message.epoch, batch.newest_end_s, now_ns // 1_000_000_000)
            await self._let_the_store_follow()
        kept = outcome.result != "conflict"
        return IngestAnswer(
            result=outcome.result,
            epoch=message.epoch,
            sequence=message.sequence,
            accepted=len(judged.counted) if kept else 0,
            refused=judged.refused if kept else [],
            held=len(judged.held) if kept else 0,
            missing=[Missing(*m) for m in outcome.missing],
            county_time_ns=self._clock.now_ns(),
            hand_over_s=sender.hand_over_s or 0,
            announce_again=kept and self._announcements.lacks(message.gateway, message.devices),
        )

    async def _let_the_store_follow(self) -> None:
        """Answer a little later while a backlog outruns the store, which leaves the processor to it and to readers."""
        waited_s = 0.0
        while self._applier.behind and waited_s < _FOLLOW_S:
            await asyncio.sleep(_FOLLOW_STEP_S)
            waited_s += _FOLLOW_STEP_S

    def take_live(self, sender: Sender, body: bytes, is_json: bool) -> Accepted:
        """Take presence. Raises ProblemError."""
        message = self._read(lambda: read_live(body, is_json))
        self._own(sender, message.gateway)
        if sender.hand_over_s is not None and self._clock.now_ns() >= sender.hand_over_s * 1_000_000_000:
            raise ProblemError("gateway-replaced", f"hand-over: {sender.hand_over_s}")
        self._live.take(message)
        return Accepted(len(message.devices), self._clock.now_ns())

    async def take_announce(self, sender: Sender, body: bytes, is_json: bool) -> Accepted:
        """Journal announcements, then put them into the register. Raises ProblemError."""
        message = self._read(lambda: read_announce(body, is_json))
        self._own(sender, message.gateway)
        if sender.hand_over_s is not None:  # what replaced hardware reads now is nobody's machine
            hand_over_ns = sender.hand_over_s * 1_000_000_000
            before = [said for said in message.announcements if said.at_ns < hand_over_ns]
            message = structs.replace(message, announcements=before)
            body, is_json = encode(message), False
        now_ns = self._clock.now_ns()
        try:
            await self._journal.commit_announce(AnnounceEntry(message.gateway, message.epoch, now_ns, is_json, body))
        except JournalError as error:
            raise _problem_of(error) from error
        await asyncio.to_thread(self._take_announced, message, now_ns)
        return Accepted(len(message.announcements), self._clock.now_ns())

    def _take_announced(self, message: Announce, now_ns: int) -> None:
        self._announcements.take(message, now_ns)
        self._announced(message.gateway)

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except WireError as error:
            raise ProblemError("bad-message", str(error)) from error

    def _own(self, sender: Sender, gateway: str) -> None:
        if sender.gateway != gateway:
            raise ProblemError("gateway-foreign", f"credential of {sender.gateway}, message of {gateway}")


def _judge(message: Ingest, now_s: int, hand_over_s: int | None) -> Judged:
    check_names(message)
    return judge(message, now_s, hand_over_s)


def _problem_of(error: JournalError) -> ProblemError:
    if isinstance(error, UnkeepableError):
        return ProblemError("bad-message", str(error))
    return ProblemError("busy", str(error), {"retry-after": "2"})


def _newest_end_s(records: Records) -> int:
    """When the newest window ended, 0 for none."""
    return int((records.start + records.length // TENTHS_PER_S).max()) if len(records) else 0


def _days(records: Records) -> tuple[tuple[int, int], ...]:
    """How many records each local day has."""
    n = len(records)
    if not n:
        return ()
    first, last = local_day(int(records.start.min())), local_day(int(records.start.max()))
    if first == last:
        return ((first, n),)
    days, rows = np.unique(local_day(records.start), return_counts=True)
    return tuple(zip(days.tolist(), rows.tolist(), strict=True))
