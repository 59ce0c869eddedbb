"""From an endpoint alone to machines: who they are, and which nodes say state, counters and energy.

Machines stand below Machinery's `Machines` and in DI's `DeviceSet`; their types, through supertypes,
tell the class. Node ids are resolved by namespace URI in each session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from asyncua import ua

from collectors.model import DeviceClass, Identity, Role, Tag, Trouble
from collectors.opcua.address_space import MOST_NODES, UA, AddressSpace, Found
from collectors.opcua.profile import STATE_OF_WORD, NodeTag
from collectors.opcua.states import (
    ITEM_STATE_NODES,
    RobotInput,
    RobotState,
    of_channels,
    of_item_state,
)
from collectors.opcua.values import Convert, Scaled
from metrics.record import MachineState

DI: Final = UA + "DI/"
MACHINERY: Final = UA + "Machinery/"
MACHINE_TOOL: Final = UA + "MachineTool/"
ROBOTICS: Final = UA + "Robotics/"
IMM2MES: Final = UA + "PlasticsRubber/IMM2MES/"

_CLASS_OF_TYPE: Final[dict[tuple[str, Any], DeviceClass]] = {
    (MACHINE_TOOL, 13): "cnc",
    (ROBOTICS, 1002): "robot",
    (IMM2MES, 1007): "injection-moulding",
}
_MACHINES: Final = (MACHINERY, 1001)
_DEVICE_SET: Final = (DI, 5001)

Derive = Callable[[Sequence[float | None]], MachineState | None]


def _unit_id(code: str) -> int:
    """The UnitId of a UNECE Recommendation 20 code (OPC 10000-8, 5.6.3.4): its characters as a number."""
    return int.from_bytes(code.encode("ascii"), "big")


_PER_KWH: Final = {
    _unit_id("WHR"): 1e3,
    _unit_id("KWH"): 1.0,
    _unit_id("MWH"): 1e-3,
    _unit_id("JOU"): 3.6e6,
    _unit_id("KJO"): 3.6e3,
    _unit_id("3B"): 3.6,
}
"""How many of a unit one kWh is, by UnitId."""
_PER_KW: Final = {_unit_id("WTT"): 1e3, _unit_id("KWT"): 1.0, _unit_id("MAW"): 1e-3}

_ENERGY_NAMES: Final = ("AcActiveEnergyTotalImportHp", "AcActiveEnergyTotalImportLp", "TotalEnergyConsumption")
"""Energy counters by browse name, the better first: Hp is a Double, Lp a Float that loses single Wh."""
_POWER_NAME: Final = "AcActivePowerTotal"
_DEFAULT_UNIT: Final = {_ENERGY_NAMES[0]: 1e3, _ENERGY_NAMES[1]: 1e3, _POWER_NAME: 1e3}
"""Wh and W by OPC 30141; TotalEnergyConsumption (OPC 40010-1) has no unit but the one it states."""
_PARTS_NAME: Final = "PartsProducedInLifetime"
_WRAPS_AT: Final = {5: 2.0**16, 7: 2.0**32}
"""Where an unsigned counter wraps, by its data type (UInt16, UInt32)."""


@dataclass(frozen=True, slots=True)
class Item:
    """One node to monitor: the value of a tag, or one input of the state."""

    node: ua.NodeId
    path: str
    convert: Convert
    tag: int | None = None
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """What was recognised: a machine's identity and class, its tags, and the nodes behind them."""

    root: ua.NodeId
    path: str
    """Browse name of the machine: its name where it says nothing of itself."""
    device_class: DeviceClass
    identity: Identity
    tags: tuple[Tag, ...]
    items: tuple[Item, ...]
    derive: Derive | None
    """How the state follows from the inputs; the state is always tag 0 where there is one."""
    troubles: tuple[Trouble, ...] = ()
    """Subjects are filled in by whoever knows the device's id."""

    @property
    def slots(self) -> int:
        """How many inputs the state has."""
        return sum(item.slot is not None for item in self.items)

    @property
    def counts_energy(self) -> bool:
        """Whether it has an energy counter."""
        return any(tag.role is Role.QUANTITY for tag in self.tags)


