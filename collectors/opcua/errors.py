"""What a lost OPC UA link is called, in words for the person at the cabinet."""

from __future__ import annotations

from asyncua import ua

from collectors.causes import Cause, cause_of
from collectors.model import LinkError


def lost(address: str, error: BaseException) -> LinkError:
    """A link that cannot be made, or that broke."""
    cause = said(error)
    return LinkError(
        "opcua.link-lost",
        f"无法与 OPC UA 服务器 {address} 通信（{cause.zh}）。",
        f"cannot talk to the OPC UA server {address} ({cause.en}).",
        "请检查电源、网线、地址与端口，以及服务器是否运行。网关会自动重试。",
        "Check power, cable, address and port, and that the server runs. The gateway tries again by itself.",
    )


def silent(address: str, silence_s: float) -> LinkError:
    """A server that keeps the connection open and says nothing."""
    return LinkError(
        "opcua.silent",
        f"OPC UA 服务器 {address} 已 {silence_s:.1f} 秒没有发送任何消息（连接仍在）。",
        f"the OPC UA server {address} has said nothing for {silence_s:.1f} s, though connected.",
        "网关会自动重新连接；若反复出现，请重启该服务器。",
        "The gateway connects again by itself; if it happens again and again, restart the server.",
    )


def ended(address: str, status: ua.StatusCode) -> LinkError:
    """A server that has ended our subscription."""
    return LinkError(
        "opcua.subscription-closed",
        f"服务器 {address} 结束了订阅（{status.name}）。",
        f"the server {address} closed the subscription ({status.name}).",
        "网关会自动重新连接。",
        "The gateway connects again by itself.",
    )


def said(error: BaseException) -> Cause:
    """What an exception says, in a few words; a status code by its name."""
    if isinstance(error, ua.UaStatusCodeError):
        name = str(ua.StatusCode(error.code).name)
        return Cause(name, name)
    return cause_of(error)
