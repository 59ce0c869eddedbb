"""One way to the county: its address, the credential and the connections, and what an answer means."""

from __future__ import annotations

import asyncio
from typing import Final, TypeVar

import aiohttp

from collectors.model import Trouble
from gateway.access import RETRY_REFUSED_S, Access
from gateway.clock import NS_PER_S
from gateway.uplink_config import UplinkConfig
from gateway.uplink_troubles import problem_code, trouble_of_answer, trouble_of_link, trouble_of_status
from gateway.wire import CONTENT_ENCODING, CONTENT_TYPE_MSGPACK, Accepted, IngestAnswer, WireError, decode_json

RETRY_AFTER_MOST_S: Final = 300.0
TOO_LARGE: Final = 413
_MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
_REFUSALS: Final = frozenset({400, 415, 422})

A = TypeVar("A", IngestAnswer, Accepted)


class LaterError(Exception):
    """Not now: try again after `after_s`."""

    def __init__(self, trouble: Trouble, after_s: float | None = None, *, failed: bool = False) -> None:
        super().__init__(trouble.en)
        self.trouble, self.after_s = trouble, after_s
        self.failed = failed
        """Whether the county itself failed at what was sent (500)."""


class PoisonError(Exception):
    """The county will never take this body."""


class Way:
    """Requests to one county as one gateway. `open` comes first; `close` is safe twice."""

    def __init__(self, config: UplinkConfig) -> None:
        self.config, self.access = config, Access(config)
        self._session: aiohttp.ClientSession | None = None
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def open(self) -> None:
        """Read the secrets and prepare connections; nothing is sent. Raises OSError, ssl.SSLError, ProxyError."""
        if self._session is None:
            self._session = await self.access.open()

    async def close(self) -> None:
        """End all connections, when what is under way has its answer."""
        await self._idle.wait()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, route: str, body: bytes, kind: type[A], timeout_s: float) -> tuple[A, int]:
        """(The county's answer, for how many ns request and answer were under way at most).

        Raises LaterError, PoisonError.
        """
        assert self._session is not None, "open() comes first"
        self._under_way += 1
        self._idle.clear()
        try:
            return await self._post(self._session, route, body, kind, timeout_s)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def _post(
        self, session: aiohttp.ClientSession, route: str, body: bytes, kind: type[A], timeout_s: float
    ) -> tuple[A, int]:
        await self.access.refresh()
        way = self.access.arguments()
        way["headers"] |= {
            "Content-Type": CONTENT_TYPE_MSGPACK,
            "Content-Encoding": CONTENT_ENCODING,
            "Accept": "application/json",
        }
        loop = asyncio.get_running_loop()
        sent_s = loop.time()
        try:
            async with session.post(
                f"{self.config.url}/api/v1/{route}",
                data=body,
                **way,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as response:
                status, content = response.status, await response.content.read(_MAX_ANSWER_BYTES)
                while not response.content.at_eof() and len(content) < _MAX_ANSWER_BYTES:
                    content += await response.content.read(_MAX_ANSWER_BYTES)
                retry_after = response.headers.get("Retry-After", "")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise LaterError(trouble_of_link(self.config.url, error)) from error
        if status == 200:
            try:
                answer = decode_json(content, kind)
            except WireError as error:
                raise LaterError(trouble_of_answer(str(error)), RETRY_REFUSED_S) from error
            self.access.accepted()
            return answer, round((loop.time() - sent_s) * NS_PER_S)
        detail = content[:300].decode("utf-8", "replace")
        if status == TOO_LARGE or (status in _REFUSALS and problem_code(content)):
            raise PoisonError(f"{status} {detail}")
        if status in (401, 403):
            trouble, again_s = self.access.refused(status, content)
            raise LaterError(trouble, again_s)
        after_s = min(float(retry_after), RETRY_AFTER_MOST_S) if retry_after.isdigit() else None
        raise LaterError(trouble_of_status(status, detail), after_s, failed=status == 500)
