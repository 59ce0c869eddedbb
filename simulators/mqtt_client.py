"""An MQTT client for simulated machines: paho-mqtt on the event loop, which can vanish as a machine does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

_KEEP_ALIVE_S: Final = 10
_CONNECT_TIMEOUT_S: Final = 5.0
_MISC_PERIOD_S: Final = 1.0

Received = Callable[[str, bytes], None]


class MachineClient:
    """One connection of one machine (MQTT 3.1.1, clean session). A lost one stays lost until `connect`."""

    def __init__(self, host: str, port: int, client_id: str, received: Received | None = None) -> None:
        self._host, self._port, self._client_id = host, port, client_id
        self._received = received
        self._client: Client | None = None
        self._answer: asyncio.Future[None] | None = None
        self._misc: asyncio.TimerHandle | None = None
        self._closed = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether messages reach the broker now."""
        return self._client is not None and self._client.is_connected()

    async def connect(self, will: tuple[str, bytes, bool] | None = None, topics: Sequence[str] = ()) -> None:
        """Connect with an optional will (topic, payload, retained) and subscribe. Raises OSError, TimeoutError."""
        await self.vanish()
        loop = asyncio.get_running_loop()
        self._client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        if will is not None:
            client.will_set(will[0], will[1], qos=1, retain=will[2])
        client.on_socket_open = lambda c, _u, s: loop.add_reader(s.fileno(), c.loop_read)
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = lambda c, _u, s: loop.add_writer(s.fileno(), c.loop_write)
        client.on_socket_unregister_write = lambda _c, _u, s: _no_writer(loop, s)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        self._closed.clear()
        self._answer = loop.create_future()
        client.connect(self._host, self._port, _KEEP_ALIVE_S)
        self._misc = loop.call_later(_MISC_PERIOD_S, self._on_misc)
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            await self._answer
        if topics:
            # what others publish from now on arrives: the broker has said that it knows of the subscriptions
            self._answer = loop.create_future()
            client.subscribe([(topic, 0) for topic in topics])
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self._answer

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        """Send one message; False where there is no connection."""
        if self._client is None or not self.connected:
            return False
        self._client.publish(topic, payload, qos=qos, retain=retain)
        return True

    async def disconnect(self) -> None:
        """Say goodbye, so that the broker keeps the will to itself. Safe twice."""
        if self._client is not None and self.connected:
            self._client.disconnect()
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self._closed.wait()
        await self.vanish()

    async def vanish(self) -> None:
        """Be gone without a word, as when the cable is pulled: the broker publishes the will. Safe twice."""
        if self._misc is not None:
            self._misc.cancel()
            self._misc = None
        client, self._client = self._client, None
        if client is None:
            return
        connection = client.socket()
        if isinstance(connection, socket.socket):
            connection.shutdown(socket.SHUT_RDWR)
            client.loop_read()  # reads the end and closes the socket

    def _on_socket_close(self, client: Client, userdata: Any, sock: Any) -> None:
        self._closed.set()
        asyncio.get_running_loop().remove_reader(sock.fileno())

    def _on_misc(self) -> None:
        if self._client is not None:
            self._client.loop_misc()
            self._misc = asyncio.get_running_loop().call_later(_MISC_PERIOD_S, self._on_misc)

    def _on_connect(
        self, client: Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if self._answer is not None and not self._answer.done():
            if reason.is_failure:
                self._answer.set_exception(ConnectionRefusedError(str(reason)))
            else:
                self._answer.set_result(None)

    def _on_subscribe(
        self, client: Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        if self._answer is not None and not self._answer.done():
            if any(reason.is_failure for reason in reasons):
                self._answer.set_exception(ConnectionRefusedError(str(reasons)))
            else:
                self._answer.set_result(None)

    def _on_disconnect(
        self, client: Client, userdata: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError(str(reason)))

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        if self._received is not None:
            self._received(message.topic, bytes(message.payload))


def _no_writer(loop: asyncio.AbstractEventLoop, sock: Any) -> None:
    loop.remove_writer(sock.fileno())
