"""The edge runtime: one task tree that reads all devices, keeps windows, and sends what they become."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import importlib
import signal
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from collectors.model import Clock, Trouble
from gateway import clock_watch, data_folder, device_clock, resuming, status
from gateway.clock import NS_PER_S, TimeLine, boot_id
from gateway.config import PlantConfig
from gateway.dating import Dating
from gateway.disk_life import DiskWatch
from gateway.health import Health
from gateway.intake import Intake
from gateway.keeper import Keeper
from gateway.link_loop import LinkLoop
from gateway.link_set import LinkSet
from gateway.links import Link, make_links
from gateway.outbox import OutboxThread
from gateway.page.server import Page
from gateway.reload import Reloader
from gateway.resuming import Resumed
from gateway.stand_in import Left, stand_in
from gateway.starts import Starts
from gateway.status import Status
from gateway.supervision import supervise
from gateway.troubles import Troubles
from gateway.uplink import Uplink
from gateway.watchdog import Progress, Watchdog
from gateway.way_change import WayChange
from gateway.windows import Windows

if TYPE_CHECKING:
    from gateway.outputs.outputs import Outputs

TICK_S: Final = 0.5
CLOCK_TICKS: Final = 2
"""Clocks are looked at every so many ticks; every tick while the time is not known."""
_STOPS: Final = (signal.SIGTERM, signal.SIGINT)
_log = structlog.get_logger("gateway")


@dataclass(frozen=True, slots=True)
class Options:
    """How a run ends and what it shows. `seconds` counts from the first accepted sample."""

    seconds: float | None = None
    close_short: bool = False
    status_file: Path | None = None
    drain_s: float = 20.0
    """How long a run that closes windows short may take to deliver them."""
    follows_file: bool = True
    """Whether a change of the plant's file is taken over while it runs."""


