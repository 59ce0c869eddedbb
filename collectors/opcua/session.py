"""One OPC UA session with one subscription, over asyncua. Retries belong to the runner; nothing is written.

Publications come straight from asyncua's publish loop to `on_publish`: no queue and no task per value
between. A lost transport, a closed subscription and a silence longer than the keep-alive permits all
end in `on_lost`, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from asyncua import ua
from cryptography.exceptions import InvalidSignature

from collectors.model import Clock, CollectorError, ConfigError, LinkError, Trouble
from collectors.opcua.profile import SubscriptionSettings
from collectors.opcua.security import refusals
from collectors.opcua.security.certificates import CertificateWatch
from collectors.opcua.security.opening import Access, SecuredClient, Way, ways

OnPublish = Callable[[ua.PublishResult], None]
OnLost = Callable[[LinkError], None]

_REQUEST_TIMEOUT_S: Final = 4.0
_CONNECT_TIMEOUT_S: Final = 10.0
_CLOSE_WITHIN_S: Final = 1.5
_SESSION_TIMEOUT_S: Final = 60
_SUBSCRIPTION_LIFETIME_S: Final = 60
_ITEMS_PER_REQUEST: Final = 500
_MS: Final = 1000
_FAILURES: Final = (CollectorError, InvalidSignature, OSError, TimeoutError, ua.UaError, ValueError, EOFError)
"""What an opening may end with."""


def quieten_asyncua() -> None:
    """Silence asyncua's log: what it reports reaches people as LinkError and Trouble, once."""
    logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)


