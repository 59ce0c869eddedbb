"""A plant's file: read strictly, checked as a whole before anything is opened."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from collectors.entries import PROTOCOL_OF_SCHEME, DeviceEntry, EntryId
from collectors.profiles import loader as profiles
from collectors.strict_yaml import FileError, Located, Problem, StrictModel, check, problem_at, read, shown
from gateway.outputs.config import Output, faults, output_of
from gateway.page.config import PageConfig
from gateway.uplink_config import UplinkConfig as UplinkConfig
from metrics.record import MAX_WINDOW_S, MIN_WINDOW_S

ENTRY_MODELS: Final = {"opcua": "OpcuaEntry", "modbus": "ModbusEntry", "mqtt": "MqttEntry"}
"""Model of a protocol's entries, in `collectors/<protocol>/config.py`."""
DEFAULT_WINDOW_S: Final = 60
DEFAULT_DATA_DIR: Final = Path("plantpulse-data")

Model = TypeVar("Model", bound=BaseModel)


class GatewayConfig(StrictModel):
    """How the runtime works; every key may be left out."""

    window_s: int = DEFAULT_WINDOW_S
    """每条记录的时长（秒），须整除 15 分钟。Length of a record's window, s: a divisor of 15 minutes."""
    checkpoint_s: Annotated[float, Field(ge=0.1, le=300)] = 5.0
    """检查点间隔（秒）：断电最多少看这么久。Interval of checkpoints, s: at most this goes unwatched by a power cut."""
    presence_s: Annotated[float, Field(ge=0.2, le=10)] = 5.0
    """在线状态上报间隔（秒），变化时立即上报。Interval of presence, s; a change is told at once."""
    data_dir: Path = DEFAULT_DATA_DIR
    """待发库所在文件夹。Folder of the outbox."""
    profile_folders: tuple[Path, ...] = ()
    """站点自己的型号文件夹，先于内置型号查找。Folders of the site's own profiles, searched before the built-in ones."""
    outbox_limit_mb: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    """待发库文件的容量上限（MiB），超出先丢最旧的并计数，每小时的首个窗口留到最后。Limit of the outbox's file, MiB;
    beyond it the oldest goes, counted, and the first window of each hour last."""
    keep_days: Annotated[int, Field(ge=0, le=400)] = 14
    """已确认的批次保留几天，供县里恢复后再要。Days that confirmed batches are kept, for a county that was restored."""
    unsent_days: Annotated[int, Field(ge=1, le=4000)] = 400
    """未送达的记录最多留几天。Unsent records older than this go, counted: the county keeps no older minutes."""
    reserve_mb: Annotated[int, Field(ge=0, le=1_000_000)] = 64
    """待发库给磁盘留多少空间（MiB）。Free space that the outbox leaves on its disk, MiB."""
    page: PageConfig = PageConfig()
    """本地页面，键见“本地页面”。The local page; its keys are listed there."""

    @field_validator("window_s")
    @classmethod
    def _divisor(cls, window_s: int) -> int:
        if not MIN_WINDOW_S <= window_s <= MAX_WINDOW_S or MAX_WINDOW_S % window_s:
            permitted = ", ".join(str(s) for s in range(MIN_WINDOW_S, MAX_WINDOW_S + 1) if MAX_WINDOW_S % s == 0)
            raise ValueError(f"必须整除 15 分钟，可用：{permitted}。", f"a divisor of 15 minutes: {permitted}.")
        return window_s


class _PlantFile(StrictModel):
    site: EntryId
    uplink: UplinkConfig
    gateway: GatewayConfig = GatewayConfig()
    devices: list[Any]
    outputs: list[Any] = Field(default_factory=list)

    @field_validator("devices", mode="before")
    @classmethod
    def _some(cls, devices: Any) -> Any:
        if devices is None or devices == []:  # a key with nothing but comments below it is null
            raise ValueError(
                "还没有设备：至少写一台；plantpulse-gateway scan 地址 可以列出地址上的设备。",
                "no device yet: add at least one; plantpulse-gateway scan ADDRESS lists what answers there.",
            )
        return devices


class _AnyEntry(DeviceEntry):
    model_config = ConfigDict(frozen=True, extra="ignore")


class PlantConfig(StrictModel):
    """A plant's file that passed every check. Paths are absolute."""

    file: Path
    site: str
    """Also the gateway's name at the county."""
    uplink: UplinkConfig
    gateway: GatewayConfig
    entries: dict[str, tuple[DeviceEntry, ...]]
    """Entries by protocol, each of its protocol's own model."""
    outputs: tuple[Output, ...] = ()
    """Where raw samples go within the plant."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    @property
    def entry_ids(self) -> list[str]:
        """Ids of all entries."""
        return [entry.id for entries in self.entries.values() for entry in entries]


def load_data_dir(path: Path) -> Path:
    """The data folder that a plant's file names, whatever else it still lacks. Raises FileError."""
    located = read(path)
    if not isinstance(located.data, dict):
        raise FileError([problem_at(located, (), "-", *_NOT_A_PLANT)])
    given = located.data.get("gateway", {})
    return path.parent.absolute() / check(located, GatewayConfig, given, ("gateway",)).data_dir


