"""Collectors from entries: one for each OPC UA server, whatever the number of entries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from collectors.base import Collector
from collectors.model import Clock
from collectors.opcua.collector import OpcuaCollector
from collectors.opcua.config import OpcuaEntry
from collectors.opcua.profile import OpcuaProfile
from collectors.opcua.session import quieten_asyncua
from collectors.profiles.loader import load


def collectors_for(
    entries: Sequence[OpcuaEntry], clock: Clock, profile_folders: Sequence[Path], state_folder: Path
) -> list[Collector]:
    """One collector per server. Opens nothing; raises FileError for a profile that cannot be used.

    `state_folder` is where a client certificate will be kept once encrypted sessions are spoken.
    """
    quieten_asyncua()
    servers: dict[str, list[tuple[OpcuaEntry, OpcuaProfile]]] = {}
    for entry in entries:
        profile = load(entry.profile, OpcuaProfile, profile_folders)
        servers.setdefault(entry.address.rstrip("/").lower(), []).append((entry, profile))
    return [OpcuaCollector(server, clock) for server in servers.values()]
