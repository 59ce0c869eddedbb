"""What the person at the cabinet asks of an OPC UA server: who is there, its values now, its nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from asyncua import ua

from collectors.findings import Found, ToolReading
from collectors.model import Clock, ConfigError, Device, Quality, Role
from collectors.opcua.address_space import AddressSpace
from collectors.opcua.collector import OpcuaCollector, device_names, evidence_of
from collectors.opcua.config import OpcuaEntry
from collectors.opcua.profile import OpcuaProfile
from collectors.opcua.recognise import machines
from collectors.opcua.session import Session, quieten_asyncua, wrapped
from collectors.profiles.loader import load
from metrics.record import MachineState

_PROFILE_OF_CLASS = {"cnc": "opcua-machinetool", "robot": "opcua-robotics"}
_SETTLED_S = 1.5


@dataclass(frozen=True, slots=True)
class Browsed:
    """One node as `browse` shows it."""

    path: str
    node: str
    """`nsu=URI;s=…`: how a profile names it."""
    node_class: str
    data_type: str
    """Name of a built-in data type; blank for objects and types of a companion specification."""


async def scan(address: str, seconds: float) -> list[Found]:
    """Every machine that a server shows. Raises LinkError, ConfigError."""
    async with _space(address, seconds) as space:
        shown = await machines(space)
    names = device_names(shown)
    return [
        Found(
            address,
            machine.device_class,
            evidence_of(machine.identity),
            machine.identity,
            _PROFILE_OF_CLASS.get(machine.device_class, "opcua-machinery"),
            name=name if len(shown) > 1 else "",
        )
        for machine, name in zip(shown, names, strict=True)
    ]


async def read_once(
    entry: OpcuaEntry, tags: Sequence[str], clock: Clock, profile_folders: Sequence[Path] = (), *, seconds: float = 10.0
) -> list[ToolReading]:
    """The present value of each tag, or of those named. Where an entry holds several machines, a tag
    is `name/tag`, and `tag` alone means that of every machine. Raises LinkError, ConfigError for a tag
    that is not there, FileError.
    """
    quieten_asyncua()
    collector = OpcuaCollector([(entry, load(entry.profile, OpcuaProfile, profile_folders))], clock)
    latest: dict[tuple[str, int], ToolReading] = {}
    try:
        async with asyncio.timeout(seconds):
            await collector.connect()
        devices = {device.id: device for device in collector.devices}
        _check_known(tags, entry.id, devices.values())
        expected = sum(len(device.tags) for device in devices.values())
        try:
            async with asyncio.timeout(_SETTLED_S):
                while len(latest) < expected:
                    for device_id, samples in (await collector.read()).samples:
                        device = devices[device_id]
                        prefix = _prefix(device_id, entry.id)
                        for row in range(len(samples)):
                            tag = device.tags[samples.tag[row]]
                            quality = Quality(int(samples.quality[row]))
                            value: float | str | None = float(samples.value[row])
                            if quality is Quality.BAD:
                                value = None
                            elif tag.role is Role.STATE:
                                value = MachineState(int(samples.value[row])).name.lower()
                            latest[device_id, int(samples.tag[row])] = ToolReading(
                                prefix + tag.name,
                                value,
                                tag.unit,
                                quality,
                                int(samples.source_ns[row]),
                                int(samples.received_ns[row]),
                            )
        except TimeoutError:
            pass  # what has not come by now is not given: the rest is shown
    finally:
        await collector.close()
    wanted = set(tags)
    readings = [latest[key] for key in sorted(latest)]
    return [r for r in readings if not wanted or r.tag in wanted or r.tag.rpartition("/")[2] in wanted]


def _prefix(device_id: str, entry_id: str) -> str:
    return "" if device_id == entry_id else device_id.removeprefix(f"{entry_id}/") + "/"


def _check_known(tags: Sequence[str], entry_id: str, devices: Iterable[Device]) -> None:
    known = [_prefix(device.id, entry_id) + tag.name for device in devices for tag in device.tags]
    unknown = [tag for tag in tags if tag not in known and tag not in {name.rpartition("/")[2] for name in known}]
    if unknown:
        raise ConfigError(
            "opcua.tag-unknown",
            f"没有点 {', '.join(unknown)}。可用：{', '.join(known)}。",
            f"no tag {', '.join(unknown)}; there are: {', '.join(known)}.",
        )


async def browse(address: str, *, seconds: float = 20.0, most: int = 2_000) -> list[Browsed]:
    """Objects and variables below Objects, nearest first, without programs, tools, jobs and recipes.

    Raises LinkError, ConfigError.
    """
    async with _space(address, seconds) as space:
        found = [
            node
            for node in await space.below(ua.NodeId(ua.ObjectIds.ObjectsFolder), most=most)
            if node.path[0] != "Server"
        ]
        variables = [node for node in found if node.node_class == ua.NodeClass.Variable]
        types = await space.read([node.node for node in variables], ua.AttributeIds.DataType)
    data_types = {
        node.node: _built_in(value.Value.Value if value.Value is not None else None)
        for node, value in zip(variables, types, strict=True)
    }
    return [
        Browsed(
            "/".join(node.path),
            space.text_of(node.node),
            ua.NodeClass(node.node_class).name,
            data_types.get(node.node, ""),
        )
        for node in found
    ]


@asynccontextmanager
async def _space(address: str, seconds: float) -> AsyncIterator[AddressSpace]:
    quieten_asyncua()
    session = Session(address, lambda error: None)
    try:
        async with asyncio.timeout(seconds):
            await session.connect()
            with wrapped(address):
                yield await AddressSpace.of(session.client)
    except TimeoutError as error:
        with wrapped(address):
            raise error
    finally:
        await session.close()


def _built_in(data_type: ua.NodeId | None) -> str:
    if data_type is None or data_type.NamespaceIndex or not isinstance(data_type.Identifier, int):
        return ""
    try:
        return str(ua.VariantType(data_type.Identifier).name)
    except ValueError:
        return ""
