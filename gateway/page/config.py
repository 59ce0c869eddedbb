"""Where the local page is served, and what protects it."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Final, NamedTuple, Self

from pydantic import field_validator, model_validator

from collectors.strict_yaml import StrictModel

OFF: Final = "off"
DEFAULT_LISTEN: Final = "127.0.0.1:8821"


class Listen(NamedTuple):
    """An address to listen at; port 0 takes a free one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback


def parse(listen: str) -> Listen:
    """`HOST:PORT`, an IPv6 address in brackets. Raises ValueError."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(listen)
    if host != "localhost":
        ipaddress.ip_address(host)
    return Listen(host, int(port))


class PageConfig(StrictModel):
    """The local page, `/health`, `/ready` and `/metrics`: one port for all of them."""

    listen: str = DEFAULT_LISTEN
    """本地页面的地址；`off` 关闭。设了 `password_file` 才可以用本机以外的地址。Address of the page, `off` for none; one that others reach needs `password_file`."""  # noqa: E501
    password_file: Path | None = None
    """`plantpulse-gateway page-password` 写的文件。File that `plantpulse-gateway page-password` wrote."""
    cert_file: Path | None = None
    """页面证书（PEM），与 `key_file` 一起启用 HTTPS。Certificate (PEM): with `key_file` the page speaks HTTPS."""
    key_file: Path | None = None
    """它的私钥。Its private key."""

    @field_validator("listen")
    @classmethod
    def _address(cls, listen: str) -> str:
        if listen != OFF:
            try:
                parse(listen)
            except ValueError:
                raise ValueError(
                    f"应为 IP地址:端口，例如 {DEFAULT_LISTEN} 或 0.0.0.0:8821；或 off。",
                    f"IP-ADDRESS:PORT, such as {DEFAULT_LISTEN} or 0.0.0.0:8821; or off.",
                ) from None
        return listen

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.listen != OFF and not parse(self.listen).is_loopback and self.password_file is None:
            raise ValueError(
                f"{self.listen} 可从其他机器访问，须先设密码：plantpulse-gateway page-password page-password，"
                "再写 password_file: page-password。",
                f"{self.listen} can be reached from other machines: set a password first with "
                "plantpulse-gateway page-password page-password, then password_file: page-password.",
            )
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file 和 key_file 要一起写。", "cert_file and key_file belong together.")
        return self
