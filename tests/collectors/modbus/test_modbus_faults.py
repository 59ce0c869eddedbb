"""Faults between a collector and real sockets: split, late, wrong, refused, cut and back."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest

from collectors.base import Collector
from collectors.model import Batch, LinkError, Quality
from simulators.ledger import Ledger
from simulators.modbus_server import ModbusStation
from tests.collectors.modbus.plants import hurried_collector, station

DEVICES = ("moulding-1", "meter-main", "meter-lathe", "meter-water")
PATIENCE_S = 8.0


class Rig:
    """A station, its collector and what came so far."""

    def __init__(self, simulator: ModbusStation, reader: Collector) -> None:
        self.simulator = simulator
        self.reader = reader
        self.shed: dict[str, int] = {}
        self.values: dict[str, dict[str, list[float]]] = {device: {} for device in DEVICES}
        self.bad: dict[str, int] = dict.fromkeys(DEVICES, 0)
        self.good: dict[str, int] = dict.fromkeys(DEVICES, 0)
        self._tags: dict[str, tuple[str, ...]] = {}

    def take(self, batch: Batch) -> None:
        for device in batch.devices:
            self._tags[device.id] = tuple(tag.name for tag in device.tags)
        for reason, count in batch.shed.items():
            self.shed[reason] = self.shed.get(reason, 0) + count
        for name, samples in batch.samples:
            bad = samples.quality == Quality.BAD
            fitted = ~np.isin(samples.tag, [t for t, n in enumerate(self._tags[name]) if n == "oil_temperature"])
            self.bad[name] += int((bad & fitted).any())
            self.good[name] += int(not (bad & fitted).any())
            for tag, value in zip(samples.tag[~bad].tolist(), samples.value[~bad].tolist(), strict=True):
                self.values[name].setdefault(self._tags[name][tag], []).append(value)

    async def until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not enough():
                self.take(await self.reader.read())

    async def polls(self, number: int, *devices: str) -> None:
        """Read until each device brought so many more whole polls."""
        wanted = {device: self.good[device] + number for device in devices or DEVICES}
        await self.until(lambda: all(self.good[device] >= count for device, count in wanted.items()))


@pytest.fixture(params=["tcp", "rtu", "serial"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    simulator = station(DEVICES, Ledger(), framing=request.param)
    for _, machine in simulator.units.values():
        machine.hold()
    await simulator.start()
    reader = hurried_collector(simulator.address, DEVICES, timeout_ms=150)
    await reader.connect()
    try:
        yield Rig(simulator, reader)
    finally:
        await reader.close()
        await simulator.stop()


def same_everywhere(rig: Rig) -> None:
    """The machines stand still, so every good value of a tag is the same: any other was miscredited."""
    for device, tags in rig.values.items():
        for tag, values in tags.items():
            assert len(set(values)) == 1, f"{device} {tag} read {sorted(set(values))}"


async def test_replies_in_pieces_are_whole_again(rig: Rig) -> None:
    rig.simulator.mangle = lambda frame: [frame[:1], frame[1:3], frame[3:-1], frame[-1:]]
    await rig.polls(3)
    assert rig.bad == dict.fromkeys(DEVICES, 0)
    same_everywhere(rig)


async def test_replies_after_the_time_limit_are_credited_to_nobody(rig: Rig) -> None:
    await rig.polls(1)
    rig.simulator.delay_s = {2: 0.25}
    await rig.until(lambda: rig.bad["meter-main"] >= 2)
    await rig.polls(2, "moulding-1", "meter-lathe", "meter-water")
    rig.simulator.delay_s = {}
    await rig.polls(2)
    same_everywhere(rig)


Mangle = Callable[[bytes], list[bytes]]

SPOILT: dict[str, Mangle] = {
    "first byte": lambda frame: [bytes([frame[0] ^ 0x40]) + frame[1:]],
    "half": lambda frame: [frame[: len(frame) // 2]],
    "noise before": lambda frame: [b"\x00\xff\x13" + frame],
    "noise behind": lambda frame: [frame + b"\x01"],
    "twice": lambda frame: [frame + frame],
    "nothing": lambda frame: [],
}


async def _recovers(rig: Rig, mangle: Mangle) -> None:
    """Three replies arrive spoilt; no value may be wrong and everything must come back."""
    await rig.polls(1)
    spoilt = 0

    def three_times(frame: bytes) -> list[bytes]:
        nonlocal spoilt
        spoilt += 1
        return mangle(frame) if spoilt <= 3 else [frame]

    rig.simulator.mangle = three_times
    await rig.until(lambda: spoilt > 3)
    await rig.polls(2)
    same_everywhere(rig)


@pytest.mark.parametrize("fault", SPOILT)
async def test_spoilt_replies_give_no_wrong_value_and_the_link_recovers(rig: Rig, fault: str) -> None:
    await _recovers(rig, SPOILT[fault])


@pytest.mark.parametrize("rig", ["rtu", "serial"], indirect=True)
async def test_a_checksum_that_does_not_match_gives_no_value(rig: Rig) -> None:
    await _recovers(rig, lambda frame: [frame[:4] + bytes([frame[4] ^ 0x01]) + frame[5:]])


@pytest.mark.parametrize("rig", ["tcp"], indirect=True)
async def test_a_wrong_transaction_id_is_never_credited(rig: Rig) -> None:
    await rig.polls(1)

    def with_another_id(frame: bytes) -> list[bytes]:
        (transaction,) = struct.unpack(">H", frame[:2])
        return [struct.pack(">H", (transaction + 1) % 0x10000) + frame[2:]]

    rig.simulator.mangle = with_another_id
    before = dict(rig.good)
    await rig.until(lambda: sum(rig.bad.values()) >= 3)
    assert rig.good == before
    assert rig.shed["doubtful_replies"] >= 1
    rig.simulator.mangle = None
    await rig.polls(1)
    same_everywhere(rig)


@pytest.mark.parametrize("rig", ["tcp"], indirect=True)
async def test_swapped_replies_of_two_units_are_never_credited(rig: Rig) -> None:
    """Both units speak the same map at the same registers: only the unit id tells."""
    await rig.polls(1)
    rig.simulator.mangle = lambda frame: [frame[:6] + bytes([frame[6] % 4 + 1]) + frame[7:]]
    await rig.until(lambda: sum(rig.bad.values()) >= 3)
    rig.simulator.mangle = None
    await rig.polls(1)
    same_everywhere(rig)


@pytest.mark.parametrize("rig", ["tcp"], indirect=True)
async def test_late_replies_are_counted(rig: Rig) -> None:
    await rig.polls(1)
    rig.simulator.delay_s = {2: 0.2}
    await rig.until(lambda: rig.bad["meter-main"] >= 1)
    rig.simulator.delay_s = {}
    await rig.until(lambda: rig.shed.get("late_replies", 0) >= 1)


async def test_exceptions_make_bad_samples_and_end(rig: Rig) -> None:
    await rig.polls(1)
    rig.simulator.exceptions = {2: 4}
    await rig.until(lambda: rig.bad["meter-main"] >= 3)
    await rig.polls(2, "moulding-1", "meter-lathe", "meter-water")
    rig.simulator.exceptions = {}
    await rig.polls(2)


@pytest.mark.parametrize("rig", ["tcp", "rtu"], indirect=True)
async def test_a_link_that_is_cut_and_back_goes_on_with_the_same_collector(rig: Rig) -> None:
    await rig.polls(1)
    await rig.simulator.stop()
    with pytest.raises(LinkError):
        await rig.until(lambda: False)
    await rig.reader.close()
    with pytest.raises(LinkError):
        await rig.reader.connect()
    await rig.simulator.start()
    await rig.reader.connect()
    await rig.polls(2)
    same_everywhere(rig)


@pytest.mark.parametrize("rig", ["tcp", "rtu"], indirect=True)
async def test_a_connection_dropped_by_the_device_is_a_lost_link(rig: Rig) -> None:
    await rig.polls(1)
    await rig.simulator.drop_connections()
    with pytest.raises(LinkError):
        await rig.until(lambda: False)
    await rig.reader.close()
    await rig.reader.connect()
    await rig.polls(1)


@pytest.mark.parametrize("rig", ["tcp"], indirect=True)
async def test_one_connection_carries_all_units(rig: Rig) -> None:
    await rig.polls(2)
    assert rig.simulator.connections == 1


async def test_values_are_what_the_ledger_says_was_served(rig: Rig) -> None:
    await rig.polls(1)
    ledger = rig.simulator.ledger.as_dict()
    for device, tag in {
        "moulding-1": "energy_import",
        "meter-lathe": "energy_import",
        "meter-water": "water_volume",
    }.items():
        served = {quantity for quantity in ledger[device]["quantity"] if quantity is not None}
        assert set(rig.values[device][tag]) == served
    assert set(rig.values["moulding-1"]["parts"]) == set(ledger["moulding-1"]["parts"])
