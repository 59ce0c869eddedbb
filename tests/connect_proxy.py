"""A small HTTP proxy on loopback: CONNECT and plain requests, with a login or without, and what it was asked."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from urllib.parse import urlsplit


class ConnectProxy:
    """`asked` holds the request lines that it served; `login` is `user:password`, blank for none."""

    def __init__(self, login: str = "") -> None:
        self.login = login
        self.asked: list[str] = []
        self.port = 0
        self.status = 200
        """What it answers to those with a right login; not 200: it connects nobody."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> ConnectProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward: asyncio.StreamWriter | None = None
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *headers = head.split("\r\n")
            method, target, _ = first.split(" ")
            if self.login and f"Basic {base64.b64encode(self.login.encode()).decode()}" not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n")
                writer.write(b"Content-Length: 0\r\nConnection: close\r\n\r\n")
                return
            self.asked.append(f"{method} {target}")
            if self.status != 200:
                writer.write(b"HTTP/1.1 %d Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % self.status)
                return
            parts = urlsplit(target if method != "CONNECT" else f"//{target}")
            back, onward = await asyncio.open_connection(parts.hostname, parts.port)
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                kept = [h for h in headers if h and not h.lower().startswith(("proxy-", "connection"))]
                path = parts.path + (f"?{parts.query}" if parts.query else "")
                lines = [f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]
                onward.write("\r\n".join(lines).encode("latin-1"))
            await asyncio.gather(_pipe(reader, onward), _pipe(back, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass  # either end may go away
        finally:
            for end in (writer, onward):
                if end is not None:
                    end.close()
                    with suppress(OSError):
                        await end.wait_closed()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.write_eof()
