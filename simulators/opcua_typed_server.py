"""asyncua's server over the companion specifications' types, within a make's limits, with faults."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from asyncua import Server, ua
from asyncua.common.utils import ServiceError
from asyncua.server.address_space import MethodService
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession
from asyncua.server.user_managers import User, UserRole

from simulators.opcua_nodesets import APPLICATION_URI, TypeSpace
from simulators.opcua_security import OPEN, secure
from simulators.opcua_subscriptions import NO_LIMITS, Attributes, Faults, ServerLimits, Subscriptions, View

_ANONYMOUS: Final = User(role=UserRole.Anonymous)


class _Session(InternalSession):  # type: ignore[misc]  # asyncua is not checked
    """A client's session, which may be slow to answer and remembers what it was asked for."""

    faults: Faults
    asked: set[ua.NodeId]

    async def read(self, params: ua.ReadParameters) -> list[ua.DataValue]:
        self.asked.update(node.NodeId for node in params.NodesToRead if node.AttributeId == ua.AttributeIds.Value)
        await asyncio.sleep(self.faults.answers_after_s)
        return list(await super().read(params))

    async def browse(self, params: ua.BrowseParameters) -> list[ua.BrowseResult]:
        await asyncio.sleep(self.faults.answers_after_s)
        return list(await super().browse(params))

    async def create_monitored_items(
        self, params: ua.CreateMonitoredItemsParameters
    ) -> list[ua.MonitoredItemCreateResult]:
        self.asked.update(item.ItemToMonitor.NodeId for item in params.ItemsToCreate)
        await asyncio.sleep(self.faults.answers_after_s)
        return list(await super().create_monitored_items(params))


class _CountingMethods(MethodService):  # type: ignore[misc]  # asyncua is not checked
    """Answers calls as asyncua does, and counts them."""

    calls = 0

    async def call(self, methods: list[ua.CallMethodRequest]) -> list[ua.CallMethodResult]:
        self.calls += len(methods)
        return list(await super().call(methods))


class _TypedServer(InternalServer):  # type: ignore[misc]  # asyncua is not checked
    """asyncua's server over a type space instead of its standard address space alone."""

    def __init__(self, types: TypeSpace, limits: ServerLimits, faults: Faults) -> None:
        super().__init__()
        self._types, self._limits, self._faults = types, limits, faults
        self.sessions_asked_at_s: list[float] = []
        """When clients asked for a session (monotonic)."""
        self.asked: set[ua.NodeId] = set()
        """Nodes whose value clients have read or monitored."""
        self.method_service = _CountingMethods(self.aspace)
        self.attribute_service = Attributes(self.aspace, limits)
        self.view_service = View(self.aspace, limits)
        self.subscription_service = Subscriptions(self.aspace, self, limits, faults)
        self.isession.subscription_service = self.subscription_service
        self.hidden_policies: set[str] = set()

    def create_session(self, name: str, user: User = _ANONYMOUS, external: bool = False) -> InternalSession:
        """A session, whose own answer nobody in between can change. Raises ServiceError for one too many."""
        if external:
            self.sessions_asked_at_s.append(time.monotonic())
            full = self._limits.sessions and len(self._external_sessions) >= self._limits.sessions
            if full or self._faults.refuses_sessions:
                raise ServiceError(ua.StatusCodes.BadTooManySessions)
        session = super().create_session(name, user, external)
        if external:
            session.__class__ = _Session  # asyncua offers no place to name one's own
            session.faults, session.asked = self._faults, self.asked
        session.get_endpoints = super().get_endpoints
        return session

    async def get_endpoints(
        self, params: ua.GetEndpointsParameters | None = None, sockname: tuple[str, int] | None = None
    ) -> list[ua.EndpointDescription]:
        """What discovery says: without what somebody in between has removed."""
        endpoints = await super().get_endpoints(params, sockname)
        return [e for e in endpoints if e.SecurityPolicyUri.rpartition("#")[2] not in self.hidden_policies]

    async def load_standard_address_space(self, shelf_file: Path | None = None) -> None:
        # asyncua keeps its nodes in this mapping; its own lazily loaded shelf is put here the same way
        self.aspace._nodes = self._types.nodes()


async def typed_server(
    types: TypeSpace, port: int, *, limits: ServerLimits = NO_LIMITS, faults: Faults | None = None
) -> Server:
    """A server with the types of the companion specifications on 127.0.0.1, not yet started.

    Security policy None, anonymous, until `secure` says otherwise. With port 0, `listening_port` tells
    the port once it is started.
    """
    server = Server(iserver=_TypedServer(types, limits, faults or Faults()))
    await server.init()
    await _describe(server, limits)
    await server.set_application_uri(APPLICATION_URI)
    await server.nodes.namespace_array.write_value(list(types.namespaces))
    server.set_server_name("PlantPulse simulator")
    await secure(server, OPEN, APPLICATION_URI)
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    return server


async def _describe(server: Server, limits: ServerLimits) -> None:
    """Who made the server, and, where it reports them, its limits."""
    said: dict[int, tuple[Any, Any]] = {
        ua.ObjectIds.Server_ServerStatus_BuildInfo_ManufacturerName: (limits.maker, ua.VariantType.String),
        ua.ObjectIds.Server_ServerStatus_BuildInfo_ProductName: (limits.product, ua.VariantType.String),
    }
    if limits.reports:
        base = "Server_ServerCapabilities_OperationLimits_"
        for name, limit in (
            ("MaxMonitoredItemsPerCall", limits.items_per_request),
            ("MaxNodesPerRead", limits.nodes_per_read),
            ("MaxNodesPerBrowse", limits.nodes_per_browse),
        ):
            said[getattr(ua.ObjectIds, base + name)] = (limit, ua.VariantType.UInt32)
    for node, (value, kind) in said.items():
        given = ua.DataValue(ua.Variant(value, kind))
        written = await server.iserver.aspace.write_attribute_value(ua.NodeId(node), ua.AttributeIds.Value, given)
        written.check()


def listening_port(server: Server) -> int:
    """The port of a started server, which from now on its endpoints say too."""
    port = int(server.bserver._server.sockets[0].getsockname()[1])
    for endpoint in server.iserver.endpoints:  # announced with port 0 until the socket knew better
        endpoint.EndpointUrl = f"opc.tcp://127.0.0.1:{port}"
    return port


async def stop_server(server: Server) -> None:
    """Stop a server at once: asyncua's own stop waits for the next tick of its clock."""
    clock, server.iserver.time_task = server.iserver.time_task, None
    if clock is not None:
        clock.cancel()
        await asyncio.wait({clock})
    await server.stop()


async def delete_node(server: Server, node: ua.NodeId) -> None:
    """Take a node away, leaving what refers to it: asyncua would look through the whole address space."""
    item = ua.DeleteNodesItem(NodeId=node, DeleteTargetReferences=False)
    (status,) = await server.iserver.isession.delete_nodes(ua.DeleteNodesParameters(NodesToDelete=[item]))
    status.check()
