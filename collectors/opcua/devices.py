"""Devices of a server's machines: which entry a machine belongs to, and how it is announced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from collectors.model import Device, Identity, LinkError, Trouble
from collectors.opcua.address_space import AddressSpace
from collectors.opcua.config import OpcuaEntry
from collectors.opcua.profile import OpcuaProfile
from collectors.opcua.recognition.find import machines
from collectors.opcua.recognition.machine import Counted, Machine
from collectors.opcua.recognition.named import named_nodes
from metrics.record import Evidence

_MOST_DEVICES_PER_ENTRY: Final = 1_000


class Recognised(NamedTuple):
    """The machines that belong to an entry, each followed by its further counters, and what is wrong where there
    are none."""

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
            counted = Counted(profile.carrier, profile.unit, profile.direction)
            machine = replace(machine, device_class=profile.device_class, counted=counted)
            found.append(Recognised(entry, profile, [machine]))
            continue
        taken = [m for m in free if not profile.classes or m.device_class in profile.classes]
        free = [m for m in free if m not in taken]
        trouble = None if taken else _nothing(entry, shown)
        devices = [device for machine in taken for device in (machine, *machine.meters)]
        if len(devices) > _MOST_DEVICES_PER_ENTRY:
            trouble = _too_many(entry, len(devices))
        found.append(Recognised(entry, profile, devices[:_MOST_DEVICES_PER_ENTRY], trouble))
    if not any(recognised.machines for recognised in found):
        nothing = _nothing(entries[0][0], shown)
        raise LinkError(nothing.code, nothing.zh, nothing.en, nothing.next_zh, nothing.next_en)
    return found


def describe(entry: OpcuaEntry, profile: OpcuaProfile, machine: Machine, device_id: str) -> Device:
    """The device that a recognised machine is, as it is announced."""
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
        carrier=machine.counted.carrier,
        unit=machine.counted.unit,
        direction=machine.counted.direction,
    )


def evidence_of(identity: Identity) -> Evidence:
    """Self-identified where the machine says who it is, else native: its own controller answers."""
    said = identity.manufacturer or identity.serial or identity.product_uri
    return Evidence.SELF_IDENTIFIED if said else Evidence.NATIVE


def _too_many(entry: OpcuaEntry, shown: int) -> Trouble:
    most = _MOST_DEVICES_PER_ENTRY
    return Trouble(
        entry.id,
        "opcua.too-many-machines",
        f"服务器有 {shown} 台设备（机器和计量点），一个条目最多 {most} 台，其余没有读取。",
        f"the server shows {shown} devices (machines and meters); one entry takes {most}, the rest are not read.",
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
