"""A person's and a gateway's view of the county service, over HTTP: what the demo, history and tests use."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec

from gateway import wire

_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, connect=5)


class CountyError(Exception):
    """The county refused a request: its route, status and words."""


class GatewayClient:
    """Sends as a gateway, with the gateway's credential. An async context manager."""

    def __init__(self, base_url: str, credential: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = {"authorization": f"Bearer {credential}"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=_TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def ingest(self, message: wire.Ingest) -> wire.IngestAnswer:
        """Send one batch. Raises CountyError, and WireError for an answer that is none."""
        return wire.decode_json(await self._post("/api/v1/ingest", message), wire.IngestAnswer)

    async def announce(self, message: wire.Announce) -> wire.Accepted:
        """Send announcements. Raises as `ingest`."""
        return wire.decode_json(await self._post("/api/v1/announce", message), wire.Accepted)

    async def live(self, message: wire.Live) -> wire.Accepted:
        """Send presence. Raises as `ingest`."""
        return wire.decode_json(await self._post("/api/v1/live", message), wire.Accepted)

    async def _post(self, route: str, message: msgspec.Struct) -> bytes:
        assert self._session is not None, "used outside of its context"
        headers = {"content-type": wire.CONTENT_TYPE_MSGPACK, "content-encoding": wire.CONTENT_ENCODING}
        async with self._session.post(self._base_url + route, data=wire.encode(message), headers=headers) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise CountyError(f"{route}: {answer.status} {body[:300].decode(errors='replace')}")
            return body


class PortalClient:
    """Reads as a signed-in person. An async context manager: entering signs in."""

    def __init__(self, base_url: str, username: str, password: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._login = {"username": username, "password": password}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        jar = aiohttp.CookieJar(unsafe=True)  # "unsafe" only means: also for an IP address
        self._session = aiohttp.ClientSession(cookie_jar=jar, timeout=_TIMEOUT)
        try:
            async with self._session.post(f"{self._base_url}/api/v1/session", json=self._login) as answer:
                if answer.status != 200:
                    raise CountyError(f"/api/v1/session: {answer.status} {(await answer.text())[:300]}")
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, route: str, **query: str | int) -> Any:
        """The JSON of a route below `/api/v1`. Raises CountyError."""
        assert self._session is not None, "used outside of its context"
        async with self._session.get(f"{self._base_url}/api/v1{route}", params=query) as answer:
            if answer.status != 200:
                raise CountyError(f"{route}: {answer.status} {(await answer.text())[:300]}")
            return await answer.json()
