"""The subscriptions of simulated OPC UA servers: as the standard has them, within a make's limits, with faults.

asyncua's server compares a deadband with the value before instead of the last one reported, loses values of a
full queue without a word, leaves a transferred subscription to the old connection, and answers a Republish of
what it does not have with an empty message. Here these are as OPC 10000-4 says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.server.address_space import AddressSpace, AttributeService, ViewService
from asyncua.server.internal_subscription import InternalSubscription
from asyncua.server.monitored_item_service import MonitoredItemService
from asyncua.server.subscription_service import SubscriptionService

_OVERFLOW: Final = 0x0480
"""InfoType DataValue and its Overflow bit (OPC 10000-4, 7.39)."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What a server takes; 0: no limit. `reports`: whether it says so in its capabilities."""

    maker: str = "PlantPulse"
    product: str = "PlantPulse simulator"
    items_per_request: int = 0
    most_items: int = 0
    most_queued: int = 0
    nodes_per_read: int = 0
    nodes_per_browse: int = 0
    sessions: int = 0
    deadbands: frozenset[str] = frozenset({"absolute", "percent"})
    transfer: bool = True
    reports: bool = False
    deadband_hides_bad: bool = False
    """A node with a deadband that loses its value says nothing, as with asyncua."""
    tells_deletion: bool = True
    """A deleted node is told by its monitored item; else, as asyncua does, by the subscription's status."""


NO_LIMITS: Final = ServerLimits()
MAKES: Final = {
    # Siemens entry 109755846 (OPC UA system limits, 02/2024); slow beyond 200 items a request, here refused
    "s7-1200": ServerLimits(
        "Siemens AG",
        "SIMATIC S7-1200",
        items_per_request=200,
        most_items=1_000,
        nodes_per_read=2_000,
        nodes_per_browse=2_000,
        sessions=10,
        deadbands=frozenset(),
        transfer=False,
    ),
    "s7-1500": ServerLimits(
        "Siemens AG",
        "SIMATIC S7-1500",
        items_per_request=1_000,
        most_items=10_000,
        nodes_per_read=2_000,
        nodes_per_browse=2_000,
        sessions=32,
        deadbands=frozenset({"absolute"}),
        transfer=False,
        reports=True,
    ),
    "kepware": ServerLimits(
        "PTC Inc.", "KEPServerEX", items_per_request=1_000, nodes_per_read=1_000, nodes_per_browse=1_000, sessions=128
    ),
}


@dataclass(slots=True)
class Faults:
    """Switches of a running server."""

    is_silent: bool = False
    """Connections and sessions live, and no subscription publishes any more."""
    refuses_sessions: bool = False
    answers_after_s: float = 0.0
    """So long it thinks before it answers a read, a browse and a request to monitor."""
    clock_ahead_s: float = 0.0
    """The machines' source timestamps run ahead of their clock by so much."""
    swallows: int = 0
    """So many publications with data are not sent; a Republish still has them."""
    loses: int = 0
    """So many are not sent and forgotten."""