@dataclass(slots=True)
class Gateway:
    """A running gateway: its parts, and the task tree that owns them. `await run(...)` is all that others need."""

    config: PlantConfig
    clock: TimeLine
    thread: OutboxThread
    dating: Dating
    resumed: Resumed
    make_links: Callable[[PlantConfig], Sequence[Link]]
    first_links: Sequence[Link]
    options: Options
    watchdog: Watchdog
    windows: Windows = field(init=False)
    troubles: Troubles = field(default_factory=Troubles)
    progress: Progress = field(init=False)
    uplink: Uplink = field(init=False)
    intake: Intake = field(init=False)
    keeper: Keeper = field(init=False)
    links: LinkSet = field(init=False)
    way_change: WayChange = field(init=False)
    reloader: Reloader = field(init=False)
    health: Health = field(init=False)
    status: Status = field(init=False)
    disk_watch: DiskWatch = field(init=False)
    page: Page = field(init=False)
    outputs: Outputs | None = field(init=False)
    _is_stopped: bool = False
    _beat: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a tick is due, and at the end."""
    _shown: Any = None

    def __post_init__(self) -> None:
        self.windows = self.resumed.windows
        self.progress = Progress(self.config.gateway.checkpoint_s)
        self.uplink = Uplink(
            self.config.uplink,
            self.config.site,
            self.thread,
            self.clock,
            self.troubles,
            presence=lambda: self.windows.presence(self.clock()),
            shed=self.windows.shed_counts,
            presence_s=self.config.gateway.presence_s,
        )
        self.uplink.on_county_time = self._hear_county
        self.outputs = _outputs(self.config, self.troubles, self.clock, self.dating)
        self.intake = Intake(
            self.config,
            self.clock,
            self.thread,
            self.windows,
            self.troubles,
            found=self._device_found,
            tap=self.outputs.take if self.outputs is not None else None,
        )
        self.keeper = Keeper(
            self.resumed,
            self.intake,
            self.thread,
            self.uplink,
            self.troubles,
            self.clock,
            self.dating,
            self.progress,
        )
        self.links = LinkSet(lambda link: LinkLoop(link, self.intake, self.windows, self.troubles, self.clock))
        self.way_change = WayChange(self.uplink, self.troubles, lambda uplink: self.reloader.uplink_taken(uplink))
        self.reloader = Reloader(
            self.config,
            self.make_links,
            self.links,
            self.windows,
            self.intake,
            self.uplink,
            self.troubles,
            self.watchdog,
            self.clock,
            self.way_change,
        )
        self.health = Health(self.progress, self.keeper, self.troubles)
        self.disk_watch = DiskWatch(self.config.gateway.data_dir, self.troubles)
        self.status = Status(
            self.clock,
            self.dating,
            self.windows,
            self.intake,
            self.keeper,
            self.uplink,
            self.troubles,
            self.links,
            self.reloader,
            self.health,
            self.disk_watch,
        )
        if self.outputs is not None:
            self.status.outputs = self.outputs.summary
        self.page = Page(self.config.gateway.page, self.status, self.links, self.troubles)

    def stop(self) -> None:
        """End the run in order."""
        self._is_stopped = True
        self._beat.set()

    def mending(self) -> None:
        """A damaged outbox is mended, and goes on; called on the outbox's thread."""
        self.progress.mending()
        self.watchdog.feed(self.progress)

    async def run(self) -> int:
        """Work until stopped; returns the exit code."""
        await self.uplink.open()
        try:
            async with asyncio.TaskGroup() as group:
                self.links.start(group, self.first_links)
                parts = {
                    "ingest": self.uplink.run_ingest,
                    "live": self.uplink.run_live,
                    "page": self.page.run,
                    "disk-life": self.disk_watch.run,
                    "standstill": lambda: clock_watch.watch_standstill(self.windows, self.clock),
                }
                if self.outputs is not None:
                    parts |= self.outputs.works
                if self.options.follows_file and self.config.file.is_file():
                    parts |= {"reload": self.reloader.run, "way": self.way_change.run}
                if (path := self.options.status_file) is not None:
                    parts["status"] = lambda: self.status.show(path)
                tasks = [
                    group.create_task(supervise(name, work, self.troubles), name=name) for name, work in parts.items()
                ]
                await self._keep()
                self.links.end()
                for task in tasks:
                    task.cancel()
            return await self._finish()
        finally:
            await self.uplink.close()

    async def _keep(self) -> None:
        """Keep windows and checkpoint, notice changes of presence and jumps of the clock, until stopped.

        It is never cancelled in an ordered stop: what is being written is written once.
        """
        loop = asyncio.get_running_loop()
        ticks = 0
        while not self._is_stopped:
            acks_s = (self.intake.acks_due_ns - self.clock()) / NS_PER_S
            timer = loop.call_later(min(TICK_S, max(acks_s, 0.0)), self._beat.set)
            await self._beat.wait()
            self._beat.clear()
            timer.cancel()
            if ticks % CLOCK_TICKS == 0 or not self.dating.is_known:
                self._look_at_the_time()
                self._tell_of_clocks()
            if self.status.starts.is_undated and self.dating.is_known:
                await asyncio.to_thread(self.status.starts.date, self.status.started_ns())
            ticks += 1
            now_ns = self.clock()
            shown = self.windows.judged(now_ns)
            if shown != self._shown:
                self._shown = shown
                self.uplink.presence_changed()
            await self.keeper.tick(now_ns)
            if self.keeper.is_safe:
                self.watchdog.ready()
            self.watchdog.feed(self.progress)
            if (
                self.options.seconds is not None
                and self.intake.first_sample_ns
                and now_ns - self.intake.first_sample_ns >= self.options.seconds * NS_PER_S
            ):
                self.stop()

    def _look_at_the_time(self) -> None:
        if (correction := self.dating.look()) is not None:
            self.keeper.correct(correction)
            if self.outputs is not None:
                self.outputs.correct(correction.by_ns)

    def _tell_of_clocks(self) -> None:
        self.troubles.report(clock_watch.trouble(self.clock, self.dating))
        for account in self.windows.accounts.values():
            if account.offset.lows:
                told = device_clock.trouble(account.id, account.offset, time_is_known=self.dating.is_known)
                self.troubles.report(told)

    def _hear_county(self, ahead_ns: int, error_ns: int) -> None:
        self.clock.county_ahead_ns, self.dating.county_error_ns = ahead_ns, error_ns

    async def _finish(self) -> int:
        self.watchdog.stopping()
        if self.options.close_short and not self.dating.is_known:
            await self.uplink.tell_presence()
            self._look_at_the_time()
        if self.options.follows_file:
            await self.reloader.last_look()
        now_ns = self.clock()
        devices = self.windows.presence(now_ns)
        delivered = True
        async with asyncio.TaskGroup() as group:
            if self.outputs is not None:
                group.create_task(self.outputs.finish(), name="outputs")
            if self.options.close_short:
                await self.keeper.close_short(now_ns)
                delivered = await self.uplink.drain(self.options.drain_s)
            else:
                await self.keeper.write(now_ns)
        if self.options.status_file is not None:
            await asyncio.to_thread(status.write, self.options.status_file, self.status.summary(devices))
        _log.info("stopped", records_written=self.keeper.records_written, unsent=self.uplink.depth.unsent)
        return 0 if delivered else 1

    def _device_found(self) -> None:
        self.uplink.wake()
        self.uplink.presence_changed()


