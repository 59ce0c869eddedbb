"""The way to the county: records, announcements and presence, sent with the gateway's own credential."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from collectors.model import Clock, Trouble
from gateway.access import RETRY_REFUSED_S
from gateway.clock import EARLIEST_NS
from gateway.config import UplinkConfig
from gateway.county_way import A, LaterError, PoisonError, Way
from gateway.failing import Failing, Step
from gateway.last_sent import LastSent
from gateway.outbox import Depth, OutboxThread, Pending
from gateway.troubles import Troubles
from gateway.uplink_troubles import (
    ANNOUNCED,
    HARDWARE,
    SUBJECT,
    time_not_known,
    trouble_of_answer,
    trouble_of_replacement,
    trouble_of_set_aside,
)
from gateway.wire import (
    Accepted,
    Announce,
    Announcement,
    DevicePresence,
    IngestAnswer,
    Live,
    encode,
)

INGEST_TIMEOUT_S: Final = 30.0
LIVE_TIMEOUT_S: Final = 4.0
RETRY_FIRST_S: Final = 0.5
RETRY_MOST_S: Final = 2.0
"""Sending again within 3 s after the county is back: it is asked this often while it is away."""
DEPTH_SHOWN_S: Final = 10.0
"""What waits in the outbox is counted this often while nothing is sent."""
DISK_RETRY_S: Final = 2.0
LIVE_PAUSE_S: Final = 0.25
ANNOUNCE_AT_ONCE: Final = 200
ANNOUNCE_AGAIN_S: Final = 60.0
"""A county that asks for announcements gets them this often at most."""


class Uplink:
    """Sends what the outbox holds, and how the devices are.

    `run_ingest` and `run_live` are the two tasks that the runtime owns. A batch is tried until the
    county has journalled it; the newest and the oldest take turns, so that a backlog never keeps
    fresh data waiting.
    """

    def __init__(
        self,
        config: UplinkConfig,
        gateway: str,
        outbox: OutboxThread,
        clock: Clock,
        troubles: Troubles,
        *,
        presence: Callable[[], list[DevicePresence]],
        shed: Callable[[], dict[str, int]],
        presence_s: float = 5.0,
    ) -> None:
        self._gateway, self._outbox = gateway, outbox
        self._clock, self._troubles = clock, troubles
        self._presence, self._shed, self._presence_s = presence, shed, presence_s
        self._work = asyncio.Event()
        self._changed = asyncio.Event()
        self._way = Way(config)
        self._announce_at_once = ANNOUNCE_AT_ONCE
        self._announcing_rests = False
        self._announced_again_s = -ANNOUNCE_AGAIN_S
        self.sent_rows = 0
        self.refused_rows = 0
        self.held_rows = 0
        self.refused_announcements = 0
        """That the county did not take, since the start."""
        self.poisoned = 0
        """Rows set aside since the start."""
        self._failing = Failing()
        self.conflicts = 0
        self.resent = 0
        self.last_contact_ns = 0
        self.on_county_time: Callable[[int, int], None] = lambda ahead_ns, error_ns: None
        """Hears how far the county's clock stands before ours, and how long its answer was under way at most."""
        self.depth = Depth()
        self._time_is_told = False
        self.dated = asyncio.Event()
        """Cleared while the time is not known: no record is sent before what waits has its dates."""
        self.dated.set()
        self.last_sent = LastSent()

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._work.set()

    def presence_changed(self) -> None:
        """A device's presence changed: tell the county soon."""
        self._changed.set()

    async def open(self) -> None:
        """Read the credential and prepare connections; nothing is sent yet.

        Raises OSError, ssl.SSLError, ProxyError.
        """
        await self._way.open()

    def go_on(self, depth: Depth) -> None:
        """What the outbox holds at the start: it is shown at once, and what is set aside is told again."""
        self.depth = depth
        if depth.set_aside:
            last = depth.set_aside[0]
            self._report_poison(f"{last.epoch}/{last.sequence}", last.reason)

    @property
    def config(self) -> UplinkConfig:
        """Of the way that is taken."""
        return self._way.config

    async def try_way(self, way: Way) -> None:
        """Tell the county over another way how the devices are. Raises LaterError, PoisonError."""
        await way.post("live", encode(self._live()), Accepted, LIVE_TIMEOUT_S)

    async def take_way(self, way: Way) -> None:
        """Send over another way from now on; the old one is closed when its last answer is there."""
        old, self._way = self._way, way
        self._work.set()
        await old.close()

    async def close(self) -> None:
        """Safe twice."""
        await self._way.close()

    # Records and announcements ------------------------------------------------------------------

    async def run_ingest(self) -> None:
        """Send for ever; ends by cancellation only."""
        pause_s = RETRY_FIRST_S
        newest = False
        while True:
            try:
                newest = not newest
                sent = await self.send_one(newest)
                pause_s = RETRY_FIRST_S
                if not sent:
                    self._work.clear()
                    self.depth = await self._outbox.call(self._outbox.outbox.depth)
                    if self.depth.unsent == 0:
                        await self._work.wait()
            except LaterError as later:
                self._troubles.report(later.trouble)
                self.depth = await self._outbox.call(self._outbox.outbox.depth)  # the backlog grows meanwhile
                if later.after_s is not None:
                    await self._pause(later.after_s)
                else:
                    await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 (jitter)
                    pause_s = min(pause_s * 2, RETRY_MOST_S)
            except sqlite3.Error:  # who writes the next checkpoint tells of the disk
                await asyncio.sleep(DISK_RETRY_S)

    async def _pause(self, seconds: float) -> None:
        """Wait before the next attempt, less where another credential or way came; the backlog is shown meanwhile."""
        way = self._way
        while seconds > 0 and way is self._way and not await way.access.pause(min(seconds, DEPTH_SHOWN_S)):
            seconds -= DEPTH_SHOWN_S
            self.depth = await self._outbox.call(self._outbox.outbox.depth)

    async def drain(self, at_most_s: float) -> bool:
        """Send everything now; False where the time was not enough. For an ordered end only."""
        try:
            async with asyncio.timeout(at_most_s):
                while True:
                    try:
                        while await self.send_one(newest=False):
                            pass
                        return True
                    except LaterError as later:
                        await asyncio.sleep(min(later.after_s or RETRY_FIRST_S, RETRY_MOST_S))
        except TimeoutError:
            return False
        finally:
            self.depth = await self._outbox.call(self._outbox.outbox.depth)

    async def send_one(self, newest: bool) -> bool:
        """Send what devices said of themselves, then one batch. False where nothing waits."""
        outbox = self._outbox.outbox
        if not self.dated.is_set():
            await self._ask_the_time()
        rests, self._announcing_rests = self._announcing_rests, False
        if not rests and (said := await self._outbox.call(outbox.announced.unsent, self._announce_at_once)):
            await self._announce(said)
            return True
        batch: Pending | None = await self._outbox.call(outbox.next_unsent, newest)
        if batch is None:
            return False
        try:
            answer = await self._post("ingest", batch.body, IngestAnswer)
        except PoisonError as error:
            await self._refuse(batch, str(error))
            return True
        except LaterError as later:
            if later.failed and await self._goes_on_without(batch, str(later)):
                return True
            raise
        self._failing.taken(batch.ordinal)
        await self._settle(batch, answer)
        self.depth = await self._outbox.call(outbox.depth)
        return True

    async def _announce(self, said: list[Announcement]) -> None:
        """Send announcements; those that the county never takes are told, and keep nothing else waiting.

        Raises LaterError.
        """
        outbox = self._outbox.outbox
        try:
            epoch = await self._outbox.call(outbox.epoch)
            await self._post("announce", encode(Announce(self._gateway, epoch, said)), Accepted)
        except PoisonError as error:
            reason = str(error)
        except LaterError as later:
            if not later.failed:
                raise
            self._announcing_rests = True  # what the county takes next tells whether this is to blame
            if not self._failing.fails_announcing():
                raise
            reason = str(later)
        else:
            await self._outbox.call(outbox.announced.mark_sent, said[-1].number)
            return
        if len(said) > 1:
            self._announce_at_once = 1  # one of them is to blame: find it
            return
        self.refused_announcements += 1
        self._announce_at_once = ANNOUNCE_AT_ONCE
        self._troubles.report(trouble_of_set_aside(f"announcement {said[0].number}", reason, ANNOUNCED))
        await self._outbox.call(outbox.announced.mark_sent, said[0].number)

    async def _ask_the_time(self) -> None:
        """Tell the county how the devices are: its answer bears its clock. Returns when all dates are known.

        Raises LaterError where the county does not tell the time.
        """
        with suppress(PoisonError):
            await self._post("live", encode(self._live()), Accepted, LIVE_TIMEOUT_S)
        if not self._time_is_told:
            raise LaterError(time_not_known(self._way.config.url))
        await self.dated.wait()

    async def _goes_on_without(self, batch: Pending, reason: str) -> bool:
        """The county failed at a batch: whether there is something else to do at once than to wait."""
        now_ns = self._clock()
        step = self._failing.failed(batch)
        if step is Step.REFUSED:
            await self._refuse(batch, reason)
        elif step is Step.PERHAPS:
            if not await self._outbox.call(self._outbox.outbox.halve_alone, batch.ordinal, max(now_ns, 1)):
                return False
            self._failing.halved(batch, max(now_ns, 1))
        return step is not Step.LATER

    async def _refuse(self, batch: Pending, reason: str) -> None:
        now_ns = max(self._clock(), 1)
        refuse = self._outbox.outbox.refuse
        is_hopeless = self._failing.is_hopeless(batch)
        rows = await self._outbox.call(refuse, batch.ordinal, now_ns, reason[:500], is_hopeless)
        try:
            self.depth = await self._outbox.call(self._outbox.outbox.depth)  # first: the trouble lasts while it is kept
        finally:
            if rows:
                self.poisoned += rows
                self._report_poison(f"{batch.epoch}/{batch.sequence}", reason)
            else:
                self._failing.halved(batch, now_ns)

    async def _settle(self, batch: Pending, answer: IngestAnswer) -> None:
        outbox = self._outbox.outbox
        if answer.hand_over_s:
            self._troubles.report(trouble_of_replacement(answer.hand_over_s))
        else:
            self._troubles.clear(HARDWARE)
        if (answer.epoch, answer.sequence) != (batch.epoch, batch.sequence):
            await self._outbox.call(outbox.verify, batch.ordinal)  # it may be our own key that changed on the card
            raise LaterError(trouble_of_answer(f"answers {answer.epoch}/{answer.sequence}"), RETRY_REFUSED_S)
        if answer.result == "conflict":
            self.conflicts += 1
            self._troubles.report(
                Trouble(
                    f"{SUBJECT}/epoch",
                    "epoch_conflict",
                    "县级已收到同一编号但内容不同的批次，可能有一张复制的存储卡在运行。已换新的纪元重发。",
                    "the county has another batch under our number: a cloned card may be running. "
                    "Sending again under a new epoch.",
                    "请确认没有第二台网关使用同一张卡的副本。",
                    "Make sure that no second gateway runs from a copy of this card.",
                )
            )
            await self._outbox.call(outbox.open_epoch)
            return
        await self._outbox.call(outbox.mark_acked, batch.ordinal, self._clock())
        self.sent_rows += answer.accepted if answer.result == "journalled" else 0
        self.refused_rows += len(answer.refused)
        self.held_rows += answer.held
        if answer.refused:
            first = answer.refused[0]
            self._troubles.report(
                Trouble(
                    f"{SUBJECT}/rows",
                    "rows_refused",
                    f"县级拒收了 {len(answer.refused)} 行，例如 {first.column} = {first.value}；县级原话，应为："
                    f"“{first.expected}”。",
                    f"the county refused {len(answer.refused)} rows, such as {first.column} = {first.value}; in its "
                    f'own words it expected "{first.expected}".',
                    "请把这条信息报告给软件维护方。",
                    "Report this line to the maintainers of the software.",
                )
            )
        resent = 0
        for missing in answer.missing:
            resent += await self._outbox.call(outbox.resend, missing.epoch, missing.first, missing.last)
        self.resent += resent
        # a county that lacks what it had confirmed was restored: it may lack announcements too
        now_s = asyncio.get_running_loop().time()
        if resent or (answer.announce_again and now_s - self._announced_again_s >= ANNOUNCE_AGAIN_S):
            self._announced_again_s = now_s
            await self._outbox.call(outbox.announced.send_again)

    def _report_poison(self, what: str, reason: str) -> None:
        self._troubles.report(trouble_of_set_aside(what, reason))

    # Presence -----------------------------------------------------------------------------------

    async def run_live(self) -> None:
        """Presence every `presence_s` and, at most four times a second, on change."""
        while True:
            self._changed.clear()
            await self.tell_presence()
            await asyncio.sleep(LIVE_PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._presence_s - LIVE_PAUSE_S):
                    await self._changed.wait()

    async def tell_presence(self) -> None:
        """Tell the county once how the devices are; whatever becomes of it, the next one says it all."""
        try:
            if not self._way.access.revoked and not self._way.access.replaced:
                await self._post("live", encode(self._live()), Accepted, LIVE_TIMEOUT_S)
        except LaterError as later:  # of the link `run_ingest` tells
            if self._way.access.replaced or self._way.access.revoked:
                self._troubles.report(later.trouble)
        except PoisonError:
            pass

    def _live(self) -> Live:
        return Live(
            self._gateway,
            self._clock(),
            self._presence(),
            backlog_batches=self.depth.unsent,
            oldest_unsent_s=self._oldest_s(),
            shed=self._shed(),
        )

    def _oldest_s(self) -> int:
        since_ns = self.depth.oldest_unsent_ns
        return max(0, (self._clock() - since_ns) // 1_000_000_000) if since_ns else 0

    # HTTP ---------------------------------------------------------------------------------------

    async def _post(self, route: str, body: bytes, kind: type[A], timeout_s: float | None = None) -> A:
        """Raises LaterError or PoisonError."""
        answer, under_way_ns = await self._way.post(route, body, kind, timeout_s or INGEST_TIMEOUT_S)
        self.last_contact_ns = self._clock()
        self.last_sent.note(route, body, self.last_contact_ns)
        self._hear_time(answer.county_time_ns, under_way_ns)
        if route != "live":  # a county that takes presence but no records is still in trouble
            self._troubles.clear(SUBJECT)
        return answer

    def _hear_time(self, county_ns: int, under_way_ns: int) -> None:
        """The county's clock is that of the middle of the way there and back, give or take half of it."""
        if county_ns >= EARLIEST_NS:
            self._time_is_told = True
            self.on_county_time(county_ns - (self._clock() - under_way_ns // 2), under_way_ns)
