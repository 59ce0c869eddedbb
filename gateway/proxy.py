"""Which proxy leads to the county: the configured one, or the one that the environment names."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from collectors.model import ConfigError
from gateway.uplink_config import NO_PROXY, UplinkConfig, is_loopback


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. `url` holds no user and no password."""

    host: str
    port: int
    login: str = field(default="", repr=False)
    """`user:password`, blank where the proxy asks for none."""
    from_environment: bool = False

    @property
    def url(self) -> str:
        """Where it is, as it may be shown."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def authorization(self) -> str:
        """The header `Proxy-Authorization`, blank for none."""
        return f"Basic {base64.b64encode(self.login.encode()).decode()}" if self.login else ""


class ProxyError(ConfigError):
    """A proxy of the environment that cannot be used."""


def proxy_for(config: UplinkConfig) -> Proxy | None:
    """The proxy on the way to the county, None for the direct way. Reads the file of its login.

    A configured proxy rules. Else HTTPS_PROXY (HTTP_PROXY for http://) does, unless NO_PROXY names the county; nothing
    on this machine is asked for through a proxy of the environment over http://. Raises ProxyError, OSError.
    """
    login = ""
    if config.proxy_credential_file is not None:
        login = config.proxy_credential_file.read_text(encoding="utf-8").strip()
    if config.proxy == NO_PROXY:
        return None
    if config.proxy:
        return _read(config.proxy, login)
    county = urlsplit(config.url)
    host = county.hostname or ""
    found = getproxies_environment()
    named = found.get(county.scheme, "")
    if not named or proxy_bypass(host, found) or (county.scheme == "http" and is_loopback(host)):
        return None
    return _read(named if "://" in named else f"http://{named}", login, from_environment=True)


def _read(url: str, login: str, *, from_environment: bool = False) -> Proxy:
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname:
        raise ProxyError(
            "proxy_unusable",
            "环境变量中的代理地址不能用，应为 http://主机:端口。",
            "the proxy that the environment names cannot be used, expected http://host:port.",
            "请改正 HTTPS_PROXY，或在 uplink.proxy 中写明代理，不用代理时写 none。",
            "Correct HTTPS_PROXY, or name the proxy in uplink.proxy; where none is needed say none.",
        )
    if not login and parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Proxy(parts.hostname, port, login, from_environment)