class Subscriptions(SubscriptionService):  # type: ignore[misc]  # asyncua is not checked
    """The subscription service set."""

    def __init__(self, aspace: AddressSpace, server: Any, limits: ServerLimits, faults: Faults) -> None:
        super().__init__(aspace, server)
        self.limits, self.faults = limits, faults
        self.most_in_a_request = 0
        """The largest number of monitored items that a client asked for at once."""
        self.transfers = self.republished = 0

    @property
    def items(self) -> list[Any]:
        """All monitored items of clients."""
        return [
            item
            for subscription in self.subscriptions.values()
            if subscription.pub_request_callback is not None
            for item in subscription.monitored_item_srv._monitored_items.values()
        ]

    @property
    def published(self) -> int:
        """Publications with data that were sent in the subscriptions that there are, heard or not."""
        return sum(subscription._notification_seq - 1 for subscription in self.subscriptions.values())

    async def create_subscription(self, *given: Any, **named: Any) -> ua.CreateSubscriptionResult:
        result = await super().create_subscription(*given, **named)
        subscription = self.subscriptions[result.SubscriptionId]
        subscription.__class__ = _Subscription  # asyncua offers no place to name one's own
        subscription.service = self
        subscription.monitored_item_srv = _Items(subscription, self.aspace, self)
        return result

    async def create_monitored_items(self, params: Any) -> list[ua.MonitoredItemCreateResult]:
        self.most_in_a_request = max(self.most_in_a_request, len(params.ItemsToCreate))
        _refuse_beyond(self.limits.items_per_request, params.ItemsToCreate)
        return list(await super().create_monitored_items(params))

    async def transfer_subscriptions(
        self, params: Any, session_id: ua.NodeId, callback: Callable[..., Any]
    ) -> list[ua.TransferResult]:
        if not self.limits.transfer:
            raise ServiceError(ua.StatusCodes.BadServiceUnsupported)
        results = await super().transfer_subscriptions(params, session_id, callback)
        processor = callback.__self__  # type: ignore[attr-defined]
        for number in params.SubscriptionIds:
            if (subscription := self.subscriptions.get(number)) is not None:
                subscription.pub_request_callback = processor.get_publish_request
                self.transfers += 1
        return list(results)

    def republish(self, params: Any) -> ua.NotificationMessage:
        subscription = self.subscriptions.get(params.SubscriptionId)
        if subscription is None:
            raise ServiceError(ua.StatusCodes.BadSubscriptionIdInvalid)
        kept = subscription._not_acknowledged_results.get(params.RetransmitSequenceNumber)
        if kept is None:
            raise ServiceError(ua.StatusCodes.BadMessageNotAvailable)
        self.republished += 1
        return kept.NotificationMessage


class Attributes(AttributeService):  # type: ignore[misc]
    """The attribute service set."""

    def __init__(self, aspace: AddressSpace, limits: ServerLimits) -> None:
        super().__init__(aspace)
        self._limits = limits

    def read(self, params: Any) -> list[ua.DataValue]:
        _refuse_beyond(self._limits.nodes_per_read, params.NodesToRead)
        return list(super().read(params))


class View(ViewService):  # type: ignore[misc]
    """The view service set."""

    def __init__(self, aspace: AddressSpace, limits: ServerLimits) -> None:
        super().__init__(aspace)
        self._limits = limits

    def browse(self, params: Any) -> list[ua.BrowseResult]:
        _refuse_beyond(self._limits.nodes_per_browse, params.NodesToBrowse)
        return list(super().browse(params))


class _Subscription(InternalSubscription):  # type: ignore[misc]
    service: Subscriptions

    async def publish_results(self, requestdata: Any = None) -> bool:
        if self.service.faults.is_silent and self.pub_request_callback is not None:
            return False
        faults, has_data = self.service.faults, bool(self._triggered_datachanges)
        if has_data and self.pub_request_callback is not None and (faults.swallows or faults.loses):
            number = self._pop_publish_result().NotificationMessage.SequenceNumber
            if faults.loses:
                del self._not_acknowledged_results[number]
                faults.loses -= 1
            else:
                faults.swallows -= 1
        return bool(await super().publish_results(requestdata))

    async def _enqueue_event(self, mid: int, eventdata: Any, size: int, queue: dict[int, list[Any]]) -> None:
        waiting = queue.get(mid)
        if not waiting or not size or len(waiting) < size:
            await super()._enqueue_event(mid, eventdata, size, queue)
            return
        waiting.append(eventdata)
        waiting.pop(0)
        oldest = waiting[0]
        status = ua.StatusCode(oldest.Value.StatusCode.value | _OVERFLOW)
        waiting[0] = replace(oldest, Value=replace(oldest.Value, StatusCode=status))


