"""A Modbus station: several unit ids behind one TCP address, one RTU-over-TCP address or one serial line.

Its own small server, so that a fault of the library that reads it cannot hide in it. It refuses every
write and counts it.
"""

from __future__ import annotations

import asyncio
import os
import pty
import socket
import struct
import termios
import time
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from simulators.ledger import Ledger
from simulators.modbus_maps import MAPS, Image
from simulators.physics import Machine

_READ_FUNCTIONS: Final = (1, 2, 3, 4)
_WRITE_FUNCTIONS: Final = (5, 6, 15, 16, 21, 22, 23)
_MAX_REGISTERS: Final = 125
_MEI: Final = 0x2B
_DEVICE_IDENTIFICATION: Final = 0x0E
_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS, _ILLEGAL_VALUE = 1, 2, 3
_TARGET_FAILED_TO_RESPOND: Final = 0x0B
_RTU_LENGTHS: Final = {0x2B: 7}
_RTU_LENGTH: Final = 8

Mangle = Callable[[bytes], list[bytes]]


def crc16(frame: bytes) -> bytes:
    """CRC of a serial frame, low byte first (Modbus over serial line V1.02, 6.2.2)."""
    crc = 0xFFFF
    for byte in frame:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return struct.pack("<H", crc)


class ModbusStation:
    """Machines as Modbus units: `units` maps unit id to (name of a register map, machine).

    `framing`: "tcp" (Modbus TCP), "rtu" (RTU frames over TCP) or "serial" (RTU on a pseudo terminal,
    `address` names it, `baudrate` and all; `path`: a link to it that a restart renews, as udev names a USB adapter).
    Registers follow the machines every `period_s`; `clock` gives s UTC. Port 0 takes a free one, which
    a stop and a new start keep.
    """

    def __init__(
        self,
        units: dict[int, tuple[str, Machine]],
        ledger: Ledger,
        *,
        port: int = 0,
        period_s: float = 1.0,
        framing: Literal["tcp", "rtu", "serial"] = "tcp",
        path: Path | None = None,
        baudrate: int = 9600,
        clock: Callable[[], float] = time.time,
    ) -> None:
        unknown = [name for name, _ in units.values() if name not in MAPS]
        if unknown:
            raise ValueError(f"register map {unknown[0]!r}: one of {', '.join(MAPS)}")
        self.units = units
        self.writes = 0
        """Write requests received (all refused)."""
        self.requests: list[tuple[int, int, int, int]] = []
        """(unit, function, address, count) of every read request while `recording`."""
        self.recording = False
        self.delay_s: dict[int, float] = {}
        """Seconds by which each reply of a unit is late."""
        self.exceptions: dict[int, int] = {}
        """Exception code with which a unit answers every read."""
        self.frozen: set[int] = set()
        """Units whose registers stand still although their machines do not."""
        self.half_open = False
        """Connections stay and new ones are taken, but nothing that comes in is answered any more."""
        self.verdict_s: float | None = None
        """Where set, the station is a TCP gateway before a line: it serves one request at a time and answers exception
        0B for a unit that has been silent for so long."""
        self._serving = asyncio.Lock()
        self.ignores_unit_ids = False
        """Whether it takes every unit id for its first unit's, as many devices with a network of their own do."""
        self.connections = 0
        """Connections taken so far."""
        self.mangle: Mangle | None = None
        """How each reply frame arrives: the pieces that are written one after the other."""
        self.ledger = ledger
        self._port = port
        self._period_s = period_s
        self._framing = framing
        self._path = path
        self._baudrate = baudrate
        self._clock = clock
        self._silent: set[str] = set()
        self._images: dict[int, Image] = {}
        self._server: asyncio.Server | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._line: _Line | None = None
        self._later: set[asyncio.TimerHandle] = set()

    @property
    def address(self) -> str:
        """URL of the station; known after `start`."""
        if self._framing == "serial":
            if self._line is None:
                raise RuntimeError("the station is not started")
            return f"modbus-rtu://{self._path or self._line.path}?baudrate={self._baudrate}&parity=N"
        scheme = "modbus-tcp" if self._framing == "tcp" else "modbus-rtu-tcp"
        return f"{scheme}://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen and serve. A second call changes nothing."""
        if self._ticker is not None:
            return
        self.refresh()
        if self._framing == "serial":
            self._line = _Line(self._receive_rtu, self._baudrate)
            if self._path is not None:
                self._path.symlink_to(self._line.path)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]
        self._ticker = asyncio.create_task(self._tick(), name="modbus-station")

    async def stop(self) -> None:
        """End every connection and listen no more. Safe twice."""
        if self._ticker is not None:
            self._ticker.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticker
            self._ticker = None
        for timer in self._later:
            timer.cancel()
        self._later.clear()
        if self._line is not None:
            self._line.close()
            self._line = None
            if self._path is not None:
                self._path.unlink(missing_ok=True)
        if self._server is not None:
            self._server.close()
            await self.drop_connections()
            await self._server.wait_closed()
            self._server = None

    async def drop_connections(self) -> None:
        """Cut every connection now; new ones are welcome."""
        writers = list(self._writers)
        for writer in writers:
            writer.close()
        for writer in writers:
            with suppress(OSError):
                await writer.wait_closed()

    async def reset_connections(self) -> None:
        """Break every connection as a crashed device does: a reset, no goodbye; new ones are welcome."""
        for writer in list(self._writers):
            sock = writer.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def restart(self, off_s: float = 0.0) -> None:
        """Go away and come back at the same address after `off_s`: on a line the port is gone meanwhile."""
        await self.stop()
        await asyncio.sleep(off_s)
        await self.start()

    async def unplug(self, machine_id: str) -> None:
        """Cut one machine off: its unit answers nothing from now on."""
        self._unit_of(machine_id)
        self._silent.add(machine_id)

    async def plug(self, machine_id: str) -> None:
        """The machine answers again."""
        self._unit_of(machine_id)
        self._silent.discard(machine_id)

    def _unit_of(self, machine_id: str) -> int:
        for unit, (_, machine) in self.units.items():
            if machine.id == machine_id:
                return unit
        raise KeyError(machine_id)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            self.refresh()

    def refresh(self) -> None:
        """Bring every register to the clock's time, as happens each period."""
        now_s = self._clock()
        for unit, (name, machine) in self.units.items():
            machine.advance(now_s)
            if unit in self.frozen and unit in self._images:
                continue
            self._images[unit] = MAPS[name].image(machine)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        try:
            if self._framing == "tcp":
                await self._serve_tcp(reader, writer)
            else:
                buffer = bytearray()
                while chunk := await reader.read(1024):
                    buffer += chunk
                    self._receive_rtu(buffer, writer.write)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the other side went away: nothing to do for a simulator
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            transaction, protocol, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
            if protocol != 0 or not 2 <= length <= 254:
                return
            pdu = await reader.readexactly(length - 1)
            reply = self.answer(unit, pdu) if self.verdict_s is None else await self._verdict(unit, pdu, self.verdict_s)
            if reply is not None:
                self._send(unit, struct.pack(">HHHB", transaction, 0, len(reply) + 1, unit) + reply, writer.write)

    async def _verdict(self, unit: int, pdu: bytes, after_s: float) -> bytes:
        async with self._serving:
            reply = self.answer(unit, pdu)
            if reply is not None:
                return reply
            await asyncio.sleep(after_s)
            return _exception(pdu[0], _TARGET_FAILED_TO_RESPOND)

    def _receive_rtu(self, buffer: bytearray, write: Callable[[bytes], None]) -> None:
        while len(buffer) >= 2:
            length = _RTU_LENGTHS.get(buffer[1], _RTU_LENGTH)
            if len(buffer) < length:
                return
            frame = bytes(buffer[:length])
            if crc16(frame[:-2]) != frame[-2:]:
                buffer.clear()  # a line out of step: wait for the next request
                return
            del buffer[:length]
            reply = self.answer(frame[0], frame[1:-2])
            if reply is not None:
                out = bytes([frame[0]]) + reply
                self._send(frame[0], out + crc16(out), write)

    def _send(self, unit: int, frame: bytes, write: Callable[[bytes], None]) -> None:
        pieces = self.mangle(frame) if self.mangle else [frame]
        delay_s = self.delay_s.get(unit, 0.0)
        loop = asyncio.get_running_loop()
        for number, piece in enumerate(pieces):
            if delay_s == 0.0 and number == 0:
                write(piece)
                continue
            # the pause makes the pieces arrive one by one
            timer = loop.call_later(delay_s + 0.01 * number, self._write_late, piece, write)
            self._later = {late for late in self._later if late.when() > loop.time()} | {timer}

    def _write_late(self, piece: bytes, write: Callable[[bytes], None]) -> None:
        with suppress(OSError):
            write(piece)

    def answer(self, unit: int, pdu: bytes) -> bytes | None:
        """The reply to a request, None where the unit is silent or there is none."""
        if self.ignores_unit_ids:
            unit = next(iter(self.units))
        if self.half_open or unit not in self.units or self.units[unit][1].id in self._silent or not pdu:
            return None
        function = pdu[0]
        if function in _WRITE_FUNCTIONS:
            self.writes += 1
            return _exception(function, _ILLEGAL_FUNCTION)
        if function == _MEI:
            return self._identify(unit, pdu)
        if function not in _READ_FUNCTIONS:
            return _exception(function, _ILLEGAL_FUNCTION)
        if len(pdu) != 5:
            return _exception(function, _ILLEGAL_VALUE)
        address, count = struct.unpack(">HH", pdu[1:])
        if self.recording:
            self.requests.append((unit, function, address, count))
        if unit in self.exceptions:
            return _exception(function, self.exceptions[unit])
        if function not in (3, 4):
            return _exception(function, _ILLEGAL_FUNCTION)
        if not 1 <= count <= _MAX_REGISTERS:
            return _exception(function, _ILLEGAL_VALUE)
        image = self._images[unit]
        registers = image.holding if function == 3 else image.input
        try:
            words = [registers[at] for at in range(address, address + count)]
        except KeyError:
            return _exception(function, _ILLEGAL_ADDRESS)
        self._note(unit, image, function, range(address, address + count))
        return struct.pack(f">BB{count}H", function, 2 * count, *words)

    def _note(self, unit: int, image: Image, function: int, read: range) -> None:
        """Write into the ledger what this read served."""
        name, machine = self.units[unit]
        register_map = MAPS[name]
        if function != register_map.function:
            return

        def holds(part: range) -> bool:
            return bool(part) and part[0] in read and part[-1] in read

        quantity = image.quantity if holds(register_map.quantity_at) else None
        parts = image.parts if holds(register_map.parts_at) else None
        state = image.state if holds(register_map.state_at) else None
        if quantity is not None or parts is not None or state is not None:
            self.ledger.served(machine.id, self._clock(), state=state, quantity=quantity, parts=parts)

    def _identify(self, unit: int, pdu: bytes) -> bytes:
        """Read device identification, basic category, as one stream (MEI 14)."""
        name, machine = self.units[unit]
        objects = MAPS[name].identification
        if not objects:
            return _exception(_MEI, _ILLEGAL_FUNCTION)
        if len(pdu) != 4 or pdu[1] != _DEVICE_IDENTIFICATION or pdu[2] not in (1, 2, 3):
            return _exception(_MEI, _ILLEGAL_VALUE)
        said = dict(objects)
        said[0] = machine.manufacturer or said[0]
        said[1] = machine.model or said[1]
        body = b""
        for number, text in sorted(said.items()):
            raw = text.encode()
            body += bytes([number, len(raw)]) + raw
        return bytes([_MEI, _DEVICE_IDENTIFICATION, pdu[2], 0x01, 0x00, 0x00, len(said)]) + body


def _exception(function: int, code: int) -> bytes:
    return bytes([function | 0x80, code])


class _Line:
    """The devices' end of a serial line: a pseudo terminal that any number of openings may come and go on. What
    is sent at another speed is noise to them."""

    def __init__(self, receive: Callable[[bytearray, Callable[[bytes], None]], None], baudrate: int) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._buffer = bytearray()
        self._receive = receive
        self._speed = getattr(termios, f"B{baudrate}")
        asyncio.get_running_loop().add_reader(self._master, self._readable)

    def _readable(self) -> None:
        with suppress(BlockingIOError):
            data = os.read(self._master, 1024)
            if termios.tcgetattr(self._master)[4] != self._speed:
                return
            self._buffer += data
            self._receive(self._buffer, self._write)

    def _write(self, data: bytes) -> None:
        os.write(self._master, data)

    def close(self) -> None:
        """Take the line away: whoever has it open sees it end."""
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)
