"""An entry whose topic has wildcards: every name that publishes there is a device of its own."""

from __future__ import annotations

import re
from typing import Final

from collectors.mqtt.config import MqttEntry
from collectors.mqtt.json_device import JsonDevice
from collectors.mqtt.profile import JsonProfile

MOST_DEVICES: Final = 1_000
"""Devices per entry."""
_LONGEST_NAME: Final = 200


class JsonFamily:
    """Finds the devices of one wildcard entry by their topics. Pure.

    `plant/+/status` makes `plant/press-3/status` the device `<entry>/press-3`; the names of several
    wildcards are joined by a dot.
    """

    def __init__(self, entry: MqttEntry, profile: JsonProfile) -> None:
        self.entry = entry.id
        self._entry, self._profile = entry, profile
        self._topic = entry.topic or profile.topic.replace("{id}", entry.id)
        own = [tag.topic for tag in profile.tags]
        status = [profile.status.topic] if profile.status else []
        self.topics_without_name = [topic for topic in (*own, *status) if "{topic}" not in topic]
        """Topics of the profile that do not say whose message it is."""
        self.topics = list(dict.fromkeys(topic.replace("{topic}", self._topic) for topic in (*own, *status)))
        """Filters to subscribe to."""
        self._patterns = [_pattern(topic) for topic in dict.fromkeys(t.replace("{topic}", self._topic) for t in own)]
        self._status_patterns = [_pattern(topic.replace("{topic}", self._topic)) for topic in status]
        self.members: dict[str, JsonDevice] = {}
        """Devices found so far, by name."""

    @property
    def is_wild(self) -> bool:
        """Whether the entry's topic has a wildcard."""
        return "+" in self._topic.split("/")

    @property
    def full(self) -> bool:
        """Whether the entry has as many devices as it may have."""
        return len(self.members) >= MOST_DEVICES

    def candidate(self, topic: str) -> tuple[str, JsonDevice] | None:
        """Name and reader of the device that a message on `topic` speaks of; None where it is not of this entry.

        Nothing is remembered until `admit`.
        """
        for pattern in self._patterns:
            found = pattern.fullmatch(topic)
            if found:
                names = iter(found.groups())
                own = "/".join(next(names) if level == "+" else level for level in self._topic.split("/"))
                name = _name(found.groups())
                return name, JsonDevice(self._entry, self._profile, topic=own, name=name)
        return None

    def is_status(self, topic: str) -> bool:
        """Whether a device of this entry says on `topic` that it comes or goes, which alone makes it no device."""
        return any(pattern.fullmatch(topic) for pattern in self._status_patterns)

    def admit(self, name: str, device: JsonDevice) -> bool:
        """Take the device in. False where another topic has the same name already."""
        return self.members.setdefault(name, device) is device


def _pattern(topic: str) -> re.Pattern[str]:
    return re.compile("/".join("([^/]+)" if level == "+" else re.escape(level) for level in topic.split("/")))


def _name(levels: tuple[str, ...]) -> str:
    """As it may stand in an id and on a page."""
    joined = ".".join(levels)[:_LONGEST_NAME]
    return "".join(c if c.isprintable() else "_" for c in joined)
