"""One OPC UA subscription: created within the server's limits, published, watched, taken up again after a cut.

Values come from the publish response's bytes to `on_publication` in one call: no queue and no task per
value between. Sequence numbers are followed: what is missing is asked for again (Republish), and what the
server no longer has is told as a gap. A transport that is lost, a subscription that is over and a silence
of two keep-alives all end in `on_lost`, once. Nothing is written to the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from asyncua import Client, ua
from asyncua.ua.ua_binary import struct_from_binary

from collectors.model import LinkError
from collectors.opcua import tasks
from collectors.opcua.decode import Publication, message, publication
from collectors.opcua.errors import ended, lost, silent
from collectors.opcua.limits import Limits
from collectors.opcua.profile import SubscriptionSettings

_LIFETIME_S: Final = 60
"""So long a server keeps the subscription, its queues and its messages while nobody asks for them."""
_MOST_MISSING: Final = 1_000
"""A larger jump of the sequence numbers is a server that counts anew."""
_SEQUENCE_WRAP: Final = 2**32
_PAUSE_S: Final = 0.2
_MS: Final = 1000

_FILTER_REFUSED: Final = frozenset(
    {
        ua.StatusCodes.BadDeadbandFilterInvalid,
        ua.StatusCodes.BadFilterNotAllowed,
        ua.StatusCodes.BadMonitoredItemFilterInvalid,
        ua.StatusCodes.BadMonitoredItemFilterUnsupported,
    }
)
NO_ROOM: Final = frozenset({ua.StatusCodes.BadTooManyMonitoredItems, ua.StatusCodes.BadOutOfMemory})
"""The server monitors no more: such a node can still be read."""
_OVER: Final = frozenset(
    {
        ua.StatusCodes.BadTimeout,
        ua.StatusCodes.BadNoSubscription,
        ua.StatusCodes.BadSubscriptionIdInvalid,
        ua.StatusCodes.GoodSubscriptionTransferred,
    }
)
"""Statuses of a subscription that is over; others (a node that was deleted) leave it alive."""
_ASK_AGAIN: Final = (ua.uaerrors.BadTimeout, ua.uaerrors.BadTooManyPublishRequests)


class Deadband(NamedTuple):
    """A change too small to report: in the node's own unit, or in % of its range (EURange)."""

    value: float
    percent: bool = False


