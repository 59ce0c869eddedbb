"""One unit as it is polled: its devices, its profile, its polls, what it has said of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np

from collectors.modbus.breaker import Breaker
from collectors.modbus.config import ModbusEntry
from collectors.modbus.plan import Cut, Poll, Request, polls_of
from collectors.modbus.profile import ModbusProfile
from collectors.model import ConfigError, Device, Identity, Quality, Role, Samples, Tag
from metrics.record import Evidence

_NS: Final = 1_000_000_000
_BAD: Final = int(Quality.BAD)


@dataclass(slots=True)
class Schedule:
    """One poll of a device and when it is due next, ns on the gateway's time line."""

    poll: Poll
    every_ns: int
    due_ns: int = 0


@dataclass(slots=True)
class Export:
    """A second device of one meter: it has one tag, the counter of the profile's tag `tag`."""

    device: Device
    tag: int


@dataclass(slots=True)
class PolledDevice:
    """A configured unit with everything its worker keeps of it."""

    entry: ModbusEntry
    profile: ModbusProfile
    device: Device
    breaker: Breaker
    schedules: list[Schedule]
    timeout_s: float
    wants_identification: bool
    """Whether it is to be asked who it is: once, and again after a silence in which it may have been replaced."""
    others: list[Export] = field(default_factory=list)
    """What else the entry counts, each a device of its own, `id/name`."""
    trouble_code: str = ""
    """What people were told last; blank when all is well."""
    cuts: set[Cut] = field(default_factory=set)
    """Where requests were cut because the device refused them."""
    is_mute: bool = False
    """Whether it leaves device identification unanswered: then it is not asked again."""

    @property
    def tells_serial(self) -> bool:
        """Whether its registers hold a serial number: then it is asked before its readings are counted."""
        return any(point.field == "serial" for point in self.profile.identity)

    @property
    def devices(self) -> list[Device]:
        """All devices of the unit, the one with the machine's state and power first."""
        return [self.device, *(other.device for other in self.others)]

    def ask_again(self) -> None:
        """Another device may hang at the unit: ask who it is."""
        self.wants_identification = self.tells_serial or (self.profile.identification and not self.is_mute)

    def split(self, refused: Sequence[Request]) -> None:
        """Read refused requests in pieces from now on, those that are in more than one."""
        cuts = {
            cut
            for schedule in self.schedules
            for request in refused
            if request in schedule.poll.requests
            for cut in schedule.poll.cuts_in(request)
        }
        if cuts <= self.cuts:
            return
        self.cuts |= cuts
        polls = {poll.every_s: poll for poll in polls_of(self.profile, self.cuts)}
        for schedule in self.schedules:
            schedule.poll = polls[schedule.poll.every_s]

    def identified(self, identity: Identity, *, by_itself: bool) -> bool:
        """The device said who it is; blank fields keep what was known. False where that is nothing new.

        `by_itself`: by device identification, not by registers that the profile named. A meter fitted to
        a machine speaks for itself, not for the machine.
        """
        known, evidence = self.device.identity, self.device.evidence
        merged = Identity(
            manufacturer=identity.manufacturer or known.manufacturer,
            model=identity.model or known.model,
            serial=identity.serial or known.serial,
            product_uri=identity.product_uri or known.product_uri,
        )
        if by_itself and evidence is Evidence.NATIVE:
            evidence = Evidence.SELF_IDENTIFIED
        if (merged, evidence) == (known, self.device.evidence):
            return False
        self.device = replace(self.device, identity=merged, evidence=evidence)
        for other in self.others:
            other.device = replace(other.device, identity=merged, evidence=evidence)
        return True


def polled_device(entry: ModbusEntry, profile: ModbusProfile, breaker: Breaker) -> PolledDevice:
    """Build a unit's devices from its entry and its profile.

    Raises ConfigError where the entry asks for a counter or a ratio that the profile does not have.
    """
    _check_ratios(entry, profile)
    profile = profile.no_faster_than(entry.every_s) if entry.every_s else profile
    profile = profile.with_ratios(entry.stated_ratios) if entry.stated_ratios else profile
    names = entry.counts or profile.counted
    unknown = [name for name in names if name not in profile.counters]
    if unknown:
        raise ConfigError(
            "modbus.counts-unknown",
            f"{entry.id}：型号 {profile.profile} 没有 {unknown[0]} 计数。",
            f"{entry.id}: profile {profile.profile} does not count {unknown[0]}.",
            f"counts 可用：{', '.join(profile.counters) or '无，请删除 counts'}。",
            f"counts may be: {', '.join(profile.counters) or 'nothing, remove counts'}.",
        )
    alone = len(names) < 2
    main = _device(entry, profile, names[0] if names else "", entry.id if alone else f"{entry.id}/{names[0]}")
    main = replace(main, tags=_tags(profile, names[0] if names else ""))
    tag_of = {point.tag: index for index, point in enumerate(profile.points)}
    others = []
    for name in names[1:]:
        index = tag_of[profile.counters[name].tag]
        device = _device(entry, profile, name, f"{entry.id}/{name}")
        others.append(Export(replace(device, tags=(_tags(profile, name)[index],), power_thresholds=None), index))
    return PolledDevice(
        entry=entry,
        profile=profile,
        device=main,
        breaker=breaker,
        schedules=[Schedule(poll, int(poll.every_s * _NS)) for poll in polls_of(profile)],
        timeout_s=(entry.timeout_ms or profile.timing.timeout_ms) / 1000,
        wants_identification=profile.identification or bool(profile.identity),
        others=others,
    )


