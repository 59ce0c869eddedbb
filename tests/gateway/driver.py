"""Drives `Windows` along a time line of the test's own: samples, proofs, kills and restarts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from collectors.model import FOREVER_S, Device, Proof, Quality, Samples
from gateway import checkpoint
from gateway.clock import NS_PER_S
from gateway.row import Row
from gateway.windows import Windows
from metrics.record import Records, refusals
from tests.gateway.scripted import device

NOON_S = 1_795_406_400
"""2026-11-23 04:00 UTC, which is noon in Asia/Shanghai: the start of an hour and of every window."""
STATE, ENERGY, PARTS, GAUGE = range(4)


class Driver:
    """A gateway without sockets and disk. Times are s after `NOON_S`; rows collect in `rows`."""

    def __init__(self, window_s: int = 60, devices: Sequence[Device] = (), at_s: float = 0.0) -> None:
        self.window_s = window_s
        self.devices = list(devices) or [device()]
        self.rows: list[Row] = []
        self.windows = Windows(window_s, dict.fromkeys(d.entry for d in self.devices), ns(at_s))
        for found in self.devices:
            self.windows.introduce(found, 1, ns(at_s))
        self.saved = checkpoint.save(self.windows, ns(at_s))

    def samples(
        self,
        at_s: float,
        rows: Iterable[tuple[int, float]],
        *,
        device_id: str = "",
        source_s: float | None = None,
        lasts_s: float = 3.0,
        quality: int = Quality.GOOD,
    ) -> None:
        """Samples received at a time, with the proof that they are. `source_s` is the device's own time."""
        tags, values = zip(*rows, strict=True)
        name = device_id or self.devices[0].id
        columns = Samples.of(tags, values, ns(at_s), quality=quality, source_ns=0 if source_s is None else ns(source_s))
        proofs = [Proof(name, ns(at_s), lasts_s)] if lasts_s else []
        self.windows.take(proofs, [(name, columns)])

    def prove(self, at_s: float, lasts_s: float = FOREVER_S) -> None:
        self.windows.take([Proof(self.devices[0].id, ns(at_s), lasts_s)], [])

    def tick(self, at_s: float) -> list[Row]:
        """Close what is due, with its checkpoint."""
        new = self.windows.close_due(ns(at_s))
        if new:
            self.saved = checkpoint.save(self.windows, ns(at_s))
            self.rows += new
        return new

    def save(self, at_s: float) -> None:
        self.saved = checkpoint.save(self.windows, ns(at_s))

    def kill_and_restart(self, at_s: float) -> None:
        """The process dies and comes back: only what was saved is left."""
        self.windows = Windows(self.window_s, dict.fromkeys(d.entry for d in self.devices), ns(at_s))
        checkpoint.resume(checkpoint.read(self.saved), self.windows, ns(at_s))
        for found in self.devices:
            self.windows.introduce(found, 1, ns(at_s))

    def finish(self, at_s: float) -> None:
        self.rows += self.windows.close_short(ns(at_s))

    def row(self, start_s: int, part: int = 0, device_id: str = "") -> Row:
        (found,) = [
            r
            for r in self.rows
            if (r.device, r.start, r.part) == (device_id or self.devices[0].id, NOON_S + start_s, part)
        ]
        return found

    def total(self, column: str) -> Any:
        return sum(getattr(r, column) for r in self.rows)

    def assert_valid(self) -> None:
        """Every record keeps the schema, and no key is written twice."""
        for refs, records in self.windows.batches(self.rows):
            assert refusals(records, len(refs)) == []
        keys = [(r.device, r.start, r.part) for r in self.rows]
        assert len(keys) == len(set(keys))


def ns(at_s: float) -> int:
    return NOON_S * NS_PER_S + round(at_s * 1000) * (NS_PER_S // 1000)


def records(driver: Driver) -> Records:
    return Records.concat(r for _, r in driver.windows.batches(driver.rows))
