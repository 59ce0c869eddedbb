"""Secured servers for the tests of sessions: approved or not, and clocks that stand where a test needs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from collectors.model import Trouble
from collectors.opcua.collector import OpcuaCollector
from collectors.opcua.config import OpcuaEntry
from collectors.opcua.factory import access_to
from collectors.opcua.security.approvals import Approvals
from collectors.opcua.security.login import ANONYMOUS, Login
from collectors.opcua.security.opening import Access
from collectors.opcua.session import Session
from collectors.opcua.trust import present
from simulators.ledger import Ledger
from simulators.opcua_security import POLICIES, Security
from simulators.opcua_server import OpcuaMachines
from tests.collectors.opcua.plants import PERIOD_S, machine, profile

DAY_NS: Final = 86_400 * 1_000_000_000
EVERYTHING: Final = ("None", *POLICIES)
USER, PASSWORD = "reader", "s3cret-赛"


def clock_ahead(days: float) -> Callable[[], int]:
    """A gateway's clock that is some days ahead of this machine's, or behind it."""
    return lambda: time.time_ns() + int(days * DAY_NS)


@asynccontextmanager
async def secured(security: Security, **options: Any) -> AsyncIterator[OpcuaMachines]:
    """One CNC machine on a server with this security."""
    server = OpcuaMachines([machine("cnc-1")], Ledger(), period_s=PERIOD_S, security=security, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def approve(address: str, folder: Path, clock: Callable[[], int] = time.time_ns) -> None:
    """What a person does with `plantpulse-gateway trust ADDRESS --yes`."""
    shown = await present(address, folder, clock)
    Approvals(folder).approve(address, shown.certificate, clock())


def access(
    folder: Path, security: str = "best", mode: str = "", login: Login = ANONYMOUS, *, looking: bool = False
) -> Access:
    return Access(security, mode, login, folder, looking)


def entry_of(address: str, **keys: object) -> OpcuaEntry:
    """The entry `cell` as the plant's file would give it."""
    return OpcuaEntry.model_validate({"id": "cell", "profile": "opcua-machinery", "address": address} | keys)


def collector_of(
    address: str,
    folder: Path,
    *,
    clock: Callable[[], int] = time.time_ns,
    limit: int = 100_000,
    looking: bool = False,
    **keys: object,
) -> OpcuaCollector:
    """A collector of one entry `cell`, with the best security that is offered."""
    entry = entry_of(address, **keys)
    how = access_to([entry], folder, looking=looking)
    return OpcuaCollector([(entry, profile())], clock, access=how, limit=limit)


@asynccontextmanager
async def session(address: str, how: Access, clock: Callable[[], int] = time.time_ns) -> AsyncIterator[Session]:
    """An open session, closed at the end."""
    opened = Session(address, how, clock)
    try:
        await opened.connect()
        yield opened
    finally:
        await opened.close()


def ways_in(opened: Session) -> tuple[str, str]:
    """Policy and mode that a session really uses."""
    policy = opened.client.security_policy
    return policy.URI.rpartition("#")[2].replace("_", ""), policy.Mode.name


class Told:
    """Collects what a tool tells beside its answer."""

    def __init__(self) -> None:
        self.troubles: list[Trouble] = []

    def __call__(self, trouble: Trouble) -> None:
        self.troubles.append(trouble)

    @property
    def codes(self) -> list[str]:
        return [t.code for t in self.troubles]


class Doorman:
    """Stands before a server and turns away who opens an encrypted channel, as controllers do that do not
    know a client: with an error message (`answer`, a status code) or, without one, by closing the connection.
    """

    def __init__(self, server: OpcuaMachines, answer: int | None) -> None:
        self._port = int(server.address.rpartition(":")[2])
        self._answer = answer
        self._listener: asyncio.Server | None = None
        self.address = ""

    async def __aenter__(self) -> Doorman:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"opc.tcp://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        self._listener.close()
        await self._listener.wait_closed()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        back = asyncio.create_task(_pump(server, to_client))
        try:
            while True:
                head = await client.readexactly(8)
                body = await client.readexactly(int.from_bytes(head[4:], "little") - 8)
                if head[:3] == b"OPN" and b"SecurityPolicy#None" not in body[:100]:
                    if self._answer is not None:
                        to_client.write(_error(self._answer))
                        await to_client.drain()
                    break
                to_server.write(head + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            back.cancel()
            to_client.close()
            to_server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()


def _error(status: int) -> bytes:
    """An OPC UA TCP error message (OPC 10000-6, 7.1.2.5) without a reason."""
    body = status.to_bytes(4, "little") + (0xFFFFFFFF).to_bytes(4, "little")
    return b"ERRF" + (8 + len(body)).to_bytes(4, "little") + body
