"""The entry of an OPC UA server in a plant's file: an endpoint is enough."""

from __future__ import annotations

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import field_validator, model_validator

from collectors.entries import DeviceEntry

BEST = "best"
NONE = "none"
POLICIES = ("Aes256Sha256RsaPss", "Aes128Sha256RsaOaep", "Basic256Sha256")
MODES = ("SignAndEncrypt", "Sign")
_PERMITTED = ", ".join((BEST, NONE, *POLICIES))


AN_ENDPOINT = ("应为 opc.tcp://主机:端口（OPC UA 通常为 4840）。", "expected opc.tcp://host:port (usually 4840).")
"""What an address is to look like, in Chinese and English."""


def is_endpoint(address: str) -> bool:
    """Whether an address names a host and a port."""
    parts = urlsplit(address)
    try:
        return parts.scheme == "opc.tcp" and bool(parts.hostname) and parts.port is not None
    except ValueError:
        return False


class OpcuaEntry(DeviceEntry):
    """One OPC UA server. Its machines are found by themselves; several become devices `id/name`."""

    security: str = BEST
    """`best`: the best that the server offers, never unencrypted; a policy's name: that one only; `none`:
    SecurityPolicy None, anonymous, only where the plant says so."""
    security_mode: str = ""
    """One of MODES; blank: the best offered."""
    cert_file: Path | None = None
    """Login by certificate: the user's certificate (PEM or DER)."""
    key_file: Path | None = None
    """Its RSA key (PEM or DER, without a password)."""

    @field_validator("address")
    @classmethod
    def _an_endpoint(cls, address: str) -> str:
        if not is_endpoint(address):
            raise ValueError(*AN_ENDPOINT)
        return address

    @field_validator("security")
    @classmethod
    def _known(cls, security: str) -> str:
        for permitted in (BEST, NONE, *POLICIES):
            if security.lower() == permitted.lower():
                return permitted
        raise ValueError(f"可用：{_PERMITTED}。", f"one of: {_PERMITTED}.")

    @field_validator("security_mode")
    @classmethod
    def _known_mode(cls, mode: str) -> str:
        for permitted in ("", *MODES):
            if mode.lower() == permitted.lower():
                return permitted
        raise ValueError(f"可用：{', '.join(MODES)}，或不写。", f"one of: {', '.join(MODES)}, or leave it out.")

    @field_validator("ca_file")
    @classmethod
    def _approved_otherwise(cls, given: Path | None) -> Path | None:
        if given is not None:
            raise ValueError(
                "OPC UA 服务器证书用 plantpulse-gateway trust 地址 逐台认可，请删除这个键。",
                "an OPC UA server's certificate is approved with plantpulse-gateway trust ADDRESS; remove this key.",
            )
        return given

    @model_validator(mode="after")
    def _login_fits(self) -> Self:
        login = [key for key in ("username", "password_file", "cert_file", "key_file") if getattr(self, key)]
        if self.security == NONE and (login or self.security_mode):
            keys = ", ".join([*login, *(["security_mode"] if self.security_mode else [])])
            raise ValueError(
                f"security: none 的连接不发送用户名、密码或证书，请删除 {keys}，或改用加密。",
                f"a session with security: none sends no user, password or certificate; remove {keys}, or use an"
                " encrypted one.",
            )
        if self.password_file is not None and not self.username:
            raise ValueError("password_file 需要 username。", "`password_file` needs `username`.")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file 和 key_file 要同时写。", "`cert_file` and `key_file` go together.")
        if self.username and self.cert_file is not None:
            raise ValueError("用户名登录和证书登录只选一种。", "log in by `username` or by `cert_file`, not by both.")
        return self
