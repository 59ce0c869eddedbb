"""A Modbus TCP server for measuring clients: answers every read of registers from one prepared block, over and over.

Listens on one port of ten loopback addresses, from 127.0.0.1 on.

Runs as a process of its own (`python -m tests.benchmarks.modbus_peer`), so that its CPU is not counted;
prints its port on the first line of stdout and ends when stdin does.
"""

from __future__ import annotations

import asyncio
import struct
import sys

from tests.benchmarks.modbus_block import BLOCK

ADDRESSES = tuple(f"127.0.0.{number}" for number in range(1, 11))
_MEMORY = 10 * BLOCK
_HEADER = struct.Struct(">HHHBBHH")


class _Answers(asyncio.Protocol):
    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        while len(data) >= _HEADER.size:
            transaction, _, _, unit, function, address, count = _HEADER.unpack_from(data)
            body = _MEMORY[2 * address : 2 * (address + count)]
            head = struct.pack(">HHHBBB", transaction, 0, 3 + len(body), unit, function, len(body))
            self._transport.write(head + body)  # type: ignore[attr-defined]
            data = data[_HEADER.size :]
        self._rest = data


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Answers, ADDRESSES[0], 0)
    port = server.sockets[0].getsockname()[1]
    others = await loop.create_server(_Answers, ADDRESSES[1:], port)
    print(port, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    others.close()


if __name__ == "__main__":
    asyncio.run(_serve())
