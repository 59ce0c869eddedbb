"""Hot reload: a plant's file or profile that changes is applied while the gateway runs, device by device."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog

from collectors.causes import cause_of
from collectors.model import Clock, CollectorError, Trouble
from collectors.strict_yaml import FileError
from gateway import applied, moving
from gateway.applied import Applied, Differences
from gateway.config import PlantConfig, load, load_data_dir
from gateway.intake import Intake
from gateway.link_set import LinkSet
from gateway.links import Link
from gateway.outputs.config import MqttOutput, feedback
from gateway.troubles import Troubles
from gateway.uplink import Uplink
from gateway.uplink_config import UplinkConfig
from gateway.watchdog import Watchdog
from gateway.way_change import WayChange
from gateway.windows import Windows

LOOK_S: Final = 2.0
"""How often file and folders are looked at; a change is read once it has stood still for one look."""
REFUSED: Final = "config"
RESTART: Final = "config/restart"
MOVE: Final = "config/data-dir"
REFUSED_AGAIN_LOOKS: Final = 10
"""A refused file is tried again after so many looks: what it lacked may lie in a file that it names."""
_MAX_TOLD: Final = 3
_log = structlog.get_logger("gateway")

MakeLinks = Callable[[PlantConfig], Sequence[Link]]
Marks = dict[str, tuple[int, int, int]]


class Reloader:
    """Watches the files of a configuration and applies what changes. `run` is its task.

    A configuration that cannot be used leaves the running one as it is, and is a shown trouble. Keys
    that need a restart keep their running value, and are told.
    """

    def __init__(
        self,
        config: PlantConfig,
        make_links: MakeLinks,
        links: LinkSet,
        windows: Windows,
        intake: Intake,
        uplink: Uplink,
        troubles: Troubles,
        watchdog: Watchdog,
        clock: Clock,
        way_change: WayChange,
    ) -> None:
        self.config = config
        """The configuration that runs."""
        self.applied = applied.describe(config, clock())
        self.reloads = 0
        self._make_links, self._links, self._windows, self._intake = make_links, links, windows, intake
        self._uplink, self._troubles, self._watchdog, self._clock = uplink, troubles, watchdog, clock
        self._way_change = way_change
        self._noted_in: Path | None = None
        """The folder that the next start is to move to."""
        self._asked = asyncio.Event()
        self._is_refused = False
        self._seen = _marks(config)

    def ask(self) -> None:
        """Read the file now, changed or not (SIGHUP)."""
        self._asked.set()

    async def run(self) -> None:
        """Keep what runs in the data folder; look at the files until cancelled."""
        await self._keep()
        changing: Marks | None = None
        looks = 0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._asked.wait()
            looks += 1
            marks = await asyncio.to_thread(_marks, self.config)
            asked = self._asked.is_set()
            if not asked and marks != (changing or self._seen):
                changing = marks  # it may still be written
                continue
            if asked or changing is not None or (self._is_refused and looks >= REFUSED_AGAIN_LOOKS):
                self._seen, changing, looks = marks, None, 0
                self._asked.clear()
                if asked:
                    self._watchdog.reloading()
                try:
                    await self.reload()
                finally:
                    if asked:
                        self._watchdog.reloaded()

    async def reload(self) -> Differences | None:
        """Read the file and apply it. Returns what that changed; None where it cannot be used."""
        try:
            wanted = await asyncio.to_thread(load, self.config.file)
            config = wanted.model_copy(
                update={
                    "site": self.config.site,
                    "uplink": self.config.uplink,
                    "outputs": self.config.outputs,
                    "gateway": self.config.gateway.model_copy(
                        update={"profile_folders": wanted.gateway.profile_folders}
                    ),
                }
            )
            await asyncio.to_thread(_refuse_feedback, config)
            links = await asyncio.to_thread(self._make_links, config)
            described = await asyncio.to_thread(applied.describe, config, self._clock())
            asked_for = await asyncio.to_thread(applied.describe, wanted, self._clock())
        except (FileError, CollectorError) as error:
            self._troubles.report(_refused(self.config.file, error))
            self._is_refused = True
            return None
        self._is_refused = False
        self._troubles.clear(REFUSED)
        self._troubles.report(_needs_restart(applied.differences(described, asked_for)))
        self._way_change.ask(wanted.uplink)
        await asyncio.to_thread(self._note_move, wanted.gateway.data_dir)
        found = applied.differences(self.applied, described)
        if found:
            await self._apply(config, described, links, found)
        return found

    async def _apply(self, config: PlantConfig, described: Applied, links: Sequence[Link], found: Differences) -> None:
        self.config = self._intake.config = config
        self.applied = described
        for entry in [*found.removed, *found.changed]:
            self._troubles.forget(entry)
        for device in list(self._windows.accounts):
            if device.split("/", 1)[0] in found.removed:
                self._intake.last_values.forget(device)
        self._windows.configure(config.entry_ids, found.touched, self._clock())
        changes = await self._links.apply(links, found.touched)
        for name in changes.ended:
            self._troubles.forget(name)
        self._uplink.presence_changed()
        self.reloads += 1
        _log.info(
            "configuration applied",
            added=found.added,
            removed=found.removed,
            changed=sorted(found.changed),
            links_started=changes.started,
            links_changed=changes.changed,
            links_ended=changes.ended,
        )
        await self._keep()

    async def last_look(self) -> None:
        """The run ends: what the next start is to know of a change that came just before."""
        with suppress(FileError):
            wanted = await asyncio.to_thread(load_data_dir, self.config.file)
            await asyncio.to_thread(self._note_move, wanted)

    def _note_move(self, wanted: Path) -> None:
        """Have the next start find what this run holds, where the file names another data folder."""
        running = self.config.gateway.data_dir
        if self._noted_in is not None and self._noted_in != wanted:
            moving.take_note_back(self._noted_in)
            self._noted_in = None
        if wanted == running:
            self._troubles.clear(MOVE)
            return
        try:
            moving.leave_note(wanted, running)
        except OSError as error:
            self._troubles.report(_cannot_move(wanted, running, error))
        else:
            self._noted_in = wanted
            is_taken = (wanted / moving.OUTBOX).exists() and not wanted.samefile(running)
            self._troubles.report(_is_taken(wanted, running) if is_taken else Trouble(MOVE, ""))

    async def uplink_taken(self, uplink: UplinkConfig) -> None:
        """Another way to the county is in force."""
        self.config = self._intake.config = self.config.model_copy(update={"uplink": uplink})
        self.applied = msgspec.structs.replace(self.applied, at_ns=self._clock(), uplink=uplink.model_dump(mode="json"))
        self.reloads += 1
        await self._keep()

    async def _keep(self) -> None:
        try:
            await asyncio.to_thread(applied.save, self.applied, self.config.gateway.data_dir)
        except OSError as error:
            _log.warning("the configuration that runs cannot be kept", error=str(error))


def _refuse_feedback(config: PlantConfig) -> None:
    """The outputs that run stay until a restart: no new device may read what they publish. Raises ConfigError."""
    for output in config.outputs:
        if isinstance(output, MqttOutput):
            fault = feedback(output, config.entries.get("mqtt", ()), config.gateway.profile_folders)
            if fault is not None:
                raise fault


def _marks(config: PlantConfig) -> Marks:
    """What tells that a file is another one: modification time, size, inode, by path."""
    paths = [config.file, *(p for folder in config.gateway.profile_folders for p in sorted(folder.glob("*.yaml")))]
    marks: Marks = {}
    for path in paths:
        with suppress(OSError):
            found = path.stat()
            marks[str(path)] = found.st_mtime_ns, found.st_size, found.st_ino
    return marks


def _refused(file: Path, error: FileError | CollectorError) -> Trouble:
    if isinstance(error, FileError):
        told = error.problems[:_MAX_TOLD]
        more = len(error.problems) - len(told)
        zh = "；".join(f"第 {p.line} 行 {p.key} = {p.value}：{p.zh}" for p in told) + (
            f"；另有 {more} 处" if more else ""
        )
        en = "; ".join(f"line {p.line}: {p.key} = {p.value}: {p.en}" for p in told) + (
            f"; and {more} more" if more else ""
        )
    else:
        zh, en = error.zh, error.en
    return Trouble(
        REFUSED,
        "config_refused",
        f"新的工厂文件不能使用，继续按原来的配置运行：{zh}",
        f"the new file cannot be used; the gateway goes on with the old one: {en}",
        f"改正后自动生效；先用 plantpulse-gateway check --config {file} 检查。",
        f"Correct it, it is read again by itself; plantpulse-gateway check --config {file} shows every problem.",
    )


def _is_taken(wanted: Path, running: Path) -> Trouble:
    """Told while everything still works: after the restart records would wait in memory until somebody decides."""
    return Trouble(
        MOVE,
        "data_folder_taken",
        f"gateway.data_dir 改为 {wanted}，那里已有一个待发库，{running} 里的搬不过去：重启后网关会停下来等。",
        f"gateway.data_dir names {wanted}, which holds an outbox already; the one in {running} cannot move there, and "
        "after a restart the gateway would wait.",
        f"重启之前，请改用一个空文件夹；若 {wanted / moving.OUTBOX} 不要了，请把它移走。",
        f"Before a restart, name an empty folder, or move {wanted / moving.OUTBOX} away where it is not wanted.",
    )


def _cannot_move(wanted: Path, running: Path, error: OSError) -> Trouble:
    cause = cause_of(error)
    return Trouble(
        MOVE,
        "data_folder_not_usable",
        f"工厂文件把 data_dir 改为 {wanted}，但那里不能写（{cause.zh}）；"
        f"现在重启，{running} 里未送达的记录会留在原处。",
        f"the file names {wanted} as data_dir, which cannot be written ({cause.en}); after a restart now, what "
        f"waits in {running} would stay there.",
        "请先让网关能写新文件夹（挂载、权限），再重启；或把 data_dir 改回原值。",
        "Let the gateway write to the new folder (mount, permissions) before the restart, or restore data_dir.",
    )


def _needs_restart(found: Differences) -> Trouble:
    if not found.restart:
        return Trouble(RESTART, "")
    keys = ", ".join(f"{key}: {before} → {after}" for key, (before, after) in found.restart.items())
    return Trouble(
        RESTART,
        "restart_needed",
        f"以下改动重启后才生效：{keys}。其余改动不用重启。",
        f"these changes take effect with a restart: {keys}. All others need none.",
        "请在合适的时候重启网关：systemctl restart plantpulse-gateway。",
        "Restart the gateway when it suits: systemctl restart plantpulse-gateway.",
    )
