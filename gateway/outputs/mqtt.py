"""Publishes to a broker with paho, QoS 1, in the output's own thread: a batch is delivered once all is acknowledged."""

from __future__ import annotations

import secrets
import socket
import ssl
import time
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from collectors.causes import CLOSED, cause_of
from collectors.model import LinkError
from collectors.mqtt.reasons import reason_of
from gateway.outputs.config import MqttOutput
from gateway.outputs.mqtt_messages import messages_of
from gateway.outputs.rows import Rows
from gateway.outputs.secrets import secret_in

CONNECT_S: Final = 5.0
ANSWER_S: Final = 10.0
"""A broker that acknowledges nothing for so long is given up."""
KEEP_ALIVE_S: Final = 10
IDLE_S: Final = 8.0
"""After so long without a batch a new connection is made: nobody has sent pings meanwhile."""
_TURN_S: Final = 0.05
_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


class _Client(Client):
    """paho's client, whose sockets can be given back before it is collected: an error may hold on to it."""

    def give_back(self) -> None:
        """Close the broker's socket and the pair by which paho wakes its loop. Safe twice."""
        with suppress(OSError):
            self._reset_sockets()

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        """As paho's, which leaves the socket of a handshake that failed open."""
        assert self._ssl_context is not None, "only an encrypted address comes here"
        secured: ssl.SSLSocket = self._ssl_context.wrap_socket(
            tcp_sock, server_hostname=self._host, do_handshake_on_connect=False
        )
        try:
            secured.settimeout(self.connect_timeout)
            secured.do_handshake()
        except BaseException:
            secured.close()
            raise
        return secured


class MqttSink:
    """One prefix at one broker. All calls belong to one thread; nothing is opened before the first."""

    def __init__(self, config: MqttOutput) -> None:
        self._config = config
        self._client: _Client | None = None
        self._used_s = 0.0
        self._connected: ReasonCode | None = None
        self._lost: ReasonCode | None = None
        self._acknowledged = self._refused = 0

    def write(self, rows: Rows) -> int:
        """Deliver rows; how many the broker refuses. Raises LinkError where it is to be tried again.

        After an error some rows may have been published; they are published again.
        """
        if self._client is not None and time.monotonic() - self._used_s > IDLE_S:
            self.close()
        try:
            client = self._client or self._connect()
            self._acknowledged = self._refused = 0
            for topic, payload in messages_of(rows, self._config.topic):
                client.publish(topic, payload, qos=1, retain=self._config.retain)
            self._wait(client, lambda: self._acknowledged, len(rows))
            if self._refused == len(rows):
                raise LinkError(
                    "output_publish_refused",
                    f"{self._config.address} 不允许发布到 {self._config.topic}/…。",
                    f"{self._config.address} does not permit publishing to {self._config.topic}/….",
                    "请在代理上授予该用户发布权限（ACL）。",
                    "Grant this user the right to publish there (ACL of the broker).",
                )
        except BaseException:
            self.close()
            raise
        self._used_s = time.monotonic()
        return self._refused

    def close(self) -> None:
        """Say goodbye and give the socket back. Safe twice; waits for nobody."""
        client, self._client = self._client, None
        if client is not None:
            client.on_connect = client.on_disconnect = client.on_publish = None
            client.disconnect()
            client.give_back()

    def _connect(self) -> _Client:
        config, parts = self._config, urlsplit(self._config.address)
        host = parts.hostname or ""
        five = config.mqtt_version == "5"
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"plantpulse-output-{secrets.token_hex(4)}",
            clean_session=None if five else True,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_S
        if config.username:
            client.username_pw_set(config.username, secret_in(config.password_file) or None)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_publish = self._on_publish
        self._connected = self._lost = None
        self._client = client
        try:
            if parts.scheme == "mqtts":
                client.tls_set_context(self._tls())
            client.connect(host, parts.port or _PORTS[parts.scheme], KEEP_ALIVE_S)
        except ssl.SSLError as error:
            raise LinkError(
                "output_tls_failed",
                f"与 {config.address} 的加密连接没有建立（{cause_of(error).zh}）。",
                f"no encrypted connection to {config.address} ({cause_of(error).en}).",
                "请核对 ca_file、cert_file、key_file、主机名和证书有效期。",
                "Check ca_file, cert_file, key_file, the host name and the certificate's expiry.",
            ) from error
        except (OSError, ValueError) as error:
            raise LinkError(
                "output_unreachable",
                f"无法连接 {config.address}（{cause_of(error).zh}）。",
                f"cannot reach {config.address} ({cause_of(error).en}).",
                "请检查代理是否运行、地址、端口和网线。",
                "Check that the broker runs, its address and port, and the cable.",
            ) from error
        self._wait(client, lambda: int(self._connected is not None), 1)
        return client

    def _wait(self, client: Client, reached: Any, wanted: int) -> None:
        """Let the client work until so many answers are here. Raises LinkError where none comes for `ANSWER_S`."""
        seen, since_s = reached(), time.monotonic()
        while reached() < wanted:
            rc = client.loop(_TURN_S)
            if self._connected is not None and self._connected.is_failure:
                raise self._refusal(self._connected)
            if self._lost is not None or rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                why = CLOSED if self._lost is None else reason_of(self._lost)
                if self._connected is None and self._config.address.startswith("mqtts:"):
                    raise LinkError(
                        "output_tls_failed",
                        f"{self._config.address} 在应答登录之前关闭了加密连接（{why.zh}）。",
                        f"{self._config.address} ended the encrypted connection before answering the login ({why.en}).",
                        "代理要求客户端证书时，请配置 cert_file 和 key_file；否则请查看代理的日志。",
                        "Where the broker asks for our certificate, set cert_file and key_file; else look at its log.",
                    )
                raise LinkError(
                    "output_link_lost",
                    f"与 {self._config.address} 的连接断了（{why.zh}）。",
                    f"lost {self._config.address} ({why.en}).",
                    "请查看代理的日志。",
                    "Look at the broker's log.",
                )
            if reached() != seen:
                seen, since_s = reached(), time.monotonic()
            elif time.monotonic() - since_s > ANSWER_S:
                raise LinkError(
                    "output_silent",
                    f"{self._config.address} 在 {ANSWER_S:.0f} 秒内没有应答。",
                    f"{self._config.address} did not answer within {ANSWER_S:.0f} s.",
                    "请检查代理的负载和磁盘；加密端口请用 mqtts://。",
                    "Look at the broker's load and disk; for an encrypted port use mqtts://.",
                )

    def _refusal(self, reason: ReasonCode) -> LinkError:
        return LinkError(
            "output_login_refused",
            f"{self._config.address} 拒绝登录（{reason_of(reason).zh}）。",
            f"{self._config.address} refused the login ({reason_of(reason).en}).",
            "请核对 username、password_file 和 mqtt_version。",
            "Check username, password_file and mqtt_version.",
        )

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._config.ca_file)
        if self._config.cert_file is not None:
            # a blank password: for a key that has one this fails, instead of asking on the terminal
            context.load_cert_chain(self._config.cert_file, self._config.key_file, password="")
        return context

    # What paho calls, in this thread, from within `loop`.

    def _on_connect(
        self, client: Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._connected = reason

    def _on_disconnect(
        self, client: Client, userdata: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._lost = reason

    def _on_publish(
        self, client: Client, userdata: Any, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._acknowledged += 1
        self._refused += int(reason.is_failure)
