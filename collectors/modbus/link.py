"""One link: a TCP connection or a serial line, one request at a time, every one with a time limit."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from collectors.causes import cause_of
from collectors.modbus.address import LinkAddress
from collectors.modbus.framing import (
    DoubtError,
    Exchange,
    Framing,
    SerialFraming,
    TcpFraming,
    is_silent_behind_gateway,
)
from collectors.modbus.profile import Serial
from collectors.modbus.serial_port import SerialPort
from collectors.model import ConfigError, LinkError

CONNECT_TIMEOUT_S: Final = 5.0
_BITS_PER_CHARACTER: Final = 11
_FASTEST_FRAME_GAP_S: Final = 0.00175
_MISSED_BEFORE_REOPENING: Final = 3
_DEAF_AFTER_S: Final = 4.0
"""A gateway may serve nobody for the 3 s that it waits for a silent unit; a connection unheard for longer is dead."""


class SilentError(Exception):
    """The unit did not answer in time."""


class _Ear(asyncio.Protocol):
    """Hears one connection for its link, and only as long as that connection is the link's."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def data_received(self, data: bytes) -> None:
        self._link.heard(self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.ended(self)


class Link:
    """The runner's calls reach it one after the other: there is one worker per link, so no lock.

    `open` before `ask`; LinkError from either means that the link is gone.
    """

    def __init__(
        self, address: LinkAddress, serial: Serial | None = None, *, deaf_after_s: float = _DEAF_AFTER_S
    ) -> None:
        self.address = address
        self._serial = serial or Serial()
        self._framing: Framing = TcpFraming() if address.kind == "tcp" else SerialFraming()
        self._transport: asyncio.Transport | SerialPort | None = None
        self._waiting: asyncio.Future[bytes] | None = None
        self._deadline_s = 0.0
        """When whoever waits gives up, in s of the loop's time."""
        self._timer: asyncio.TimerHandle | None = None
        self._ear: _Ear | None = None
        self._stale = False
        self._deaf_after_s = deaf_after_s
        self._unheard_since_s = 0.0
        self._verdict_s: dict[int, float] = {}
        self.reopen_pause_s = 0.0
        """Pause after a connection that the link opened afresh by itself, as devices need after each."""
        self.gateway_verdict_s = 0.0
        """Longest time that a gateway took to report a silent unit, where that came too late."""
        self.missed_in_a_row = 0
        """Requests without a reply since anything that fits was heard on this link."""
        self.reply_s = 0.0
        """How long the last reply took."""
        self.reopened = 0
        """How often the link was started afresh because what it carried could not be trusted."""

    def is_like(self, other: Link) -> bool:
        """Whether another link leads to the same place in the same way."""
        return self.address == other.address and (self.address.kind == "tcp" or self._serial == other._serial)

    @property
    def late_frames(self) -> int:
        """Replies that came after their request had been given up; dropped."""
        return self._framing.late_frames

    def verdict_s(self, unit: int) -> float:
        """How long it last took until the reply of a unit came that had been given up; 0 where none did.

        A TCP gateway waits for its own time limit before it reports a silent unit (exception 0B), and serves
        nobody else meanwhile: whoever gives up earlier only finds the next unit slow.
        """
        return self._verdict_s.get(unit, 0.0)

    @property
    def late_units(self) -> set[int]:
        """Every unit that ever answered too late."""
        return set(self._verdict_s)

    @property
    def frame_gap_s(self) -> float:
        """Silence that separates frames on a line: 3.5 characters, 1.75 ms from 19,200 baud up."""
        if self.address.kind == "tcp":
            return 0.0
        baudrate = self.address.baudrate or self._serial.baudrate
        return max(3.5 * _BITS_PER_CHARACTER / baudrate, _FASTEST_FRAME_GAP_S)

    def transmission_s(self, characters: int) -> float:
        """How long so many characters take on a line, in s; 0 on a network."""
        if self.address.kind == "tcp":
            return 0.0
        return characters * _BITS_PER_CHARACTER / (self.address.baudrate or self._serial.baudrate)

    async def open(self) -> None:
        """Connect, or open the line. Raises LinkError; ConfigError where a person must act."""
        self.close()
        self._framing.reset()
        self._stale = False
        self.missed_in_a_row = 0
        if self.address.kind == "serial":
            self._open_line()
            return
        loop = asyncio.get_running_loop()
        ear = _Ear(self)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                transport, _ = await loop.create_connection(lambda: ear, self.address.host, self.address.port)
        except (OSError, TimeoutError, UnicodeError) as error:
            raise _connect_error(self.address, error) from error
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._transport, self._ear = transport, ear

    def _open_line(self) -> None:
        ear = _Ear(self)
        try:
            self._transport = SerialPort(
                self.address.path,
                self.address.baudrate or self._serial.baudrate,
                self.address.parity or self._serial.parity,
                self.address.stop_bits or self._serial.stop_bits,
                ear,
            )
            self._ear = ear
        except PermissionError as error:
            raise ConfigError(
                "modbus.port-not-permitted",
                f"无权打开串口 {self.address.path}。",
                f"not permitted to open the serial port {self.address.path}.",
                "把网关用户加入 dialout 组后重启服务。",
                "add the gateway's user to the group dialout and restart the service.",
            ) from error
        except OSError as error:
            raise LinkError(
                "modbus.port-missing",
                f"打不开串口 {self.address.path}：{cause_of(error).zh}。",
                f"cannot open the serial port {self.address.path}: {cause_of(error).en}.",
                "检查 USB 转换器是否插好，路径是否正确（建议用 /dev/serial/by-id/ 下的路径）。",
                "check that the USB adapter is plugged in and the path is right (prefer one below /dev/serial/by-id/).",
            ) from error

    async def ask(self, unit: int, pdu: bytes, reply_bytes: int | None, timeout_s: float) -> bytes:
        """Send one request and wait for the PDU of its reply, which may be an exception.

        `reply_bytes`: data bytes that a read must bring, None where the reply tells. Raises
        SilentError after `timeout_s`, DoubtError where something else came, LinkError where the
        link is gone. What is in doubt is cleared before the next request goes out.
        """
        if self._stale:
            await self._freshen()
        if self._transport is None:
            raise self._lost()
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[bytes] = loop.create_future()
        self._waiting = waiting
        asked_s = loop.time()
        self._transport.write(self._framing.request(Exchange(unit, pdu[0], reply_bytes, asked_s), pdu))
        if self.missed_in_a_row == 0:
            self._unheard_since_s = asked_s
        self._give_up_at(asked_s + timeout_s)
        try:
            reply = await waiting
        finally:
            self._waiting = None
            if self._framing.give_up():  # nothing is pending and nothing left over after a whole reply
                self._stale = True
        self.missed_in_a_row = 0
        self.reply_s = loop.time() - asked_s
        return reply

    async def settle(self) -> None:
        """Clear what is in doubt now, while there is time, instead of before the next request. Raises LinkError."""
        if self._stale:
            await self._freshen()

    async def _freshen(self) -> None:
        """Make sure that nothing sent before can be taken for a reply to come. Raises LinkError."""
        self.reopened += 1
        transport = self._transport
        if isinstance(transport, SerialPort):
            # a line cannot be cut off from what is still under way: let it pass; the adapter may be pulled meanwhile
            await asyncio.sleep(2 * self.frame_gap_s)
            transport.flush()
            self._stale = False
        else:
            await self.open()
            await asyncio.sleep(self.reopen_pause_s)

    def close(self) -> None:
        """Let go of the link. Safe twice."""
        self._stop_timer()
        transport, self._transport, self._ear = self._transport, None, None
        if transport is not None:
            transport.abort()
        self._fail(self._lost())

    def heard(self, ear: _Ear, data: bytes) -> None:
        """Bytes came in on a connection; those of an earlier connection are not ours any more."""
        if ear is not self._ear:
            return
        try:
            reply = self._framing.feed(data)
        except DoubtError as doubt:
            self._stale = True
            self._fail(doubt)
            return
        finally:
            self._learn_from_late()
        if reply is not None and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(reply)

    def _learn_from_late(self) -> None:
        for answered, pdu in self._framing.late:
            self.missed_in_a_row = 0
            took_s = asyncio.get_running_loop().time() - answered.asked_s
            self._verdict_s[answered.unit] = took_s
            if is_silent_behind_gateway(pdu):
                self.gateway_verdict_s = max(self.gateway_verdict_s, took_s)
        self._framing.late.clear()

    def ended(self, ear: _Ear) -> None:
        """A connection is gone; the end of an earlier one is no news."""
        if ear is not self._ear:
            return
        self._transport = self._ear = None
        self._fail(self._lost())

    def _give_up_at(self, deadline_s: float) -> None:
        """Whoever waits gives up then. A timer that rings before finds out that it is too early and is set on: most
        replies come at once, and none of them needs a timer of its own."""
        self._deadline_s = deadline_s
        if self._timer is None or self._timer.when() > deadline_s:
            self._stop_timer()
            self._timer = asyncio.get_running_loop().call_at(deadline_s, self._ring)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        timer, self._timer = self._timer, None
        waiting = self._waiting
        if waiting is None or waiting.done() or timer is None:
            return
        if timer.when() < self._deadline_s:
            self._give_up_at(self._deadline_s)
        else:
            self._missed(waiting)

    def _missed(self, waiting: asyncio.Future[bytes]) -> None:
        self.missed_in_a_row += 1
        # a line is given a moment of quiet; a connection on which nothing at all is heard may be dead on the other
        # side. Without a transaction id the unit's rest keeps a late reply from passing for another.
        unheard_s = asyncio.get_running_loop().time() - self._unheard_since_s
        is_deaf = self.missed_in_a_row >= _MISSED_BEFORE_REOPENING and unheard_s >= self._deaf_after_s
        if self.address.kind == "serial" or is_deaf:
            self._stale = True
        waiting.set_exception(SilentError())

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)

    def _lost(self) -> LinkError:
        return LinkError(
            "modbus.link-lost",
            f"与 {self.address.url} 的连接断开了。",
            f"the link to {self.address.url} is lost.",
            "检查网线、电源和对方是否限制连接数；网关会自动重连。",
            "check cable, power and the other side's limit on connections; the gateway connects again by itself.",
        )


