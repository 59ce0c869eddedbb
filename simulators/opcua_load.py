"""A plain OPC UA server for load: thousands of variables below `load`, in groups, that all change once a period.

`python -m simulators.opcua_load VARIABLES PERIOD_S` runs it as a process of its own, so that its CPU is not
counted with the reader's: it prints its port once it listens, and ends with stdin. Variable `v<i>` holds
`turn * STEP + i`, so that a reader can tell which turns it has missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from asyncua import Server, ua

STEP: Final = 10_000
NAMESPACE: Final = "urn:plantpulse:benchmark"
_IN_A_GROUP: Final = 50
_AT_ONCE: Final = 250
"""So many variables are changed before others may publish and answer."""


def name(number: int) -> str:
    """The identifier of a variable."""
    return f"v{number}"


class LoadServer:
    """`variables` Doubles on 127.0.0.1 that all change every `period_s`; port 0: a free one."""

    def __init__(self, variables: int, period_s: float, *, port: int = 0) -> None:
        if not 0 < variables <= STEP:
            raise ValueError(f"variables: 1 to {STEP}, not {variables}")
        self._variables, self._period_s, self._port = variables, period_s, port
        self._server: Server | None = None
        self._changing: asyncio.Task[None] | None = None
        self.turn = 0
        """How often the variables have changed."""

    @property
    def port(self) -> int:
        """Where it listens, once started."""
        return self._port

    @property
    def address(self) -> str:
        """`opc.tcp://127.0.0.1:port`, once started."""
        return f"opc.tcp://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Make the variables and listen. Raises OSError (port taken)."""
        server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://127.0.0.1:{self._port}")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await server.register_namespace(NAMESPACE)
        folder = await server.nodes.objects.add_folder(index, "load")
        nodes = [ua.NodeId(name(number), index) for number in range(self._variables)]
        group = folder
        for number, node in enumerate(nodes):
            if number % _IN_A_GROUP == 0:  # asyncua looks through all children of a node before it adds one
                group = await folder.add_folder(index, f"group{number // _IN_A_GROUP}")
            await group.add_variable(node, f"{index}:{name(number)}", float(number), ua.VariantType.Double)
        await server.start()
        self._server = server
        self._port = int(server.bserver._server.sockets[0].getsockname()[1])
        self._changing = asyncio.create_task(self._change(server, nodes), name="opcua load")

    async def stop(self) -> None:
        """Safe twice."""
        changing, self._changing = self._changing, None
        if changing is not None:
            changing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await changing
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    async def _change(self, server: Server, nodes: list[ua.NodeId]) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            self.turn += 1
            moment = datetime.now(UTC)
            for number, node in enumerate(nodes):
                held = ua.Variant(float(self.turn * STEP + number), ua.VariantType.Double)
                value = ua.DataValue(held, SourceTimestamp=moment)
                await server.iserver.aspace.write_attribute_value(node, ua.AttributeIds.Value, value)
                if number % _AT_ONCE == _AT_ONCE - 1:
                    await asyncio.sleep(0)
            due_s = max(due_s + self._period_s, loop.time())
            await asyncio.sleep(due_s - loop.time())


async def _serve(variables: int, period_s: float) -> None:
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    load = LoadServer(variables, period_s)
    await load.start()
    sys.stdout.write(f"{load.port}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await load.stop()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
