"""The edge runtime: one task tree that reads all devices, keeps windows, and sends what they become."""

from __future__ import annotations

import asyncio
import fcntl
import random
import signal
import sqlite3
from collections import Counter as Counts
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from collectors.base import Collector
from collectors.model import FOREVER_S, Batch, Clock, ConfigError, Device, LinkError, Trouble
from gateway import checkpoint, status
from gateway.account import Row
from gateway.clock import NS_PER_S, STEP_NOTICED_NS, TimeLine
from gateway.config import ENTRY_MODELS, PlantConfig
from gateway.links import Link, make_links
from gateway.outbox import DiskError, Outbox, OutboxError, OutboxThread
from gateway.troubles import Troubles
from gateway.uplink import Uplink
from gateway.windows import NO_FLAGS, Windows
from gateway.wire import Announcement, DevicePresence
from metrics.record import DAY_S

TICK_S: Final = 0.25
PROGRESS_S: Final = 1.0
NOT_WATCHING_NS: Final = 5 * NS_PER_S
"""A progress tick that comes this late shows that the process stood still: it watched nothing meanwhile."""
STATUS_S: Final = 2.0
CLOSE_TIMEOUT_S: Final = 2.0
DRAIN_S: Final = 20.0
RESTART_MOST_S: Final = 60.0
DISK_RETRY_S: Final = 5.0
LOOK_AHEAD_NS: Final = 600 * NS_PER_S
FULL_SOON_DAYS: Final = 7
MAX_UNWRITTEN_ROWS: Final = 100_000
"""Records held in memory while the disk takes none."""
_YIELD_EVERY: Final = 32
_log = structlog.get_logger("gateway")


@dataclass(frozen=True, slots=True)
class Options:
    """How a run ends and what it shows. `seconds` counts from the first accepted sample."""

    seconds: float | None = None
    close_short: bool = False
    status_file: Path | None = None


