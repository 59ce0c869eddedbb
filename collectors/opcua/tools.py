"""What the person at the cabinet asks of an OPC UA server: who is there, its values now, its nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asyncua import ua

from collectors.findings import Found, ToolReading
from collectors.model import Clock, ConfigError, Quality, Trouble
from collectors.opcua.address_space import AddressSpace
from collectors.opcua.config import BEST, OpcuaEntry
from collectors.opcua.device_names import DeviceNames, device_names
from collectors.opcua.devices import evidence_of, recognise
from collectors.opcua.factory import access_to
from collectors.opcua.profile import OpcuaProfile
from collectors.opcua.recognition.find import machines
from collectors.opcua.recognition.machine import Machine
from collectors.opcua.security.login import Login
from collectors.opcua.security.opening import Access
from collectors.opcua.session import Session, quieten_asyncua, wrapped
from collectors.opcua.values import reading, source_ns_of
from collectors.profiles.loader import load

Say = Callable[[Trouble], None]
"""Told what the person at the cabinet should know beside the answer: that nothing was encrypted, that a
certificate ends soon."""

MOST_BROWSED: Final = 2_000
_NOT_SHOWN: Final = (ua.NodeId(ua.ObjectIds.Server),)
"""What every server says of itself: hundreds of nodes before the machine's first."""

_PROFILE_OF_CLASS = {"cnc": "opcua-machinetool", "robot": "opcua-robotics", "injection-moulding": "opcua-imm2mes"}


@dataclass(frozen=True, slots=True)
class Browsed:
    """One node as `browse` shows it."""

    path: str
    node: str
    """`nsu=URI;s=…`: how a profile names it."""
    node_class: str
    data_type: str
    """Name of a built-in data type; blank for objects and types of a companion specification."""


async def scan(
    address: str,
    seconds: float,
    clock: Clock,
    state_folder: Path,
    say: Say,
    *,
    username: str = "",
    password_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
) -> list[Found]:
    """Every machine that a server shows. Raises LinkError, ConfigError.

    Takes the best security that the server offers; without encryption only where nothing else is open
    and nobody logs in, and then says so.
    """
    login = Login(username, password_file, cert_file, key_file)
    async with _space(address, seconds, _looking(state_folder, login), clock, say) as space:
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
    entry: OpcuaEntry,
    tags: Sequence[str],
    clock: Clock,
    state_folder: Path,
    say: Say,
    profile_folders: Sequence[Path] = (),
    *,
    seconds: float = 10.0,
) -> list[ToolReading]:
    """The present value of each tag, or of those named. Where an entry holds several machines, a tag
    is `name/tag`, and `tag` alone means that of every machine. Raises LinkError, ConfigError for a tag
    that is not there, FileError.
    """
    profile = load(entry.profile, OpcuaProfile, profile_folders)
    readings: list[ToolReading] = []
    access = access_to([entry], state_folder, looking=True)
    async with _space(entry.address, seconds, access, clock, say) as space:
        (recognised,) = await recognise(space, [(entry, profile)])
        names = DeviceNames(state_folder)
        for device_id, machine in zip(names.ids(entry.id, recognised.machines), recognised.machines, strict=True):
            prefix = "" if device_id == entry.id else device_id.removeprefix(f"{entry.id}/") + "/"
            values = await space.read([item.node for item in machine.items])
            readings.extend(_readings(prefix, machine, values, clock()))
    known = [r.tag for r in readings]
    unknown = [tag for tag in tags if tag not in known and tag not in {name.rpartition("/")[2] for name in known}]
    if unknown:
        raise ConfigError(
            "opcua.tag-unknown",
            f"没有点 {', '.join(unknown)}。可用：{', '.join(known)}。",
            f"no tag {', '.join(unknown)}; there are: {', '.join(known)}.",
        )
    return [r for r in readings if not tags or r.tag in tags or r.tag.rpartition("/")[2] in tags]


