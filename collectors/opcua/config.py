"""The entry of an OPC UA server in a plant's file: an endpoint is enough."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from pydantic import field_validator, model_validator

from collectors.entries import DeviceEntry


class OpcuaEntry(DeviceEntry):
    """One OPC UA server. Its machines are found by themselves; several become devices `id/name`."""

    security: str = ""
    """Only `none` (SecurityPolicy None, anonymous) is spoken, and only where the plant says so."""

    @field_validator("address")
    @classmethod
    def _an_endpoint(cls, address: str) -> str:
        parts = urlsplit(address)
        try:
            complete = parts.scheme == "opc.tcp" and bool(parts.hostname) and parts.port is not None
        except ValueError:
            complete = False
        if not complete:
            raise ValueError(
                "应为 opc.tcp://主机:端口（OPC UA 通常为 4840）。", "expected opc.tcp://host:port (usually 4840)."
            )
        return address

    @model_validator(mode="before")
    @classmethod
    def _security_is_said(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if given.get("security") != "none":
            raise ValueError(
                "请写明 security: none：目前只支持不加密的匿名连接，必须由配置明确允许（仅用于隔离的车间网络）。",
                "say security: none: so far only unencrypted anonymous sessions are spoken, and only where the"
                " configuration permits them (an isolated plant network).",
            )
        if any(given.get(key) for key in ("username", "password_file", "ca_file")):
            raise ValueError(
                "security: none 的连接不发送用户名、密码或证书，请删除这些键。",
                "a session with security: none sends no user, password or certificate; remove these keys.",
            )
        return given