def _connect_error(address: LinkAddress, error: Exception) -> LinkError:
    if isinstance(error, ConnectionRefusedError):
        return LinkError(
            "modbus.refused",
            f"{address.url} 拒绝连接。",
            f"{address.url} refused the connection.",
            "检查端口号（通常为 502），以及是否有别的程序占用了唯一的连接。",
            "check the port (usually 502), and whether another program holds the only connection.",
        )
    if isinstance(error, socket.gaierror | UnicodeError):
        return LinkError(
            "modbus.host-unknown",
            f"找不到主机 {address.host}。",
            f"host {address.host} is unknown.",
            "检查地址拼写和 DNS，或直接写 IP 地址。",
            "check the spelling and the name service, or write the IP address.",
        )
    if isinstance(error, TimeoutError):
        return LinkError(
            "modbus.no-answer",
            f"{address.url} 在 {CONNECT_TIMEOUT_S:.0f} s 内没有应答。",
            f"{address.url} did not answer within {CONNECT_TIMEOUT_S:.0f} s.",
            "检查 IP 地址、网线和防火墙。",
            "check IP address, cable and firewall.",
        )
    return LinkError(
        "modbus.unreachable",
        f"无法连接 {address.url}：{cause_of(error).zh}。",
        f"cannot reach {address.url}: {cause_of(error).en}.",
        "检查 IP 地址、网线和路由。",
        "check IP address, cable and route.",
    )
