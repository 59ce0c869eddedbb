"""A device made of hand-written words: answers a profile's requests frame by frame."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from collectors.modbus.device import reading_of
from collectors.modbus.plan import polls_of
from collectors.modbus.profile import load_modbus
from collectors.model import Quality

UNWRITTEN = 0xA5A5
"""What stands in every register that the sheet gives no meaning here: reading it must show."""


def words(text: str) -> list[int]:
    """Words from hex as it stands in a protocol analyser: "4366 3333"."""
    return [int(word, 16) for word in text.split()]


def read_profile(name: str, function: int, sheet: Mapping[int, str]) -> dict[str, float | None]:
    """What the profile reads from registers written by hand; None where quality is BAD.

    `sheet`: hex words by the protocol address (counted from 0) of the first. Fails when the profile
    asks with another function code.
    """
    memory: dict[int, int] = {}
    for first, text in sheet.items():
        memory.update({first + offset: word for offset, word in enumerate(words(text))})
    profile = load_modbus(name)
    found: dict[str, float | None] = {}
    for poll in polls_of(profile):
        replies: list[bytes | None] = []
        for request in poll.requests:
            assert request.function == function
            asked = range(request.address, request.address + request.count)
            replies.append(struct.pack(f">{request.count}H", *(memory.get(at, UNWRITTEN) for at in asked)))
        samples = reading_of(poll, replies, [1] * len(replies)).samples
        for tag, value, quality in zip(samples.tag, samples.value, samples.quality, strict=True):
            found[profile.tags[tag].name] = None if quality == Quality.BAD else float(value)
    return found
