"""How the gateway is: a summary, and the file that it is written to, replaced as a whole."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from collectors.model import Trouble
from gateway.clock import TimeLine
from gateway.dating import Dating
from gateway.intake import Intake
from gateway.keeper import Keeper
from gateway.troubles import Troubles
from gateway.uplink import Uplink
from gateway.windows import Windows
from gateway.wire import DevicePresence

STATUS_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Status:
    """Reads what the parts of a running gateway say of themselves."""

    site: str
    clock: TimeLine
    dating: Dating
    windows: Windows
    intake: Intake
    keeper: Keeper
    uplink: Uplink
    troubles: Troubles

    def summary(self, devices: Sequence[DevicePresence] | None = None) -> dict[str, Any]:
        """For the status file; `devices` as they were judged, by default now."""
        now_ns = self.clock()
        devices = self.windows.presence(now_ns) if devices is None else devices
        depth, uplink = self.uplink.depth, self.uplink
        return {
            "gateway": self.site,
            "time_ns": now_ns,
            "first_sample_ns": self.intake.first_sample_ns,
            "samples": dict(self.intake.samples),
            "records_written": self.keeper.records_written,
            "records_sent": uplink.sent_rows,
            "batches_unsent": depth.unsent,
            "batches_set_aside": depth.poisoned,
            "set_aside": [batch._asdict() for batch in depth.set_aside],
            "records_dropped": depth.dropped_rows,
            "time_is_known": self.dating.is_known,
            "county_clock_ahead_ms": _ms(self.clock.county_ahead_ns),
            "system_clock_ahead_ms": _ms(self.clock.step_ns()),
            "outbox_bytes": depth.size_bytes,
            "days_to_full": self.keeper.days_to_full,
            "last_contact_ns": uplink.last_contact_ns,
            "connected_devices": sum(d.connected for d in devices),
            "devices": [
                {
                    "id": d.id,
                    "connected": d.connected,
                    "state": d.state,
                    "last_proof_ns": d.last_proof_ns,
                    "clock_behind_ms": _ms(self.windows.clock_behind_ns(d.id)),
                }
                for d in devices
            ],
            "shed": self.windows.shed_counts(),
            "troubles": [
                {"subject": t.subject, "code": t.code, "zh": t.zh, "en": t.en} for t in self.troubles.listed()
            ],
        }

    async def show(self, path: Path) -> None:
        """Keep the status file up to date until cancelled."""
        while True:
            try:
                await asyncio.to_thread(write, path, self.summary())
                self.troubles.clear("status-file")
            except OSError as error:
                self.troubles.report(
                    Trouble("status-file", "not_writable", f"无法写入状态文件：{error}", f"cannot write it: {error}")
                )
            await asyncio.sleep(STATUS_S)


def _ms(span_ns: int | None) -> int | None:
    return None if span_ns is None else span_ns // 1_000_000


def write(path: Path, summary: dict[str, Any]) -> None:
    """Replace the file atomically. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    os.replace(partial, path)
