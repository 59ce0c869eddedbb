"""A link and a time line in the hand of the test: no socket, no waiting, every request on record."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collectors.modbus.address import parse_address
from collectors.modbus.breaker import Breaker
from collectors.modbus.collector import ModbusCollector
from collectors.modbus.config import ModbusEntry
from collectors.modbus.device import polled_device
from collectors.modbus.framing import DoubtError
from collectors.modbus.link import SilentError
from collectors.modbus.profile import load_modbus
from collectors.model import LinkError

NS = 1_000_000_000
START_NS = 1_800_000_000 * NS
ADDRESS = "modbus-tcp://192.0.2.1:502"

Answer = Callable[[int, int, int], "list[int] | int | Exception"]
"""(unit, address, count) → words, an exception code, or what is raised."""


@dataclass
class Time:
    """The gateway's time line, moved by whoever waits on it."""

    now_ns: int = START_NS
    end_ns: int | None = None
    """Whoever waits beyond it is cancelled there."""

    def __call__(self) -> int:
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        woken_ns = self.now_ns + round(seconds * NS)
        if self.end_ns is not None and woken_ns > self.end_ns:
            self.now_ns = self.end_ns
            raise asyncio.CancelledError
        self.now_ns = woken_ns

    def pass_s(self, seconds: float) -> None:
        self.now_ns += round(seconds * NS)

    @property
    def since_start_s(self) -> float:
        return (self.now_ns - START_NS) / NS


@dataclass
class Asked:
    """One request as it went out."""

    at_s: float
    unit: int
    function: int
    address: int
    count: int
    limit_s: float


@dataclass
class ScriptedLink:
    """Stands where `Link` stands. A reply takes `reply_s`, a missing one the whole time limit."""

    time: Time
    answer: Answer
    reply_s: float = 0.01
    identities: Mapping[int, bytes] = field(default_factory=dict)
    """PDUs that answer function 43/14, by unit; others refuse it."""
    asked: list[Asked] = field(default_factory=list)
    identified_s: list[float] = field(default_factory=list)
    """When a test that answers function 43/14 itself was asked."""
    opened: int = 0
    closed: int = 0
    late_frames: int = 0
    frame_gap_s: float = 0.0
    reopen_pause_s: float = 0.0
    character_s: float = 0.0
    """How long a character takes on the line."""
    verdicts_s: dict[int, float] = field(default_factory=dict)
    before_reply: Callable[[], None] | None = None
    address = parse_address(ADDRESS)

    async def open(self) -> None:
        self.opened += 1

    def close(self) -> None:
        self.closed += 1

    async def settle(self) -> None:
        pass

    def transmission_s(self, characters: int) -> float:
        return characters * self.character_s

    def verdict_s(self, unit: int) -> float:
        return self.verdicts_s.get(unit, 0.0)

    async def ask(self, unit: int, pdu: bytes, reply_bytes: int | None, timeout_s: float) -> bytes:
        if pdu[0] == 0x2B:
            self.asked.append(Asked(self.time.since_start_s, unit, pdu[0], 0, 0, timeout_s))
            await self.time.sleep(self.reply_s)
            return self.identities.get(unit, b"\xab\x01")
        function, address, count = struct.unpack(">BHH", pdu)
        self.asked.append(Asked(self.time.since_start_s, unit, function, address, count, timeout_s))
        answer = self.answer(unit, address, count)
        if isinstance(answer, SilentError):
            await self.time.sleep(timeout_s)
            raise answer
        await self.time.sleep(self.reply_s)
        if self.before_reply is not None:
            self.before_reply()
        if isinstance(answer, DoubtError | LinkError):
            raise answer
        if isinstance(answer, int):
            return bytes([function | 0x80, answer])
        assert len(answer) == count
        return struct.pack(f">BB{count}H", function, 2 * count, *answer)

    def polls(self, unit: int) -> list[float]:
        """When a unit's registers were asked for, s since the start."""
        return [asked.at_s for asked in self.asked if asked.unit == unit and asked.function != 0x2B]


HEAD = """\
profile: {name}
protocol: modbus
device_class: plc
evidence: {evidence}
title_zh: 测试
title_en: test
source: {{document: this test}}
liveness_s: 5
"""


def write_profile(folder: Path, name: str, points: str, evidence: str = "native", more: str = "") -> None:
    """A site's profile made for one test."""
    text = HEAD.format(name=name, evidence=evidence) + more + "points:\n" + points
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def scripted_collector(
    folder: Path, link: ScriptedLink, devices: Sequence[tuple[str, str, int]], **more: Any
) -> ModbusCollector:
    """A collector over a scripted link; `devices` are (id, profile, unit)."""
    breakers: dict[int, Breaker] = {}
    polled = [
        polled_device(
            ModbusEntry(id=device, profile=profile, address=ADDRESS, unit=unit, **more),
            load_modbus(profile, [folder]),
            breakers.setdefault(unit, Breaker()),
        )
        for device, profile, unit in devices
    ]
    return ModbusCollector(link, polled, link.time, link.time.sleep)  # type: ignore[arg-type]
