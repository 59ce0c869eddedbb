"""How the gateway is: one summary for the status file, the local page and its metrics."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from collectors.causes import cause_of
from collectors.model import Trouble
from gateway import applied
from gateway.clock import NS_PER_S, TimeLine
from gateway.dating import Dating
from gateway.disk_life import DiskWatch
from gateway.health import Health
from gateway.intake import Intake
from gateway.keeper import Keeper
from gateway.link_set import LinkSet
from gateway.reload import Reloader
from gateway.starts import Starts
from gateway.troubles import Troubles, as_json
from gateway.uplink import Uplink
from gateway.windows import Windows
from gateway.wire import DevicePresence

STATUS_S: Final = 2.0
_NS_PER_MS: Final = 1_000_000


@dataclass(slots=True)
class Status:
    """Reads what the parts of a running gateway say of themselves."""

    clock: TimeLine
    dating: Dating
    windows: Windows
    intake: Intake
    keeper: Keeper
    uplink: Uplink
    troubles: Troubles
    links: LinkSet
    reloader: Reloader
    health: Health
    disk_watch: DiskWatch
    outputs: Callable[[], list[dict[str, Any]]] = list
    """What the outputs say of themselves."""
    starts: Starts = field(default_factory=Starts)
    page_url: str = ""
    """Where the local page is served; blank while it is not."""
    _steady_ns: int = field(init=False)

    def __post_init__(self) -> None:
        self._steady_ns = self.clock.steady()

    def started_ns(self) -> int:
        """When this run started, on the time line as it stands now."""
        return self.clock() - (self.clock.steady() - self._steady_ns)

    def summary(self, devices: Sequence[DevicePresence] | None = None) -> dict[str, Any]:
        """Everything but values; `devices` as they were judged, by default now. Times in ns UTC, 0: never."""
        now_ns = self.clock()
        devices = self.windows.presence(now_ns) if devices is None else devices
        depth, uplink, config = self.uplink.depth, self.uplink, self.reloader.config
        reasons = self.health.reasons()
        return {
            "gateway": config.site,
            "time_ns": now_ns,
            "started_ns": self.started_ns(),
            "ready": not reasons,
            "not_ready": [as_json(t) for t in reasons],
            "first_sample_ns": self.intake.first_sample_ns,
            "samples": dict(self.intake.samples),
            "records_written": self.keeper.records_written,
            "records_sent": uplink.sent_rows,
            "batches_unsent": depth.unsent,
            "records_unsent": depth.unsent_rows,
            "oldest_unsent_s": max(0, (now_ns - depth.oldest_unsent_ns) // NS_PER_S) if depth.oldest_unsent_ns else 0,
            "batches_set_aside": depth.poisoned,
            "set_aside": [batch._asdict() for batch in depth.set_aside],
            "records_dropped": depth.dropped_rows,
            "announcements_refused": uplink.refused_announcements,
            "time_is_known": self.dating.is_known,
            "county_clock_ahead_ms": _ms(self.clock.county_ahead_ns),
            "system_clock_ahead_ms": _ms(self.clock.step_ns()),
            "clock_is_doubtful": self.clock.is_doubtful(),
            "outbox_bytes": depth.size_bytes,
            "days_to_full": self.keeper.days_to_full,
            "disk": _disk(config.gateway.data_dir) | self.disk_watch.as_json(),
            **self.starts.as_json(),
            "uplink_url": config.uplink.url,
            "last_contact_ns": uplink.last_contact_ns,
            "connected_devices": sum(d.connected for d in devices),
            "devices": [self._device(d) for d in devices],
            "links": [
                {
                    "link": loop.name,
                    "protocol": loop.protocol,
                    "state": loop.state,
                    "entries": sorted(loop.entries),
                    "connects": loop.connects,
                    "errors": dict(loop.errors),
                }
                for loop in self.links.loops
            ],
            "config_file": str(config.file),
            "config_applied_ns": self.reloader.applied.at_ns,
            "config_digest": applied.digest(self.reloader.applied),
            "reloads": self.reloader.reloads,
            "outputs": self.outputs(),
            "page_url": self.page_url,
            "shed": self.windows.shed_counts(),
            "troubles_opened": dict(self.troubles.opened),
            "troubles": [as_json(t) for t in self.troubles.listed()],
        }

    def _device(self, presence: DevicePresence) -> dict[str, Any]:
        account = self.windows.accounts.get(presence.id)
        found = account.device if account is not None else None
        good, bad = self.intake.last_values.counts(presence.id)
        return {
            "id": presence.id,
            "entry": presence.id.split("/", 1)[0],
            "connected": presence.connected,
            "state": presence.state,
            "has_state": found is None or found.tells_state,
            "since_ns": presence.since_ns,
            "last_proof_ns": presence.last_proof_ns,
            "profile": found.profile if found is not None else "",
            "class": found.device_class if found is not None else "",
            "address": found.address if found is not None else "",
            "clock_behind_ms": _ms(self.windows.clock_behind_ns(presence.id)),
            "good": good,
            "bad": bad,
        }

    async def show(self, path: Path) -> None:
        """Keep the status file up to date until cancelled."""
        while True:
            try:
                await asyncio.to_thread(write, path, self.summary())
                self.troubles.clear("status-file")
            except OSError as error:
                zh, en = cause_of(error)
                told = Trouble("status-file", "not_writable", f"无法写入状态文件（{zh}）。", f"cannot write it ({en}).")
                self.troubles.report(told)
            await asyncio.sleep(STATUS_S)


def _ms(span_ns: int | None) -> int | None:
    return None if span_ns is None else span_ns // _NS_PER_MS


def _disk(folder: Path) -> dict[str, Any]:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return {"free_bytes": None, "total_bytes": None}
    return {"free_bytes": usage.free, "total_bytes": usage.total}


def write(path: Path, summary: dict[str, Any]) -> None:
    """Replace the file atomically. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    os.replace(partial, path)
