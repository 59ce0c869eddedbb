"""The tools that speak to one address: scan, read, browse. Each protocol brings its own."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from collectors.entries import DeviceEntry, protocol_of
from collectors.model import ConfigError, Trouble
from gateway.clock import NS_PER_S, TimeLine
from gateway.config import DEFAULT_DATA_DIR

if TYPE_CHECKING:
    from collectors.findings import Found, ToolReading


_LOGIN: Final = ("username", "password_file", "ca_file", "cert_file", "key_file")


@dataclass(frozen=True, slots=True)
class Access:
    """What a tool needs beside an address."""

    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    profile_folders: tuple[Path, ...] = ()
    cert_file: Path | None = None
    key_file: Path | None = None
    data_dir: Path = DEFAULT_DATA_DIR
    """The gateway's data folder: its own certificate, and those that were approved."""
    say: Callable[[Trouble], None] = lambda trouble: None
    """Told what a person should know beside the answer."""

    def given(self) -> dict[str, Any]:
        """The keys of an entry that are set."""
        return {name: value for name in _LOGIN if (value := getattr(self, name))}


async def scan(address: str, seconds: float, access: Access) -> list[Found]:
    """What answers at an address. Raises LinkError, ConfigError, FileError."""
    tool = _tool(address, "scan")
    found: list[Found] = await tool(address, seconds, **_arguments(tool, address, access))
    return found


async def read_once(entry: DeviceEntry, tags: Sequence[str], access: Access) -> list[ToolReading]:
    """One reading of an entry's tags, all where none is named. Raises LinkError, ConfigError, FileError."""
    tool = _tool(entry.address, "read_once")
    # the entry carries the login
    readings: list[ToolReading] = await tool(entry, tags, **_surroundings(tool, entry.address, access))
    return readings


async def browse(address: str, access: Access, *, below: str, most: int) -> list[dict[str, Any]]:
    """The nodes of an OPC UA server, `below` a path, at most so many. Raises LinkError, ConfigError."""
    tool = _tool(address, "browse")
    nodes = await tool(address, **_arguments(tool, address, access), below=below, most=most)
    shown: list[dict[str, Any]] = msgspec.to_builtins(nodes)
    return shown


def found_json(found: Found) -> dict[str, Any]:
    """One device as `scan --json` shows it."""
    answer: dict[str, Any] = {"address": found.address}
    if found.unit is not None:
        answer["unit"] = found.unit
    if found.name:
        answer["name"] = found.name
    identity = found.identity
    return answer | {
        "class": found.device_class,
        "profile": found.profile,
        "identity": {"manufacturer": identity.manufacturer, "model": identity.model, "serial": identity.serial},
        "evidence": found.evidence.value,
    }


def reading_json(reading: ToolReading) -> dict[str, Any]:
    """One value as `read --json` shows it. Times are RFC 3339 in UTC, null where there is none."""
    return {
        "tag": reading.tag,
        "value": reading.value,
        "unit": reading.unit,
        "quality": reading.quality.name.lower(),
        "source_time": _time(reading.source_ns),
        "received_time": _time(reading.received_ns),
    }


def _time(at_ns: int) -> str | None:
    if at_ns == 0:
        return None
    seconds, ns = divmod(at_ns, NS_PER_S)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=ns // 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _tool(address: str, name: str) -> Callable[..., Any]:
    protocol = protocol_of(address)
    tool: Callable[..., Any] | None = getattr(importlib.import_module(f"collectors.{protocol}.tools"), name, None)
    if tool is None:
        raise ConfigError(
            "gateway.no-such-tool", f"{protocol} 没有 {name} 这个功能。", f"there is no {name} for {protocol}."
        )
    return tool


def _surroundings(tool: Callable[..., Any], address: str, access: Access) -> dict[str, Any]:
    """What a protocol's tool takes of what every tool can have."""
    known = {
        "clock": TimeLine(),
        "profile_folders": access.profile_folders,
        "state_folder": access.data_dir / protocol_of(address),
        "say": access.say,
    }
    return {name: value for name, value in known.items() if name in inspect.signature(tool).parameters}


def _arguments(tool: Callable[..., Any], address: str, access: Access) -> dict[str, Any]:
    """What a protocol's tool takes of what is known. Raises ConfigError for a login that it does not take."""
    taken = inspect.signature(tool).parameters
    refused = [name for name in access.given() if name not in taken]
    if refused:
        raise ConfigError(
            "gateway.login-not-taken",
            f"这个协议的此功能不使用 {', '.join(refused)}。",
            f"this tool does not take {', '.join(refused)} for this protocol.",
        )
    return access.given() | _surroundings(tool, address, access)