class Wanted(NamedTuple):
    """A node to monitor."""

    node: ua.NodeId
    deadband: Deadband | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told. `replayed`: sent again, or kept by the server during a cut."""

    on_publication: Callable[[Publication], None]
    on_replayed: Callable[[Publication], None]
    on_gap: Callable[[int], None]
    """So many publications are lost for good."""
    on_doubt: Callable[[ua.StatusCode], None]
    """The server says that something is wrong with the subscription, which lives on."""
    on_undecodable: Callable[[], None]
    on_lost: Callable[[LinkError], None]
    on_failed: tasks.OnFailed
    """A mistake of ours ended the publishing."""


class Subscription:
    """A subscription of one client's session. Create it, then `start`; after a lost link `resume` or `transfer`."""

    def __init__(
        self, address: str, client: Client, settings: SubscriptionSettings, limits: Limits, listener: Listener
    ) -> None:
        self._address, self._client, self._settings = address, client, settings
        self._limits, self._listener = limits, listener
        self._id = 0
        self._last = 0
        """Sequence number of the last message that brought data."""
        self._holds_back = False
        """Just taken up again: the queues' values come first, and are no proof of the present."""
        self._is_fresh = True
        """No message has come yet: whatever number the first one has is where the server begins to count."""
        self._acknowledge: list[int] = []
        self._items: dict[int, int] = {}
        self._refuses: set[bool] = set() if limits.deadband else {True, False}
        """Which deadbands the server refuses: percent (True), absolute (False)."""
        self._per_request = limits.items_per_request
        self._task: asyncio.Task[None] | None = None
        self.is_over = False
        """The server has said that it knows this subscription no longer."""
        self.has_published = False
        """Whether anything came since it was created or taken up again."""
        self.silence_s = 0.0
        """No publication for so long means the link is lost, though connected. Known once created."""

    async def create(self, wanted: Sequence[Wanted]) -> list[ua.StatusCode]:
        """Subscribe; notifications carry the index in `wanted` as client handle.

        Returns each node's status: a node that the server refuses does not block the rest, and beyond
        `Limits.most_items` none is asked for (BadTooManyMonitoredItems). Raises UaError, OSError, TimeoutError.
        """
        settings = self._settings
        request = ua.CreateSubscriptionRequest()
        parameters = request.Parameters
        parameters.RequestedPublishingInterval = settings.publishing_s * _MS
        parameters.RequestedMaxKeepAliveCount = max(1, round(settings.keep_alive_s / settings.publishing_s))
        parameters.RequestedLifetimeCount = max(
            3 * parameters.RequestedMaxKeepAliveCount, round(_LIFETIME_S / settings.publishing_s)
        )
        parameters.MaxNotificationsPerPublish = 0
        parameters.PublishingEnabled = True
        revised = (await self._ask(request, ua.CreateSubscriptionResponse)).Parameters
        self._id = revised.SubscriptionId
        keep_alive_s = revised.RevisedPublishingInterval / _MS * revised.RevisedMaxKeepAliveCount
        self.silence_s = max(2.0 * keep_alive_s, keep_alive_s + 1.0)
        return await self.monitor(wanted, range(len(wanted)))

    async def monitor(self, wanted: Sequence[Wanted], handles: Sequence[int]) -> list[ua.StatusCode]:
        """Monitor `wanted[handle]` for each handle, in batches; what is monitored already is asked for anew."""
        await self._forget([self._items.pop(handle) for handle in handles if handle in self._items])
        most = self._limits.most_items
        room = len(handles) if not most else max(0, most - len(self._items))
        statuses: list[ua.StatusCode] = []
        start = 0
        while start < min(room, len(handles)):
            batch = handles[start : min(room, start + self._per_request)]
            try:
                statuses.extend(await self._monitor(wanted, batch))
            except ua.uaerrors.BadTooManyOperations:
                if self._per_request == 1:
                    raise
                self._per_request = max(1, min(self._per_request, len(batch)) // 2)
                continue
            start += len(batch)
        statuses.extend([ua.StatusCode(ua.StatusCodes.BadTooManyMonitoredItems)] * (len(handles) - len(statuses)))
        return statuses

    def start(self) -> None:
        """Publish from now on."""
        self.has_published = False
        self._task = tasks.start(self._publish(), f"opcua publish {self._address}", self._listener.on_failed)

    async def stop(self) -> None:
        """Publish no more; the server keeps the subscription. Safe twice."""
        task, self._task = self._task, None
        await tasks.stop(task)

    async def resume(self) -> bool:
        """Go on in a session that has this subscription: take what the server kept, then publish.

        False where the server knows it no longer. Raises UaError, OSError, TimeoutError.
        """
        await self.stop()
        if self.is_over:
            return False
        request = ua.SetPublishingModeRequest()
        request.Parameters.PublishingEnabled = True
        request.Parameters.SubscriptionIds = [self._id]
        try:
            (status,) = (await self._ask(request, ua.SetPublishingModeResponse)).Parameters.Results
        except ua.uaerrors.BadNoSubscription:
            return False
        if not status.is_good():
            return False
        self._acknowledge = []
        for _ in range(_MOST_MISSING):
            kept = await self._republished(_after(self._last))
            if kept is None:
                break
            self._replay(kept)
        self._holds_back = True
        self.start()
        return True

    async def transfer(self) -> bool:
        """Take the subscription over into a new session of the client. False where the server does not do that."""
        if self.is_over or not self._limits.transfer:
            return False
        request = ua.TransferSubscriptionsRequest()
        request.Parameters.SubscriptionIds = [self._id]
        request.Parameters.SendInitialValues = False
        try:
            (result,) = (await self._ask(request, ua.TransferSubscriptionsResponse)).Parameters.Results
        except ua.UaStatusCodeError:
            return False
        return bool(result.StatusCode.is_good())

    async def delete(self) -> None:
        """Give it back while the session goes on. Raises UaError, OSError, TimeoutError."""
        await self.stop()
        await self._give_back(self._id)

    async def _give_back(self, number: int) -> None:
        request = ua.DeleteSubscriptionsRequest()
        request.Parameters.SubscriptionIds = [number]
        await self._ask(request, ua.DeleteSubscriptionsResponse)

    async def _ask(self, request: Any, answer: type[Any]) -> Any:
        body = await self._client.uaclient._send_request(request)
        response = struct_from_binary(answer, body)
        response.ResponseHeader.ServiceResult.check()
        return response

    # Monitored items ----------------------------------------------------------------------------

    async def _monitor(self, wanted: Sequence[Wanted], handles: Sequence[int]) -> list[ua.StatusCode]:
        statuses = await self._create_items(wanted, handles, with_deadband=True)
        refused = [
            i
            for i, status in enumerate(statuses)
            if status.value in _FILTER_REFUSED and wanted[handles[i]].deadband is not None
        ]
        if refused:
            self._refuses |= {deadband.percent for i in refused if (deadband := wanted[handles[i]].deadband)}
            again = await self._create_items(wanted, [handles[i] for i in refused], with_deadband=False)
            for i, status in zip(refused, again, strict=True):
                statuses[i] = status
        return statuses

    async def _create_items(
        self, wanted: Sequence[Wanted], handles: Sequence[int], *, with_deadband: bool
    ) -> list[ua.StatusCode]:
        settings, queue = self._settings, self._settings.queued
        if self._limits.most_queued:
            queue = min(queue, self._limits.most_queued)
        request = ua.CreateMonitoredItemsRequest()
        request.Parameters.SubscriptionId = self._id
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
        for handle in handles:
            node, deadband = wanted[handle]
            item = ua.MonitoredItemCreateRequest()
            item.ItemToMonitor.NodeId = node
            item.ItemToMonitor.AttributeId = ua.AttributeIds.Value
            item.MonitoringMode = ua.MonitoringMode.Reporting
            item.RequestedParameters.ClientHandle = handle
            item.RequestedParameters.SamplingInterval = settings.sampling_s * _MS
            item.RequestedParameters.QueueSize = queue
            item.RequestedParameters.DiscardOldest = True
            if with_deadband and deadband is not None and deadband.percent not in self._refuses:
                item.RequestedParameters.Filter = _filter(deadband)
            request.Parameters.ItemsToCreate.append(item)
        results = (await self._ask(request, ua.CreateMonitoredItemsResponse)).Results
        for handle, result in zip(handles, results, strict=True):
            if result.StatusCode.is_good():
                self._items[handle] = result.MonitoredItemId
        return [result.StatusCode for result in results]

    async def _forget(self, items: Sequence[int]) -> None:
        for start in range(0, len(items), self._per_request):
            request = ua.DeleteMonitoredItemsRequest()
            request.Parameters.SubscriptionId = self._id
            request.Parameters.MonitoredItemIds = list(items[start : start + self._per_request])
            await self._ask(request, ua.DeleteMonitoredItemsResponse)

    # Publishing ---------------------------------------------------------------------------------

    async def _publish(self) -> None:
        try:
            while True:
                await self._publish_once()
        except _OverError as over:
            self.is_over = True
            self._listener.on_lost(ended(self._address, over.status))
        except TimeoutError:
            self._listener.on_lost(silent(self._address, self.silence_s))
        except (OSError, ua.UaError) as error:
            if isinstance(error, ua.UaStatusCodeError) and error.code in _OVER:
                self.is_over = True
            self._listener.on_lost(lost(self._address, error))

    async def _publish_once(self) -> None:
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements = [
            ua.SubscriptionAcknowledgement(SubscriptionId=self._id, SequenceNumber=number)
            for number in self._acknowledge
        ]
        try:
            async with asyncio.timeout(self.silence_s):
                body = await self._client.uaclient._send_request(request, timeout=0)
        except _ASK_AGAIN:
            await asyncio.sleep(_PAUSE_S)
            return
        self._acknowledge = []
        try:
            published = publication(body)
        except ua.UaStatusCodeError:
            raise
        except Exception:  # noqa: BLE001 (bytes from outside that neither we nor asyncua can read)
            self._listener.on_undecodable()
            return
        if published.subscription != self._id:
            await self._give_back(published.subscription)  # it was made, and nobody knows of it
            return
        self.has_published = True
        await self._fill_in(published)
        brought = set() if published.is_keep_alive else {published.sequence}
        kept = {number for number in published.available if not _is_after(number, self._last)}
        self._acknowledge = sorted(kept | brought)
        if published.ended is not None:
            if published.ended.value in _OVER:
                raise _OverError(published.ended)
            self._listener.on_doubt(published.ended)
        if self._holds_back and not published.is_keep_alive:
            self._listener.on_replayed(published)  # what its queues held during the cut
            self._holds_back = published.more
            return
        self._holds_back = False
        self._listener.on_publication(published)

    async def _fill_in(self, published: Publication) -> None:
        """Ask again for the messages between the last one and this."""
        number = published.sequence
        if self._is_fresh:
            self._is_fresh, self._last = False, (number - 1) % _SEQUENCE_WRAP
        missing = (number - _after(self._last)) % _SEQUENCE_WRAP
        if 0 < missing <= _MOST_MISSING:
            gone = 0
            for earlier in range(missing):
                kept = await self._republished((_after(self._last) + earlier) % _SEQUENCE_WRAP or 1)
                if kept is None:
                    gone += 1
                else:
                    self._listener.on_replayed(kept)
            if gone:
                self._listener.on_gap(gone)
            self._last = (number - 1) % _SEQUENCE_WRAP
        if not published.is_keep_alive:
            if number == self._last:
                published.changes = []  # it has come already
            self._last = number

    async def _republished(self, number: int) -> Publication | None:
        """A message that the server kept; None where it has it no longer."""
        request = ua.RepublishRequest()
        request.Parameters.SubscriptionId = self._id
        request.Parameters.RetransmitSequenceNumber = number
        try:
            kept = (await self._ask(request, ua.RepublishResponse)).NotificationMessage
        except ua.UaStatusCodeError as error:
            if error.code in _OVER:
                raise
            return None  # BadMessageNotAvailable, or a server without Republish
        # some servers answer with an empty message instead of BadMessageNotAvailable
        return message(self._id, kept) if kept.NotificationData and kept.SequenceNumber == number else None

    def _replay(self, kept: Publication) -> None:
        self._last = kept.sequence
        self._acknowledge.append(kept.sequence)
        self._listener.on_replayed(kept)


class _OverError(Exception):
    def __init__(self, status: ua.StatusCode) -> None:
        self.status = status


def _after(number: int) -> int:
    """The next sequence number: 0 is left out (OPC 10000-4, 5.14.1.1)."""
    return number % (_SEQUENCE_WRAP - 1) + 1


def _is_after(number: int, other: int) -> bool:
    return 0 < (number - other) % _SEQUENCE_WRAP < _SEQUENCE_WRAP // 2


def _filter(deadband: Deadband) -> ua.DataChangeFilter:
    kind = ua.DeadbandType.Percent if deadband.percent else ua.DeadbandType.Absolute
    return ua.DataChangeFilter(
        Trigger=ua.DataChangeTrigger.StatusValue, DeadbandType=kind, DeadbandValue=deadband.value
    )
