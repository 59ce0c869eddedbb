"""Broker addresses: `mqtt://host:port` and `mqtts://host:port`."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlsplit

DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


class Address(NamedTuple):
    """Where a broker listens."""

    scheme: str
    host: str
    port: int

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme == "mqtts"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse(address: str) -> Address:
    """Read a URL. Raises ValueError with (Chinese, English)."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"地址不正确：{error}。", f"not an address: {error}.") from error
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or port == 0:
        raise ValueError(
            "应为 mqtt://主机:端口 或 mqtts://主机:端口。", "expected mqtt://host:port or mqtts://host:port."
        )
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(
            "地址只到端口为止，主题写在 topic 中。", "an address ends with its port; the topic goes into `topic`."
        )
    return Address(parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme])