def load(path: Path) -> PlantConfig:
    """Read and check a plant's file. Raises FileError with every problem found, each with its line."""
    located, folder = read(path), path.parent.absolute()
    problems: list[Problem] = []
    if not isinstance(located.data, dict):
        raise FileError([problem_at(located, (), "-", *_NOT_A_PLANT)])
    plant: _PlantFile | None = None
    try:
        plant = check(located, _PlantFile)
    except FileError as error:
        problems += error.problems
    entries: dict[str, list[DeviceEntry]] = {}
    folders = [folder / own for own in plant.gateway.profile_folders] if plant is not None else []
    given = located.data.get("devices")
    first_line: dict[str, int] = {}
    for index, raw in enumerate(given if isinstance(given, list) else []):
        try:
            protocol, entry = _entry(located, index, raw)
        except FileError as error:
            problems += error.problems
            continue
        line = located.line_of(("devices", index, "id"))
        if entry.id in first_line:
            problems.append(
                problem_at(
                    located,
                    ("devices", index, "id"),
                    entry.id,
                    f"这个 id 在第 {first_line[entry.id]} 行已经用过，请换一个。",
                    f"this id is already used in line {first_line[entry.id]}; choose another one.",
                )
            )
        first_line.setdefault(entry.id, line)
        entry = _resolved(entry, folder)
        problems += _missing_files(located, entry, ("devices", index))
        problems += _unknown_profile(located, entry, index, folders)
        entries.setdefault(protocol, []).append(entry)
    sinks, found = _outputs(located, folder, entries, folders)
    problems += found
    if plant is not None:
        plant = _resolved(plant, folder)
        problems += _missing_files(located, plant, skip=frozenset({"data_dir"}))
    if problems or plant is None:
        raise FileError(sorted(set(problems), key=lambda p: (p.line, p.key)))
    return PlantConfig(
        file=path.absolute(),
        site=plant.site,
        uplink=plant.uplink,
        gateway=plant.gateway,
        entries={protocol: tuple(of_protocol) for protocol, of_protocol in entries.items()},
        outputs=sinks,
    )


_NOT_A_PLANT: Final = (
    "文件应包含 site、uplink、devices 三个键。",
    "the file needs the keys site, uplink and devices.",
)


def entry_model(protocol: str) -> type[DeviceEntry]:
    """The model of a protocol's entries; imports only that protocol's configuration."""
    module = importlib.import_module(f"collectors.{protocol}.config")
    return cast(type[DeviceEntry], getattr(module, ENTRY_MODELS[protocol]))


def _entry(located: Located, index: int, raw: Any) -> tuple[str, DeviceEntry]:
    where: tuple[str | int, ...] = ("devices", index)
    if not isinstance(raw, dict):
        raise FileError(
            [
                problem_at(
                    located,
                    where,
                    shown(raw),
                    "每个设备应有 id、profile、address。",
                    "every device needs id, profile and address.",
                )
            ]
        )
    address = raw.get("address")
    scheme = urlsplit(address).scheme if isinstance(address, str) else ""
    if scheme not in PROTOCOL_OF_SCHEME:
        check(located, _AnyEntry, raw, where)  # says what is wrong with the address
    protocol = PROTOCOL_OF_SCHEME[scheme]
    return protocol, check(located, entry_model(protocol), raw, where)


def _outputs(
    located: Located, folder: Path, entries: dict[str, list[DeviceEntry]], folders: list[Path]
) -> tuple[tuple[Output, ...], list[Problem]]:
    """The outputs of a file, and what is wrong with them."""
    given = located.data.get("outputs")
    good: dict[int, Output] = {}
    problems: list[Problem] = []
    for index, raw in enumerate(given if isinstance(given, list) else []):
        try:
            good[index] = _resolved(output_of(located, index, raw), folder)
        except FileError as error:
            problems += error.problems
            continue
        problems += _missing_files(located, good[index], ("outputs", index))
    return tuple(good.values()), [*problems, *faults(located, good, entries, folders)]


def _resolved(model: Model, folder: Path) -> Model:
    """The model with its relative paths taken from the file's folder."""
    changed: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, Path):
            changed[name] = folder / value
        elif isinstance(value, BaseModel):
            changed[name] = _resolved(value, folder)
        elif isinstance(value, tuple) and value and all(isinstance(v, Path) for v in value):
            changed[name] = tuple(folder / v for v in value)
    return model.model_copy(update=changed) if changed else model


def _missing_files(
    located: Located, model: BaseModel, prefix: tuple[str | int, ...] = (), skip: frozenset[str] = frozenset()
) -> Iterator[Problem]:
    """A problem for every file or folder that the configuration names and nobody can read."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        where = (*prefix, name)
        if isinstance(value, BaseModel):
            yield from _missing_files(located, value, where, skip)
        elif name in skip:
            continue
        elif isinstance(value, Path) and not (value.is_file() and os.access(value, os.R_OK)):
            yield problem_at(
                located,
                where,
                str(value),
                "没有这个文件，或无权读取。请检查路径和权限。",
                "no such file, or no right to read it. Check path and permissions.",
            )
        elif isinstance(value, tuple):
            for item in value:
                if isinstance(item, Path) and not item.is_dir():
                    yield problem_at(located, where, str(item), "没有这个文件夹。", "no such folder.")


def _unknown_profile(located: Located, entry: DeviceEntry, index: int, folders: list[Path]) -> Iterator[Problem]:
    """A problem where no profile of that name is known, with the names that come near it."""
    if profiles.path_of(entry.profile, folders) is None:
        zh, en = profiles.unknown_words(entry.profile, folders)
        yield problem_at(located, ("devices", index, "profile"), entry.profile, zh, en)
