"""Last month and this month up to today, sent through the public ingest as a gateway would have.

The records come from the same machines as the live plant (same seed, same counters), in windows of
15 minutes, with a few outages: a device that did not answer, and hours in which nobody looked. After
a hole the first record carries the whole difference and says by its span what time it covers. The
records are the same for the same scenario and month; only the epoch, the outbox they claim to come
from, is new each time.
"""

from __future__ import annotations

import secrets
import zlib
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway import wire
from simulators.county_client import GatewayClient
from simulators.physics import DAY_S, Machine, Windows, date_start_s, day_start_s, local_date, local_day
from simulators.scenario import MachineSpec, Scenario

WINDOW_S: Final = 900
MAX_BATCH_ROWS: Final = 1000
_FRESH_S: Final = 900
"""Windows that ended within this time are left to the live gateway: two outboxes that both deliver
fresh windows would, rightly, raise an alarm."""
_UNITS: Final = {"electricity": "kWh", "water": "m³"}

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Span:
    """The time that history covers, in s UTC at local midnights, and the first local day of last month."""

    start_s: int
    end_s: int
    first_day: date
    month: str
    """Last month as `YYYY-MM`."""


def history_span(now_s: float) -> Span:
    """From the start of last local month to today's local midnight."""
    today = local_date(now_s)
    first = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    start_s = date_start_s(first)
    return Span(start_s, day_start_s(local_day(now_s)), first, f"{first:%Y-%m}")


def history_batches(
    scenario: Scenario, machines: dict[str, Machine], span: Span, now_s: float, *, epoch: int
) -> tuple[wire.Announce, list[wire.Ingest]]:
    """The announcements, and the batches in order of time, at most 1,000 rows each."""
    specs = list(scenario.machines)
    nobody = _holes(scenario.seed, "gateway", span, per_month=1.5, windows=(2, 6))
    tables = [
        _device_columns(i, spec, machines[spec.id].windows(span.start_s, span.end_s, WINDOW_S), scenario, span, nobody)
        for i, spec in enumerate(specs)
    ]
    columns = {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}
    keep = columns["start"] + WINDOW_S <= now_s - _FRESH_S
    order = np.lexsort((columns["device"], columns["start"]))
    order = order[keep[order]]
    announcements = [_announcement(i + 1, spec, scenario, span) for i, spec in enumerate(specs)]
    devices = [wire.DeviceRef(a.device, a.number) for a in announcements]
    batches: list[wire.Ingest] = []
    for first in range(0, len(order), MAX_BATCH_ROWS):
        rows = order[first : first + MAX_BATCH_ROWS]
        sequence = len(batches) + 1
        message = wire.IngestJson(
            gateway=scenario.gateway,
            epoch=epoch,
            sequence=sequence,
            devices=[d.id for d in devices],
            columns={name: values[rows].tolist() for name, values in columns.items()},
            previous=(epoch, sequence - 1) if batches else None,
        )
        batches.append(msgspec.structs.replace(wire.from_json(message), devices=devices))
    return wire.Announce(scenario.gateway, epoch, announcements), batches


def make_history(scenario: Scenario, now_s: float, span: Span | None = None) -> tuple[wire.Announce, list[wire.Ingest]]:
    """The history of a scenario up to today, ready to send. Takes a second or two."""
    span = span or history_span(now_s)
    machines = scenario.build_machines(origin_s=span.start_s, always_from_s=now_s)
    return history_batches(scenario, machines, span, now_s, epoch=secrets.randbits(64))


async def send_history(base_url: str, credential: str, history: tuple[wire.Announce, list[wire.Ingest]]) -> int:
    """Send a history. Gives the number of records that the county journalled.

    Raises CountyError where the county refuses a request, WireError where it refuses a row.
    """
    announce, batches = history
    accepted = 0
    async with GatewayClient(base_url, credential) as client:
        await client.announce(announce)
        for batch in batches:
            answer = await client.ingest(batch)
            if answer.result == "conflict" or answer.refused:
                raise wire.WireError(f"history batch {batch.sequence}: {answer.result}, refused {answer.refused[:3]}")
            accepted += answer.accepted
    return accepted


