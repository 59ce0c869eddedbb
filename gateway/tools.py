"""The tools that speak to one address: scan, read, browse. Each protocol brings its own."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collectors.entries import DeviceEntry, protocol_of
from gateway.clock import NS_PER_S, TimeLine

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
