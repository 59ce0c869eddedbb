"""The connection to the county: TLS that is always verified, the proxy on the way, the credential, and its end."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from collectors.model import Trouble
from gateway.proxy import Proxy, proxy_for
from gateway.uplink_config import UplinkConfig
from gateway.uplink_troubles import problem_code, trouble_of_credential, trouble_of_replacement, trouble_of_revocation

RETRY_REFUSED_S: Final = 10.0
RETRY_REVOKED_S: Final = 600.0
"""A revoked gateway asks this seldom whether it still is; a new credential is noticed within LOOK_S."""
LOOK_S: Final = 1.0
_REVOKED: Final = "gateway-revoked"
_REPLACED: Final = "gateway-replaced"


@dataclass(slots=True)
class SecretFile:
    """A secret in a file that may be replaced at any time."""

    path: Path
    value: str = field(default="", repr=False)
    _seen: tuple[int, ...] = ()

    def read(self) -> bool:
        """Read it where the file has changed; whether the secret is another one now. Raises OSError."""
        seen = self.signature()
        if seen == self._seen:
            return False
        value = read_credential(self.path)
        changed, self.value, self._seen = value != self.value, value, seen
        return changed

    def signature(self) -> tuple[int, ...]:
        """What changes with the file. Raises OSError."""
        found = self.path.stat()
        return found.st_mtime_ns, found.st_ino, found.st_size

    def is_other(self) -> bool:
        """Whether the file is another one than was read."""
        try:
            return self.signature() != self._seen
        except OSError:
            return False


class Access:
    """How requests reach the county, and as whom.

    `revoked`: the county ended the credential; nothing is to be sent until there is another one. `replaced`: other
    hardware took over; presence is no longer ours to tell.
    """

    def __init__(self, config: UplinkConfig) -> None:
        self._config = config
        self._credential = SecretFile(config.credential_file)
        self._proxy: Proxy | None = None
        self.revoked = False
        self.replaced = False

    async def open(self) -> aiohttp.ClientSession:
        """Read the secrets and prepare connections; nothing is sent. Raises OSError, ssl.SSLError, ProxyError."""
        await asyncio.to_thread(self._credential.read)
        self._proxy = await asyncio.to_thread(proxy_for, self._config)
        context = await asyncio.to_thread(tls_context, self._config.ca_file)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=4, ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
        )

    @property
    def credential(self) -> str:
        """The credential that requests bear."""
        return self._credential.value

    async def refresh(self) -> bool:
        """Read secrets whose file was replaced; whether the credential is another one now."""
        if not await asyncio.to_thread(self._credential.is_other):
            return False
        try:
            changed = await asyncio.to_thread(self._credential.read)
        except (OSError, UnicodeDecodeError):
            return False  # the one in memory may still be good
        if changed:
            self.revoked = self.replaced = False
        return changed

    async def pause(self, seconds: float) -> bool:
        """Wait, less where another credential comes; whether one came."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            await asyncio.sleep(min(left_s, LOOK_S))
            if await self.refresh():
                return True
        return False

    def accepted(self) -> None:
        """The county took a request: the credential is good."""
        self.revoked = False

    def arguments(self) -> dict[str, Any]:
        """What every request needs: who we are, and the way."""
        headers = {"Authorization": f"Bearer {self.credential}"} if self.credential else {}
        return way_of(self._config.url, self._proxy, headers)

    def refused(self, status: int, content: bytes) -> tuple[Trouble, float]:
        """A 401 or 403: what to tell, and after how many seconds to try again."""
        code = problem_code(content)
        if code == _REVOKED:
            self.revoked = True
            return trouble_of_revocation(), RETRY_REVOKED_S
        if code == _REPLACED:
            self.replaced = True
            return trouble_of_replacement(0), RETRY_REFUSED_S
        return trouble_of_credential(status, content[:300].decode("utf-8", "replace")), RETRY_REFUSED_S


def way_of(url: str, proxy: Proxy | None, headers: dict[str, str]) -> dict[str, Any]:
    """Arguments of a request that lead it over a proxy, or directly."""
    if proxy is None:
        return {"headers": headers}
    login = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
    if url.startswith("https://"):
        return {"headers": headers, "proxy": proxy.url, "proxy_headers": login}
    return {"headers": headers | login, "proxy": proxy.url}


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Verifies certificate and host name, TLS 1.2 or later. A CA of the county's own is then the only one that counts.

    Raises OSError, ssl.SSLError.
    """
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def read_credential(path: Path) -> str:
    """The credential in a file, without the line's end. Raises OSError."""
    return path.read_text(encoding="utf-8").strip()
