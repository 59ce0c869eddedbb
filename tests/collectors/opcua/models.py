"""Machines that a test builds node by node on a server of the companion specifications' types."""

from __future__ import annotations

from typing import Any, Final

from asyncua import Server, ua

from simulators.opcua_instances import Instances
from simulators.opcua_nodesets import DI, MACHINE_TOOL, MACHINERY, TypeSpace, type_space

OWN: Final = 1
WATT_HOUR, KILOWATT_HOUR, CUBIC_METRE, LITRE = 5720146, 4937544, 5067857, 5002322
_UNECE: Final = "http://www.opcfoundation.org/UA/units/un/cefact"


class Built:
    """A server's address space while a test fills it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.types: TypeSpace = type_space()
        self.instances = Instances(server.iserver.aspace, OWN)

    def machine(
        self,
        name: str,
        uri: str = MACHINE_TOOL,
        number: int = 13,
        *,
        wanted: frozenset[str] = frozenset(),
        folder: tuple[str, int] = (MACHINERY, 1001),
    ) -> str:
        """A machine of a type below `Machines` (or DI's DeviceSet); its path."""
        below = ua.NodeId(folder[1], self.types.index(folder[0]))
        type_id = ua.NodeId(number, self.types.index(uri) if uri else 0)
        self.instances.create(name, type_id, below=below, name=ua.QualifiedName(name, OWN), wanted=wanted)
        return name

    def part(
        self, path: str, uri: str, number: int, *, wanted: frozenset[str] = frozenset(), reference: int = 47
    ) -> str:
        """An object of a type below the node that the path names."""
        above, _, name = path.rpartition(".")
        type_id = ua.NodeId(number, self.types.index(uri))
        self.instances.create(
            path,
            type_id,
            below=ua.NodeId(above, OWN),
            name=ua.QualifiedName(name, OWN),
            wanted=wanted,
            reference=reference,
        )
        return path

    def folders(self, path: str) -> str:
        """Folders along a path, those that are missing."""
        parts = path.split(".")
        for length in range(2, len(parts) + 1):
            here = ".".join(parts[:length])
            if ua.NodeId(here, OWN) not in self.server.iserver.aspace:
                above = ua.NodeId(".".join(parts[: length - 1]), OWN)
                self.instances.folder(here, below=above, name=ua.QualifiedName(parts[length - 1], OWN))
        return path

    async def variable(self, path: str, value: Any, kind: ua.VariantType, unit: int | None = None) -> None:
        """A variable, its folders with it, its value, and the unit that it states."""
        above, _, name = path.rpartition(".")
        self.folders(above)
        given = None if unit is None else ua.EUInformation(_UNECE, unit, ua.LocalizedText("?"))
        self.instances.variable(
            path,
            below=ua.NodeId(above, OWN),
            name=ua.QualifiedName(name, OWN),
            data_type=kind.value,
            unit=given,
        )
        await self.say(path, value, kind)

    async def say(self, path: str, value: Any, kind: ua.VariantType) -> None:
        """Give a node a value."""
        node = self.server.get_node(ua.NodeId(path, OWN))
        await node.write_value(ua.Variant(value, kind))

    async def integer(self, path: str, value: int) -> None:
        """Give a node of an enumeration a value."""
        await self.say(path, value, ua.VariantType.Int32)

    async def flag(self, path: str, *, value: bool) -> None:
        """Give a Boolean a value."""
        await self.say(path, value, ua.VariantType.Boolean)


DEVICE_SET: Final = (DI, 5001)
