"""The link on real sockets and lines: half-open connections, pulled adapters, what people are told."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from collectors.modbus.address import parse_address
from collectors.modbus.framing import DoubtError
from collectors.modbus.link import Link, SilentError
from collectors.model import ConfigError, LinkError
from simulators.ledger import Ledger
from tests.collectors.modbus.plants import hurried_collector, station

READ = bytes.fromhex("03 0001 0001")


async def test_a_connection_that_died_on_the_other_side_is_opened_afresh() -> None:
    """Packets vanish without a reset: requests go unanswered although the device is there."""
    deaf: list[asyncio.StreamWriter] = []
    taken = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        taken += 1
        deaf.append(writer)
        while request := await reader.read(12):
            if taken > 1:
                writer.write(request[:4] + bytes.fromhex("0005") + request[6:7] + bytes.fromhex("03 02 1234"))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link = Link(parse_address(f"modbus-tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"), deaf_after_s=0.07)
    try:
        await link.open()
        for _ in range(3):
            with pytest.raises(SilentError):
                await link.ask(1, READ, 2, 0.03)
        assert await link.ask(1, READ, 2, 1.0) == bytes.fromhex("03 02 1234")
        assert taken == 2
        assert link.reopened == 1
    finally:
        link.close()
        server.close()
        for writer in deaf:
            writer.close()
        await server.wait_closed()


async def test_a_serial_adapter_that_was_pulled_works_again_once_it_is_back(tmp_path: Path) -> None:
    port = tmp_path / "usb-adapter"

    async def plugged() -> Callable[[], Awaitable[None]]:
        line = station(("moulding-1",), Ledger(), framing="serial")
        await line.start()
        port.unlink(missing_ok=True)
        port.symlink_to(line.address.removeprefix("modbus-rtu://").partition("?")[0])
        return line.stop

    pull = await plugged()
    reader = hurried_collector(f"modbus-rtu://{port}?baudrate=9600&parity=N&stop_bits=1", ("moulding-1",), 300)
    try:
        await reader.connect()
        await _until_samples(reader.read)
        await pull()
        with pytest.raises(LinkError):
            await _until_samples(reader.read, 1000)
        await reader.close()
        with pytest.raises(LinkError) as missing:
            await reader.connect()
        assert missing.value.code == "modbus.port-missing"
        await reader.close()
        pull = await plugged()
        await reader.connect()
        await _until_samples(reader.read)
    finally:
        await reader.close()
        await pull()


async def _until_samples(read: Callable[[], Awaitable[object]], batches: int = 2) -> None:
    async with asyncio.timeout(5):
        while batches:
            batches -= bool(getattr(await read(), "samples", ()))


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("modbus-tcp://no-such-host:502", "modbus.host-unknown"),
        ("modbus-tcp://two..dots:502", "modbus.host-unknown"),
        ("modbus-rtu:///dev/no-such-port", "modbus.port-missing"),
        ("modbus-rtu:///dev/null", "modbus.port-missing"),
    ],
)
async def test_what_cannot_be_opened_is_said_with_the_next_step(
    address: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    link = Link(parse_address(address))
    with pytest.raises((LinkError, ConfigError)) as failure:
        await link.open()
    link.close()
    assert failure.value.code == code
    assert failure.value.next_zh
    assert failure.value.next_en


async def test_a_link_that_was_never_opened_or_is_closed_is_lost() -> None:
    link = Link(parse_address("modbus-tcp://127.0.0.1:502"))
    link.close()
    with pytest.raises(LinkError) as failure:
        await link.ask(1, READ, 2, 1.0)
    assert failure.value.code == "modbus.link-lost"


async def test_closing_while_a_request_waits_ends_the_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        link = Link(parse_address(f"modbus-tcp://127.0.0.1:{silent.getsockname()[1]}"))
        await link.open()
        asking = asyncio.ensure_future(link.ask(1, READ, 2, 30.0))
        await asyncio.sleep(0)
        link.close()
        with pytest.raises(LinkError):
            await asking


def test_frames_on_a_line_are_parted_by_three_and_a_half_characters() -> None:
    def gap_ms(address: str) -> float:
        return Link(parse_address(address)).frame_gap_s * 1000

    assert gap_ms("modbus-tcp://192.0.2.1") == 0
    assert gap_ms("modbus-rtu:///dev/ttyUSB0?baudrate=9600") == pytest.approx(4.01, abs=0.01)
    assert gap_ms("modbus-rtu:///dev/ttyUSB0?baudrate=115200") == 1.75


async def test_an_adapter_pulled_while_a_doubtful_line_quietens_is_a_lost_link() -> None:
    line = station(("moulding-1",), Ledger(), framing="serial")
    await line.start()
    line.mangle = lambda frame: [b"\x55" + frame]
    link = Link(parse_address(line.address))
    try:
        await link.open()
        with pytest.raises(DoubtError):
            await link.ask(1, READ, 2, 1.0)
        asking = asyncio.ensure_future(link.ask(1, READ, 2, 1.0))
        await asyncio.sleep(0)
        await line.stop()
        with pytest.raises(LinkError):
            await asking
    finally:
        link.close()
        await line.stop()