def _announcement(number: int, spec: MachineSpec, scenario: Scenario, span: Span) -> wire.Announcement:
    return wire.Announcement(
        number=number,
        at_ns=span.start_s * 1_000_000_000,
        device=spec.device,
        address="history",
        profile=spec.kind,
        device_class=spec.device_class,
        evidence=spec.evidence,
        manufacturer=spec.manufacturer,
        model=spec.model,
        serial=spec.serial,
        product_uri=spec.product_uri,
        carrier=spec.counts,
        unit=_UNITS.get(spec.counts, ""),
        direction="import" if spec.counts else "",
    )


def _device_columns(
    index: int, spec: MachineSpec, windows: Windows, scenario: Scenario, span: Span, nobody: Mask
) -> dict[str, Ints]:
    """Record columns of one device, without the windows in which nobody looked."""
    n = len(windows.start_s)
    silent = _holes(scenario.seed, spec.device, span, per_month=3.0, windows=(1, 24)) & ~nobody
    seen = ~silent & ~nobody
    length = WINDOW_S * 10
    counter = _thousandths(windows, spec)
    # The last window before each one (itself included) that was seen; its end is where the sums stand.
    seen_until = np.maximum.accumulate(np.where(seen, np.arange(n), -1))
    before = np.concatenate([[-1], seen_until[:-1]])
    counted = seen & bool(spec.counts)
    quantity = np.where(counted, counter[1:] - counter[before + 1], 0)
    span_s = np.where(counted, (np.arange(n) - before) * WINDOW_S, 0)
    parts_now = np.where(seen, windows.parts[1:] - windows.parts[before + 1], 0) if spec.counts_parts else np.zeros(n)
    waste = np.floor(windows.energy_not_running_kwh * 1000) if spec.says_state and spec.counts else np.zeros(n)
    on_the_hour = (windows.start_s % 3600 == 0) | ~np.concatenate([[False], seen[:-1]])
    states = {
        "running": windows.running_s,
        "idle": windows.idle_s,
        "fault": windows.fault_s,
        "off": windows.off_s,
    }
    tags = int(bool(spec.counts)) + int(spec.counts_parts) + int(spec.says_state) + 1
    columns: dict[str, NDArray[np.int64] | NDArray[np.float64]] = {
        "device": np.full(n, index),
        "start": windows.start_s,
        "length": np.full(n, length),
        "observed": np.full(n, length),
        "part": np.zeros(n),
        "connected": np.where(seen, length, 0),
        **{name: np.where(seen & spec.says_state, tenths * 10, 0) for name, tenths in states.items()},
        "quantity": quantity,
        "quantity_idle": np.minimum(np.where(counted, waste, 0), quantity),
        "quantity_span": span_s,
        "reading": np.where(counted & on_the_hour, counter[1:], -1),
        "parts": parts_now,
        "good": np.where(seen, WINDOW_S * tags, 0),
        "bad": np.zeros(n),
        "flags": np.zeros(n),
    }
    return {name: np.rint(values[~nobody]).astype(np.int64) for name, values in columns.items()}


def _thousandths(windows: Windows, spec: MachineSpec) -> Ints:
    """The device's counter at each window's edge (n + 1 rows), each rounded to 1/1000 as a gateway does."""
    counter = windows.water_m3 if spec.counts == "water" else windows.energy_kwh
    return np.rint(counter * 1000).astype(np.int64)


def _holes(seed: int, name: str, span: Span, *, per_month: float, windows: tuple[int, int]) -> Mask:
    """Windows that are missing: a few stretches, each within the working hours of one local day."""
    n = (span.end_s - span.start_s) // WINDOW_S
    days = n * WINDOW_S // DAY_S
    missing = np.zeros(n, np.bool_)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), 11])
    per_day = DAY_S // WINDOW_S
    for day in range(days):
        if rng.random() < per_month / 30.0:
            first = int(rng.integers(8 * 4, 17 * 4))
            missing[day * per_day + first : day * per_day + first + int(rng.integers(windows[0], windows[1] + 1))] = (
                True
            )
    return missing
