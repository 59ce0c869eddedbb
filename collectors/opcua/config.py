"""The entry of an OPC UA server in a plant's file: an endpoint is enough."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from collectors.entries import DeviceEntry


class OpcuaEntry(DeviceEntry):
    """One OPC UA server. Its machines are found by themselves; several become devices `id/name`."""

    security: Annotated[str, Field(validate_default=True)] = ""
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

    @field_validator("security")
    @classmethod
    def _said(cls, security: str) -> str:
        if security != "none":
            raise ValueError(
                "请写明 security: none：目前只支持不加密的匿名连接，必须由配置明确允许（仅用于隔离的车间网络）。",
                "say security: none: so far only unencrypted anonymous sessions are spoken, and only where the"
                " configuration permits them (an isolated plant network).",
            )
        return security

    @field_validator("username", "password_file", "ca_file")
    @classmethod
    def _never_sent_openly(cls, given: str | Path | None) -> str | Path | None:
        if given:
            raise ValueError(
                "security: none 的连接不发送用户名、密码或证书，请删除这个键。",
                "a session with security: none sends no user, password or certificate; remove this key.",
            )
        return given
