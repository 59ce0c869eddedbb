"""Simulated machines on an OPC UA server: instances of the companion specifications' own types.

A CNC machine is a MachineToolType below `Machines`, a robot a MotionDeviceSystemType in `DeviceSet`;
several machines may share one server. Values carry the source timestamp of the machine's own moment
and change only when they do, as a reporting-by-exception server's do.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from asyncua import Server, ua
from asyncua.common.callback import CallbackType

from simulators.ledger import Ledger
from simulators.opcua_faces import CncFace, Face, RobotFace
from simulators.opcua_instances import Instances
from simulators.opcua_moulding_face import MouldingFace
from simulators.opcua_nodesets import APPLICATION_URI, TypeSpace, type_space
from simulators.opcua_security import OPEN, Security, secure
from simulators.opcua_subscriptions import NO_LIMITS, Faults, ServerLimits, Subscriptions
from simulators.opcua_typed_server import delete_node, listening_port, stop_server, typed_server
from simulators.physics import Machine

_FACES: Final[dict[str, Callable[[Machine, Instances, TypeSpace], Face]]] = {
    "cnc": CncFace,
    "robot": RobotFace,
    "moulding": MouldingFace,
}
_OWN_NAMESPACE: Final = 1
_UNPLUGGED: Final = ua.StatusCode(ua.StatusCodes.BadNoCommunication)


class OpcuaMachines:
    """Machines on one OPC UA server.

    Parameters: `machines` of kind cnc, robot or moulding, `ledger` of what is served (kWh, pieces), `port`
    (0: a free one), `period_s` between updates, `vendor_namespaces` registered before the companion
    specifications' (so that indices differ from server to server, as they do in the field), `now_s`
    the machines' clock (s UTC), `security` of the server (by default policy None, anonymous), `limits`
    that it enforces. Raises ValueError for another kind; `start` raises NodesetsMissingError and OSError
    (port taken).
    """

    def __init__(
        self,
        machines: Sequence[Machine],
        ledger: Ledger,
        *,
        port: int = 0,
        period_s: float = 1.0,
        vendor_namespaces: Sequence[str] = (),
        now_s: Callable[[], float] = time.time,
        security: Security = OPEN,
        limits: ServerLimits = NO_LIMITS,
    ) -> None:
        for machine in machines:
            if machine.kind not in _FACES:
                raise ValueError(f"{machine.id}: kind {machine.kind!r} 没有 OPC UA 形式 / has no OPC UA face")
        self._machines = list(machines)
        self._ledger = ledger
        self._port = port
        self._period_s = period_s
        self._vendor_namespaces = tuple(vendor_namespaces)
        self._now_s = now_s
        self._security = security
        self.fingerprint = ""
        """SHA-256 of the server's certificate, once started; blank where nothing is encrypted."""
        self._limits = limits
        self.faults = Faults()
        """Switches that may be thrown at any time."""
        self._server: Server | None = None
        self._updates: asyncio.Task[None] | None = None
        self._faces: dict[str, Face] = {}
        self._shown: dict[str, dict[ua.NodeId, ua.Variant]] = {}
        self._unplugged: set[str] = set()
        self._writes = 0

    @property
    def address(self) -> str:
        """`opc.tcp://127.0.0.1:port`, once started."""
        return f"opc.tcp://127.0.0.1:{self._port}"

    @property
    def orders(self) -> int:
        """Writes and method calls that clients have sent: a collector sends none."""
        calls = self._server.iserver.method_service.calls if self._server is not None else 0
        return self._writes + int(calls)

    @property
    def asked(self) -> set[str]:
        """Paths of this server's own nodes whose value clients have read or monitored since the start."""
        nodes = self._server.iserver.asked if self._server is not None else ()
        return {str(node.Identifier) for node in nodes if node.NamespaceIndex == _OWN_NAMESPACE}

    @property
    def sessions(self) -> int:
        """Sessions that clients hold at present."""
        return len(self._server.iserver._external_sessions) if self._server is not None else 0

    @property
    def logins(self) -> list[str]:
        """The users who have sent a password, right or wrong, in order."""
        manager = self._server.iserver.user_manager if self._server is not None else None
        return list(getattr(manager, "names", ()))

    @property
    def endpoints(self) -> list[ua.EndpointDescription]:
        """What the server offers, open to changes."""
        return list(self._server.iserver.endpoints) if self._server is not None else []

    def hide_from_discovery(self, policy: str) -> None:
        """Take a policy (`Aes256_Sha256_RsaPss`) out of the unauthenticated answer to GetEndpoints, as an
        attacker in between would who wants a weaker one to be used."""
        if self._server is not None:
            self._server.iserver.hidden_policies.add(policy)

    @property
    def sessions_asked_at_s(self) -> list[float]:
        """When clients asked for a session (monotonic), since the start."""
        return list(self._server.iserver.sessions_asked_at_s) if self._server is not None else []

    @property
    def subscriptions(self) -> Subscriptions:
        """The subscription service of the running server. Raises RuntimeError before the start."""
        if self._server is None:
            raise RuntimeError("the server is not running")
        service: Subscriptions = self._server.iserver.subscription_service
        return service

    async def expire_sessions(self) -> None:
        """Forget every session, with its subscriptions, as after a long absence of its client."""
        if self._server is not None:
            for session in list(self._server.iserver._external_sessions.values()):
                await session.close_session(True)

    def forget_sessions(self) -> None:
        """Forget every session and keep the subscriptions: only a transfer brings them back."""
        if self._server is not None:
            for session in self._server.iserver._external_sessions.values():
                session._timeout_task.cancel()
            self._server.iserver._external_sessions.clear()

    async def delete_node(self, machine_id: str, name: str) -> None:
        """Take a machine's live nodes of that browse name away. Raises KeyError."""
        if self._server is None:
            return
        face = self._faces[machine_id]
        for path, node in list(face.live.items()):
            if path.rpartition(".")[2] == name:
                del face.live[path]
                await delete_node(self._server, node)

    async def start(self) -> None:
        """Build the address space, serve every machine's present values, listen."""
        types = await asyncio.to_thread(type_space, self._vendor_namespaces)
        server = await typed_server(types, self._port, limits=self._limits, faults=self.faults)
        self.fingerprint = await secure(server, self._security, APPLICATION_URI)
        server.subscribe_server_callback(CallbackType.PreWrite, self._count_write)
        instances = Instances(server.iserver.aspace, _OWN_NAMESPACE)
        self._faces = {m.id: _FACES[m.kind](m, instances, types) for m in self._machines}
        self._shown = {machine_id: {} for machine_id in self._faces}
        self._server = server
        at_s = self._now_s()
        for machine_id, face in self._faces.items():
            await self._write(face.constants, ua.StatusCode(), at_s)
            await self._serve(machine_id, at_s)
        await server.start()
        self._port = listening_port(server)
        self._updates = asyncio.create_task(self._update(), name=f"opcua simulator {self._port}")

    async def stop(self) -> None:
        """Close every connection and the socket. Safe twice, and after a failed start."""
        updates, self._updates = self._updates, None
        if updates is not None:
            updates.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await updates
        server, self._server = self._server, None
        if server is not None:
            await stop_server(server)

    async def restart(self, vendor_namespaces: Sequence[str] | None = None) -> None:
        """Stop and start on the same port, other `vendor_namespaces` before the others where they are given."""
        await self.stop()
        if vendor_namespaces:
            self._vendor_namespaces = tuple(vendor_namespaces)
        await self.start()

    def machine(self, machine_id: str) -> Machine:
        """One of its machines. Raises KeyError."""
        return {m.id: m for m in self._machines}[machine_id]

    async def unplug(self, machine_id: str) -> None:
        """Cut one machine off its server: its live nodes turn BadNoCommunication. Raises KeyError."""
        face = self._faces[machine_id]
        if machine_id in self._unplugged:
            return
        self._unplugged.add(machine_id)
        at_s = self._now_s()
        nothing = ua.Variant(None, ua.VariantType.Null)
        await self._write(dict.fromkeys(face.live.values(), nothing), _UNPLUGGED, at_s)
        self._shown[machine_id].clear()

    async def plug(self, machine_id: str) -> None:
        """Bring it back with its present values. Raises KeyError."""
        if machine_id not in self._faces:
            raise KeyError(machine_id)
        if machine_id not in self._unplugged:
            return
        self._unplugged.discard(machine_id)
        at_s = self._now_s()
        await self._serve(machine_id, at_s)

    async def spoil(self, machine_id: str, name: str, status: int) -> None:
        """Give a machine's live nodes of that browse name a status (OPC 10000-4, 7.39) until their value changes.

        A bad status takes the value away; an uncertain one leaves it. Raises KeyError.
        """
        face = self._faces[machine_id]
        nothing = ua.Variant(None, ua.VariantType.Null)
        at_s = self._now_s()
        for path, node in face.live.items():
            if path.rpartition(".")[2] == name:
                bad = ua.StatusCode(status).is_bad()
                value = nothing if bad else self._shown[machine_id][node]
                await self._write({node: value}, ua.StatusCode(status), at_s)

    def _count_write(self, event: Any, dispatcher: Any) -> None:
        self._writes += int(event.is_external) * len(event.request_params.NodesToWrite)

    async def _update(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            await self.serve()

    async def serve(self) -> None:
        """Bring every machine to the present and write what changed, now instead of at the next period."""
        at_s = self._now_s()
        for machine_id in self._faces:
            await self._serve(machine_id, at_s)

    async def _serve(self, machine_id: str, at_s: float) -> None:
        """Advance a machine, unplugged or not, and write what of it changed."""
        face, shown = self._faces[machine_id], self._shown[machine_id]
        face.machine.advance(at_s)
        if machine_id in self._unplugged:
            return
        changed = {node: variant for node, variant in face.values().items() if shown.get(node) != variant}
        if not changed:
            return
        shown.update(changed)
        served = face.served()
        self._ledger.served(machine_id, at_s, state=served.state, quantity=served.quantity_kwh, parts=served.parts)
        await self._write(changed, ua.StatusCode(), at_s)

    async def _write(self, values: dict[ua.NodeId, ua.Variant], status: ua.StatusCode, at_s: float) -> None:
        if self._server is None:
            return
        moment = datetime.fromtimestamp(at_s + self.faults.clock_ahead_s, UTC)
        for node, variant in values.items():
            value = ua.DataValue(variant, status, SourceTimestamp=moment, ServerTimestamp=moment)
            written = await self._server.iserver.aspace.write_attribute_value(node, ua.AttributeIds.Value, value)
            if not written.is_good():
                raise ValueError(f"{node.Identifier}: {written.name}")