def _outputs(config: PlantConfig, troubles: Troubles, clock: TimeLine, dating: Dating) -> Outputs | None:
    """The outputs of a configuration; None, and nothing imported, where it has none."""
    if not config.outputs:
        return None
    made: Outputs = importlib.import_module("gateway.outputs.outputs").Outputs(
        config, troubles, clock, time_is_known=dating.is_known
    )
    return made


def give_back_memory() -> None:
    """Give the pages that reading files and importing has left free back to the system."""
    gc.collect()
    with suppress(OSError, AttributeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)


async def _adopt(thread: OutboxThread, left: Left, resumed: Resumed, now_ns: int) -> None:
    """Put what only memory held on the disk. One that takes nothing again ends no process: it is counted as dropped."""
    try:
        await thread.call(thread.outbox.adopt, left.batches, now_ns)
    except sqlite3.Error as error:
        rows = sum(len(records) for _, records in left.batches)
        resumed.windows.shed["disk_not_writable"] += rows
        _log.error("what memory held cannot be written: the counters tell what it brought", rows=rows, error=str(error))


async def run(
    config: PlantConfig,
    options: Options | None = None,
    links: Callable[[PlantConfig, Clock], Sequence[Link]] = make_links,
) -> int:
    """Run a gateway until it is stopped; returns the exit code.

    `links` makes the collectors of a configuration; it is called again when the file changes. Raises OutboxError,
    FileError, ConfigError before anything is connected.
    """
    clock, watchdog = TimeLine(), Watchdog()
    dating, stopped = Dating(clock), asyncio.Event()
    standing_in: list[Gateway] = []

    def alive(status: str) -> None:
        # Waiting is all that can be done: a supervisor that starts the process again would not help.
        watchdog.ready()
        watchdog.status(status)
        watchdog.feed(standing_in[-1].progress if standing_in else Progress(config.gateway.checkpoint_s))

    def gateway_over(
        thread: OutboxThread, resumed: Resumed, first_links: Sequence[Link], options: Options, watchdog: Watchdog
    ) -> Gateway:
        return Gateway(
            config,
            clock,
            thread,
            dating,
            resumed,
            lambda changed: links(changed, clock.steady),
            first_links,
            options,
            watchdog,
        )

    def meanwhile(over: asyncio.Event, trouble: Trouble) -> Coroutine[Any, Any, Left]:
        def on_memory(thread: OutboxThread, resumed: Resumed) -> Gateway:
            brief = Options(close_short=True, drain_s=0.0, follows_file=False)
            gateway = gateway_over(thread, resumed, links(config, clock.steady), brief, Watchdog({}))
            gateway.troubles.report(trouble)
            standing_in.append(gateway)
            return gateway

        async def until_over() -> Left:
            try:
                return await stand_in(config, clock, dating, on_memory, over)
            finally:
                standing_in.clear()

        return until_over()

    def tell(trouble: Trouble) -> None:
        if standing_in:
            standing_in[-1].troubles.report(trouble)

    made = links(config, clock.steady)
    loop = asyncio.get_running_loop()
    for number in _STOPS:
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # the file is read in a moment, or was just now
    try:
        async with data_folder.opened(config, stopped, alive, meanwhile, tell) as (thread, left):
            give_back_memory()
            resumed = resuming.go_on(thread.outbox, config, clock, dating, written_until_ns=left.until_ns)
            resumed.windows.shed.update(dict(left.shed))
            if left.batches:
                await _adopt(thread, left, resumed, clock())
            gateway = gateway_over(thread, resumed, made, options or Options(), watchdog)
            thread.outbox.on_progress = gateway.mending
            if resumed.trouble is not None:
                gateway.troubles.report(resumed.trouble)
            gateway.uplink.go_on(await thread.call(thread.outbox.depth))
            loop.add_signal_handler(signal.SIGHUP, gateway.reloader.ask)
            for number in _STOPS:
                loop.add_signal_handler(number, gateway.stop)
            if stopped.is_set():
                gateway.stop()
            gateway.status.starts = starts = Starts(config.gateway.data_dir)
            await asyncio.to_thread(starts.begin, clock() if dating.is_known else 0, boot_id())
            code = await gateway.run()
            await asyncio.to_thread(starts.end)
            return code
    except data_folder.Stopped:
        _log.info("stopped while the data folder could not be used")
        return 0
    finally:
        for number in (*_STOPS, signal.SIGHUP):
            loop.remove_signal_handler(number)