def _readings(prefix: str, machine: Machine, values: Sequence[ua.DataValue], received_ns: int) -> Iterator[ToolReading]:
    given = [
        (item, *reading(value, item.convert), source_ns_of(value))
        for item, value in zip(machine.items, values, strict=True)
    ]
    inputs = [row for row in given if row[0].slot is not None]
    if machine.derive is not None:
        state = machine.derive([None if quality is Quality.BAD else number for _, number, quality, _ in inputs])
        worst = max((quality for *_, quality, _ in inputs if quality is not Quality.BAD), default=Quality.GOOD)
        yield ToolReading(
            prefix + machine.tags[0].name,
            None if state is None else state.name.lower(),
            "",
            Quality.BAD if state is None else worst,
            max(source_ns for *_, source_ns in inputs),
            received_ns,
        )
    for item, number, quality, source_ns in given:
        if item.tag is not None:
            tag = machine.tags[item.tag]
            value = None if quality is Quality.BAD else number
            yield ToolReading(prefix + tag.name, value, tag.unit, quality, source_ns, received_ns)


async def browse(
    address: str,
    clock: Clock,
    state_folder: Path,
    say: Say,
    *,
    username: str = "",
    password_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
    below: str = "",
    seconds: float = 20.0,
    most: int = MOST_BROWSED,
) -> list[Browsed]:
    """Objects and variables below Objects, nearest first, without programs, tools, jobs and recipes.

    `below`: a path of browse names to begin at. At most `most` are shown; `say` is told where there are
    more. Takes the best security offered, as `scan` does. Raises LinkError, ConfigError for a path that is
    not there.
    """
    login = Login(username, password_file, cert_file, key_file)
    async with _space(address, seconds, _looking(state_folder, login), clock, say) as space:
        root = await space.at(below) if below else ua.NodeId(ua.ObjectIds.ObjectsFolder)
        if root is None:
            raise _no_such_path(below)
        found = await space.below(root, most=most + 1, without=_NOT_SHOWN)
        if len(found) > most:
            say(_more(address, most))
            del found[most:]
        variables = [node for node in found if node.node_class == ua.NodeClass.Variable]
        types = await space.read([node.node for node in variables], ua.AttributeIds.DataType)
    data_types = {
        node.node: _built_in(value.Value.Value if value.Value is not None else None)
        for node, value in zip(variables, types, strict=True)
    }
    return [
        Browsed(
            "/".join((below, *node.path) if below else node.path),
            space.text_of(node.node),
            ua.NodeClass(node.node_class).name,
            data_types.get(node.node, ""),
        )
        for node in found
    ]


def _no_such_path(path: str) -> ConfigError:
    return ConfigError(
        "opcua.path-unknown",
        f"Objects 之下没有 {path}。",
        f"there is no {path} below Objects.",
        "路径由各级浏览名用 / 连成；不带 --below 从头浏览。",
        "A path is made of browse names with / between them; without --below browsing begins at the top.",
    )


def _more(address: str, most: int) -> Trouble:
    return Trouble(
        address,
        "opcua.browse-cut",
        f"节点超过 {most} 个，只显示了最近的这些。",
        f"there are more than {most} nodes; only the nearest are shown.",
        "用 --below 路径 从更深处开始，或用 --most 增加个数。",
        "Begin further down with --below PATH, or show more with --most.",
    )


def _looking(state_folder: Path, login: Login) -> Access:
    return Access(BEST, login=login, folder=state_folder, looking=True)


@asynccontextmanager
async def _space(address: str, seconds: float, access: Access, clock: Clock, say: Say) -> AsyncIterator[AddressSpace]:
    quieten_asyncua()
    session = Session(address, access, clock)
    try:
        async with asyncio.timeout(seconds):
            await session.connect()
            for trouble in session.certificates.troubles(clock()):
                say(trouble)
            if session.unencrypted is not None:
                say(session.unencrypted)
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
