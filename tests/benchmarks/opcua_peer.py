"""An OPC UA server whose variables all change once a period, for measuring those who read.

Runs as a process of its own (`python -m tests.benchmarks.opcua_peer VARIABLES PERIOD_S`), so that its CPU is
not counted. Prints its port once it listens; ends with stdin. Variable `v<i>` holds `round * STEP + i`, so that
a reader can tell which rounds it has missed.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import UTC, datetime

from asyncua import Server, ua

STEP = 10_000
NAMESPACE = "urn:plantpulse:benchmark"


def name(number: int) -> str:
    """The identifier of a variable."""
    return f"v{number}"


async def _serve(variables: int, period_s: float) -> None:
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    server = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(NAMESPACE)
    folder = await server.nodes.objects.add_folder(index, "load")
    nodes = [ua.NodeId(name(number), index) for number in range(variables)]
    for number, node in enumerate(nodes):
        await folder.add_variable(node, f"{index}:{name(number)}", float(number), ua.VariantType.Double)
    async with server:
        print(server.bserver._server.sockets[0].getsockname()[1], flush=True)
        changing = asyncio.create_task(_change(server, nodes, period_s))
        await asyncio.to_thread(sys.stdin.read)
        changing.cancel()


async def _change(server: Server, nodes: list[ua.NodeId], period_s: float) -> None:
    loop, due_s, turn = asyncio.get_running_loop(), asyncio.get_running_loop().time(), 0
    while True:
        turn += 1
        moment = datetime.now(UTC)
        for number, node in enumerate(nodes):
            value = ua.DataValue(ua.Variant(float(turn * STEP + number), ua.VariantType.Double), SourceTimestamp=moment)
            await server.iserver.aspace.write_attribute_value(node, ua.AttributeIds.Value, value)
            if number % 250 == 249:
                await asyncio.sleep(0)  # publishes and answers meanwhile
        due_s = max(due_s + period_s, loop.time())
        await asyncio.sleep(due_s - loop.time())


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
