"""The keys of an entry below `outputs` in a plant's file: where raw samples go within the plant."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from collectors.entries import DeviceEntry, EntryId
from collectors.model import ConfigError
from collectors.strict_yaml import FileError, Located, Problem, StrictModel, check, problem_at, shown
from gateway.uplink_config import is_loopback

SPARKPLUG_NAMESPACES: Final = ("spBv1.0", "STATE")
"""First levels of topics that Sparkplug nodes and hosts own; nothing else may be published there."""
_PREFIX_BYTES: Final = 1024
_NAME: Final = r"^[A-Za-z0-9一-鿿][A-Za-z0-9一-鿿_.-]{0,62}$"


def _check_address(address: str, scheme: str, instead: tuple[str, str]) -> None:
    """Raise ValueError with (Chinese, English) for what is no address, or holds a login; `instead`: where that goes."""
    try:
        parts = urlsplit(address)
        is_one = parts.scheme in (scheme, f"{scheme}s") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port, of brackets
        is_one = False
    if not is_one or parts.query or parts.fragment:
        raise ValueError(f"应为 {scheme}://主机:端口 或 {scheme}s://主机:端口。", f"expected {scheme}[s]://host:port.")
    if "@" in parts.netloc:
        raise ValueError(
            f"地址中不能写用户名或密码，{instead[0]}。", f"no user or password in an address; {instead[1]}."
        )


class _Output(StrictModel):
    """What every output has."""

    id: EntryId
    devices: tuple[EntryId, ...] = ()
    """只送这些条目（写 id），不写则全部。Only these entries, by their ids; default: all."""
    batch_rows: Annotated[int, Field(ge=1, le=50_000)] = 2_000
    """一次最多送多少个样本。At most so many samples in one request."""
    queue_rows: Annotated[int, Field(ge=1_000, le=2_000_000)] = 100_000
    """送不出去时在内存里最多留多少个样本，超出先丢最旧的并计数；每个 31 字节。Samples kept in memory while they cannot be delivered; beyond it the oldest goes, counted. 31 bytes each."""  # noqa: E501
    ca_file: Path | None = None
    """签发服务器证书的 CA（PEM），不写则用系统的。CA that signed the server's certificate (PEM); default: those of the system."""  # noqa: E501


class InfluxOutput(_Output):
    """The plant's own InfluxDB: 2.x, 3.x, or 1.x behind a proxy that knows tokens."""

    kind: Literal["influxdb"]
    url: str
    bucket: Annotated[str, Field(min_length=1)]
    org: str = ""
    """InfluxDB 2.x 的组织。Organization; only InfluxDB 2.x asks for it."""
    token_file: Path | None = None
    """内容为令牌的一行，权限 600。File with one line: a token that may write to the bucket."""
    measurement: Annotated[str, Field(pattern=_NAME)] = "plantpulse"
    """measurement 的名称。Name of the measurement."""
    plain_http: bool = False
    """允许不加密连接到别的机器。Permits http:// to another machine: the token can be read on the way."""

    @field_validator("url")
    @classmethod
    def _http(cls, url: str) -> str:
        _check_address(url, "http", ("令牌放在 token_file", "the token goes into token_file"))
        return url.rstrip("/")

    @model_validator(mode="after")
    def _encrypted(self) -> InfluxOutput:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and self.token_file and not self.plain_http and not is_loopback(parts.hostname or ""):
            raise ValueError(
                "不加密的 http:// 会泄露令牌：请用 https://；厂内网络可信时才写 plain_http: true。",
                "http:// shows the token to everyone on the way: use https://, or, where the plant's network is "
                "trusted, say plain_http: true.",
            )
        return self

    @property
    def target(self) -> str:
        """Where it goes, as people are told it."""
        return f"{self.url} {self.bucket}"


class MqttOutput(_Output):
    """The plant's own broker: each sample a message on `<topic>/<device>/<tag>`."""

    kind: Literal["mqtt"]
    address: str
    topic: str
    username: str = ""
    """代理的用户名。User name at the broker."""
    password_file: Path | None = None
    """内容为密码的一行，权限 600。File with one line: the password."""
    cert_file: Path | None = None
    """mqtts：自己的证书（PEM）。For mqtts: our own certificate (PEM), where the broker asks for one."""
    key_file: Path | None = None
    """它的私钥（PEM，无密码）。Its private key (PEM, without a password)."""
    mqtt_version: Literal["5", "3.1.1"] = "5"
    """MQTT 版本。Version of MQTT."""
    retain: bool = False
    """让代理保留每个点的最新值。The broker keeps the latest value of each tag."""

    @field_validator("address")
    @classmethod
    def _broker(cls, address: str) -> str:
        _check_address(address, "mqtt", ("请用 username 和 password_file", "use username and password_file"))
        if urlsplit(address).path not in ("", "/"):
            raise ValueError(
                "地址只到端口为止，主题写在 topic 中。",
                "an address ends with its port; the topic goes into `topic`.",
            )
        return address.rstrip("/")

    @field_validator("topic")
    @classmethod
    def _prefix(cls, topic: str) -> str:
        levels = topic.split("/")
        if "" in levels or any(c in topic for c in "+#\x00") or len(topic.encode()) > _PREFIX_BYTES:
            raise ValueError(
                "应为主题前缀，如 factory/raw：不含 +、#，每层都不为空。",
                "expected the beginning of a topic, such as factory/raw: no + and #, no empty level.",
            )
        if levels[0] in SPARKPLUG_NAMESPACES or levels[0].startswith("$"):
            raise ValueError(
                f"不能发布到 {levels[0]} 下：它属于 Sparkplug 或代理本身。请换一个前缀。",
                f"nothing is published below {levels[0]}: it is Sparkplug's or the broker's. Choose another prefix.",
            )
        return topic

    @model_validator(mode="after")
    def _complete(self) -> MqttOutput:
        if (self.ca_file or self.cert_file or self.key_file) and urlsplit(self.address).scheme != "mqtts":
            raise ValueError("证书只用于加密地址 mqtts://。", "certificates need an encrypted address, mqtts://.")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file 需要 cert_file。", "`key_file` needs `cert_file`.")
        if self.password_file is not None and not self.username:
            raise ValueError("password_file 需要 username。", "`password_file` needs `username`.")
        return self

    @property
    def target(self) -> str:
        """Where it goes, as people are told it."""
        return f"{self.address} {self.topic}/…"


