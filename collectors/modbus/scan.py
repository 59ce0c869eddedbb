"""Which units answer behind a Modbus address, and which models they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from collectors.findings import Found
from collectors.modbus.address import LinkAddress, parse_address
from collectors.modbus.device import reading_of
from collectors.modbus.framing import DoubtError, is_silent_behind_gateway
from collectors.modbus.identification import REQUEST as IDENTIFICATION_REQUEST
from collectors.modbus.identification import identity_from
from collectors.modbus.link import Link, SilentError
from collectors.modbus.once import ask_all, ask_once, data_of
from collectors.modbus.plan import Poll, Request, polls_of
from collectors.modbus.profile import ModbusProfile, SaysItIs
from collectors.model import Clock, ConfigError, Identity, LinkError, Tag
from collectors.profiles.loader import load_all
from metrics.record import Evidence

_LAST_UNIT: Final = 247
_LIMIT_S: Final = 0.2
_LONGEST_LIMIT_S: Final = 4.0
_VERDICT_SHARE: Final = 1.25
_FIRST_UNITS: Final = 10
"""Units that are tried with each usual setting of a line before the others are."""
_USUAL_SETTINGS: Final[tuple[tuple[int, str], ...]] = (
    (9600, "N"),
    (9600, "E"),
    (19200, "E"),
    (19200, "N"),
    (4800, "N"),
    (2400, "E"),
    (38400, "N"),
    (115200, "N"),
)
_SUSPICIOUSLY_MANY: Final = 3
_RARE_UNITS: Final = (247, 246, 245)
_ANY_REGISTER: Final = Request(function=3, address=0, count=1)
"""A living unit answers this with a value or refuses it; either tells that it is there."""


async def scan(address: str, seconds: float, clock: Clock, profile_folders: Sequence[Path] = ()) -> list[Found]:
    """Which units answer, from 1 up, for as long as `seconds` last, and who they are.

    A unit is recognised by what device identification says, among profiles that say what their model
    answers, and by plausible readings. Where neither fits it is a "plc" without a profile. A line whose
    address states no baud rate and no parity is tried with the usual ones; what is found bears those that
    it answered to. A host that answers for every unit id is one device. Raises LinkError where the link
    cannot be made, ConfigError for an address that is none.
    """
    try:
        parsed = parse_address(address)
    except ValueError as error:
        zh, en = error.args
        raise ConfigError("modbus.address", zh, en) from error
    until_ns = clock() + int(seconds * 1e9)
    candidates = _candidates(profile_folders)
    settings = _settings_of(parsed)
    first = range(1, _FIRST_UNITS + 1) if len(settings) > 1 else range(1, _LAST_UNIT + 1)
    rest = range(first.stop, _LAST_UNIT + 1)
    for setting in settings:
        look = _Look(Link(setting), candidates, clock, until_ns)
        try:
            async with look:
                found = await look.at(first)
                if found:
                    return found + await look.at(rest)
        except LinkError:
            if setting is settings[0]:
                raise
            continue  # an adapter that does not have this setting
    if not rest:
        return []
    async with _Look(Link(settings[0]), candidates, clock, until_ns) as look:
        return await look.at(rest)


def _settings_of(address: LinkAddress) -> list[LinkAddress]:
    if address.kind != "serial" or address.baudrate is not None or address.parity is not None:
        return [address]
    return [
        replace(address, baudrate=baudrate, parity=parity)  # type: ignore[arg-type]  # one of the three
        for baudrate, parity in _USUAL_SETTINGS
    ]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A profile that knows how to tell its model."""

    profile: ModbusProfile
    poll: Poll | None
    """Reads only the points that tell; None where only device identification does."""
    tags: tuple[Tag, ...] = ()
    """Tags of the poll's rows."""


