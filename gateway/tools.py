"""The tools that speak to one address: scan, read, browse. Each protocol brings its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collectors.entries import DeviceEntry
from gateway.clock import TimeLine

if TYPE_CHECKING:
    from collectors.findings import Found, ToolReading


@dataclass(frozen=True, slots=True)
class Access:
    """What a tool needs beside an address."""

    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    profile_folders: tuple[Path, ...] = ()

    def keys(self) -> dict[str, Any]:
        """The keys of an entry that are set."""
        given = {"username": self.username, "password_file": self.password_file, "ca_file": self.ca_file}
        return {name: value for name, value in given.items() if value}


async def scan(address: str, seconds: float, access: Access) -> list[Found]:
    """What answers at an address. Raises LinkError, ConfigError, FileError."""
    tools = _tools(address)
    found: list[Found] = await tools.scan(address, seconds, **_given(tools.scan, access))
    return found


async def read_once(entry: DeviceEntry, tags: Sequence[str], access: Access) -> list[ToolReading]:
    """One reading of an entry's tags, all where none is named. Raises LinkError, ConfigError, FileError."""
    tools = _tools(entry.address)
    read: list[ToolReading] = await tools.read_once(entry, tags, TimeLine(), **_given(tools.read_once, access))
    return read


async def browse(address: str, access: Access) -> list[dict[str, Any]]:
    """The nodes of an OPC UA server. Raises LinkError, ConfigError, FileError."""
    tools = _tools(address)
    nodes: list[dict[str, Any]] = await tools.browse(address, **_given(tools.browse, access))
    return nodes
