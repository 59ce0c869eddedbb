"""The keys of an MQTT entry in a plant's file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from collectors.entries import DeviceEntry
from collectors.mqtt.addresses import parse
from collectors.mqtt.connection import Version

_TOPIC_BYTES = 65_535

SparkplugId = Annotated[str, Field(pattern=r"^[^/+#\x00]{1,200}$")]


class MqttEntry(DeviceEntry):
    """One device that publishes JSON, or one Sparkplug B edge node with its devices."""

    topic: str = ""
    """For JSON: the device's topic; blank means the profile's."""
    group: SparkplugId | None = None
    """For Sparkplug: the group id."""
    node: SparkplugId | None = None
    """For Sparkplug: the edge node id."""
    host_id: SparkplugId | None = None
    """For Sparkplug: announce this gateway as host application of this id, retained, as nodes with a
    primary host wait for. Blank: nothing is announced."""
    mqtt_version: Version = "5"

    @field_validator("address")
    @classmethod
    def _broker_address(cls, address: str) -> str:
        parse(address)
        return address

    @field_validator("topic")
    @classmethod
    def _one_topic(cls, topic: str) -> str:
        if any(c in topic for c in "+#\x00") or len(topic.encode()) > _TOPIC_BYTES:
            raise ValueError(
                "一个条目只有一个主题，不能用通配符 + 和 #。", "an entry has one topic; no wildcards + and #."
            )
        return topic

    @model_validator(mode="after")
    def _json_or_sparkplug(self) -> MqttEntry:
        if (self.group is None) != (self.node is None) or (self.host_id is not None and self.node is None):
            raise ValueError(
                "Sparkplug 条目要同时写 group 和 node。", "a Sparkplug entry needs both `group` and `node`."
            )
        if self.node is not None and self.topic:
            raise ValueError("Sparkplug 条目没有 topic。", "a Sparkplug entry has no `topic`.")
        return self

    @property
    def is_sparkplug(self) -> bool:
        """Whether it names an edge node."""
        return self.node is not None
