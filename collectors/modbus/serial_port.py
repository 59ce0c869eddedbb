"""A serial line as an asyncio transport, on termios alone: no package, no thread."""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from contextlib import suppress
from typing import Final, Protocol

_READ_BYTES: Final = 512
_TRANSMIT_LIMIT_BYTES: Final = 4096
_SPEEDS: Final = {
    1200: termios.B1200,
    2400: termios.B2400,
    4800: termios.B4800,
    9600: termios.B9600,
    19200: termios.B19200,
    38400: termios.B38400,
    57600: termios.B57600,
    115200: termios.B115200,
}


class ByteReceiver(Protocol):
    """What the line tells its owner: as in `asyncio.Protocol`."""

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The line is gone (an adapter was pulled out) or was closed."""


class SerialPort:
    """An open serial line, 8 data bits. Opening raises OSError; a pulled adapter ends in `connection_lost`."""

    def __init__(self, path: str, baudrate: int, parity: str, stop_bits: int, receiver: ByteReceiver) -> None:
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self._unsent = b""
        try:
            _configure(self._descriptor, baudrate, parity, stop_bits)
            self._loop.add_reader(self._descriptor, self._readable)
        except BaseException:
            os.close(self._descriptor)
            self._descriptor = None
            raise

    def write(self, data: bytes) -> None:
        """Send bytes, later where the line is busy."""
        if self._descriptor is None or len(self._unsent) > _TRANSMIT_LIMIT_BYTES:
            return
        if not self._unsent:
            self._loop.add_writer(self._descriptor, self._writable)
        self._unsent += data

    def flush(self) -> None:
        """Forget what came in and was not read yet."""
        if self._descriptor is not None:
            with suppress(termios.error):
                termios.tcflush(self._descriptor, termios.TCIFLUSH)

    def abort(self) -> None:
        """Close at once. Safe twice."""
        self._close(None)

    def _readable(self) -> None:
        if self._descriptor is None:
            return
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._close(error)
            return
        if data:
            self._receiver.data_received(data)
        else:
            self._close(OSError("end of line"))

    def _writable(self) -> None:
        if self._descriptor is None:
            return
        try:
            self._unsent = self._unsent[os.write(self._descriptor, self._unsent) :]
        except BlockingIOError:
            return
        except OSError as error:
            self._close(error)
            return
        if not self._unsent:
            self._loop.remove_writer(self._descriptor)

    def _close(self, error: Exception | None) -> None:
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        self._loop.remove_reader(descriptor)
        self._loop.remove_writer(descriptor)
        with suppress(OSError):
            os.close(descriptor)
        self._loop.call_soon(self._receiver.connection_lost, error)


def _configure(descriptor: int, baudrate: int, parity: str, stop_bits: int) -> None:
    try:
        tty.setraw(descriptor, termios.TCSANOW)
        settings = termios.tcgetattr(descriptor)
        flags = termios.CREAD | termios.CLOCAL | termios.CS8
        if parity != "N":
            flags |= termios.PARENB | (termios.PARODD if parity == "O" else 0)
        if stop_bits == 2:
            flags |= termios.CSTOPB
        settings[2] = flags
        settings[4] = settings[5] = _SPEEDS[baudrate]
        termios.tcsetattr(descriptor, termios.TCSANOW, settings)
        termios.tcflush(descriptor, termios.TCIOFLUSH)
    except termios.error as error:
        raise OSError(*error.args) from error
