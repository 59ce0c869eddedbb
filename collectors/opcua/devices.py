"""Devices of a server's machines: which entry a machine belongs to, what it is called, how it is announced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from collectors.model import Device, Identity, LinkError, Trouble
from collectors.opcua.address_space import AddressSpace
from collectors.opcua.config import OpcuaEntry
from collectors.opcua.profile import OpcuaProfile
from collectors.opcua.recognise import Machine, machines, named_nodes
from metrics.record import Evidence

_MOST_DEVICES_PER_ENTRY: Final = 1_000


class Recognised(NamedTuple):
    """The machines that belong to an entry, and what is wrong where there are none."""

    entry: OpcuaEntry
    profile: OpcuaProfile
    machines: list[Machine]
    trouble: Trouble | None = None


async def recognise(space: AddressSpace, entries: Sequence[tuple[OpcuaEntry, OpcuaProfile]]) -> list[Recognised]:
    """Machines by entry; a machine belongs to the first entry whose profile takes its class.

    Raises LinkError where no entry finds any: the server may be starting still.
    """
    shown = await machines(space) if any(p.recognise == "machines" for _, p in entries) else []
    found: list[Recognised] = []
    free = list(shown)
    for entry, profile in entries:
        if profile.recognise == "nodes":
            machine = await named_nodes(space, profile.nodes)
            found.append(Recognised(entry, profile, [replace(machine, device_class=profile.device_class)]))
            continue
        taken = [m for m in free if not profile.classes or m.device_class in profile.classes]
        free = [m for m in free if m not in taken]
        trouble = None if taken else _nothing(entry, shown)
        if len(taken) > _MOST_DEVICES_PER_ENTRY:
            trouble = _too_many(entry, len(taken))
        found.append(Recognised(entry, profile, taken[:_MOST_DEVICES_PER_ENTRY], trouble))
    if not any(recognised.machines for recognised in found):
        nothing = _nothing(entries[0][0], shown)
        raise LinkError(nothing.code, nothing.zh, nothing.en, nothing.next_zh, nothing.next_en)
    return found


def device_ids(entry: OpcuaEntry, found: Sequence[Machine]) -> list[str]:
    """The device id of each machine of an entry: the entry's where there is one, else `id/name`."""
    if len(found) == 1:
        return [entry.id]
    return [f"{entry.id}/{name}" for name in device_names(found)]


def describe(entry: OpcuaEntry, profile: OpcuaProfile, machine: Machine, device_id: str) -> Device:
    """The device that a recognised machine is, as it is announced."""
    energy = machine.counts_energy and profile.recognise == "machines"
    return Device(
        id=device_id,
        entry=entry.id,
        profile=entry.profile,
        address=entry.address,
        device_class=machine.device_class,
        evidence=evidence_of(machine.identity),
        tags=machine.tags,
        liveness_s=profile.liveness_s,
        identity=machine.identity,
        carrier="electricity" if energy else profile.carrier,
        unit="kWh" if energy else profile.unit,
        direction="import" if energy else profile.direction,
    )


def evidence_of(identity: Identity) -> Evidence:
    """Self-identified where the machine says who it is, else native: its own controller answers."""
    said = identity.manufacturer or identity.serial or identity.product_uri
    return Evidence.SELF_IDENTIFIED if said else Evidence.NATIVE


def device_names(found: Sequence[Machine]) -> list[str]:
    """A name for each machine of one entry: serial, else product URI, else browse path; never an order.

    The first of these that is neither blank nor shared by two machines of the entry; where two share
    even the browse path, it is followed by the node's identifier.
    """
    choices: list[Callable[[Machine], str]] = [
        lambda m: m.identity.serial,
        lambda m: m.identity.product_uri,
        lambda m: m.path,
        lambda m: f"{m.path}~{m.root.Identifier}",
    ]
    names = []
    for machine in found:
        for choice in choices:
            name = choice(machine)
            if name and sum(choice(other) == name for other in found) == 1:
                break
        names.append(name.replace("/", "_"))
    return names


def _too_many(entry: OpcuaEntry, shown: int) -> Trouble:
    most = _MOST_DEVICES_PER_ENTRY
    return Trouble(
        entry.id,
        "opcua.too-many-machines",
        f"服务器有 {shown} 台机器，一个条目最多 {most} 台，其余没有读取。",
        f"the server shows {shown} machines; one entry takes {most}, the rest are not read.",
        "请用 classes 不同的型号文件分成多个条目。",
        "Split it into several entries with profiles of different classes.",
    )


def nothing_to_read(device: Device) -> Trouble:
    return Trouble(
        device.id,
        "opcua.nothing-to-read",
        "这台机器没有给出状态、产量或电量，无法证明它已联网。",
        "this machine gives neither state nor pieces nor energy, so nothing can prove it connected.",
        "请在控制器上启用 MachineryItemState，或写一个指明节点的型号文件。",
        "Switch on MachineryItemState in its controller, or write a profile that names its nodes.",
    )


def _nothing(entry: OpcuaEntry, shown: Sequence[Machine]) -> Trouble:
    if shown:
        seen = ", ".join(f"{m.path} ({m.device_class})" for m in shown)
        return Trouble(
            entry.id,
            "opcua.no-machine-of-class",
            f"服务器上的机器都不属于型号文件 {entry.profile} 的类别：{seen}。",
            f"no machine on the server is of the classes of profile {entry.profile}: {seen}.",
            "请改用 opcua-machinery。",
            "Use the profile opcua-machinery.",
        )
    return Trouble(
        entry.id,
        "opcua.nothing-recognised",
        f"在 {entry.address} 上没有找到配套规范的机器（Machines 与 DeviceSet 均为空）。",
        f"no machine of a companion specification at {entry.address} (Machines and DeviceSet are empty).",
        "运行 plantpulse-gateway browse 查看节点，为它写一个 recognise: nodes 的型号文件。",
        "Run plantpulse-gateway browse to see its nodes and write a profile with recognise: nodes.",
    )