class Session:
    """A connected client and its subscription.

    Parameters: `address` of the server, `access` of the configuration, `clock` (ns UTC), `on_lost`.
    """

    def __init__(self, address: str, access: Access, clock: Clock, on_lost: OnLost) -> None:
        self._address = address
        self._access = access
        self._clock = clock
        self._on_lost: OnLost | None = on_lost
        self._on_publish: OnPublish | None = None
        self._closing: asyncio.Task[None] | None = None
        self.client = self._client(Way(access))
        self.certificates = CertificateWatch(address)
        """What is to be said of the certificates that this session depends on."""
        self.unencrypted: Trouble | None = None
        """What a tool has to say where it found nothing better than SecurityPolicy None."""
        self.silence_s = 0.0
        """No publication for so long means the link is lost, though connected. Known once subscribed."""

    async def connect(self) -> None:
        """Open channel and session. Raises LinkError, ConfigError where the server refuses us for good."""
        with wrapped(self._address):
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                refused: CollectorError | None = None
                for way in await ways(self._address, self._access, self._clock()):
                    self.client = self._client(way)
                    try:
                        await self.client.connect()
                    except _FAILURES as error:
                        found = way.refusal(error, self._address, self._clock(), channel_open=self.client.channel_open)
                        if found is None:
                            raise
                        if isinstance(found, ConfigError) and not self._access.login.is_anonymous:
                            raise found from error  # a password tried on every endpoint locks the account
                        refused = refused or found
                        refused.__cause__ = refused.__cause__ or error
                        self._drop()
                        continue
                    self.certificates = way.watch(self._address)
                    if way.found is not None and way.offer is None:
                        self.unencrypted = refusals.read_unencrypted(self._address, refused or way.instead)
                    return
                if refused is not None:
                    raise refused

    def _client(self, way: Way) -> SecuredClient:
        client = SecuredClient(self._address, way, timeout_s=_REQUEST_TIMEOUT_S)
        client.session_timeout = _SESSION_TIMEOUT_S * _MS
        client.connection_lost_callback = self._transport_lost
        return client

    async def subscribe(
        self, nodes: Sequence[ua.NodeId], settings: SubscriptionSettings, on_publish: OnPublish
    ) -> list[ua.StatusCode]:
        """Subscribe to the values of `nodes`; notifications carry the node's index as client handle.

        Returns each node's status: a node that the server refuses does not block the rest. Raises
        LinkError.
        """
        self._on_publish = on_publish
        publishing_ms = settings.publishing_s * _MS
        parameters = ua.CreateSubscriptionParameters()
        parameters.RequestedPublishingInterval = publishing_ms
        parameters.RequestedMaxKeepAliveCount = max(1, round(settings.keep_alive_s / settings.publishing_s))
        parameters.RequestedLifetimeCount = max(
            3 * parameters.RequestedMaxKeepAliveCount, round(_SUBSCRIPTION_LIFETIME_S / settings.publishing_s)
        )
        parameters.MaxNotificationsPerPublish = 0
        parameters.PublishingEnabled = True
        session = self.client.uaclient.session
        statuses: list[ua.StatusCode] = []
        with wrapped(self._address):
            revised = await session.create_subscription(parameters, self._published)
            keep_alive_s = revised.RevisedPublishingInterval / _MS * revised.RevisedMaxKeepAliveCount
            self.silence_s = max(2.0 * keep_alive_s, keep_alive_s + 1.0)
            for start in range(0, len(nodes), _ITEMS_PER_REQUEST):
                request = ua.CreateMonitoredItemsParameters()
                request.SubscriptionId = revised.SubscriptionId
                request.TimestampsToReturn = ua.TimestampsToReturn.Source
                for handle, node in enumerate(nodes[start : start + _ITEMS_PER_REQUEST], start):
                    item = ua.MonitoredItemCreateRequest()
                    item.ItemToMonitor.NodeId = node
                    item.ItemToMonitor.AttributeId = ua.AttributeIds.Value
                    item.MonitoringMode = ua.MonitoringMode.Reporting
                    item.RequestedParameters.ClientHandle = handle
                    item.RequestedParameters.SamplingInterval = settings.sampling_s * _MS
                    item.RequestedParameters.QueueSize = settings.queue
                    item.RequestedParameters.DiscardOldest = True
                    request.ItemsToCreate.append(item)
                statuses.extend(result.StatusCode for result in await session.create_monitored_items(request))
        return statuses

    async def close(self) -> None:
        """Close session, channel and socket. Safe twice, after a failed connect, and again when cancelled."""
        self._on_lost = self._on_publish = None
        if self._closing is None:
            self._closing = asyncio.create_task(self._disconnect())
        # asyncua swallows cancellation while it closes, so it closes in a task of its own
        done, _ = await asyncio.wait({self._closing}, timeout=_CLOSE_WITHIN_S)
        if not done:
            self._closing.cancel()
        self._drop()

    async def _disconnect(self) -> None:
        protocol = self.client.uaclient.protocol
        if protocol is not None:
            protocol.timeout = _CLOSE_WITHIN_S / 2  # a silent server must not hold us
        try:
            await self.client.disconnect()
        except (OSError, TimeoutError, ua.UaError):
            pass  # the link is gone already
        finally:
            self._drop()

    def _drop(self) -> None:
        self.client.disconnect_socket()
        for task in (self.client.uaclient._publish_task, self.client._renew_channel_task):
            if task is not None:
                task.cancel()

    def _published(self, result: ua.PublishResult) -> None:
        if self._on_lost is None:
            return  # asyncua tells a lost session's subscriptions that they are gone: no news
        for notification in result.NotificationMessage.NotificationData or ():
            if isinstance(notification, ua.StatusChangeNotification):
                self._lose(
                    LinkError(
                        "opcua.subscription-closed",
                        f"服务器 {self._address} 结束了订阅（{notification.Status.name}）。",
                        f"the server {self._address} closed the subscription ({notification.Status.name}).",
                        "网关会自动重新连接。",
                        "The gateway connects again by itself.",
                    )
                )
                return
        if self._on_publish is not None:
            self._on_publish(result)

    async def _transport_lost(self, error: Exception) -> None:
        self._lose(_lost(self._address, error))

    def _lose(self, error: LinkError) -> None:
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            on_lost(error)


@contextlib.contextmanager
def wrapped(address: str) -> Any:
    """Turn what asyncua raises into LinkError or ConfigError."""
    try:
        yield
    except CollectorError:
        raise
    except _FAILURES as error:
        raise _lost(address, error) from error


def _lost(address: str, error: BaseException) -> LinkError:
    return LinkError(
        "opcua.link-lost",
        f"无法与 OPC UA 服务器 {address} 通信（{_said(error)}）。",
        f"cannot talk to the OPC UA server {address} ({_said(error)}).",
        "请检查电源、网线、地址与端口，以及服务器是否运行。网关会自动重试。",
        "Check power, cable, address and port, and that the server runs. The gateway tries again by itself.",
    )


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ua.UaStatusCodeError):
        return str(ua.StatusCode(error.code).name)
    return str(error) or type(error).__name__


def silent(address: str, silence_s: float) -> LinkError:
    """A server that keeps the connection open and says nothing."""
    return LinkError(
        "opcua.silent",
        f"OPC UA 服务器 {address} 已 {silence_s:.1f} 秒没有发送任何消息（连接仍在）。",
        f"the OPC UA server {address} has said nothing for {silence_s:.1f} s, though connected.",
        "网关会自动重新连接；若反复出现，请重启该服务器。",
        "The gateway connects again by itself; if it happens again and again, restart the server.",
    )
