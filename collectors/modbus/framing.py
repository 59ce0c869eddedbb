"""Requests to bytes and bytes to replies, for Modbus TCP and for serial frames. Touches no socket.

A reply is credited to the pending request only when everything fits: transaction id (TCP), unit,
function, length and checksum (serial). A frame that answers a request given up before is late: it is
dropped and counted. Anything else puts the link in doubt, and its owner starts it afresh.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Protocol

_MBAP: Final = struct.Struct(">HHHB")
_MAX_PDU: Final = 253
_MAX_GIVEN_UP: Final = 64
_READ_FUNCTIONS: Final = (1, 2, 3, 4)
_MEI: Final = 0x2B
_ERROR_BIT: Final = 0x80
_BEHIND_GATEWAY_SILENT: Final = (0x0A, 0x0B)
_NO_SUCH_REGISTERS: Final = (0x02, 0x03)


def is_exception(pdu: bytes) -> bool:
    """Whether a reply refuses what was asked; its second byte is the code."""
    return bool(pdu[0] & _ERROR_BIT)


def is_refusal(pdu: bytes) -> bool:
    """Whether the device has no such registers, or not so many of them (exceptions 02 and 03)."""
    return is_exception(pdu) and pdu[1] in _NO_SUCH_REGISTERS


def is_silent_behind_gateway(pdu: bytes) -> bool:
    """Whether a gateway reports that the unit behind it does not answer (exceptions 0A and 0B)."""
    return is_exception(pdu) and pdu[1] in _BEHIND_GATEWAY_SILENT


class DoubtError(Exception):
    """What arrived fits no request: nothing more on this link can be trusted until it starts afresh."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that waits for its reply, or was given up."""

    unit: int
    function: int
    reply_bytes: int | None
    """Bytes of data that a read must bring; None where the length is in the reply."""
    asked_s: float = 0.0
    """When it was asked, on the owner's clock."""

    def fits(self, pdu: bytes) -> bool:
        """Whether a reply PDU answers this request in form."""
        if len(pdu) == 2 and pdu[0] == self.function | _ERROR_BIT:
            return True
        if not pdu or pdu[0] != self.function:
            return False
        return self.reply_bytes is None or (len(pdu) == 2 + self.reply_bytes and pdu[1] == self.reply_bytes)


class Framing(Protocol):
    """One link's framing and its pending request."""

    late_frames: int
    """Replies that came after their request had been given up; dropped."""
    late: list[tuple[Exchange, bytes]]
    """What they answered and their PDU, for the owner to take out."""

    def request(self, exchange: Exchange, pdu: bytes) -> bytes:
        """The frame of a request, which is pending from now on."""

    def feed(self, data: bytes) -> bytes | None:
        """Take what arrived; the reply's PDU once it is whole. Raises DoubtError."""

    def give_up(self) -> bool:
        """The pending request waits no longer; should its reply still come, it is late.

        True where half a reply has come: the rest must not be taken for the beginning of another.
        """

    def reset(self) -> None:
        """A fresh link: nothing pending, nothing half received."""


class TcpFraming:
    """Modbus TCP: the transaction id tells the reply of this request from a late one."""

    def __init__(self) -> None:
        self.late_frames = 0
        self.late: list[tuple[Exchange, bytes]] = []
        self._transaction = 0
        self._pending: Exchange | None = None
        self._given_up: dict[int, Exchange] = {}
        self._buffer = b""

    def request(self, exchange: Exchange, pdu: bytes) -> bytes:
        """The frame of a request, which is pending from now on."""
        self._transaction = self._transaction % 0xFFFF + 1
        self._given_up.pop(self._transaction, None)
        self._pending = exchange
        return _MBAP.pack(self._transaction, 0, len(pdu) + 1, exchange.unit) + pdu

    def feed(self, data: bytes) -> bytes | None:
        """Take what arrived; the reply's PDU once it is whole. Raises DoubtError."""
        buffer = self._buffer + data if self._buffer else data
        reply: bytes | None = None
        while len(buffer) >= _MBAP.size:
            transaction, protocol, length, unit = _MBAP.unpack_from(buffer)
            if protocol != 0 or not 2 <= length <= _MAX_PDU + 1:
                raise DoubtError("not a Modbus TCP header")
            end = length + 6
            if len(buffer) < end:
                break
            pdu, buffer = buffer[_MBAP.size : end], buffer[end:]
            pending = self._pending
            if pending is not None and transaction == self._transaction:
                if unit != pending.unit or not pending.fits(pdu):
                    raise DoubtError("the reply does not fit its request")
                self._pending, reply = None, pdu
            elif transaction in self._given_up:
                self.late.append((self._given_up.pop(transaction), pdu))
                self.late_frames += 1
            else:
                raise DoubtError("a reply with the transaction id of no request")
        self._buffer = bytes(buffer)
        return reply

    def give_up(self) -> bool:
        """The pending request waits no longer; True where half a reply has come."""
        if self._pending is not None:
            self._given_up[self._transaction] = self._pending
            self._pending = None
            if len(self._given_up) > _MAX_GIVEN_UP:
                del self._given_up[next(iter(self._given_up))]
        return bool(self._buffer)

    def reset(self) -> None:
        """A fresh link: nothing pending, nothing half received."""
        self._pending = None
        self._given_up.clear()
        self._buffer = b""