@dataclass(slots=True)
class _Parts:
    """What is gathered of a machine on the way."""

    tags: list[Tag] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    derive: Derive | None = None
    troubles: list[Trouble] = field(default_factory=list)

    def state(self, derive: Derive, inputs: Sequence[tuple[Found, Convert]]) -> None:
        self.derive = derive
        self.tags.append(Tag("state", role=Role.STATE))
        self.items.extend(
            Item(found.node, "/".join(found.path), convert, slot=slot) for slot, (found, convert) in enumerate(inputs)
        )

    def tag(self, tag: Tag, found: Found, convert: Convert) -> None:
        self.items.append(Item(found.node, "/".join(found.path), convert, tag=len(self.tags)))
        self.tags.append(tag)


async def machines(space: AddressSpace) -> list[Machine]:
    """Every machine that the server shows, ordered by path. Empty where it shows none."""
    roots: dict[ua.NodeId, tuple[str, DeviceClass | None, bool]] = {}
    for (uri, identifier), is_machine in ((_MACHINES, True), (_DEVICE_SET, False)):
        folder = space.node(uri, identifier)
        if folder is None:
            continue
        references = [r for r in (await space.children([folder]))[0] if r.NodeClass == ua.NodeClass.Object]
        types = await space.types_of([r.TypeDefinition for r in references])
        for reference, chain in zip(references, types, strict=True):
            known = next((c for key, c in _CLASS_OF_TYPE.items() if key in chain), None)
            if is_machine or known:
                roots.setdefault(reference.NodeId, (reference.BrowseName.Name or "", known, is_machine))
    found: list[Machine] = []
    for root, (path, known, _) in roots.items():
        nodes = await space.below(root)
        if known == "robot":
            recognised = await _robots(space, root, path, nodes)
        else:
            recognised = [await _machine(space, root, path, known or "machine", nodes)]
        if len(nodes) >= MOST_NODES:
            recognised = [replace(m, troubles=(*m.troubles, _too_many_nodes(path))) for m in recognised]
        found.extend(recognised)
    return sorted(found, key=lambda m: m.path)


def _too_many_nodes(path: str) -> Trouble:
    return Trouble(
        "",
        "opcua.too-many-nodes",
        f"机器 {path} 的节点超过 {MOST_NODES} 个，只查看了最近的这些。",
        f"the machine {path} has more than {MOST_NODES} nodes; only the nearest were looked at.",
        "若缺少状态、产量或电量，请写一个指明节点的型号文件。",
        "Where state, pieces or energy are missing, write a profile that names the nodes.",
    )


async def named_nodes(space: AddressSpace, nodes: Iterable[NodeTag]) -> Machine:
    """A server without a companion specification: the nodes that a profile names, as one device."""
    parts = _Parts()
    for named in sorted(nodes, key=lambda n: n.role is not Role.STATE):  # the state is tag 0
        found = await _named(space, named)
        if found is None:
            parts.troubles.append(_missing(named))
            continue
        if named.role is Role.STATE:
            words = {number: STATE_OF_WORD[word] for number, word in named.states.items()}
            parts.state(_state_of_words(words), [(found, float)])
        else:
            tag = Tag(named.tag, named.unit, named.role, named.modulus)
            parts.tag(tag, found, Scaled(named.scale, 1.0))
    root = ua.NodeId(ua.ObjectIds.ObjectsFolder)
    return Machine(
        root, "", "plc", Identity(), tuple(parts.tags), tuple(parts.items), parts.derive, tuple(parts.troubles)
    )


async def _named(space: AddressSpace, named: NodeTag) -> Found | None:
    if named.node:
        try:
            node = space.parse(named.node)
        except ValueError:
            node = None
        return None if node is None else Found(node, (named.node,), ua.NodeClass.Variable, ua.NodeId())
    node = await space.at(named.path)
    return None if node is None else Found(node, tuple(named.path.split("/")), ua.NodeClass.Variable, ua.NodeId())