class _Items(MonitoredItemService):  # type: ignore[misc]
    def __init__(self, subscription: InternalSubscription, aspace: AddressSpace, service: Subscriptions) -> None:
        super().__init__(subscription, aspace)
        self._service = service
        self._reported: dict[int, ua.DataValue] = {}
        self._ranges: dict[int, float] = {}

    def _revise_queue_size(self, requested: int) -> int:
        most = self._service.limits.most_queued
        size = int(super()._revise_queue_size(requested))
        return min(size, most) if most else size

    async def _create_data_change_monitored_item(self, params: Any) -> ua.MonitoredItemCreateResult:
        limits, refused = self._service.limits, None
        given = _data_change_filter(params.RequestedParameters.Filter)
        span = self._range_of(params.ItemToMonitor.NodeId)
        if limits.most_items and len(self._service.items) >= limits.most_items:
            refused = ua.StatusCodes.BadTooManyMonitoredItems
        elif given is not None and given.DeadbandType == ua.DeadbandType.Percent:
            if "percent" not in limits.deadbands:
                refused = ua.StatusCodes.BadMonitoredItemFilterUnsupported
            elif span is None:
                refused = ua.StatusCodes.BadDeadbandFilterInvalid
        elif given is not None and "absolute" not in limits.deadbands:
            refused = ua.StatusCodes.BadFilterNotAllowed
        if refused is not None:
            return ua.MonitoredItemCreateResult(StatusCode=ua.StatusCode(refused))
        self._ranges[self._monitored_item_counter + 1] = span or 0.0
        return await super()._create_data_change_monitored_item(params)

    def datachange_callback(self, handle: int, value: ua.DataValue, error: Any = None) -> Awaitable[None]:
        told = self._changed(handle, value, error)
        return told if error is None else asyncio.ensure_future(told)  # asyncua does not await the end of a node

    async def _changed(self, handle: int, value: ua.DataValue, error: Any) -> None:
        if error is not None:
            if not self._service.limits.tells_deletion:
                await super().datachange_callback(handle, value, error)
                return
            value = ua.DataValue(ua.Variant(), error)
        mid = self._monitored_datachange[handle]
        item = self._monitored_items[mid]
        last = self._reported.get(mid)
        if item.mode == ua.MonitoringMode.Disabled or (last is not None and not self._differs(mid, item, last, value)):
            return
        self._reported[mid] = value
        event = ua.MonitoredItemNotification(item.client_handle, value)
        await self.isub.enqueue_datachange_event(mid, event, item.queue_size)

    def _differs(self, mid: int, item: Any, last: ua.DataValue, value: ua.DataValue) -> bool:
        before, now = last.Value.Value, value.Value.Value
        given = _data_change_filter(item.filter)
        if given is not None and now is None and self._service.limits.deadband_hides_bad:
            return False
        if last.StatusCode != value.StatusCode:
            return True
        if given is None or None in (before, now) or given.DeadbandType == ua.DeadbandType.None_:
            return bool(before != now)
        deadband = given.DeadbandValue
        if given.DeadbandType == ua.DeadbandType.Percent:
            deadband = deadband / 100 * self._ranges[mid]
        return bool(abs(now - before) > deadband)

    def _range_of(self, node: ua.NodeId) -> float | None:
        """The width of a node's EURange, None where it has none."""
        held = self.aspace._nodes.get(node)
        for reference in held.references if held is not None else ():
            if reference.IsForward and reference.BrowseName.Name == "EURange":
                value = self.aspace.read_attribute_value(reference.NodeId, ua.AttributeIds.Value).Value.Value
                return float(value.High - value.Low)
        return None


def _data_change_filter(given: Any) -> ua.DataChangeFilter | None:
    # none at all is an empty ExtensionObject; asyncua decodes another class of the same name
    return given if hasattr(given, "DeadbandType") else None


def _refuse_beyond(most: int, asked: list[Any]) -> None:
    if most and len(asked) > most:
        raise ServiceError(ua.StatusCodes.BadTooManyOperations)
