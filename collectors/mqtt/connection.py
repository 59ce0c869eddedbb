"""One connection to a broker: paho-mqtt's client driven by the event loop, without a thread."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from collectors.causes import cause_of
from collectors.model import Clock, CollectorError, ConfigError, LinkError
from collectors.mqtt.addresses import Address
from collectors.mqtt.broker_socket import BrokerSocket, open_socket
from collectors.mqtt.inbox import Inbox, Message
from collectors.mqtt.limits import BrokerLimits, limits_in
from collectors.mqtt.link_errors import lost, no_broker, refused, tls_error, unreachable, unstable
from collectors.passwords import password_in

RECEIVE_MAXIMUM: Final = 4_000
"""Messages the broker may have under way unacknowledged: two minutes of 30 machines at 1 s."""
SESSION_EXPIRY_S: Final = 7 * 86_400
"""How long the broker is asked to keep our session, and what it queues for it, while we are away."""
KEEP_ALIVE_S: Final = 4
"""A broker that says nothing for twice this long is taken for lost."""
MAXIMUM_PACKET_BYTES: Final = 1 << 20
"""Larger messages are not sent to us by an MQTT 5 broker."""
CONNECT_TIMEOUT_S: Final = 5.0
SHORT_LIVED_S: Final = 6.0
SHORT_LIVED_TIMES: Final = 3
"""A link that is closed so soon, so often in a row, is no accident: two clients of one name push each other out."""
_CLOSE_TIMEOUT_S: Final = 1.0
_MISC_PERIOD_S: Final = 1.0
_FAILURE: Final = 0x80
"""Reason codes from here on are failures."""

Version = Literal["5", "3.1.1"]


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes for us when we vanish: retained, QoS 1."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach a broker and which session to ask for."""

    address: Address
    client_id: str
    version: Version = "5"
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    persistent: bool = True
    """Keep the session over disconnections, and acknowledge by hand."""


class _Client(Client):
    """paho's client on a socket that is already connected: its own way of connecting would block the loop."""

    def __init__(self, settings: Settings, connected: BrokerSocket) -> None:
        five = settings.version == "5"
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            clean_session=None if five else not settings.persistent,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=settings.persistent,
        )
        self._connected = connected

    def _create_socket(self) -> BrokerSocket:
        return self._connected


