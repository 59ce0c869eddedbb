"""Spoilt replies over real sockets and lines, thousands in a row: none credited wrongly, and the link is soon back."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter, deque
from random import Random
from typing import Final, Literal

import pytest

from collectors.modbus.framing import DoubtError
from collectors.modbus.link import SilentError
from simulators.ledger import Ledger
from simulators.modbus_server import ModbusStation, crc16
from simulators.physics import Machine
from tests.collectors.modbus.plants import BAUDRATE, fast_link

FRAMES = 5_000
FRAMES_UNTIL_QUIET = 40
PATIENCE_S: Final = 2.0
UNITS = 40
LIMIT_S: Final = 0.02
REST_S: Final = 0.12
"""How long a unit rests after a reply that was missed or no reply, as its breaker sees to (there 2 s and longer)."""
LATE_S: Final = 0.05
COUNT = 4
ADDRESSES = (0, 100, 200)
"""Three reads of one shape: nothing but the order tells their replies apart on a line."""


class Echo(ModbusStation):
    """Every register tells its unit and address, so that a reply credited to another read shows."""

    def answer(self, unit: int, pdu: bytes) -> bytes | None:
        _, address, count = struct.unpack(">BHH", pdu)
        return data_of(unit, address, count)


def data_of(unit: int, address: int, count: int) -> bytes:
    words = [unit << 8 | (address + offset) & 0xFF for offset in range(count)]
    return struct.pack(f">BB{count}H", 3, 2 * count, *words)


class Spoiler:
    """What happens to a reply, by a seeded die, while it is `on`."""

    def __init__(self, framing: str) -> None:
        self.random = Random(20261127)
        self.framing = framing
        self.on = True
        self.sent: Counter[str] = Counter()
        self.older: deque[bytes] = deque(maxlen=20)

    def __call__(self, frame: bytes) -> list[bytes]:
        if not self.on:
            return [frame]
        fault = self.random.choice(
            ["whole"] * 8 + ["split", "noise before", "noise behind", "flipped", "cut", "twice", "another", "swapped"]
        )
        self.sent[fault] += 1
        self.older.append(frame)
        at = self.random.randrange(1, len(frame))
        if fault == "split":
            return [frame[:at], frame[at:]]
        if fault == "noise before":
            return [self.random.randbytes(self.random.randrange(1, 9)) + frame]
        if fault == "noise behind":
            return [frame + self.random.randbytes(self.random.randrange(1, 9))]
        if fault == "flipped":
            return [self.flipped(frame, at)]
        if fault == "cut":
            return [frame[:at]]
        if fault == "twice":
            return [frame + frame]
        if fault == "another":  # an older one, whole, instead of this one; on a line that of another unit
            unit_at = 6 if self.framing == "tcp" else 0
            return [next((old for old in self.older if old[unit_at] != frame[unit_at]), b"")]
        if fault == "swapped":  # the data of this one under another unit
            return [self.under_another_unit(frame)]
        return [frame]

    def flipped(self, frame: bytes, at: int) -> bytes:
        """A bit is wrong: TCP has its own checksum, so there only the header can be wrong unnoticed."""
        at = self.random.randrange(7) if self.framing == "tcp" else at
        return frame[:at] + bytes([frame[at] ^ 1 << self.random.randrange(8)]) + frame[at + 1 :]

    def under_another_unit(self, frame: bytes) -> bytes:
        if self.framing == "tcp":
            return frame[:6] + bytes([frame[6] % UNITS + 1]) + frame[7:]
        other = bytes([frame[0] % UNITS + 1]) + frame[1:-2]
        return other + crc16(other)


@pytest.mark.long
@pytest.mark.parametrize("framing", ["tcp", "rtu", "serial"])
async def test_thousands_of_spoilt_replies_credit_nothing_wrongly_and_the_link_is_back_within_two_cycles(
    framing: Literal["tcp", "rtu", "serial"],
) -> None:
    meters = {unit: ("sdm630", Machine(f"m{unit}", "meter-electricity")) for unit in range(1, UNITS + 1)}
    station = Echo(meters, Ledger(), framing=framing, baudrate=BAUDRATE)
    spoiler = Spoiler(framing)
    station.mangle = spoiler
    await station.start()
    link = fast_link(station.address)
    loop = asyncio.get_running_loop()
    rests_until_s = dict.fromkeys(meters, 0.0)
    random = Random(7)

    async def ask(limit_s: float) -> bool:
        """Read a unit that does not rest; False where no reply came that could be trusted."""
        unit = min(rests_until_s, key=lambda u: (rests_until_s[u] > loop.time(), random.random()))
        await asyncio.sleep(max(0.0, rests_until_s[unit] - loop.time()))
        address = random.choice(ADDRESSES)
        station.delay_s = {unit: LIMIT_S + LATE_S} if spoiler.on and random.random() < 0.02 else {}
        try:
            reply = await link.ask(unit, struct.pack(">BHH", 3, address, COUNT), 2 * COUNT, limit_s)
        except (SilentError, DoubtError):
            rests_until_s[unit] = loop.time() + REST_S
            return False
        assert reply == data_of(unit, address, COUNT), "credited to another unit or register"
        return True

    credited = 0
    try:
        await link.open()
        for number in range(FRAMES):
            credited += await ask(LIMIT_S)
            if number % FRAMES_UNTIL_QUIET == 0:
                spoiler.on = False
                assert await ask(PATIENCE_S) or await ask(PATIENCE_S), "not back within two cycles"
                spoiler.on = True
    finally:
        link.close()
        await station.stop()
    assert credited > FRAMES * 0.3
    assert min(spoiler.sent.values()) > FRAMES / 50, spoiler.sent
