"""Who a machine says it is: the identification of DI, Machinery and the plastics and rubber machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from collectors.model import Identity
from collectors.opcua.address_space import AddressSpace, Found

_FIELDS: Final = {
    "Manufacturer": "manufacturer",
    "Model": "model",
    "SerialNumber": "serial",
    "ProductInstanceUri": "product_uri",
}
FOLDERS: Final = ("Identification", "MachineInformation")
"""Objects that hold a machine's own identification, the better first."""


def of_machine(nodes: Sequence[Found]) -> list[Found]:
    """The nodes of a machine's own identification; those of its components are no part of it."""
    for folder in FOLDERS:
        found = [n for n in nodes if len(n.path) == 2 and n.path[0] == folder]
        if found:
            return found
    return [n for n in nodes if len(n.path) == 1]


async def read(space: AddressSpace, nodes: Sequence[Found]) -> Identity:
    """Manufacturer, model, serial and product URI among these nodes; blank where one is not there or empty."""
    named = {n.name: n for n in reversed(nodes) if n.name in _FIELDS}
    values = await space.read([n.node for n in named.values()])
    said: dict[str, str] = {}
    for name, value in zip(named, values, strict=True):
        text = value.Value.Value if value.Value is not None and value.StatusCode.is_good() else None
        text = getattr(text, "Text", text)
        said[_FIELDS[name]] = str(text).strip() if text is not None else ""
    return replace(Identity(), **said)