class BrokerConnection:
    """Connects, subscribes, receives into a bounded inbox, acknowledges, publishes, closes.

    The same object connects again after `close`. Every failure is a LinkError; all calls belong to
    one event loop.
    """

    def __init__(self, settings: Settings, clock: Clock, inbox: Inbox | None = None) -> None:
        self.settings = settings
        self.inbox = Inbox() if inbox is None else inbox
        self.generation = 0
        """Number of this connection: an acknowledgement belongs to one."""
        self.session_present = False
        """Whether the broker had kept our session."""
        self.limits = BrokerLimits()
        """What the broker said that it permits; MQTT 3.1.1 has no words for it."""
        self._clock = clock
        self._client: _Client | None = None
        self._socket: BrokerSocket | None = None
        self._failure: CollectorError | None = None
        self._connack: asyncio.Future[None] | None = None
        self._subacks: dict[int, asyncio.Future[list[ReasonCode]]] = {}
        self._backlog = False
        self._misc: asyncio.TimerHandle | None = None
        self._socket_closed = asyncio.Event()
        self._connected_s = 0.0
        self._short_lived = 0

    @property
    def failure(self) -> CollectorError | None:
        """Why the link is lost; None while it stands."""
        return self._failure

    async def open(self, will: Will | None = None) -> None:
        """Connect and log in. Raises LinkError, or ConfigError where a file of ours cannot be read."""
        await self.close()
        self.inbox.clear()
        self.generation += 1
        self._failure = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._open(will)
        except TimeoutError as error:
            self._drop()
            raise LinkError(
                "mqtt.broker-silent",
                f"{self.settings.address} 在 {CONNECT_TIMEOUT_S:.0f} 秒内没有应答。",
                f"{self.settings.address} did not answer within {CONNECT_TIMEOUT_S:.0f} s.",
                "请检查地址、端口和防火墙；加密端口请用 mqtts://。",
                "Check address, port and firewall; for an encrypted port use mqtts://.",
            ) from error
        except BaseException:
            self._drop()
            raise

    async def subscribe(self, filters: Sequence[str], qos: int = 1, aside: Sequence[str] = ()) -> list[str]:
        """Subscribe; gives the filters that the broker refused. Raises LinkError.

        Those `aside` may be refused: they are asked for at QoS 0, so that the broker queues nothing of them, and
        with what it retains at every connection.
        """
        if not filters:
            return []
        client = self._standing()
        if self.settings.version == "5":
            options = SubscribeOptions(qos=qos, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
            light = SubscribeOptions(qos=0, retainHandling=SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE)
            result, mid = client.subscribe([*((name, options) for name in filters), *((name, light) for name in aside)])
        else:
            result, mid = client.subscribe([*((name, qos) for name in filters), *((name, 0) for name in aside)])
        if result != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            self._raise_failure()
        answer: asyncio.Future[list[ReasonCode]] = asyncio.get_running_loop().create_future()
        self._subacks[mid] = answer
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reasons = await answer
        except TimeoutError as error:
            raise LinkError(
                "mqtt.subscribe-unanswered",
                f"{self.settings.address} 没有确认订阅。",
                f"{self.settings.address} did not confirm the subscription.",
            ) from error
        finally:
            self._subacks.pop(mid, None)
        return [name for name, reason in zip(filters, reasons, strict=False) if reason.value >= _FAILURE]

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Ask the broker to forget subscriptions of the kept session."""
        if filters and self._client is not None:
            self._client.unsubscribe(list(filters))

    def end_of_backlog(self) -> None:
        """From here on messages are live: what a kept session had queued came before our subscription's answer."""
        self._backlog = False

    async def receive(self, most: int) -> list[Message]:
        """Wait for messages, then give up to `most`. Raises the link's error once the inbox is empty.

        Cancelling it loses nothing.
        """
        while not len(self.inbox) and self._failure is None:
            await self.inbox.wait()
        if not len(self.inbox):
            self._raise_failure()
        return self.inbox.take(most)

    def acknowledge(self, mids: Sequence[int], generation: int) -> None:
        """Send PUBACK, unless the messages came over an earlier connection: then they are sent again."""
        client = self._client
        if client is None or generation != self.generation:
            return
        for mid in mids:
            client.ack(mid, 1)

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> MQTTMessageInfo:
        """Publish one message. Raises LinkError. Only Sparkplug's STATE and rebirth requests come here."""
        return self._standing().publish(topic, payload, qos=qos, retain=retain)

    async def close(self) -> None:
        """Say goodbye and give everything back. Safe twice, at any time, done within 1 s."""
        client, self._client = self._client, None
        try:
            if client is not None and self._failure is None:
                client.disconnect()
                client.loop_write()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                        await self._socket_closed.wait()
                        if self._socket is not None:
                            await self._socket.read_to_the_end()
        finally:
            self._drop(client)

    async def _open(self, will: Will | None) -> None:
        settings = self.settings
        loop = asyncio.get_running_loop()
        password = None if settings.password_file is None else password_in(settings.password_file, "mqtt")
        context = _tls_context(settings) if settings.address.tls else None
        try:
            self._socket = await open_socket(settings.address.host, settings.address.port, context)
        except ssl.SSLError as error:
            raise tls_error(settings.address, error) from error
        except OSError as error:
            raise unreachable(settings.address, error) from error
        self._client = client = _Client(settings, self._socket)
        if settings.username:
            client.username_pw_set(settings.username, password)
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_socket_register_write
        client.on_socket_unregister_write = self._on_socket_unregister_write
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        self._connack = loop.create_future()
        host, port = settings.address.host, settings.address.port
        if settings.version == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.ReceiveMaximum = RECEIVE_MAXIMUM
            properties.MaximumPacketSize = MAXIMUM_PACKET_BYTES
            if settings.persistent:
                properties.SessionExpiryInterval = SESSION_EXPIRY_S
            client.connect(host, port, KEEP_ALIVE_S, clean_start=not settings.persistent, properties=properties)
        else:
            client.connect(host, port, KEEP_ALIVE_S)
        self._misc = loop.call_later(_MISC_PERIOD_S, self._on_misc)
        await self._connack

    def _standing(self) -> _Client:
        if self._client is None or self._failure is not None:
            self._raise_failure()
        return self._client

    def _raise_failure(self) -> NoReturn:
        raise self._failure or LinkError("mqtt.link-lost", "与服务器的连接已断开。", "the broker's connection is gone.")

    def _fail(self, error: CollectorError) -> None:
        if self._failure is None:
            self._failure = error
        if self._connack is not None and not self._connack.done():
            self._connack.set_exception(error)
        for answer in self._subacks.values():
            if not answer.done():
                answer.set_exception(error)
        self.inbox.wake()

    def _drop(self, client: _Client | None = None) -> None:
        """Give back socket, timer and callbacks at once."""
        client = client or self._client
        self._client = None
        if client is not None:  # it may close its socket much later, when it is collected
            client.on_socket_close = client.on_socket_unregister_write = None
        if self._misc is not None:
            self._misc.cancel()
            self._misc = None
        if self._connack is not None and not self._connack.done():
            self._connack.cancel()
        self._connack = None
        if self._socket is not None:
            if self._socket.fileno() >= 0:
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._socket.fileno())
                loop.remove_writer(self._socket.fileno())
                self._socket.release()
            self._socket = None
        self._fail(LinkError("mqtt.link-closed", "连接已关闭。", "the connection was closed."))

    # What paho calls, all of it on the event loop.

    def _on_socket_open(self, client: Client, userdata: Any, sock: Any) -> None:
        self._socket_closed.clear()
        asyncio.get_running_loop().add_reader(sock.fileno(), self._on_readable)

    def _on_socket_close(self, client: Client, userdata: Any, sock: Any) -> None:
        self._socket_closed.set()
        asyncio.get_running_loop().remove_reader(sock.fileno())

    def _on_socket_register_write(self, client: Client, userdata: Any, sock: Any) -> None:
        asyncio.get_running_loop().add_writer(sock.fileno(), client.loop_write)

    def _on_socket_unregister_write(self, client: Client, userdata: Any, sock: Any) -> None:
        asyncio.get_running_loop().remove_writer(sock.fileno())

    def _on_readable(self) -> None:
        client, source = self._client, self._socket
        if client is None or source is None:
            return
        try:
            client.loop_read()
            while source.holds_more and client.socket() is not None:
                client.loop_read()
        except Exception as error:  # noqa: BLE001 - whatever a broker sends may end the link, never the gateway
            self._fail(
                LinkError(
                    "mqtt.protocol-error",
                    f"{self.settings.address} 发来无法理解的数据（{type(error).__name__}）。",
                    f"{self.settings.address} sent what is not MQTT ({type(error).__name__}).",
                    "请确认该端口是 MQTT 服务器。",
                    "Check that this port is an MQTT broker's.",
                )
            )
            asyncio.get_running_loop().remove_reader(source.fileno())

    def _on_misc(self) -> None:
        if self._client is None or self._failure is not None:
            return
        self._client.loop_misc()
        self._misc = asyncio.get_running_loop().call_later(_MISC_PERIOD_S, self._on_misc)

    def _on_connect(
        self, client: Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._fail(refused(self.settings.address, self.settings.version, reason))
            return
        self._connected_s = asyncio.get_running_loop().time()
        self.session_present = flags.session_present
        self._backlog = flags.session_present
        self.limits = limits_in(properties)
        if self._connack is not None and not self._connack.done():
            self._connack.set_result(None)

    def _on_subscribe(
        self, client: Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        answer = self._subacks.get(mid)
        if answer is not None and not answer.done():
            # The broker sends what it had queued before it answers.
            self.end_of_backlog()
            answer.set_result(reasons)

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # no entry has it: counted as a topic nobody asked for
        self.inbox.put(
            Message(
                topic,
                bytes(message.payload),
                self._clock(),
                message.retain,
                self._backlog or message.dup,
                message.dup,
                message.mid if message.qos else 0,
            )
        )

    def _on_disconnect(
        self, client: Client, userdata: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if self._connack is not None and not self._connack.done():
            self._fail(no_broker(self.settings.address, reason))
            return
        address, client_id = self.settings.address, self.settings.client_id
        error = lost(address, client_id, reason, by_broker=flags.is_disconnect_packet_from_server)
        lived_s = asyncio.get_running_loop().time() - self._connected_s
        self._short_lived = self._short_lived + 1 if lived_s < SHORT_LIVED_S else 0
        if self._short_lived >= SHORT_LIVED_TIMES and error.code == "mqtt.link-lost":
            error = unstable(address, client_id, self._short_lived, SHORT_LIVED_S)
        self._fail(error)


def _tls_context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "mqtt.ca-file",
            f"CA 证书 {settings.ca_file} 不能用（{cause_of(error).zh}）。",
            f"the CA certificate {settings.ca_file} cannot be used ({cause_of(error).en}).",
            "ca_file 应为 PEM 格式的证书文件。",
            "ca_file must be a certificate in PEM format.",
        ) from error
    if settings.cert_file is not None:
        try:
            # A blank password: for a key that has one this fails, instead of asking on the terminal.
            context.load_cert_chain(settings.cert_file, settings.key_file, password="")
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                "mqtt.client-certificate",
                f"客户端证书 {settings.cert_file} 不能用（{cause_of(error).zh}）。",
                f"the client certificate {settings.cert_file} cannot be used ({cause_of(error).en}).",
                "cert_file 和 key_file 应为 PEM 格式、互相配对、密钥不带密码。",
                "cert_file and key_file must be PEM, belong to each other, and the key must have no password.",
            ) from error
    return context
