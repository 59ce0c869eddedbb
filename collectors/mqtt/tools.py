"""What the person at the cabinet asks of a broker: who publishes there, and what one device says now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from collectors.base import Collector
from collectors.findings import Found, ToolReading
from collectors.model import Clock, ConfigError, Device, Identity, LinkError, Quality, Role
from collectors.mqtt.addresses import Address, parse
from collectors.mqtt.config import MqttEntry
from collectors.mqtt.connection import BrokerConnection, Settings
from collectors.mqtt.factory import json_profile, json_source, settings_of, sparkplug_profile
from collectors.mqtt.inbox import Message
from collectors.mqtt.json_collector import JsonCollector
from collectors.mqtt.json_device import JsonDevice
from collectors.mqtt.profile import JsonProfile, SparkplugProfile
from collectors.mqtt.rows import Rows
from collectors.mqtt.session import new_client_id
from collectors.mqtt.sparkplug_collector import SparkplugHost
from collectors.mqtt.sparkplug_host import KINDS, NAMESPACE, EdgeNode, identity_in
from collectors.mqtt.sparkplug_wire import WireError, decode
from collectors.profiles import loader
from metrics.record import Evidence, MachineState

READ_TIMEOUT_S: Final = 10.0
MOST_FOUND: Final = 1_000
_MESSAGES_AT_ONCE: Final = 1_000


async def scan(
    address: str,
    seconds: float,
    clock: Clock,
    profile_folders: Sequence[Path] = (),
    *,
    username: str = "",
    password_file: Path | None = None,
    ca_file: Path | None = None,
) -> list[Found]:
    """Whoever publishes at a broker within `seconds`: JSON by topic, Sparkplug by group/node/device.

    Subscribes to everything and publishes nothing; retained messages do not count. At most 1,000 are
    listed. Raises LinkError, ConfigError, FileError.
    """
    where = _parsed(address)
    settings = Settings(
        where,
        new_client_id(),
        username=username,
        password_file=password_file,
        ca_file=ca_file,
        persistent=False,
    )
    seen = _Seen(where, profile_folders)
    broker = BrokerConnection(settings, clock)
    try:
        await broker.open()
        if await broker.subscribe(["#"], qos=0):
            raise ConfigError(
                "mqtt.topic-refused",
                f"{where} 不允许订阅全部主题。",
                f"{where} does not permit subscribing to everything.",
                "请用有权读取 # 的用户扫描。",
                "Scan as a user who may read #.",
            )
        try:
            async with asyncio.timeout(seconds):
                while True:
                    for message in await broker.receive(_MESSAGES_AT_ONCE):
                        seen.take(message)
        except TimeoutError:
            pass
    finally:
        await broker.close()
    return seen.found()


async def read_once(
    entry: MqttEntry,
    tags: Sequence[str],
    clock: Clock,
    profile_folders: Sequence[Path] = (),
    *,
    timeout_s: float = READ_TIMEOUT_S,
) -> list[ToolReading]:
    """The latest value of every tag of an entry, or only of `tags`; of several devices as `device/tag`.

    Waits until all are known, at most `timeout_s`. A Sparkplug node is asked for its births. Raises
    LinkError where nothing came, ConfigError for an unknown tag, FileError.
    """
    collector = _reader(entry, clock, profile_folders)
    devices: dict[str, Device] = {}
    readings: dict[str, ToolReading] = {}
    try:
        await collector.connect()
        try:
            async with asyncio.timeout(timeout_s):
                while not _complete(tags, devices, readings):
                    batch = await collector.read()
                    devices.update({device.id: device for device in batch.devices})
                    for device_id, samples in batch.samples:
                        device = devices[device_id]
                        for row in range(len(samples)):
                            tag = device.tags[int(samples.tag[row])]
                            quality = Quality(int(samples.quality[row]))
                            shown: float | str | None = None
                            if quality != Quality.BAD:
                                value = float(samples.value[row])
                                shown = MachineState(int(value)).name.lower() if tag.role is Role.STATE else value
                            name = _tag_name(device, tag.name)
                            readings[name] = ToolReading(
                                name,
                                shown,
                                tag.unit,
                                quality,
                                int(samples.source_ns[row]),
                                int(samples.received_ns[row]),
                            )
        except TimeoutError:
            pass
    finally:
        await collector.close()
    known = [_tag_name(device, tag.name) for device in devices.values() for tag in device.tags]
    unknown = [tag for tag in tags if tag not in known]
    if known and unknown:
        raise ConfigError(
            "mqtt.tag-unknown",
            f"没有点 {unknown[0]}。",
            f"there is no tag {unknown[0]}.",
            f"可用：{', '.join(known)}。",
            f"Known: {', '.join(known)}.",
        )
    if not readings:
        raise LinkError(
            "mqtt.nothing-published",
            f"{timeout_s:.0f} 秒内没有收到 {entry.address} 的数据。",
            f"nothing came from {entry.address} within {timeout_s:.0f} s.",
            "请用 scan 查看有哪些主题，核对 topic 或 group 和 node。",
            "Use scan to see the topics; check `topic`, or `group` and `node`.",
        )
    return [readings[name] for name in known if name in readings and (not tags or name in tags)]


def _parsed(address: str) -> Address:
    try:
        return parse(address)
    except ValueError as error:
        zh, en = error.args
        raise ConfigError("mqtt.address", zh, en) from error


def _reader(entry: MqttEntry, clock: Clock, folders: Sequence[Path]) -> Collector:
    """A collector for one look: a session of its own that the broker forgets."""
    settings = settings_of([entry], parse(entry.address), new_client_id(), persistent=False)
    if entry.is_sparkplug:
        return SparkplugHost(settings, [EdgeNode(entry, sparkplug_profile(entry, folders))], clock)
    return JsonCollector(settings, [json_source(entry, json_profile(entry, folders))], clock)


def _tag_name(device: Device, tag: str) -> str:
    return tag if device.id == device.entry else f"{device.id.removeprefix(device.entry + '/')}/{tag}"


def _complete(tags: Sequence[str], devices: dict[str, Device], readings: dict[str, ToolReading]) -> bool:
    if tags:
        return all(tag in readings for tag in tags)
    known = [_tag_name(device, tag.name) for device in devices.values() for tag in device.tags]
    return bool(known) and all(name in readings for name in known)


@dataclass(slots=True)
class _Seen:
    """What has been heard so far."""

    address: Address
    folders: Sequence[Path]
    topics: dict[str, str] = field(default_factory=dict)
    """Profile that fits by topic of JSON; blank where none does."""
    status_topics: set[str] = field(default_factory=set)
    sparkplug: dict[tuple[str, ...], Identity] = field(default_factory=dict)
    profiles: list[JsonProfile] = field(default_factory=list)
    node_profile: SparkplugProfile | None = None

    def __post_init__(self) -> None:
        for name in loader.names(self.folders):
            protocol = loader.header(name, self.folders).protocol
            if protocol == "mqtt":
                self.profiles.append(loader.load(name, JsonProfile, self.folders))
            elif protocol == "sparkplug" and self.node_profile is None:
                self.node_profile = loader.load(name, SparkplugProfile, self.folders)

    def take(self, message: Message) -> None:
        if message.retained or len(self.topics) + len(self.sparkplug) >= MOST_FOUND:
            return
        parts = message.topic.split("/")
        if parts[0] == NAMESPACE:
            if len(parts) in (4, 5) and parts[2] in KINDS:
                self._take_sparkplug(parts[2], (parts[1], *parts[3:]), message.payload)
        elif not self.topics.get(message.topic):
            try:
                document = msgspec.json.decode(message.payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return
            if isinstance(document, dict):
                self._take_json(message.topic, document)

    def found(self) -> list[Found]:
        """Everything heard: JSON by topic, then Sparkplug devices, then nodes without any."""
        address = str(self.address)
        found = [
            Found(address, "mqtt-device", Evidence.NATIVE, profile=profile, name=topic)
            for topic, profile in sorted(self.topics.items())
            if topic not in self.status_topics
        ]
        profile = self.node_profile.profile if self.node_profile else ""
        nodes_with_devices = {name[:2] for name in self.sparkplug if len(name) > 2}
        for name, identity in sorted(self.sparkplug.items()):
            if name not in nodes_with_devices:
                evidence = Evidence.SELF_IDENTIFIED if identity != Identity() else Evidence.NATIVE
                found.append(Found(address, "sparkplug-device", evidence, identity, profile, name="/".join(name)))
        return found

    def _take_json(self, topic: str, document: dict[str, Any]) -> None:
        self.topics.setdefault(topic, "")
        for profile in self.profiles:
            entry = MqttEntry(id="scan", profile=profile.profile, address=str(self.address), topic=topic)
            device = JsonDevice(entry, profile)
            if device.read(topic, document, 0, True, Rows()).alive:
                self.topics[topic] = profile.profile
                self.status_topics.update(t for t in device.topics if t != topic)
                return

    def _take_sparkplug(self, kind: str, name: tuple[str, ...], payload: bytes) -> None:
        if kind in ("NDEATH", "DDEATH"):
            return
        identity = self.sparkplug.setdefault(name, Identity())
        if kind.endswith("BIRTH") and self.node_profile is not None and identity == Identity():
            try:
                metrics = decode(payload).metrics
            except WireError:
                return
            self.sparkplug[name] = identity_in(metrics, self.node_profile.identity)
