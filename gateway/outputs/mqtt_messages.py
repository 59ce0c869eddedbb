"""Samples as messages: one each, JSON, on `<prefix>/<device>/<tag>`. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

import msgspec
import numpy as np

from collectors.model import Quality
from gateway.outputs.rows import Rows

_QUALITIES: Final = {int(quality): quality.name.lower() for quality in Quality}


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a message says. `value` is absent where quality is bad. Times: ISO 8601, UTC."""

    quality: str
    time: str
    """The device's own time where it gave one, else the gateway's."""
    received: str
    """The gateway's time."""
    value: float | None = None
    unit: str = ""


def messages_of(rows: Rows, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Topic and payload of each row, in order."""
    encode = msgspec.json.Encoder().encode
    topics: dict[tuple[int, int], tuple[str, str]] = {}
    columns = (
        rows.device,
        rows.tag,
        rows.value,
        rows.quality,
        np.datetime_as_string(rows.time_ns.astype("datetime64[ns]"), timezone="UTC"),
        np.datetime_as_string(rows.received_ns.astype("datetime64[ns]"), timezone="UTC"),
    )
    for number, index, value, quality, time, received in zip(*(c.tolist() for c in columns), strict=True):
        known = topics.get((number, index))
        if known is None:
            device = rows.devices[number]
            tag = device.tags[index]
            known = topics[number, index] = f"{prefix}/{_levels(device.id)}/{_level(tag.name)}", tag.unit
        topic, unit = known
        shown = value if math.isfinite(value) else None
        yield topic, encode(Message(_QUALITIES.get(quality, "bad"), time, received, shown, unit))


def _levels(device: str) -> str:
    """A device's id as levels of a topic: the entry, and its own name where there is one."""
    return "/".join(_level(part) for part in device.split("/", 1))


def _level(name: str) -> str:
    """One level of a topic: what cannot stand in one is written as in a URL."""
    return "".join(quote(c, safe="") if c in "+#/%\x00" or not c.isprintable() else c for c in name) or "%"
