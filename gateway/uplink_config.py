"""The keys below `uplink` in a plant's file: where the county is, how to get there, and what proves who we are."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import field_validator, model_validator

from collectors.strict_yaml import StrictModel

NO_PROXY: Final = "none"


class UplinkConfig(StrictModel):
    """Where the county is, and what proves who we are."""

    url: str
    credential_file: Path
    ca_file: Path | None = None
    """县级服务证书的签发 CA（PEM），不写则用系统的。
    CA that signed the county's certificate (PEM); default: those of the system."""
    proxy: str = ""
    """HTTP 代理，如 http://10.0.0.1:3128；不写则按环境变量 HTTPS_PROXY、NO_PROXY；none 表示不用代理。
    HTTP proxy; default: as HTTPS_PROXY and NO_PROXY say; `none`: no proxy whatever they say."""
    proxy_credential_file: Path | None = None
    """内容为 用户名:密码 的一行，权限 600。File with one line `user:password` for the proxy."""
    plain_http: bool = False
    """允许不加密连接到别的机器（仅用于隔离的网络）。Permits http:// to another machine (an isolated network only)."""

    @field_validator("url")
    @classmethod
    def _http(cls, url: str) -> str:
        parts = _split(url)
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("地址必须以 http:// 或 https:// 开头。", "an address of the form https://host[:port].")
        if parts.username or parts.password:
            raise ValueError(
                "地址中不能写用户名或密码，凭证放在 credential_file。",
                "no user or password in the address; the credential is in credential_file.",
            )
        return url.rstrip("/")

    @field_validator("proxy")
    @classmethod
    def _a_proxy(cls, proxy: str) -> str:
        if proxy in ("", NO_PROXY):
            return proxy
        parts = _split(proxy)
        if parts is None or parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query:
            raise ValueError("应为 http://主机:端口，或 none。", "expected http://host:port, or none.")
        if parts.username or parts.password:
            raise ValueError(
                "代理地址中不能写用户名或密码，写在 proxy_credential_file 指的文件里。",
                "no user or password in the proxy's address; put them into the file of proxy_credential_file.",
            )
        return proxy.rstrip("/")

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not self.plain_http and not is_loopback(parts.hostname or ""):
            raise ValueError(
                "不加密的 http:// 会泄露凭证：请用 https://；网络确实隔离时才写 plain_http: true。",
                "http:// shows the credential to everyone on the way: use https://, or, on an isolated network only, "
                "say plain_http: true.",
            )
        if self.proxy_credential_file is not None and self.proxy == NO_PROXY:
            raise ValueError("proxy: none 时没有 proxy_credential_file。", "no proxy_credential_file with proxy: none.")
        return self


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name or number, without asking a name server."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")
        return parts if parts.port != 0 else None  # reading the port checks it
    except ValueError:  # of a port, of brackets, of a name that cannot be asked for
        return None
