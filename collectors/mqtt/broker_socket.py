"""A TCP or TLS connection to a broker, opened on the event loop, in the shape that paho-mqtt reads and writes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Final

_READ_BYTES: Final = 65_536


class BrokerSocket:
    """A connected, non-blocking socket. It reads in large pieces: paho asks for one byte at a time."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._buffer = b""
        self._at = 0

    def recv(self, buffer_size: int, /) -> bytes:
        """Up to `buffer_size` bytes; b"" at the end. BlockingIOError where nothing is there."""
        if self._at >= len(self._buffer):
            self._buffer, self._at = b"", 0
            self._buffer = self._socket.recv(_READ_BYTES)
        piece = self._buffer[self._at : self._at + buffer_size]
        self._at += len(piece)
        return piece

    @property
    def holds_more(self) -> bool:
        """Whether bytes have arrived that the socket's readiness no longer tells of."""
        if self._at < len(self._buffer):
            return True
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def send(self, buffer: bytes | bytearray, /) -> int:
        """Send what fits now; gives the number of bytes. BlockingIOError where nothing fits."""
        return self._socket.send(buffer)

    def close(self) -> None:
        """Send nothing more: what paho calls behind its DISCONNECT. The descriptor is kept until `release`."""
        with contextlib.suppress(OSError):  # the link is gone already
            self._socket.shutdown(socket.SHUT_WR)

    async def read_to_the_end(self) -> None:
        """Read what the broker still sends until it closes its end; then give the descriptor back.

        A socket closed over unread bytes resets the connection, and the broker may never see the DISCONNECT: it
        would publish our will.
        """
        ending = socket.socket(fileno=self._socket.detach())
        with ending, contextlib.suppress(OSError):
            while await asyncio.get_running_loop().sock_recv(ending, _READ_BYTES):
                pass

    def release(self) -> None:
        """Give the descriptor back at once. Safe twice."""
        self._socket.close()

    def fileno(self) -> int:
        """The file descriptor, for the event loop."""
        return self._socket.fileno()

    def setblocking(self, flag: bool, /) -> None:
        """Part of the shape paho expects; the socket is never blocking."""


async def open_socket(host: str, port: int, tls: ssl.SSLContext | None) -> BrokerSocket:
    """Connect, and with `tls` shake hands. Raises OSError (ssl.SSLError among them); the caller sets the deadline."""
    connected = await _connect(host, port)
    try:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            secured = tls.wrap_socket(connected, server_hostname=host, do_handshake_on_connect=False)
            connected = secured
            await _shake_hands(secured)
    except BaseException:
        connected.close()
        raise
    return BrokerSocket(connected)


async def _connect(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:  # a literal address needs no resolver, and so no thread of its pool
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure: OSError | None = None
    for family, kind, protocol, _, address in found:
        candidate = socket.socket(family, kind, protocol)
        try:
            candidate.setblocking(False)
            await loop.sock_connect(candidate, address)
        except OSError as error:
            candidate.close()
            failure = error
        except BaseException:
            candidate.close()
            raise
        else:
            return candidate
    raise failure or OSError(f"no address for {host}")


async def _shake_hands(secured: ssl.SSLSocket) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            secured.do_handshake()
        except ssl.SSLWantReadError:
            add, remove = loop.add_reader, loop.remove_reader
        except ssl.SSLWantWriteError:
            add, remove = loop.add_writer, loop.remove_writer
        else:
            return
        ready = asyncio.Event()
        add(secured, ready.set)
        try:
            await ready.wait()
        finally:
            remove(secured)