def _missing(named: NodeTag) -> Trouble:
    where = named.node or named.path
    return Trouble(
        "",
        "opcua.node-missing",
        f"服务器上没有节点 {where}（点 {named.tag}）。",
        f"the server has no node {where} (tag {named.tag}).",
        "运行 plantpulse-gateway browse 查看节点，修改型号文件。",
        "Run plantpulse-gateway browse to see its nodes and correct the profile.",
    )


def _state_of_words(words: dict[int, MachineState]) -> Derive:
    def derive(values: Sequence[float | None]) -> MachineState | None:
        return None if values[0] is None else words.get(int(values[0]), MachineState.UNKNOWN)

    return derive


async def _machine(
    space: AddressSpace, root: ua.NodeId, path: str, device_class: DeviceClass, nodes: list[Found]
) -> Machine:
    parts = _Parts()
    _machinery_state(space, nodes, parts)
    await _counters(space, nodes, parts)
    identity = await _identity(space, [n for n in nodes if n.path[0] == "Identification" and len(n.path) == 2])
    return Machine(
        root, path, device_class, identity, tuple(parts.tags), tuple(parts.items), parts.derive, tuple(parts.troubles)
    )


def _machinery_state(space: AddressSpace, nodes: list[Found], parts: _Parts) -> None:
    """MachineryItemState's number or id; without it the channels of a machine tool."""
    states = [n for n in nodes if n.path[-3:-1] == ("MachineryItemState", "CurrentState")]
    number = next((n for n in states if n.name == "Number"), None)
    if number is not None:
        parts.state(lambda values: of_item_state(values[0]), [(number, float)])
        return
    identifier = next((n for n in states if n.name == "Id"), None)
    if identifier is not None:
        parts.state(lambda values: of_item_state(values[0]), [(identifier, _item_state_number(space))])
        return
    channels = [n for n in nodes if n.name == "ChannelState" and n.path[0] == "Monitoring"]
    if channels:
        parts.state(of_channels, [(channel, float) for channel in channels])


def _item_state_number(space: AddressSpace) -> Convert:
    index = space.index(MACHINERY)

    def convert(value: Any) -> float:
        if value.NamespaceIndex != index or value.Identifier not in ITEM_STATE_NODES:
            return -1.0
        return float(ITEM_STATE_NODES[value.Identifier])

    return convert


async def _robots(space: AddressSpace, root: ua.NodeId, path: str, nodes: list[Found]) -> list[Machine]:
    """One machine for each motion device of a system; the controller's energy counts once, at the first."""
    arms = [n for n in nodes if len(n.path) == 2 and n.path[0] == "MotionDevices"]
    robots = []
    for number, arm in enumerate(arms):
        own = [n for n in nodes if n.path[: len(arm.path)] == arm.path]
        parts = _Parts()
        _robot_state(nodes, own, parts)
        if number == 0:
            await _counters(space, nodes, parts)
        identity = await _identity(space, [n for n in own if len(n.path) == len(arm.path) + 1])
        name = path if len(arms) == 1 else f"{path}/{arm.name}"
        robots.append(
            Machine(
                root,
                name,
                "robot",
                identity,
                tuple(parts.tags),
                tuple(parts.items),
                parts.derive,
                tuple(parts.troubles),
            )
        )
    return robots


def _robot_state(nodes: list[Found], own: list[Found], parts: _Parts) -> None:
    def parameters(found: list[Found], folder: str, name: str) -> list[Found]:
        return [n for n in found if n.path[0] == folder and n.path[-2:] == ("ParameterSet", name)]

    kinds: list[tuple[RobotInput, list[Found]]] = [
        ("mode", parameters(nodes, "SafetyStates", "OperationalMode")),
        ("emergency_stop", parameters(nodes, "SafetyStates", "EmergencyStop")),
        ("protective_stop", parameters(nodes, "SafetyStates", "ProtectiveStop")),
        ("program_loaded", parameters(nodes, "Controllers", "TaskProgramLoaded")),
        ("in_control", parameters(own, "MotionDevices", "InControl")),
    ]
    on_path = parameters(own, "MotionDevices", "OnPath")
    speeds = [n for n in parameters(own, "MotionDevices", "ActualSpeed") if "Axes" in n.path]
    kinds.append(("moving", on_path or speeds))
    inputs = [(kind, found) for kind, several in kinds for found in several]
    if not inputs:
        return
    parts.state(RobotState(tuple(kind for kind, _ in inputs)), [(found, float) for _, found in inputs])