class _Look:
    """One link that is searched, and how long it takes to answer."""

    def __init__(self, link: Link, candidates: Sequence[_Candidate], clock: Clock, until_ns: int) -> None:
        self._link, self._candidates = link, candidates
        self._clock, self._until_ns = clock, until_ns
        self._asked_again: set[int] = set()

    async def __aenter__(self) -> Self:
        await self._link.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._link.close()

    def _limit_s(self, unit: int) -> float:
        """How long to wait for a unit: a moment, longer for one that answered late, and for all of them where a
        gateway takes long to report a silent one, since it serves nobody meanwhile."""
        known_s = max(self._link.verdict_s(unit), self._link.gateway_verdict_s)
        return min(max(_LIMIT_S, known_s * _VERDICT_SHARE), _LONGEST_LIMIT_S)

    async def at(self, units: Iterable[int]) -> list[Found]:
        """The units that answer; one whose reply came too late is asked once more, with more patience."""
        found: dict[int, Found] = {}
        for unit in units:
            await self._add(unit, found)
            for late in sorted(self._link.late_units - self._asked_again - set(found)):
                self._asked_again.add(late)
                await self._add(late, found)
            if len(found) == _SUSPICIOUSLY_MANY == unit and await self._answers_for_all():
                return [found[1]]
        return [found[unit] for unit in sorted(found)]

    async def _add(self, unit: int, found: dict[int, Found]) -> None:
        if self._clock() >= self._until_ns:
            return
        try:
            one = await self._who_is(unit)
        except LinkError:
            # some devices hang up on a unit id that is not theirs
            await self._link.open()
            return
        if one is not None:
            found[unit] = one

    async def _is_there(self, unit: int) -> bool:
        try:
            limit_s = self._limit_s(unit) + self._link.transmission_s(16)
            reply = await self._link.ask(unit, _ANY_REGISTER.pdu, _ANY_REGISTER.reply_bytes, limit_s)
        except (SilentError, DoubtError):
            return False
        return not is_silent_behind_gateway(reply)

    async def _answers_for_all(self) -> bool:
        """Whether the host takes no heed of unit ids: one device with a network of its own."""
        if self._link.address.kind != "tcp":
            return False
        return all([await self._is_there(unit) for unit in _RARE_UNITS])

    async def _who_is(self, unit: int) -> Found | None:
        link = self._link
        if not await self._is_there(unit):
            return None
        identity = identity_from(await ask_once(link, unit, IDENTIFICATION_REQUEST, None, self._limit_s(unit)) or b"")
        candidate = await self._recognised(unit, identity)
        evidence = Evidence.SELF_IDENTIFIED if identity else Evidence.NATIVE
        if candidate is None:
            return Found(link.address.url, "plc", evidence, identity or Identity(), unit=unit)
        profile = candidate.profile
        guessed = Identity(manufacturer=profile.products[0].brand if len(profile.products) == 1 else "")
        return Found(link.address.url, profile.device_class, evidence, identity or guessed, profile.profile, unit=unit)

    async def _recognised(self, unit: int, identity: Identity | None) -> _Candidate | None:
        """The profile that fits: by what the device says it is, which needs no plausible readings where it names
        one model; otherwise the first whose readings are plausible."""
        said = [
            candidate
            for candidate in self._candidates
            if identity and any(_is_said(mark, identity) for mark in candidate.profile.says_it_is)
        ]
        if len(said) == 1:
            return said[0]
        for candidate in said or self._candidates:
            if candidate.poll is None:
                continue
            replies = await ask_all(self._link, unit, candidate.poll, self._limit_s(unit))
            if replies is not None and _fits(candidate, candidate.poll, data_of(replies)):
                return candidate
        return None


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


def _is_said(mark: SaysItIs, identity: Identity) -> bool:
    maker, model = identity.manufacturer.casefold(), identity.model.casefold()
    return maker.startswith(mark.manufacturer.casefold()) and model.startswith(mark.model.casefold())


def _fits(candidate: _Candidate, poll: Poll, replies: Sequence[bytes | None]) -> bool:
    samples = reading_of(poll, replies, [0] * len(replies)).samples
    values = {
        candidate.tags[tag].name: value for tag, value in zip(samples.tag.tolist(), samples.value.tolist(), strict=True)
    }
    return all(mark.least <= values.get(mark.tag, float("nan")) <= mark.most for mark in candidate.profile.recognise)
