"""One device as it is polled: its profile, its polls, what it has said of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np

from collectors.modbus.breaker import Breaker
from collectors.modbus.config import ModbusEntry
from collectors.modbus.plan import Poll, Request, polls_of
from collectors.modbus.profile import ModbusProfile
from collectors.model import Device, Identity, Quality, Samples
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
class PolledDevice:
    """A configured device with everything its worker keeps of it."""

    entry: ModbusEntry
    profile: ModbusProfile
    device: Device
    breaker: Breaker
    schedules: list[Schedule]
    timeout_s: float
    wants_identification: bool
    trouble_code: str = ""
    """What people were told last; blank when all is well."""
    refused: set[Request] = field(default_factory=set)
    """Requests that the device refused as a whole: read in smaller pieces since."""

    def split(self, request: Request) -> bool:
        """Read a refused request in pieces from now on. False where it is in one piece already."""
        if request in self.refused:
            return False
        self.refused.add(request)
        polls = {poll.every_s: poll for poll in polls_of(self.profile, self.refused)}
        changed = False
        for schedule in self.schedules:
            fresh = polls[schedule.poll.every_s]
            changed |= fresh.requests != schedule.poll.requests
            schedule.poll = fresh
        return changed

    def identified(self, identity: Identity) -> None:
        """The device said who it is. A meter fitted to a machine speaks for itself, not for the machine."""
        evidence = self.device.evidence
        if evidence is Evidence.NATIVE:
            evidence = Evidence.SELF_IDENTIFIED
        self.device = replace(self.device, identity=identity, evidence=evidence)


def polled_device(entry: ModbusEntry, profile: ModbusProfile, breaker: Breaker) -> PolledDevice:
    """Build a device from its entry and its profile."""
    counter = profile.counter
    thresholds = entry.power_thresholds or profile.power_thresholds
    url = entry.link_address.url
    device = Device(
        id=entry.id,
        entry=entry.id,
        profile=profile.profile,
        address=f"{url}{'&' if '?' in url else '?'}unit={entry.unit}",
        device_class=profile.device_class,
        evidence=Evidence(profile.evidence),
        tags=profile.tags,
        liveness_s=profile.liveness_s,
        identity=_named_by(profile),
        carrier=counter.carrier if counter else "",
        unit=counter.unit if counter else "",
        direction=(entry.direction or counter.direction) if counter else "",
        rated_max_per_h=entry.rated_max_per_h or profile.rated_max_per_h,
        power_thresholds=thresholds.as_model() if thresholds else None,
    )
    return PolledDevice(
        entry=entry,
        profile=profile,
        device=device,
        breaker=breaker,
        schedules=[Schedule(poll, int(poll.every_s * _NS)) for poll in polls_of(profile)],
        timeout_s=(entry.timeout_ms or profile.timing.timeout_ms) / 1000,
        wants_identification=profile.identification,
    )


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
