"""One OPC UA session, over asyncua. Retries belong to the runner; nothing is written.

The subscription in it notices a lost link, and `resume` takes the session up again on another channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Final

from asyncua import ua
from cryptography.exceptions import InvalidSignature

from collectors.model import Clock, CollectorError, ConfigError, Trouble
from collectors.opcua.errors import lost
from collectors.opcua.security import refusals
from collectors.opcua.security.certificates import CertificateWatch
from collectors.opcua.security.offers import Offer
from collectors.opcua.security.opening import Access, SecuredClient, Way, ways

_REQUEST_TIMEOUT_S: Final = 4.0
_CONNECT_TIMEOUT_S: Final = 10.0
_CLOSE_WITHIN_S: Final = 1.5
_SESSION_TIMEOUT_S: Final = 60
_MS: Final = 1000
_FAILURES: Final = (CollectorError, InvalidSignature, OSError, TimeoutError, ua.UaError, ValueError, EOFError)
"""What an opening may end with."""


def quieten_asyncua() -> None:
    """Silence asyncua's log: what it reports reaches people as LinkError and Trouble, once."""
    logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)


class Session:
    """A connected client.

    Parameters: `address` of the server, `access` of the configuration, `clock` (ns UTC).
    """

    def __init__(self, address: str, access: Access, clock: Clock) -> None:
        self._address = address
        self._access = access
        self._clock = clock
        self._closing: asyncio.Task[None] | None = None
        self.client = self._client(Way(access))
        self.certificates = CertificateWatch(address)
        """What is to be said of the certificates that this session depends on."""
        self.unencrypted: Trouble | None = None
        """What a tool has to say where it found nothing better than SecurityPolicy None."""
        self._offer: Offer | None = None
        """Which of the server's endpoints the session is on; None: without security."""
        self.can_resume = True
        """Whether a lost link leaves something that `resume` may take up."""

    async def connect(self) -> None:
        """Open channel and session. Raises LinkError, ConfigError where the server refuses us for good."""
        with wrapped(self._address):
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                refused: CollectorError | None = None
                for way in await ways(self._address, self._access, self._clock()):
                    self.client = self._client(way)
                    try:
                        await self.client.connect()
                    except _FAILURES as error:
                        found = way.refusal(error, self._address, self._clock(), in_channel=self.client.in_channel)
                        if found is None:
                            raise
                        if isinstance(found, ConfigError) and not self._access.login.is_anonymous:
                            raise found from error  # a password tried on every endpoint locks the account
                        refused = refused or found
                        refused.__cause__ = refused.__cause__ or error
                        self._drop()
                        continue
                    self._offer = way.offer
                    self.certificates = way.watch(self._address)
                    if way.found is not None and way.offer is None:
                        self.unencrypted = refusals.read_unencrypted(self._address, refused or way.instead)
                    return
                if refused is not None:
                    raise refused

    def _client(self, way: Way) -> SecuredClient:
        client = SecuredClient(self._address, way, timeout_s=_REQUEST_TIMEOUT_S)
        client.session_timeout = _SESSION_TIMEOUT_S * _MS
        return client

    async def resume(self) -> bool:
        """Open another channel and take the session up again on it.

        True where the server still has the session; False where it has not, and there is a new one. What was
        compared when the session was opened is compared again. Raises LinkError, ConfigError; where
        `can_resume` is still true, the session may be taken up again later.
        """
        with wrapped(self._address):
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                    offers = [way.offer for way in await ways(self._address, self._access, self._clock())]
                    if self._offer not in offers:
                        raise ua.UaError("the server offers something else / 服务器提供的加密方式变了")
                    return bool(await self.client._try_reactivate_existing_session())
            except _FAILURES as error:
                # what is more than a link that is down is for a session that asks and compares from the start
                self.can_resume = isinstance(error, OSError | TimeoutError)
                raise

    def detach(self) -> None:
        """Let go of a lost channel and keep the session, which the server still holds for a while."""
        self._drop()
        for task in (self.client._supervisor_task, self.client._stale_watchdog_task):
            if task is not None:
                task.cancel()

    async def close(self) -> None:
        """Close session, channel and socket. Safe twice, after a failed connect, and again when cancelled."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._disconnect())
        # asyncua swallows cancellation while it closes, so it closes in a task of its own
        done, _ = await asyncio.wait({self._closing}, timeout=_CLOSE_WITHIN_S)
        if not done:
            self._closing.cancel()
        self._drop()

    async def _disconnect(self) -> None:
        protocol = self.client.uaclient.protocol
        if protocol is not None:
            protocol.timeout = _CLOSE_WITHIN_S / 2  # a silent server must not hold us
        try:
            await self.client.disconnect()
        except (OSError, TimeoutError, ua.UaError):
            pass  # the link is gone already
        finally:
            self._drop()

    def _drop(self) -> None:
        self.client.disconnect_socket()
        for task in (self.client.uaclient._publish_task, self.client._renew_channel_task):
            if task is not None:
                task.cancel()


@contextlib.contextmanager
def wrapped(address: str) -> Any:
    """Turn what asyncua raises into LinkError or ConfigError."""
    try:
        yield
    except CollectorError:
        raise
    except _FAILURES as error:
        raise lost(address, error) from error
