"""A link that a test can cut like a cable: nothing passes, and nobody is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class Relay:
    """Bytes between clients and a server on loopback.

    `mute` holds back what the server says. While `is_cut`, bytes of either side vanish and new connections
    hang; the server's side stays open, as a server's does that was told nothing. Mending ends what was cut.
    """

    def __init__(self, target_port: int) -> None:
        self.mute = False
        self.is_cut = False
        self.connections = 0
        """How many were made since the start, those that hung not counted."""
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._stale: list[asyncio.StreamWriter] = []

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"opc.tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)

    def cut(self) -> None:
        self.is_cut = True
        self._stale, self._writers = self._writers, []

    def mend(self) -> None:
        self.is_cut = False
        for writer in self._stale:
            writer.close()
        self._stale = []

    def drop(self) -> None:
        """End every connection at once, as a switch that restarts."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers = []

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in (*self._writers, *self._stale):
            writer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            self._stale.append(writer)
            return
        self.connections += 1
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        pair = [writer, to_server]
        self._writers.extend(pair)
        for source, sink, heard in ((reader, to_server, False), (from_server, writer, True)):
            task = asyncio.create_task(self._pass_on(source, sink, pair, heard))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, pair: list[asyncio.StreamWriter], heard: bool
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                if not any(writer in self._stale for writer in pair) and not (heard and self.mute):
                    sink.write(data)
                    await sink.drain()
            if pair[0] in self._stale:
                return  # nobody is told of what happens beyond a cut
        sink.close()
        self._writers = [writer for writer in self._writers if writer not in pair]


@asynccontextmanager
async def cuttable(address: str) -> AsyncIterator[Relay]:
    """A relay to a server's address."""
    port = urlsplit(address).port
    assert port is not None
    relay = Relay(port)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()
