"""Gateways that send a whole day at once: `python -m tests.benchmarks.county_backlog GATEWAYS DAY`.

It makes every body first and prints how many batches and records they are. A line of JSON on stdin (port and
credentials) lets it send them; when all are acknowledged it prints how long that took, and its own CPU, in s.

It shares the machine with what it measures, so its requests are bytes that were made beforehand, over plain sockets.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import uvloop

from gateway.wire import CONTENT_TYPE_MSGPACK, DeviceRef, encode, ingest_message
from metrics.record import Records, local_day_start_s
from tests.benchmarks.bench_gateway import EPOCH, START_S, plant_minutes

DEVICES: Final = 60
MINUTES: Final = 16
TURNS: Final = 1440 // MINUTES
CONNECTIONS: Final = 16
_PATTERNS: Final = 64

Request = tuple[str, bytes]
"""Gateway and body."""


def bodies(gateways: int, day: int) -> list[Request]:
    """A local day of every gateway, from its first minutes on, all gateways in turn."""
    patterns = [plant_minutes(DEVICES, MINUTES, seed) for seed in range(_PATTERNS)]
    table = [DeviceRef(f"d-{k}") for k in range(DEVICES)]
    made: list[Request] = []
    for turn in range(TURNS):
        shift_s = local_day_start_s(day) + 60 * MINUTES * turn - START_S
        shifted = [Records(**{**p.columns(), "start": p.start + shift_s}) for p in patterns]
        previous = (EPOCH, turn) if turn else None
        for g in range(gateways):
            records = shifted[(g + turn) % _PATTERNS]
            name = f"gw-{g}"
            made.append((name, encode(ingest_message(name, EPOCH, turn + 1, table, records, previous=previous))))
    return made


async def send(port: int, credentials: dict[str, str], requests: list[Request]) -> None:
    """Send them over CONNECTIONS connections, each taking the next one when its last is acknowledged."""
    heads = {
        name: (
            f"POST /api/v1/ingest HTTP/1.1\r\nhost: county\r\nauthorization: Bearer {credential}\r\n"
            f"content-type: {CONTENT_TYPE_MSGPACK}\r\ncontent-length: "
        ).encode()
        for name, credential in credentials.items()
    }
    queue = iter(requests)
    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(_connection(port, heads, queue))


async def _connection(port: int, heads: dict[str, bytes], queue: Iterator[Request]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for gateway, body in queue:
        while True:
            writer.write(b"%b%d\r\n\r\n%b" % (heads[gateway], len(body), body))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            answer = await reader.readexactly(length)
            status = head.split(b" ", 2)[1]
            if status not in (b"429", b"503"):
                break
            await asyncio.sleep(0.05)  # busy: sent again, as a gateway does
        assert status == b"200", answer
        assert json.loads(answer)["accepted"] == DEVICES * MINUTES, answer
    writer.close()
    await writer.wait_closed()


def main(gateways: int, day: int) -> None:
    """Make, wait, send, tell."""
    requests = bodies(gateways, day)
    print(json.dumps({"batches": len(requests), "records": len(requests) * DEVICES * MINUTES}), flush=True)
    hello: dict[str, Any] = json.loads(sys.stdin.readline())
    began, cpu = time.perf_counter(), time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(send(hello["port"], hello["credentials"], requests))
    told = {"acknowledged_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