def _check_ratios(entry: ModbusEntry, profile: ModbusProfile) -> None:
    used = {name for point in profile.points for name in point.times}
    needless = [name for name in entry.stated_ratios if name not in used]
    if needless:
        raise ConfigError(
            "modbus.ratio-not-used",
            f"{entry.id}：型号 {profile.profile} 的读数已是一次侧值，不能再写 {needless[0]}。",
            f"{entry.id}: values of profile {profile.profile} are primary values already; {needless[0]} has no place.",
            f"删除 {needless[0]}，在表上设置变比。",
            f"remove {needless[0]} and set the ratio on the meter.",
        )
    missing = [name for name in profile.ratios_to_state if name not in entry.stated_ratios]
    if missing:
        raise ConfigError(
            "modbus.ratio-missing",
            f"{entry.id}：型号 {profile.profile} 的读数是二次侧值，缺少 {missing[0]}。",
            f"{entry.id}: profile {profile.profile} gives secondary-side values; {missing[0]} is missing.",
            f"写明 {missing[0]}，例如 250/5 A 的互感器写 50；不接互感器写 1。",
            f"state {missing[0]}: 50 for transformers of 250/5 A, 1 without transformers.",
        )


def _device(entry: ModbusEntry, profile: ModbusProfile, counted: str, device_id: str) -> Device:
    """A device of the unit, with the counter of that name; its tags are set by the caller."""
    counter = profile.counters[counted].quantity if counted else None
    thresholds = entry.power_thresholds or profile.power_thresholds
    url = entry.link_address.url
    return Device(
        id=device_id,
        entry=entry.id,
        profile=profile.profile,
        address=f"{url}{'&' if '?' in url else '?'}unit={entry.unit}",
        device_class=profile.device_class,
        evidence=Evidence(profile.evidence),
        tags=(),
        liveness_s=profile.liveness_s,
        identity=_named_by(profile),
        carrier=counter.carrier if counter else "",
        unit=counter.unit if counter else "",
        direction=(entry.direction or counter.direction) if counter else "",
        rated_max_per_h=entry.rated_max_per_h or profile.rated_max_per_h,
        power_thresholds=thresholds.as_model() if thresholds else None,
    )


def _tags(profile: ModbusProfile, counted: str) -> tuple[Tag, ...]:
    """The profile's tags, of its counters only the one of that name with the role QUANTITY."""
    own = profile.counters[counted].tag if counted else ""

    def role(tag: Tag) -> Role:
        if tag.name == own:
            return Role.QUANTITY
        return Role.GAUGE if tag.role is Role.QUANTITY else tag.role

    return tuple(replace(tag, role=role(tag)) for tag in profile.tags)


def _named_by(profile: ModbusProfile) -> Identity:
    """Maker and model as far as the profile alone tells: nothing where it stands for several."""
    brands = {product.brand for product in profile.products}
    models = {model for product in profile.products for model in product.models}
    return Identity(
        manufacturer=next(iter(brands)) if len(brands) == 1 else "",
        model=next(iter(models)) if len(models) == 1 else "",
    )


class Reading(NamedTuple):
    """What one poll brought."""

    samples: Samples
    good_ns: int
    """Time of the latest reply with a good value; 0 where there is none."""


def reading_of(poll: Poll, replies: Sequence[bytes | None], received_ns: Sequence[int]) -> Reading:
    """Columns of one poll. A request without data (None) gives BAD rows; times are those of each reply."""
    decoder = poll.decoder
    whole = replies[0] if len(replies) == 1 else None
    if whole is None:
        whole = b"".join(
            reply if reply is not None else bytes(request.reply_bytes)
            for reply, request in zip(replies, poll.requests, strict=True)
        )
    values, bad = decoder.decode(whole)
    missing = [index for index, reply in enumerate(replies) if reply is None]
    if missing:
        absent = np.isin(poll.request_of_row, missing)
        bad = absent if bad is None else bad | absent
        values[absent] = np.nan
    if len(received_ns) == 1:
        times = np.empty(len(values), np.int64)
        times.fill(received_ns[0])
    else:
        times = np.asarray(received_ns, np.int64)[poll.request_of_row]
    if bad is None:
        return Reading(Samples(decoder.tag, values, decoder.all_good, decoder.no_source, times), received_ns[-1])
    quality = bad * np.uint8(_BAD)
    good = times[~bad]
    return Reading(Samples(decoder.tag, values, quality, decoder.no_source, times), int(good.max()) if good.size else 0)


def of_export(poll: Poll, reading: Reading, tag: int) -> Reading | None:
    """The part of a reading that belongs to a second device: its counter alone, as tag 0. None where this
    poll does not bring it."""
    rows = np.flatnonzero(poll.decoder.tag == tag)
    if not rows.size:
        return None
    whole = reading.samples
    samples = Samples(
        np.zeros(1, np.uint16), whole.value[rows], whole.quality[rows], whole.source_ns[rows], whole.received_ns[rows]
    )
    return Reading(samples, 0 if int(samples.quality[0]) == _BAD else int(samples.received_ns[0]))