async def _identity(space: AddressSpace, nodes: list[Found]) -> Identity:
    wanted = {
        "Manufacturer": "manufacturer",
        "Model": "model",
        "SerialNumber": "serial",
        "ProductInstanceUri": "product_uri",
    }
    named = {n.name: n for n in reversed(nodes) if n.name in wanted}
    values = await space.read([n.node for n in named.values()])
    said: dict[str, str] = {}
    for name, value in zip(named, values, strict=True):
        text = value.Value.Value if value.Value is not None and value.StatusCode.is_good() else None
        text = getattr(text, "Text", text)
        said[wanted[name]] = str(text).strip() if text is not None else ""
    return replace(Identity(), **said)


async def _counters(space: AddressSpace, nodes: list[Found], parts: _Parts) -> None:
    """Energy, power and pieces by browse name, in the units that the server states."""
    variables = [n for n in nodes if n.node_class == ua.NodeClass.Variable]
    for name in _ENERGY_NAMES:
        energy = _main(variables, name, parts)
        if energy is None:
            continue
        per_kwh = await _per_unit(space, nodes, energy, _PER_KWH)
        if per_kwh is not None:
            parts.tag(Tag("energy_import", "kWh", Role.QUANTITY), energy, Scaled(1.0, per_kwh))
            break
    power = _main(variables, _POWER_NAME, parts)
    if power is not None:
        per_kw = await _per_unit(space, nodes, power, _PER_KW)
        if per_kw is not None:
            parts.tag(Tag("power", "kW", Role.POWER), power, Scaled(1.0, per_kw))
    pieces = next((n for n in variables if n.name == _PARTS_NAME), None)
    if pieces is not None:
        (data_type,) = await space.read([pieces.node], ua.AttributeIds.DataType)
        identifier = data_type.Value.Value if data_type.Value is not None else None
        wraps_at = None
        if isinstance(identifier, ua.NodeId) and identifier.NamespaceIndex == 0:
            wraps_at = _WRAPS_AT.get(identifier.Identifier)
        parts.tag(Tag("parts", "1", Role.PARTS, wraps_at), pieces, float)


def _main(variables: list[Found], name: str, parts: _Parts) -> Found | None:
    """The machine's own meter: below `Main` where there are several, and none rather than a guess."""
    candidates = [n for n in variables if n.name == name]
    if len(candidates) <= 1:
        return candidates[0] if candidates else None
    mains = [n for n in candidates if "Main" in n.path]
    if len(mains) == 1:
        return mains[0]
    where = ", ".join("/".join(n.path) for n in candidates)
    parts.troubles.append(
        Trouble(
            "",
            "opcua.several-meters",
            f"有多个 {name}，没有唯一的总表（Main），不计入电量：{where}。",
            f"several {name} and no single main meter (Main), so none is counted: {where}.",
            "请为这台设备写一个指明节点的型号文件。",
            "Write a profile that names the node.",
        )
    )
    return None


async def _per_unit(space: AddressSpace, nodes: list[Found], variable: Found, table: dict[int, float]) -> float | None:
    """How many of the variable's unit one of ours is; None where it states none and none is implied."""
    units = next((n for n in nodes if n.path == (*variable.path, "EngineeringUnits")), None)
    if units is not None:
        (value,) = await space.read([units.node])
        information = value.Value.Value if value.Value is not None else None
        if isinstance(information, ua.EUInformation):
            return table.get(information.UnitId)
    return _DEFAULT_UNIT.get(variable.name)
