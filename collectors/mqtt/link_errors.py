"""Why a link to a broker does not stand, and what to do next, in Chinese and English."""

from __future__ import annotations

import ssl

from paho.mqtt.reasoncodes import ReasonCode

from collectors.causes import cause_of
from collectors.model import LinkError
from collectors.mqtt.addresses import Address
from collectors.mqtt.reasons import reason_of


def tls_error(address: Address, error: ssl.SSLError) -> LinkError:
    """No encrypted connection."""
    cause = cause_of(error)
    return LinkError(
        "mqtt.tls-failed",
        f"与 {address} 的加密连接没有建立（{cause.zh}）。",
        f"no encrypted connection to {address} ({cause.en}).",
        "请用 ca_file 指定签发服务器证书的 CA，并核对主机名和证书有效期；端口可能未加密。",
        "Name the CA that signed the broker's certificate in ca_file; check host name and expiry; "
        "the port may not be encrypted.",
    )


def unreachable(address: Address, error: OSError) -> LinkError:
    """Nobody listens there."""
    cause = cause_of(error)
    return LinkError(
        "mqtt.broker-unreachable",
        f"无法连接 {address}（{cause.zh}）。",
        f"cannot reach {address} ({cause.en}).",
        "请检查服务器是否运行、地址、端口和网线。",
        "Check that the broker runs, its address and port, and the cable.",
    )


def no_broker(address: Address, reason: ReasonCode) -> LinkError:
    """Something listens there that does not speak MQTT, or not with us."""
    why = reason_of(reason)
    return LinkError(
        "mqtt.not-a-broker",
        f"{address} 接受了连接，却没有以 MQTT 应答（{why.zh}）。",
        f"{address} took the connection but did not answer in MQTT ({why.en}).",
        "请确认端口是 MQTT 服务器的；加密端口请用 mqtts://；服务器若要求客户端证书，请写 cert_file。",
        "Check that the port is an MQTT broker's; for an encrypted port use mqtts://; "
        "where the broker asks for a client certificate, name it in cert_file.",
    )


def refused(address: Address, version: str, reason: ReasonCode) -> LinkError:
    """The broker answered our CONNECT with a refusal."""
    name, why = str(reason), reason_of(reason)
    if name in ("Bad user name or password", "Not authorized", "Bad authentication method"):
        return LinkError(
            "mqtt.login-refused",
            f"{address} 拒绝登录（{why.zh}）。",
            f"{address} refused the login ({why.en}).",
            "请核对 username 和 password_file。",
            "Check username and password_file.",
        )
    if name in ("Unsupported protocol version", "Protocol error"):
        return LinkError(
            "mqtt.version-refused",
            f"{address} 不支持 MQTT {version}（{why.zh}）。",
            f"{address} does not speak MQTT {version} ({why.en}).",
            '请在条目中写 mqtt_version: "3.1.1"。',
            'Set mqtt_version: "3.1.1" in the entry.',
        )
    return LinkError("mqtt.broker-refused", f"{address} 拒绝连接（{why.zh}）。", f"{address} refused us ({why.en}).")


def lost(address: Address, client_id: str, reason: ReasonCode, *, by_broker: bool) -> LinkError:
    """A link that stood is gone."""
    name, why = str(reason), reason_of(reason)
    if by_broker and name == "Session taken over":
        return LinkError(
            "mqtt.session-taken-over",
            f"另一个客户端以同样的标识 {client_id} 连接了 {address}。",
            f"another client connected to {address} with our id {client_id}.",
            "是否有复制的存储卡在使用？请删除其中一台的状态文件夹中的 mqtt-*.json。",
            "Is a copied card in use? Delete mqtt-*.json in one gateway's state folder.",
        )
    return LinkError("mqtt.link-lost", f"与 {address} 的连接断了（{why.zh}）。", f"lost {address} ({why.en}).")


def unstable(address: Address, client_id: str, times: int, within_s: float) -> LinkError:
    """The broker takes us and closes again, one time after the other. Many do not say that another client took over."""
    return LinkError(
        "mqtt.link-unstable",
        f"{address} 接受连接后 {within_s:g} 秒内又断开，已连续 {times} 次。",
        f"{address} took the connection and closed it within {within_s:g} s, {times} times in a row.",
        f"是否有复制的存储卡在用同样的标识 {client_id}？若是，请删除其中一台的状态文件夹中的 mqtt-*.json；"
        "否则请看服务器的日志。",
        f"Does a copied card use our id {client_id}? Then delete mqtt-*.json in one gateway's state folder; "
        "otherwise see the broker's log.",
    )
