"""One question and its answer, outside of any polling: what a unit reads now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from collectors.findings import ToolReading
from collectors.modbus.breaker import Breaker
from collectors.modbus.config import ModbusEntry
from collectors.modbus.device import PolledDevice, Schedule, polled_device, reading_of
from collectors.modbus.framing import DoubtError, is_exception, is_refusal, is_silent_behind_gateway
from collectors.modbus.link import Link, SilentError
from collectors.modbus.pace import FRAME_CHARACTERS, IDENTIFICATION_BYTES
from collectors.modbus.plan import Poll
from collectors.modbus.profile import load_modbus
from collectors.modbus.telling import SILENT_NEXT_EN, SILENT_NEXT_ZH
from collectors.model import Clock, ConfigError, LinkError, Quality, Role
from metrics.record import MachineState

_REST_S: Final = 0.3


async def read_once(
    entry: ModbusEntry, tags: Sequence[str], clock: Clock, profile_folders: Sequence[Path] = ()
) -> list[ToolReading]:
    """Read every tag of a device once, or only `tags`, in the profile's order.

    Raises LinkError where the link cannot be made or the unit does not answer, ConfigError for a tag
    that the profile does not have, FileError where the profile is missing or wrong.
    """
    device = polled_device(entry, load_modbus(entry.profile, profile_folders), Breaker())
    known = [tag.name for tag in device.device.tags]
    unknown = [tag for tag in tags if tag not in known]
    if unknown:
        raise ConfigError(
            "modbus.tag-unknown",
            f"型号 {entry.profile} 没有点 {unknown[0]}。",
            f"profile {entry.profile} has no tag {unknown[0]}.",
            f"可用：{', '.join(known)}。",
            f"known: {', '.join(known)}.",
        )
    link = Link(entry.link_address, device.profile.serial)
    try:
        await link.open()
        await asyncio.sleep(device.profile.timing.connect_pause_ms / 1000)
        readings: dict[str, ToolReading] = {}
        for schedule in device.schedules:
            readings.update(await _read_poll(link, device, schedule, clock))
    finally:
        link.close()
    return [readings[name] for name in known if not tags or name in tags]


async def _read_poll(link: Link, device: PolledDevice, schedule: Schedule, clock: Clock) -> dict[str, ToolReading]:
    while True:
        poll = schedule.poll
        replies = await ask_all(link, device.entry.unit, poll, device.timeout_s)
        if replies is None:
            raise LinkError(
                "modbus.unit-silent",
                f"{device.entry.address} 站号 {device.entry.unit} 没有应答。",
                f"{device.entry.address} unit {device.entry.unit} does not answer.",
                SILENT_NEXT_ZH,
                SILENT_NEXT_EN,
            )
        device.split([request for request, reply in zip(poll.requests, replies, strict=True) if is_refusal(reply)])
        if schedule.poll.requests == poll.requests:
            return _readings(device, poll, data_of(replies), clock())


def _readings(device: PolledDevice, poll: Poll, replies: Sequence[bytes | None], now_ns: int) -> dict[str, ToolReading]:
    samples = reading_of(poll, replies, [now_ns] * len(replies)).samples
    found = {}
    for index, value, quality, received_ns in zip(
        samples.tag.tolist(),
        samples.value.tolist(),
        samples.quality.tolist(),
        samples.received_ns.tolist(),
        strict=True,
    ):
        tag = device.device.tags[index]
        shown: float | str | None = None
        if quality != Quality.BAD:
            shown = MachineState(int(value)).name.lower() if tag.role is Role.STATE else value
        found[tag.name] = ToolReading(tag.name, shown, tag.unit, Quality(quality), 0, received_ns)
    return found


async def ask_all(link: Link, unit: int, poll: Poll, limit_s: float) -> list[bytes] | None:
    """The PDU of each reply of a poll, refusals among them; None altogether from a silent unit.

    `limit_s`: for each reply, beside the time of its characters on the line.
    """
    replies: list[bytes] = []
    for request in poll.requests:
        reply = await ask_once(link, unit, request.pdu, request.reply_bytes, limit_s)
        if reply is None or is_silent_behind_gateway(reply):
            return None
        replies.append(reply)
    return replies


def data_of(replies: Sequence[bytes]) -> list[bytes | None]:
    """Data of each reply, None where it is a refusal."""
    return [None if is_exception(reply) else reply[2:] for reply in replies]


async def ask_once(link: Link, unit: int, pdu: bytes, reply_bytes: int | None, limit_s: float) -> bytes | None:
    """A reply's PDU, None where none came that can be trusted: then a unit on a line is left alone for a moment,
    for its reply may be late and nothing would tell it from the next one."""
    characters = FRAME_CHARACTERS + (IDENTIFICATION_BYTES if reply_bytes is None else reply_bytes)
    try:
        return await link.ask(unit, pdu, reply_bytes, limit_s + link.transmission_s(characters))
    except (SilentError, DoubtError):
        if link.address.kind != "tcp":
            await asyncio.sleep(_REST_S)
        return None
