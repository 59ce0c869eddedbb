"""Collectors from entries: one for each OPC UA server, whatever the number of entries.

asyncua is imported after the profiles are read: what reading them took, it takes again, and not on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from collectors.base import Collector
from collectors.model import Clock, ConfigError
from collectors.opcua.config import OpcuaEntry
from collectors.opcua.profile import OpcuaProfile
from collectors.opcua.security.approvals import endpoint_of
from collectors.profiles.loader import load

if TYPE_CHECKING:
    from collectors.opcua.security.opening import Access

_OF_THE_SESSION = ("security", "security_mode", "username", "password_file", "cert_file", "key_file")


def collectors_for(
    entries: Sequence[OpcuaEntry],
    clock: Clock,
    profile_folders: Sequence[Path],
    state_folder: Path,
    *,
    looking: bool = False,
) -> list[Collector]:
    """One collector per server. Opens nothing; raises FileError for a profile that cannot be used,
    ConfigError for entries of one server that contradict one another.

    `state_folder` keeps the gateway's own certificate and the approved ones; `looking`: for a person's
    tool, which goes without encryption where nothing else is open to it.
    """
    servers: dict[str, list[tuple[OpcuaEntry, OpcuaProfile]]] = {}
    for entry in entries:
        profile = load(entry.profile, OpcuaProfile, profile_folders)
        servers.setdefault(endpoint_of(entry.address), []).append((entry, profile))
    from collectors.opcua.collector import OpcuaCollector
    from collectors.opcua.session import quieten_asyncua

    quieten_asyncua()
    return [
        OpcuaCollector(server, clock, access=access_to([e for e, _ in server], state_folder, looking=looking))
        for server in servers.values()
    ]


def access_to(entries: Sequence[OpcuaEntry], state_folder: Path, *, looking: bool = False) -> Access:
    """How sessions with the server of these entries are opened. Raises ConfigError where they differ."""
    first = entries[0]
    for other in entries[1:]:
        for key in _OF_THE_SESSION:
            if getattr(other, key) != getattr(first, key):
                raise ConfigError(
                    "opcua.server-ambiguous",
                    f"条目 {first.id} 和 {other.id} 用同一服务器 {first.address}，但 {key} 不同。",
                    f"entries {first.id} and {other.id} share the server {first.address} but differ in {key}.",
                    "请写成一致：同一服务器只用一个会话。",
                    "Make them equal: one server has one session.",
                )
    from collectors.opcua.security.login import Login
    from collectors.opcua.security.opening import Access

    login = Login(first.username, first.password_file, first.cert_file, first.key_file)
    return Access(first.security, first.security_mode, login, state_folder, looking)
