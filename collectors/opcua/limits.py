"""What a server can take: what its make is known for (`vendors.yaml`), and what it reports itself."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from asyncua import Client, ua
from pydantic import Field, RootModel

from collectors.strict_yaml import StrictModel, check, read

_FILE: Final = Path(__file__).with_name("vendors.yaml")
_LEAST_PER_REQUEST: Final = 100
"""Nodes per browse and read request where the server reports no limit: what the smallest permit."""
_SAID: Final = (
    ua.ObjectIds.Server_ServerStatus_BuildInfo_ManufacturerName,
    ua.ObjectIds.Server_ServerStatus_BuildInfo_ProductName,
    ua.ObjectIds.Server_ServerStatus_BuildInfo_ProductUri,
)
_REPORTED: Final = (
    ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
    ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse,
    ua.ObjectIds.Server_ServerCapabilities_MaxMonitoredItemsPerSubscription,
    ua.ObjectIds.Server_ServerCapabilities_MaxMonitoredItemsQueueSize,
)


class Vendor(StrictModel):
    """One entry of `vendors.yaml`; the file says what its keys mean."""

    vendor: Annotated[str, Field(min_length=1)]
    title: str
    source: str
    maker: str = ""
    product: str = ""
    items_per_request: Annotated[int, Field(ge=1)]
    most_items: Annotated[int, Field(ge=0)] = 0
    deadband: bool = True
    transfer: bool = True

    def fits(self, maker: str, product: str) -> bool:
        """Whether a server that says this of itself is of this make. An empty part matches everything."""
        return self.maker in maker.lower() and self.product in product.lower()


class _Vendors(RootModel[tuple[Vendor, ...]]):
    pass


@functools.cache
def vendors() -> tuple[Vendor, ...]:
    """The known makes, the most particular first; the last fits every server."""
    return check(read(_FILE), _Vendors).root


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for one server. A limit of 0 is none."""

    vendor: str
    items_per_request: int
    most_items: int
    deadband: bool
    transfer: bool
    nodes_per_read: int = _LEAST_PER_REQUEST
    nodes_per_browse: int = _LEAST_PER_REQUEST
    most_queued: int = 0


NO_LIMITS: Final = Limits("", 1, 0, deadband=False, transfer=False)
"""Before a server was asked."""


def limits_of(maker: str, product: str, reported: Sequence[int]) -> Limits:
    """Limits from what a server says of its make, and from the values of `_REPORTED`, 0 where it reports none."""
    make = next(vendor for vendor in vendors() if vendor.fits(maker, product))
    per_call, per_read, per_browse, per_subscription, most_queued = reported
    return Limits(
        make.vendor,
        _smaller(make.items_per_request, per_call),
        _smaller(make.most_items, per_subscription),
        make.deadband,
        make.transfer,
        _smaller(_LEAST_PER_REQUEST, per_read),
        _smaller(_LEAST_PER_REQUEST, per_browse),
        most_queued,
    )


async def limits_of_server(client: Client) -> Limits:
    """Ask a connected client's server. Raises UaError, OSError, TimeoutError."""
    nodes = [ua.NodeId(node) for node in (*_SAID, *_REPORTED)]
    given = await client.uaclient.session.read_attributes(nodes, ua.AttributeIds.Value)
    values = [v.Value.Value if v.StatusCode.is_good() and v.Value is not None else None for v in given]
    said, reported = values[: len(_SAID)], values[len(_SAID) :]
    maker, name, uri = (text if isinstance(text, str) else "" for text in said)
    return limits_of(maker, f"{name} {uri}", [limit if isinstance(limit, int) else 0 for limit in reported])


def _smaller(known: int, reported: int) -> int:
    return min((limit for limit in (known, reported) if limit > 0), default=0)