class SerialFraming:
    """RTU frames on a line or over TCP: no transaction id, so unit, function, length and CRC must tell.

    A reply of the right unit, function and length to an older request cannot be told from the
    reply to the pending one. The owner therefore never asks a unit again right after a reply was
    missed: a reply by another unit cannot be mistaken, and the same unit rests first.
    """

    def __init__(self) -> None:
        self.late_frames = 0
        self.late: list[tuple[Exchange, bytes]] = []
        self._pending: Exchange | None = None
        self._given_up: list[Exchange] = []
        self._buffer = b""

    def request(self, exchange: Exchange, pdu: bytes) -> bytes:
        """The frame of a request, which is pending from now on."""
        self._pending = exchange
        self._buffer = b""
        frame = bytes([exchange.unit]) + pdu
        return frame + _crc(frame)

    def feed(self, data: bytes) -> bytes | None:
        """Take what arrived; the reply's PDU once it is whole. Raises DoubtError."""
        self._buffer += data
        while self._buffer:
            exchange = self._expected(self._buffer)
            if exchange is None:
                raise DoubtError("bytes that begin no expected reply")
            length = _rtu_length(exchange, self._buffer)
            if length is None or len(self._buffer) < length:
                return None
            frame, self._buffer = self._buffer[:length], self._buffer[length:]
            if _crc(frame[:-2]) != frame[-2:]:
                raise DoubtError("checksum does not match")
            pdu = frame[1:-2]
            if not exchange.fits(pdu):
                raise DoubtError("the reply does not fit its request")
            if exchange is self._pending:
                self._pending = None
                return pdu
            self._given_up.remove(exchange)
            self.late.append((exchange, pdu))
            self.late_frames += 1
        return None

    def _expected(self, buffer: bytes) -> Exchange | None:
        candidates = [self._pending] if self._pending else []
        for exchange in [*candidates, *self._given_up]:
            if buffer[0] != exchange.unit:
                continue
            if len(buffer) < 2 or buffer[1] & ~_ERROR_BIT == exchange.function:
                return exchange
        return None

    def give_up(self) -> bool:
        """The pending request waits no longer; True where half a reply has come."""
        if self._pending is not None:
            self._given_up = [*self._given_up[-_MAX_GIVEN_UP:], self._pending]
            self._pending = None
        return bool(self._buffer)

    def reset(self) -> None:
        """A fresh link: nothing pending, nothing half received."""
        self._pending = None
        self._given_up.clear()
        self._buffer = b""


def _crc(frame: bytes) -> bytes:
    from pymodbus.framer import FramerRTU  # a megabyte that plants without serial lines go without

    return FramerRTU.compute_CRC(frame).to_bytes(2, "big")


def _rtu_length(exchange: Exchange, buffer: bytes) -> int | None:
    """Length of the frame that begins the buffer, None while it cannot be told. Raises DoubtError."""
    if len(buffer) < 3:
        return None
    if buffer[1] & _ERROR_BIT:
        return 5
    if exchange.function in _READ_FUNCTIONS:
        if exchange.reply_bytes is not None and buffer[2] != exchange.reply_bytes:
            raise DoubtError("the reply does not fit its request")
        return 5 + buffer[2]
    # device identification: unit, function, MEI, code, conformity, more, next, number, then objects
    at, objects = 8, buffer[7] if len(buffer) > 7 else None
    if objects is None:
        return None
    for _ in range(objects):
        if len(buffer) < at + 2:
            return None
        at += 2 + buffer[at + 1]
        if at > _MAX_PDU:
            raise DoubtError("an identification longer than a frame")
    return at + 2
