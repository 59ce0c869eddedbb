"""From a plant's MQTT entries to collectors: one for the JSON devices of a broker, one for its Sparkplug nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from collectors.base import Collector
from collectors.model import Clock, ConfigError
from collectors.mqtt.addresses import Address, parse
from collectors.mqtt.config import MqttEntry
from collectors.mqtt.connection import Settings
from collectors.mqtt.json_collector import JsonCollector
from collectors.mqtt.json_device import JsonDevice
from collectors.mqtt.json_family import JsonFamily
from collectors.mqtt.profile import JsonProfile, SparkplugProfile
from collectors.mqtt.session import SessionMemory, new_client_id
from collectors.mqtt.sparkplug_collector import SparkplugHost
from collectors.mqtt.sparkplug_host import EdgeNode
from collectors.profiles import loader


def collectors_for(
    entries: Sequence[MqttEntry],
    clock: Clock,
    profile_folders: Sequence[Path],
    state_folder: Path,
    *,
    looking: bool = False,
) -> list[Collector]:
    """One collector per broker and kind. Nothing is opened. Raises ConfigError, FileError.

    `profile_folders` are a site's own, searched before the built-in one; `state_folder` keeps our
    identity at each broker, so that it keeps our session. `looking`: for a person's tool beside a running
    gateway: under a name of its own, in a session that nobody keeps, and never announced as a host.
    """
    collectors: list[Collector] = []
    for address, group in _by_broker(e for e in entries if not e.is_sparkplug):
        sources = [json_source(entry, json_profile(entry, profile_folders)) for entry in group]
        if looking:
            settings = settings_of(group, address, new_client_id(), persistent=False)
            collectors.append(JsonCollector(settings, sources, clock))
            continue
        memory = SessionMemory.load(state_folder, str(address))
        collectors.append(JsonCollector(settings_of(group, address, memory.client_id), sources, clock, memory))
    for address, group in _by_broker(e for e in entries if e.is_sparkplug):
        nodes = [EdgeNode(entry, sparkplug_profile(entry, profile_folders)) for entry in group]
        settings = settings_of(group, address, new_client_id(), persistent=False)
        _refuse_repeated_nodes(group)
        host_id = _host_id(group)
        collectors.append(SparkplugHost(settings, nodes, clock, None if looking else host_id))
    return collectors


def _by_broker(entries: Iterable[MqttEntry]) -> list[tuple[Address, list[MqttEntry]]]:
    groups: dict[Address, list[MqttEntry]] = {}
    for entry in entries:
        groups.setdefault(parse(entry.address), []).append(entry)
    return list(groups.items())


def settings_of(group: Sequence[MqttEntry], address: Address, client_id: str, *, persistent: bool = True) -> Settings:
    """How to reach the broker of these entries. Raises ConfigError where they contradict one another."""
    first = group[0]
    for other in group[1:]:
        for key in ("username", "password_file", "ca_file", "cert_file", "key_file", "mqtt_version"):
            if getattr(other, key) != getattr(first, key):
                raise ConfigError(
                    "mqtt.broker-ambiguous",
                    f"条目 {first.id} 和 {other.id} 用同一服务器 {address}，但 {key} 不同。",
                    f"entries {first.id} and {other.id} share the broker {address} but differ in {key}.",
                    "请写成一致，或用不同的主机名区分两个连接。",
                    "Make them equal, or use another host name for the second connection.",
                )
    for file in (first.password_file, first.ca_file, first.cert_file, first.key_file):
        if file is not None and not file.is_file():
            raise ConfigError(
                "mqtt.file-missing",
                f"条目 {first.id}：没有文件 {file}。",
                f"entry {first.id}: there is no file {file}.",
                "请检查 password_file、ca_file、cert_file 和 key_file。",
                "Check password_file, ca_file, cert_file and key_file.",
            )
    return Settings(
        address=address,
        client_id=client_id,
        version=first.mqtt_version,
        username=first.username,
        password_file=first.password_file,
        ca_file=first.ca_file,
        cert_file=first.cert_file,
        key_file=first.key_file,
        persistent=persistent,
    )


def json_source(entry: MqttEntry, profile: JsonProfile) -> JsonDevice | JsonFamily:
    """What reads an entry: one device, or with a wildcard in its topic one for each name. Raises ConfigError."""
    family = JsonFamily(entry, profile)
    if not family.is_wild:
        return JsonDevice(entry, profile)
    if shared := family.topics_without_name:
        raise ConfigError(
            "mqtt.topic-without-name",
            f"条目 {entry.id} 的主题有通配符，但型号文件 {entry.profile} 的主题 {shared[0]} 不含 {{topic}}。",
            f"entry {entry.id} has a wildcard, but the topic {shared[0]} of the profile {entry.profile} "
            "does not contain {topic}.",
            "请在型号文件的 topic 中使用 {topic}，否则无法知道消息属于哪台设备。",
            "Use {topic} in the profile's topics: otherwise nobody can tell whose message it is.",
        )
    return family


def json_profile(entry: MqttEntry, folders: Sequence[Path]) -> JsonProfile:
    """The entry's profile. Raises FileError, and ConfigError where it is not for JSON."""
    _check_protocol(entry, "mqtt", folders)
    return loader.load(entry.profile, JsonProfile, folders)


def sparkplug_profile(entry: MqttEntry, folders: Sequence[Path]) -> SparkplugProfile:
    """The entry's profile. Raises FileError, and ConfigError where it is not for Sparkplug."""
    _check_protocol(entry, "sparkplug", folders)
    return loader.load(entry.profile, SparkplugProfile, folders)


def _host_id(group: Sequence[MqttEntry]) -> str | None:
    given = {entry.host_id for entry in group if entry.host_id is not None}
    if len(given) > 1:
        names = ", ".join(sorted(given))
        raise ConfigError(
            "mqtt.host-id",
            f"同一服务器的 Sparkplug 条目写了不同的 host_id：{names}。",
            f"Sparkplug entries of one broker name different host ids: {names}.",
            "请只用一个 host_id。",
            "Use one host_id.",
        )
    return next(iter(given), None)


def _refuse_repeated_nodes(group: Sequence[MqttEntry]) -> None:
    seen: dict[tuple[str | None, str | None], str] = {}
    for entry in group:
        first = seen.setdefault((entry.group, entry.node), entry.id)
        if first != entry.id:
            raise ConfigError(
                "mqtt.node-twice",
                f"条目 {first} 和 {entry.id} 是同一个边缘节点 {entry.group}/{entry.node}。",
                f"entries {first} and {entry.id} name the same edge node {entry.group}/{entry.node}.",
                "请删除其中一个。",
                "Remove one of them.",
            )


def _check_protocol(entry: MqttEntry, expected: str, folders: Sequence[Path]) -> None:
    protocol = loader.header(entry.profile, folders).protocol
    if protocol == expected:
        return
    if protocol == "sparkplug":
        raise ConfigError(
            "mqtt.sparkplug-keys",
            f"条目 {entry.id}：型号文件 {entry.profile} 需要 group 和 node。",
            f"entry {entry.id}: the profile {entry.profile} needs `group` and `node`.",
            "请补上 Sparkplug 的 group 和 node。",
            "Add the node's group and node ids.",
        )
    raise ConfigError(
        "mqtt.profile-protocol",
        f"条目 {entry.id}：型号文件 {entry.profile} 属于 {protocol}，此处需要 {expected}。",
        f"entry {entry.id}: the profile {entry.profile} is for {protocol}; {expected} is needed here.",
        "运行 plantpulse-gateway profiles 查看。",
        "Run plantpulse-gateway profiles to list them.",
    )
