"""What the person at the cabinet asks of a Modbus address: which units answer, and what one of them reads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collectors.findings import Found, ToolReading
from collectors.modbus.address import parse_address
from collectors.modbus.breaker import Breaker
from collectors.modbus.config import ModbusEntry
from collectors.modbus.device import PolledDevice, polled_device, reading_of
from collectors.modbus.framing import DoubtError
from collectors.modbus.identification import REQUEST as IDENTIFICATION_REQUEST
from collectors.modbus.identification import identity_from
from collectors.modbus.link import Link, SilentError
from collectors.modbus.plan import Poll, Request, polls_of
from collectors.modbus.profile import ModbusProfile, SaysItIs, load_modbus
from collectors.modbus.telling import SILENT_NEXT_EN, SILENT_NEXT_ZH
from collectors.model import Clock, ConfigError, Identity, LinkError, Quality, Role, Tag
from collectors.profiles.loader import load_all
from metrics.record import Evidence, MachineState

_LAST_UNIT: Final = 247
_SCAN_TIMEOUT_S: Final = 0.2
_ERROR_BIT: Final = 0x80
_BEHIND_GATEWAY_SILENT: Final = (0x0A, 0x0B)
_ANY_REGISTER: Final = Request(function=3, address=0, count=1)
"""A living unit answers this with a value or refuses it; either tells that it is there."""


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
            readings.update(await _read_poll(link, device, schedule.poll, clock))
    finally:
        link.close()
    return [readings[name] for name in known if not tags or name in tags]


async def _read_poll(link: Link, device: PolledDevice, poll: Poll, clock: Clock) -> dict[str, ToolReading]:
    replies = await _ask_all(link, device.entry.unit, poll, device.timeout_s)
    if replies is None:
        raise LinkError(
            "modbus.unit-silent",
            f"{device.entry.address} 站号 {device.entry.unit} 没有应答。",
            f"{device.entry.address} unit {device.entry.unit} does not answer.",
            SILENT_NEXT_ZH,
            SILENT_NEXT_EN,
        )
    samples = reading_of(poll, replies, [clock()] * len(replies)).samples
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


async def _ask_all(link: Link, unit: int, poll: Poll, timeout_s: float) -> list[bytes | None] | None:
    """Data of each request of a poll, None where it was refused; None altogether from a silent unit."""
    replies: list[bytes | None] = []
    for request in poll.requests:
        try:
            reply = await link.ask(unit, request.pdu, request.reply_bytes, timeout_s)
        except (SilentError, DoubtError):
            return None
        if reply[0] & _ERROR_BIT:
            if reply[1] in _BEHIND_GATEWAY_SILENT:
                return None
            replies.append(None)
        else:
            replies.append(reply[2:])
    return replies


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A profile that knows how to tell its model."""

    profile: ModbusProfile
    poll: Poll | None
    """Reads only the points that tell; None where only device identification does."""
    tags: tuple[Tag, ...] = ()
    """Tags of the poll's rows."""


async def scan(address: str, seconds: float, clock: Clock, profile_folders: Sequence[Path] = ()) -> list[Found]:
    """Which units answer, from 1 up, for as long as `seconds` last, and who they are.

    A unit is recognised by what device identification says, among profiles that say what their model
    answers, and by plausible readings. Where neither fits it is a "plc" without a profile. Raises LinkError
    where the link cannot be made, ConfigError for an address that is none.
    """
    try:
        link = Link(parse_address(address))
    except ValueError as error:
        zh, en = error.args
        raise ConfigError("modbus.address", zh, en) from error
    candidates = _candidates(profile_folders)
    found: list[Found] = []
    until_ns = clock() + int(seconds * 1e9)
    try:
        await link.open()
        for unit in range(1, _LAST_UNIT + 1):
            if clock() >= until_ns:
                break
            try:
                one = await _look_at(link, unit, candidates)
            except LinkError:
                # some devices hang up on a unit id that is not theirs
                await link.open()
                continue
            if one is not None:
                found.append(one)
    finally:
        link.close()
    return found


def _candidates(profile_folders: Sequence[Path]) -> list[_Candidate]:
    """Profiles with marks to recognise, those with most marks first."""
    able = [p for p in load_all("modbus", ModbusProfile, profile_folders) if p.recognise or p.says_it_is]
    return [_candidate(p) for p in sorted(able, key=lambda p: -len(p.recognise))]


def _candidate(profile: ModbusProfile) -> _Candidate:
    if not profile.recognise:
        return _Candidate(profile, None)
    alone = _marks_alone(profile)
    return _Candidate(profile, polls_of(alone)[0], alone.tags)


def _marks_alone(profile: ModbusProfile) -> ModbusProfile:
    """The profile with only the points that tell its model, read together."""
    marks = {mark.tag for mark in profile.recognise}
    marks |= {name for p in profile.points if p.tag in marks for name in (*p.times, p.exponent or "")}
    return profile.with_points([p.model_copy(update={"every_s": None}) for p in profile.points if p.tag in marks])


async def _look_at(link: Link, unit: int, candidates: Sequence[_Candidate]) -> Found | None:
    try:
        reply = await link.ask(
            unit, _ANY_REGISTER.pdu, _ANY_REGISTER.reply_bytes, _SCAN_TIMEOUT_S + link.transmission_s(16)
        )
    except (SilentError, DoubtError):
        return None
    if reply[0] & _ERROR_BIT and reply[1] in _BEHIND_GATEWAY_SILENT:
        return None
    try:
        identity = identity_from(
            await link.ask(unit, IDENTIFICATION_REQUEST, None, _SCAN_TIMEOUT_S + link.transmission_s(260))
        )
    except (SilentError, DoubtError):
        identity = None
    candidate = await _recognised(link, unit, candidates, identity)
    evidence = Evidence.SELF_IDENTIFIED if identity else Evidence.NATIVE
    if candidate is None:
        return Found(link.address.url, "plc", evidence, identity or Identity(), unit=unit)
    profile = candidate.profile
    guessed = Identity(manufacturer=profile.products[0].brand if len(profile.products) == 1 else "")
    return Found(link.address.url, profile.device_class, evidence, identity or guessed, profile.profile, unit=unit)


async def _recognised(
    link: Link, unit: int, candidates: Sequence[_Candidate], identity: Identity | None
) -> _Candidate | None:
    """The profile that fits: by what the device says it is, which needs no plausible readings where it names
    one model; otherwise the first whose readings are plausible."""
    said = [c for c in candidates if identity and any(_is_said(mark, identity) for mark in c.profile.says_it_is)]
    if len(said) == 1:
        return said[0]
    for candidate in said or candidates:
        if candidate.poll is None:
            continue
        replies = await _ask_all(link, unit, candidate.poll, _SCAN_TIMEOUT_S + link.transmission_s(280))
        if replies is not None and _fits(candidate, candidate.poll, replies):
            return candidate
    return None


def _is_said(mark: SaysItIs, identity: Identity) -> bool:
    maker, model = identity.manufacturer.casefold(), identity.model.casefold()
    return maker.startswith(mark.manufacturer.casefold()) and model.startswith(mark.model.casefold())


def _fits(candidate: _Candidate, poll: Poll, replies: Sequence[bytes | None]) -> bool:
    samples = reading_of(poll, replies, [0] * len(replies)).samples
    values = {
        candidate.tags[tag].name: value for tag, value in zip(samples.tag.tolist(), samples.value.tolist(), strict=True)
    }
    return all(mark.least <= values.get(mark.tag, float("nan")) <= mark.most for mark in candidate.profile.recognise)