Output = InfluxOutput | MqttOutput
_MODELS: Final[dict[str, type[Output]]] = {"influxdb": InfluxOutput, "mqtt": MqttOutput}


def output_of(located: Located, index: int, raw: Any) -> Output:
    """Check one entry below `outputs`. Raises FileError with every fault of it."""
    where: tuple[str | int, ...] = ("outputs", index)
    kind = raw.get("kind") if isinstance(raw, dict) else None
    if not isinstance(kind, str) or kind not in _MODELS:
        known = ", ".join(_MODELS)
        value = shown(kind if isinstance(raw, dict) else raw)
        told = problem_at(
            located,
            (*where, "kind") if isinstance(raw, dict) and "kind" in raw else where,
            value,
            f"每个输出要有 kind，可用：{known}。",
            f"every output needs a kind, one of: {known}.",
        )
        raise FileError([told])
    return check(located, _MODELS[kind], raw, where)


def faults(
    located: Located,
    outputs: Mapping[int, Output],
    entries: Mapping[str, Sequence[DeviceEntry]],
    folders: Sequence[Path],
) -> Iterator[Problem]:
    """What is wrong with outputs, each by its index in the file, beside the devices that a file names."""
    known = {entry.id for of_protocol in entries.values() for entry in of_protocol}
    first: dict[str, int] = {}
    for index, output in outputs.items():
        where = ("outputs", index)
        if first.setdefault(output.id, index) != index:
            yield problem_at(
                located,
                (*where, "id"),
                output.id,
                "这个 id 已被另一个输出使用，请换一个。",
                "another output has this id; choose another one.",
            )
        for at, device in enumerate(output.devices):
            if device not in known:
                yield problem_at(
                    located,
                    (*where, "devices", at),
                    device,
                    f"devices 中没有这个条目。可用：{', '.join(sorted(known))}。",
                    f"no such entry below `devices`. Known: {', '.join(sorted(known))}.",
                )
        if isinstance(output, InfluxOutput) and importlib.util.find_spec("influxdb_client") is None:
            yield problem_at(
                located,
                (*where, "kind"),
                output.kind,
                "没有安装 InfluxDB 客户端。请用锁文件 gateway-outputs.txt 安装网关。",
                "the InfluxDB client is not installed. Install the gateway with the lock file gateway-outputs.txt.",
            )
        if isinstance(output, MqttOutput) and (error := feedback(output, entries.get("mqtt", ()), folders)):
            yield problem_at(
                located, (*where, "topic"), output.topic, error.zh + error.next_zh, error.en + error.next_en
            )


def feedback(output: MqttOutput, entries: Iterable[Any], folders: Sequence[Path]) -> ConfigError | None:
    """The fault of an output whose messages the gateway might read again as a device's; None where there is none.

    It does not matter which broker an entry names: brokers are bridged, and have several names. An entry
    whose profile cannot be read is left to whoever reads the profiles.
    """
    levels = output.topic.split("/")
    for entry in entries:
        if entry.is_sparkplug:
            continue  # its topics are below a namespace that no output may have
        for topic in _topics_of(entry, folders):
            ours = topic.split("/")
            if len(ours) > len(levels) and all(a in ("+", b) for a, b in zip(ours, levels, strict=False)):
                return ConfigError(
                    "output_feedback",
                    f"网关自己为条目 {entry.id} 订阅了 {topic}，转发的数据会被当成设备数据再读一遍。",
                    f"the gateway subscribes to {topic} for the entry {entry.id}: what it republishes could be "
                    "read again as a machine's data. ",
                    "请换一个没有设备使用的前缀。",
                    "Choose a prefix that no device uses.",
                )
    return None


def _topics_of(entry: Any, folders: Sequence[Path]) -> list[str]:
    factory = importlib.import_module("collectors.mqtt.factory")
    family = importlib.import_module("collectors.mqtt.json_family")
    try:
        topics: list[str] = family.JsonFamily(entry, factory.json_profile(entry, folders)).topics
    except (FileError, ConfigError):
        return []
    return topics