@dataclass(slots=True)
class Gateway:
    """A running gateway. `await run(...)` is all that others need."""

    config: PlantConfig
    clock: TimeLine
    thread: OutboxThread
    windows: Windows
    links: Sequence[Link]
    options: Options
    troubles: Troubles = field(default_factory=Troubles)
    uplink: Uplink = field(init=False)
    samples: Counts[str] = field(default_factory=Counts)
    records_written: int = 0
    _unwritten: list[Row] = field(default_factory=list)
    _unannounced: dict[str, Device] = field(default_factory=dict)
    _acks: list[Callable[[], None]] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _first_sample_ns: int = 0
    _shown: Any = None
    _days_to_full: float | None = None
    _days_due_ns: int = 0

    def __post_init__(self) -> None:
        self.uplink = Uplink(
            self.config.uplink,
            self.config.site,
            self.thread,
            self.clock,
            self.troubles,
            presence=lambda: self.windows.presence(self.clock()),
            shed=self.shed_counts,
            presence_s=self.config.gateway.presence_s,
        )
        for protocol in ENTRY_MODELS:
            self.samples.setdefault(protocol, 0)

    def shed_counts(self) -> dict[str, int]:
        """Everything dropped since the outbox was made, by reason."""
        return {reason: n for reason, n in self.windows.shed.items() if n}

    def stop(self) -> None:
        """End the run in order."""
        self._stop.set()

    async def run(self) -> int:
        """Work until stopped; returns the exit code."""
        await self.uplink.open()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._collect(link), name=link.collector.link) for link in self.links]
                tasks += [
                    group.create_task(self._supervise("ingest", self.uplink.run_ingest), name="ingest"),
                    group.create_task(self._supervise("progress", self._watch_progress), name="progress"),
                    group.create_task(self._supervise("live", self.uplink.run_live), name="live"),
                ]
                if self.options.status_file is not None:
                    tasks.append(group.create_task(self._supervise("status", self._show), name="status"))
                await self._keep()
                for task in tasks:
                    task.cancel()
            return await self._finish()
        finally:
            await self.uplink.close()

    async def _finish(self) -> int:
        now_ns = self.clock()
        devices = self.windows.presence(now_ns)
        delivered = True
        if self.options.close_short:
            self._unwritten += self.windows.close_short(now_ns, self.clock.flags())
            await self._write(now_ns)
            delivered = await self.uplink.drain(DRAIN_S)
        else:
            await self._write(now_ns)
        if self.options.status_file is not None:
            await asyncio.to_thread(status.write, self.options.status_file, self.summary(devices))
        _log.info("stopped", records_written=self.records_written, unsent=self.uplink.depth.unsent)
        return 0 if delivered else 1

    async def _supervise(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Start a part again that failed by a mistake of ours; the other parts go on."""
        pause_s = 1.0
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 (told in the log and on the pages)
                _log.exception("part failed", part=name)
                self.troubles.report(
                    Trouble(
                        f"gateway/{name}",
                        "part_failed",
                        f"网关内部出错（{error}），正在重启该部分。",
                        f"a part of the gateway failed ({error}); it is started again.",
                        "请把日志报告给软件维护方。",
                        "Report the log to the maintainers of the software.",
                    )
                )
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RESTART_MOST_S)

    # Collectors ---------------------------------------------------------------------------------

    async def _collect(self, link: Link) -> None:
        """Connect, read, and connect again. Whatever happens to this link stays with this link."""
        collector = link.collector
        devices: set[str] = set()
        crashes = 0
        while True:
            pause_s = collector.reconnect_s * random.uniform(1.0, 1.3)  # noqa: S311 (jitter)
            try:
                await collector.connect()
                self.troubles.clear(collector.link)
                batches = 0
                while True:
                    await self._take(link, await collector.read(), devices)
                    crashes = 0
                    batches += 1
                    if batches % _YIELD_EVERY == 0:
                        await asyncio.sleep(0)  # a link with a backlog never suspends by itself
            except LinkError as error:
                self.troubles.report(error.trouble(collector.link))
            except ConfigError as error:
                self.troubles.report(error.trouble(collector.link))
                self._unwatch(devices)
                await self._close(collector)
                return
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is None or task.cancelling():
                    await self._close(collector)
                    raise
                crashes += 1
                self._crashed(collector, devices, "cancelled from inside", crashes)
            except Exception as error:  # noqa: BLE001 (a bug in one collector must not stop its neighbours)
                crashes += 1
                self._crashed(collector, devices, f"{type(error).__name__}: {error}", crashes)
                _log.exception("collector failed", link=collector.link)
            now_ns = self.clock()
            for device_id in devices:
                if (account := self.windows.accounts.get(device_id)) is not None:
                    account.lose_link(now_ns)
            await self._close(collector)
            if crashes:
                pause_s = min(max(pause_s, 1.0) * 2 ** (crashes - 1), RESTART_MOST_S)
            await asyncio.sleep(pause_s)
            for device_id in devices:
                if (account := self.windows.accounts.get(device_id)) is not None:
                    account.watch(self.clock())

    def _crashed(self, collector: Collector, devices: set[str], what: str, crashes: int) -> None:
        self._unwatch(devices)
        self.troubles.report(
            Trouble(
                collector.link,
                "collector_failed",
                f"采集程序出错（{what}），第 {crashes} 次，已单独重启，其他设备不受影响。",
                f"the collector failed ({what}), {crashes} times; it is restarted alone, other devices go on.",
                "请把日志报告给软件维护方。",
                "Report the log to the maintainers of the software.",
            )
        )

    def _unwatch(self, devices: set[str]) -> None:
        for device_id in devices:
            if (account := self.windows.accounts.get(device_id)) is not None:
                account.unwatch(self.clock())

    @staticmethod
    async def _close(collector: Collector) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await collector.close()
        except Exception:  # noqa: BLE001 (what cannot be closed is left behind, told in the log)
            _log.exception("close failed", link=collector.link)

    async def _take(self, link: Link, batch: Batch, devices: set[str]) -> None:
        for device in batch.devices:
            await self._introduce(device)
            devices.add(device.id)
        accepted = self.windows.take(batch.proofs, batch.samples)
        if accepted:
            self.samples[link.protocol] += accepted
            if not self._first_sample_ns:
                self._first_sample_ns = self.clock()
        for trouble in batch.troubles:
            self.troubles.report(trouble)
        if batch.shed:
            self.windows.shed.update(batch.shed)
        if batch.ack is not None:
            self._acks.append(batch.ack)

    async def _introduce(self, device: Device) -> None:
        now_ns = self.clock()
        number = await self._announce(device, now_ns)
        if self.windows.introduce(device, number, now_ns):
            self.uplink.wake()
            self.uplink.presence_changed()

    async def _announce(self, device: Device, now_ns: int) -> int:
        """The number of what the device says of itself; 0 while the disk does not take it."""
        try:
            number = await self.thread.call(self.thread.outbox.announce, self._announcement(device, now_ns))
        except sqlite3.Error as error:
            self._report_disk(error)
            self._unannounced[device.id] = device
            return 0
        self._unannounced.pop(device.id, None)
        return number

    def _announcement(self, device: Device, now_ns: int) -> Announcement:
        entry = next(
            (e for entries in self.config.entries.values() for e in entries if e.id == device.entry),
            None,
        )
        alone = device.id == device.entry
        return Announcement(
            0,
            now_ns,
            device.id,
            device.address,
            device.profile,
            device.device_class,
            device.evidence.value,
            manufacturer=device.identity.manufacturer,
            model=device.identity.model,
            serial=device.identity.serial,
            product_uri=device.identity.product_uri,
            carrier=device.carrier,
            unit=device.unit,
            direction=device.direction,
            liveness_s=device.liveness_s if device.liveness_s != FOREVER_S else 0.0,
            asset=entry.asset if entry is not None and alone else "",
        )

    # Windows ------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Close windows, checkpoint, notice changes of presence and jumps of the clock, until stopped.

        It is never cancelled in an ordered stop: what is being written is written once.
        """
        interval_ns = round(self.config.gateway.checkpoint_s * NS_PER_S)
        checkpoint_due_ns = self.clock() + interval_ns
        while not self._stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._stop.wait()
            now_ns = self.clock()
            self.clock.county_ahead_ns = self.uplink.county_ahead_ns
            self._watch_clock()
            shown = [(d.id, d.connected, d.state) for d in self.windows.presence(now_ns)]
            if shown != self._shown:
                self._shown = shown
                self.uplink.presence_changed()
            if now_ns >= self.windows.next_due_ns():
                self._unwritten += self.windows.close_due(now_ns, self.clock.flags())
                checkpoint_due_ns = now_ns
            if now_ns >= checkpoint_due_ns:
                await self._write(now_ns)
                checkpoint_due_ns = now_ns + interval_ns
            if (
                self.options.seconds is not None
                and self._first_sample_ns
                and now_ns - self._first_sample_ns >= self.options.seconds * NS_PER_S
            ):
                self.stop()

    async def _watch_progress(self) -> None:
        """Notice that the whole process stood still (stopped, or its machine paused): it watched nothing."""
        before_ns = self.clock()
        while True:
            await asyncio.sleep(PROGRESS_S)
            now_ns = self.clock()
            if now_ns - before_ns > NOT_WATCHING_NS:
                self.windows.blind(before_ns, now_ns)
                _log.warning("stood still", seconds=round((now_ns - before_ns) / NS_PER_S, 1))
            before_ns = now_ns

    async def _write(self, now_ns: int) -> None:
        """Write closed windows and the checkpoint, synced, then acknowledge what they hold."""
        rows, acks = list(self._unwritten), self._acks
        batches = self.windows.batches(rows)
        blob = checkpoint.save(self.windows, now_ns)
        self._acks = []
        outbox = self.thread.outbox
        try:
            if batches:
                written = await self.thread.call(outbox.commit, batches, blob, now_ns)
            else:
                written = 0
                await self.thread.call(outbox.save_checkpoint, blob)
        except sqlite3.Error as error:  # a full or broken disk does not end the process
            self._acks = acks + self._acks
            self._report_disk(error)
            if (surplus := len(self._unwritten) - MAX_UNWRITTEN_ROWS) > 0:
                del self._unwritten[:surplus]
                self.windows.shed["disk_not_writable"] += surplus
            return
        self.troubles.clear("outbox")
        self._tell_of_damage()
        self._unwritten = self._unwritten[len(rows) :]
        for device in list(self._unannounced.values()):
            await self._introduce(device)
        self.records_written += written
        if written:
            self.uplink.wake()
            await self._look_ahead(now_ns)
        for ack in acks:
            try:
                ack()
            except Exception:  # noqa: BLE001 (the samples are safe; the link tells of its own trouble)
                _log.exception("acknowledgement failed")

    async def _look_ahead(self, now_ns: int) -> None:
        """How long the outbox lasts; told when it is less than a week while the county is away."""
        if now_ns < self._days_due_ns:
            return
        self._days_due_ns = now_ns + LOOK_AHEAD_NS
        with suppress(sqlite3.Error):  # the next write tells of the disk
            days = await self.thread.call(self.thread.outbox.days_to_full, now_ns)
            self._days_to_full = None if days is None else round(days, 2)
        if self._days_to_full is None or self._days_to_full >= FULL_SOON_DAYS:
            self.troubles.clear("outbox/room")
            return
        self.troubles.report(
            Trouble(
                "outbox/room",
                "outbox_full_soon",
                f"按目前的速度，待发库约 {self._days_to_full:.1f} 天后写满，之后最旧的记录会被丢弃并计数。",
                f"at this rate the outbox is full in {self._days_to_full:.1f} days; then the oldest records are "
                "dropped and counted.",
                "请恢复上行连接，或增大 outbox_limit_mb、清理磁盘。",
                "Restore the uplink, raise outbox_limit_mb or make room on the disk.",
            )
        )

    def _tell_of_damage(self) -> None:
        if (found := self.thread.outbox.salvaged) is not None:
            self.troubles.report(
                Trouble(
                    "outbox/damage",
                    "outbox_damaged",
                    found.zh,
                    found.en,
                    "请更换存储卡；把搁置的文件交给软件维护方查看。",
                    "Replace the card; have the maintainers look at the file that was set aside.",
                )
            )

    def _report_disk(self, error: Exception) -> None:
        self.troubles.report(
            Trouble(
                "outbox",
                "disk_not_writable",
                f"无法写入待发库：{error}。数据暂存内存。",
                f"the outbox cannot be written: {error}. Records are held in memory.",
                "请检查磁盘空间和存储卡。",
                "Check disk space and the card.",
            )
        )

    def _watch_clock(self) -> None:
        if self.clock.flags() == NO_FLAGS:
            self.troubles.clear("clock")
            return
        step_s, county_ns = self.clock.step_ns() / NS_PER_S, self.clock.county_ahead_ns
        off = abs(self.clock.step_ns()) > STEP_NOTICED_NS or county_ns is None
        seconds, zh, en = (
            (step_s, "系统时钟", "the system clock")
            if off
            else ((county_ns or 0) / NS_PER_S, "县级时钟", "the county's clock")
        )
        self.troubles.report(
            Trouble(
                "clock",
                "clock_stepped" if off else "clock_differs_from_county",
                f"{zh}与网关时间线相差 {seconds:.0f} 秒，记录仍按原时间线，并已标记。",
                f"{en} stands {seconds:.0f} s from the gateway's time line; records keep the line and are flagged.",
                "请检查时间同步（NTP），然后重启网关。",
                "Check time synchronisation (NTP), then restart the gateway.",
            )
        )

    # Status -------------------------------------------------------------------------------------

    async def _show(self) -> None:
        assert self.options.status_file is not None, "started with a path only"
        path = self.options.status_file
        while True:
            try:
                await asyncio.to_thread(status.write, path, self.summary())
                self.troubles.clear("status-file")
            except OSError as error:
                self.troubles.report(
                    Trouble("status-file", "not_writable", f"无法写入状态文件：{error}", f"cannot write it: {error}")
                )
            await asyncio.sleep(STATUS_S)

    def summary(self, devices: list[DevicePresence] | None = None) -> dict[str, Any]:
        """How the gateway is, for the status file; `devices` as they were judged, by default now."""
        now_ns = self.clock()
        devices = self.windows.presence(now_ns) if devices is None else devices
        depth = self.uplink.depth
        return {
            "gateway": self.config.site,
            "time_ns": now_ns,
            "first_sample_ns": self._first_sample_ns,
            "samples": dict(self.samples),
            "records_written": self.records_written,
            "records_sent": self.uplink.sent_rows,
            "batches_unsent": depth.unsent,
            "batches_set_aside": depth.poisoned,
            "set_aside": [batch._asdict() for batch in depth.set_aside],
            "records_dropped": depth.dropped_rows,
            "county_clock_ahead_ms": None
            if self.uplink.county_ahead_ns is None
            else self.uplink.county_ahead_ns // 1_000_000,
            "outbox_bytes": depth.size_bytes,
            "days_to_full": self._days_to_full,
            "last_contact_ns": self.uplink.last_contact_ns,
            "connected_devices": sum(d.connected for d in devices),
            "devices": [
                {"id": d.id, "connected": d.connected, "state": d.state, "last_proof_ns": d.last_proof_ns}
                for d in devices
            ],
            "shed": self.shed_counts(),
            "troubles": [
                {"subject": t.subject, "code": t.code, "zh": t.zh, "en": t.en} for t in self.troubles.listed()
            ],
        }


def open_windows(
    outbox: Outbox, saved: checkpoint.SavedWindows | None, config: PlantConfig, clock: Clock
) -> tuple[Windows, list[Row]]:
    """New windows, or those of the last run: (windows, records of windows that a new length closed)."""
    now_ns = clock()
    windows = Windows(config.gateway.window_s, config.entry_ids, now_ns)
    rows: list[Row] = []
    if saved is not None:
        if saved.window_s != windows.window_s:
            rows, saved = checkpoint.close_old(saved)
        checkpoint.resume(saved, windows, now_ns)
    for known in outbox.known_devices():
        windows.remember(known.device, known.number, known.serial, now_ns)
    return windows, rows


def read_checkpoint(outbox: Outbox) -> checkpoint.SavedWindows | None:
    """The last run's checkpoint. A damaged one is told in the log, and a new one begun."""
    blob = outbox.checkpoint()
    if blob is None:
        return None
    try:
        return checkpoint.read(blob)
    except checkpoint.CheckpointError as error:
        _log.error("checkpoint damaged: counters start anew", error=str(error))
        return None


async def run(
    config: PlantConfig,
    options: Options | None = None,
    links: Callable[[Clock], Sequence[Link]] | None = None,
) -> int:
    """Run a gateway until it is stopped; returns the exit code.

    `links` makes the collectors; by default those of the configured entries. Raises OutboxError,
    FileError, ConfigError before anything is connected.
    """
    settings = config.gateway
    clock = TimeLine()
    made = links(clock) if links is not None else make_links(config, clock)
    waiting = False
    while True:
        with ExitStack() as held:
            try:
                held.enter_context(only_one(settings.data_dir))
                outbox = _open_outbox(config)
            except (DiskError, OSError) as error:
                # Started again and again by its supervisor it would do no better: it waits for the disk.
                if not waiting:
                    _log.error(
                        "the data folder cannot be used: waiting", folder=str(settings.data_dir), error=str(error)
                    )
                waiting = True
            else:
                return await _run(config, options or Options(), clock, made, outbox)
        await asyncio.sleep(DISK_RETRY_S)


def _open_outbox(config: PlantConfig) -> Outbox:
    settings = config.gateway
    return Outbox(
        settings.data_dir / "outbox.sqlite3",
        config.site,
        limit_bytes=settings.outbox_limit_mb * 1024 * 1024,
        keep_s=settings.keep_days * DAY_S,
        unsent_s=settings.unsent_days * DAY_S,
        reserve_bytes=settings.reserve_mb * 1024 * 1024,
    )


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold a data folder for this process; it is free again when the process ends, however it ends.

    Raises OutboxError where another process holds it, OSError where the folder cannot be used.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutboxError(
                f"另一个网关进程正在使用 {data_dir}。请先停止它，或换一个 data_dir。 / "
                f"another gateway process uses {data_dir}. Stop it first, or use another data_dir."
            ) from error
        yield


async def _run(config: PlantConfig, options: Options, clock: TimeLine, made: Sequence[Link], outbox: Outbox) -> int:
    thread = OutboxThread(outbox)
    try:
        saved = read_checkpoint(outbox)
        if saved is not None:
            clock.start_no_earlier((saved.saved_ms + 1) * 1_000_000)
        windows, rows = open_windows(outbox, saved, config, clock)
        gateway = Gateway(config, clock, thread, windows, made, options, _unwritten=rows)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, gateway.stop)
        try:
            return await gateway.run()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
    finally:
        await asyncio.to_thread(thread.stop)
