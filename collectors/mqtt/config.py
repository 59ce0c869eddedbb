"""The keys of an MQTT entry in a plant's file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, field_validator, model_validator

from collectors.entries import DeviceEntry
from collectors.mqtt.addresses import parse
from collectors.mqtt.connection import Version

_TOPIC_BYTES: Final = 65_535
DEFAULT_REORDER_S: Final = 2.0

SparkplugId = Annotated[str, Field(pattern=r"^[^/+#\x00]{1,200}$")]


class MqttEntry(DeviceEntry):
    """One device that publishes JSON, or one Sparkplug B edge node with its devices."""

    topic: str = ""
    """For JSON: the device's topic; blank means the profile's. A level `+` stands for any name: each
    name that publishes there is a device `id/name`."""
    group: SparkplugId | None = None
    """For Sparkplug: the group id."""
    node: SparkplugId | None = None
    """For Sparkplug: the edge node id."""
    host_id: SparkplugId | None = None
    """For Sparkplug: announce this gateway as host application of this id, retained, as nodes with a
    primary host wait for. Blank: nothing is announced."""
    reorder_s: Annotated[float, Field(ge=0, le=60)] = DEFAULT_REORDER_S
    """For Sparkplug: how long a missing message is waited for before a rebirth is requested [s]."""
    mqtt_version: Version = "5"
    cert_file: Path | None = None
    """For mqtts: our own certificate (PEM), where the broker asks for one."""
    key_file: Path | None = None
    """Its private key (PEM, without a password); blank where it is in `cert_file`."""

    @field_validator("address")
    @classmethod
    def _broker_address(cls, address: str) -> str:
        parse(address)
        return address

    @field_validator("topic")
    @classmethod
    def _one_topic(cls, topic: str) -> str:
        levels = topic.split("/")
        if any("+" in level and level != "+" for level in levels) or any(c in topic for c in "#\x00"):
            raise ValueError(
                "通配符 + 必须单独占一层（plant/+/status），不能用 #。",
                "a wildcard + is a level of its own (plant/+/status); # cannot be used.",
            )
        if len(topic.encode()) > _TOPIC_BYTES:
            raise ValueError("主题太长。", "the topic is too long.")
        return topic

    @model_validator(mode="after")
    def _json_or_sparkplug(self) -> MqttEntry:
        if (self.group is None) != (self.node is None) or (self.host_id is not None and self.node is None):
            raise ValueError(
                "Sparkplug 条目要同时写 group 和 node。", "a Sparkplug entry needs both `group` and `node`."
            )
        if self.node is not None and self.topic:
            raise ValueError("Sparkplug 条目没有 topic。", "a Sparkplug entry has no `topic`.")
        if (self.cert_file or self.key_file) and not parse(self.address).tls:
            raise ValueError(
                "客户端证书只用于加密地址 mqtts://。", "a client certificate needs an encrypted address, mqtts://."
            )
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file 需要 cert_file。", "`key_file` needs `cert_file`.")
        return self

    @property
    def is_sparkplug(self) -> bool:
        """Whether it names an edge node."""
        return self.node is not None
