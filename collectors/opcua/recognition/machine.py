"""What recognition makes of a server: machines with their tags, and the nodes behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from asyncua import ua

from collectors.model import DeviceClass, Identity, Role, Tag, Trouble
from collectors.opcua.address_space import Found
from collectors.opcua.values import Convert
from metrics.record import MachineState

Derive = Callable[[Sequence[float | None]], MachineState | None]


@dataclass(frozen=True, slots=True)
class Item:
    """One node to monitor: the value of a tag, or one input of the state."""

    node: ua.NodeId
    path: str
    convert: Convert
    tag: int | None = None
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """What a machine's quantity counts. Blank where it counts nothing."""

    carrier: str = ""
    unit: str = ""
    direction: Literal["import", "export", "generation", ""] = ""


NOTHING_COUNTED = Counted()
ELECTRICITY = Counted("electricity", "kWh", "import")


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
    counted: Counted = NOTHING_COUNTED
    meter: str = ""
    """Set where this is one further counter of a machine: what tells it from the machine's other devices."""
    meters: tuple[Machine, ...] = ()
    """What the machine counts besides: a device of its own each, one carrier and direction each."""
    absent_slot: int | None = None
    """The input of the state whose value 0 says that the machine behind this server is not connected to it."""

    @property
    def slots(self) -> int:
        """How many inputs the state has."""
        return sum(item.slot is not None for item in self.items)


@dataclass(slots=True)
class Parts:
    """What is gathered of a machine on the way."""

    tags: list[Tag] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    derive: Derive | None = None
    troubles: list[Trouble] = field(default_factory=list)
    counted: Counted = NOTHING_COUNTED
    meters: list[Machine] = field(default_factory=list)
    absent_slot: int | None = None

    def state(self, derive: Derive, inputs: Sequence[tuple[Found, Convert]]) -> None:
        """The state, derived from these inputs in this order. Call it before any `tag`."""
        self.derive = derive
        self.tags.append(Tag("state", role=Role.STATE))
        self.items.extend(
            Item(found.node, "/".join(found.path), convert, slot=slot) for slot, (found, convert) in enumerate(inputs)
        )

    def tag(self, tag: Tag, found: Found, convert: Convert) -> None:
        """A tag and its node."""
        self.items.append(Item(found.node, "/".join(found.path), convert, tag=len(self.tags)))
        self.tags.append(tag)

    def machine(self, root: ua.NodeId, path: str, device_class: DeviceClass, identity: Identity) -> Machine:
        """The machine that these are the parts of."""
        return Machine(
            root,
            path,
            device_class,
            identity,
            tuple(self.tags),
            tuple(self.items),
            self.derive,
            tuple(self.troubles),
            self.counted,
            meters=tuple(self.meters),
            absent_slot=self.absent_slot,
        )


def several_meters(name: str, candidates: Sequence[Found]) -> Trouble:
    """What is told where nothing says which of several counters is the machine's."""
    where = ", ".join("/".join(n.path) for n in candidates)
    return Trouble(
        "",
        "opcua.several-meters",
        f"有多个 {name}，没有唯一的总表（Main），不计入用量：{where}。",
        f"several {name} and no single main meter (Main), so none is counted: {where}.",
        "请为这台设备写一个指明节点的型号文件。",
        "Write a profile that names the node.",
    )
