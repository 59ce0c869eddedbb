"""Each fault that a Modbus bus or host can have, switched on in the simulator and off again: what stays right.

Values are held still, so that any other value of a tag was credited to the wrong unit or register. "Two cycles" are
counted in polls of the unit, from the moment the fault ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from collectors.modbus.breaker import Breaker
from collectors.modbus.collector import RECONNECT_S, ModbusCollector
from collectors.modbus.config import ModbusEntry
from collectors.modbus.device import polled_device
from collectors.modbus.profile import load_modbus
from collectors.model import LinkError, Quality
from simulators.ledger import Ledger
from simulators.modbus_server import ModbusStation
from simulators.physics import Machine
from tests.collectors.modbus.plants import BAUDRATE, Hurry, fast_link

PATIENCE_S = 10.0
UNITS = 10
DEVICES = tuple(f"meter-{unit}" for unit in range(1, UNITS + 1))
DEAD = "meter-10"
NINE = DEVICES[:-1]
FASTER = 10
"""A second of the gateway takes a tenth: polls each 0.1 s, rests of 0.2 s."""


class Rig:
    """Ten meters behind one address, a collector, and the part of the runner that connects again."""

    def __init__(self, station: ModbusStation, collector: ModbusCollector, hurry: Hurry) -> None:
        self.station, self.collector, self.hurry = station, collector, hurry
        self.good: dict[str, list[int]] = {device: [] for device in DEVICES}
        """Received times [ns] of whole good polls."""
        self.polls: dict[str, list[tuple[int, bool]]] = {device: [] for device in DEVICES}
        self.values: dict[tuple[str, int], set[float]] = {}
        self.shed: dict[str, int] = {}
        self.told: dict[str, list[str]] = {}
        self.lost_links = 0

    async def until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not enough():
                try:
                    await self._take()
                except LinkError:
                    self.lost_links += 1
                    await self._again()

    async def _again(self) -> None:
        while True:
            await self.collector.close()
            await self.hurry.sleep(RECONNECT_S)
            with suppress(LinkError):
                return await self.collector.connect()

    async def _take(self) -> None:
        batch = await self.collector.read()
        for reason, count in batch.shed.items():
            self.shed[reason] = self.shed.get(reason, 0) + count
        for trouble in batch.troubles:
            self.told.setdefault(trouble.subject, []).append(trouble.code)
        for device, samples in batch.samples:
            is_good = not (samples.quality == Quality.BAD).any()
            at_ns = int(samples.received_ns.max())
            self.polls[device].append((at_ns, is_good))
            if is_good:
                self.good[device].append(at_ns)
            for tag, value in zip(samples.tag.tolist(), samples.value.tolist(), strict=True):
                if not np.isnan(value):
                    self.values.setdefault((device, tag), set()).add(value)

    async def cycles(self, number: int, *devices: str) -> None:
        """Read until each device brought so many more good polls."""
        wanted = {device: len(self.good[device]) + number for device in devices or DEVICES}
        await self.until(lambda: all(len(self.good[device]) >= count for device, count in wanted.items()))

    async def bad(self, number: int, *devices: str) -> None:
        """Read until each device brought so many polls that are not good."""
        await self.until(
            lambda: all(sum(not good for _, good in self.polls[device]) >= number for device in devices or DEVICES)
        )

    def nothing_was_miscredited(self) -> None:
        """Every tag of every unit had one value all along, and no two units share their energy."""
        assert {key: len(values) for key, values in self.values.items()} == dict.fromkeys(self.values, 1)
        index = next(i for i, tag in enumerate(load_modbus("eastron-sdm630").tags) if tag.name == "energy_import")
        energies = [self.values[(device, index)] for device in DEVICES if (device, index) in self.values]
        assert len({next(iter(energy)) for energy in energies}) == len(energies)

    def back_within_two_cycles(self, since_ns: int, *devices: str) -> None:
        for device in devices or DEVICES:
            after = [good for at_ns, good in self.polls[device] if at_ns > since_ns]
            assert any(after[:2]), f"{device} was not back within two cycles: {after[:5]}"


@pytest.fixture(params=["tcp", "rtu", "serial"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    meters = {
        unit: ("sdm630", Machine(f"meter-{unit}", "meter-electricity", seed=unit, start_energy_kwh=1000.5 * unit))
        for unit in range(1, UNITS + 1)
    }
    path = tmp_path / "usb-adapter" if request.param == "serial" else None
    station = ModbusStation(meters, Ledger(), framing=request.param, path=path, baudrate=BAUDRATE)
    for _, machine in meters.values():
        machine.hold()
    await station.start()
    hurry = Hurry(FASTER)
    profile = load_modbus("eastron-sdm630")
    members = [
        polled_device(
            ModbusEntry(id=device, profile=profile.profile, address=station.address, unit=unit, timeout_ms=40),
            profile,
            Breaker(),
        )
        for unit, device in enumerate(DEVICES, 1)
    ]
    for member in members:
        member.wants_identification = False
    collector = ModbusCollector(fast_link(station.address), members, hurry, hurry.sleep)
    await collector.connect()
    try:
        yield Rig(station, collector, hurry)
    finally:
        await collector.close()
        await station.stop()


async def test_latency_below_the_time_limit_is_no_fault(rig: Rig) -> None:
    rig.station.delay_s = dict.fromkeys(range(1, UNITS + 1), 0.003)
    await rig.cycles(3)
    assert all(good for polls in rig.polls.values() for _, good in polls)
    rig.nothing_was_miscredited()


async def test_latency_above_the_time_limit_is_silence_of_that_unit_alone(rig: Rig) -> None:
    await rig.cycles(1)
    rig.station.delay_s = {10: 0.1}
    await rig.bad(2, DEAD)
    await rig.cycles(2, *NINE)
    rig.station.delay_s = {}
    await rig.cycles(2)
    rig.nothing_was_miscredited()
    assert rig.told[DEAD][0] in ("modbus.unit-silent", "modbus.unit-slow")


@pytest.mark.parametrize("rig", ["tcp", "rtu"], indirect=True)
async def test_a_reset_connection_is_made_again(rig: Rig) -> None:
    await rig.cycles(1)
    await rig.station.reset_connections()
    await rig.cycles(2)
    assert rig.lost_links == 1
    rig.nothing_was_miscredited()


@pytest.mark.parametrize("rig", ["tcp", "rtu"], indirect=True)
async def test_a_half_open_connection_is_found_and_made_again(rig: Rig) -> None:
    await rig.cycles(1)
    rig.station.half_open = True
    await rig.bad(1)
    made = rig.station.connections
    assert made > 1, "a connection on which nothing is heard is opened afresh"
    rig.station.half_open = False
    await rig.cycles(2)
    rig.nothing_was_miscredited()


async def test_split_frames_are_whole_again(rig: Rig) -> None:
    rig.station.mangle = lambda frame: [frame[:2], frame[2:9], frame[9:]]
    await rig.cycles(2)
    assert all(good for polls in rig.polls.values() for _, good in polls)
    rig.nothing_was_miscredited()


async def test_a_corrupt_frame_is_no_value_and_the_link_is_back_within_two_cycles(rig: Rig) -> None:
    await rig.cycles(1)
    spoilt: list[bytes] = []

    def spoil_one(frame: bytes) -> list[bytes]:
        if spoilt:
            return [frame]
        spoilt.append(frame)
        return [bytes(byte ^ 0x5A for byte in frame)]

    rig.station.mangle = spoil_one
    await rig.until(lambda: bool(spoilt))
    since_ns = rig.hurry()
    await rig.cycles(3)
    rig.back_within_two_cycles(since_ns)
    rig.nothing_was_miscredited()
    assert rig.shed["doubtful_replies"] >= 1


async def test_one_dead_of_ten_delays_nobody_and_is_told_once(rig: Rig) -> None:
    await rig.cycles(1)
    await rig.station.unplug(DEAD)
    await rig.bad(3, DEAD)
    before = {device: len(polls) for device, polls in rig.polls.items()}
    await rig.cycles(5, *NINE)
    for device in NINE:
        assert all(good for _, good in rig.polls[device][before[device] :])
    await rig.station.plug(DEAD)
    assert rig.collector.retry() == 1
    await rig.cycles(2)
    assert rig.told[DEAD] == ["modbus.unit-silent", ""]
    assert rig.station.connections <= 1, "nobody hangs up because of one dead unit"
    rig.nothing_was_miscredited()


@pytest.mark.parametrize("rig", ["tcp"], indirect=True)
async def test_a_gateway_that_takes_long_to_call_a_unit_silent_costs_the_others_no_reading(rig: Rig) -> None:
    """The gateway serves nobody while it waits: 2.5 cycles, six times our own limit, which the first silences teach."""
    await rig.cycles(1)
    rig.station.verdict_s = 0.25
    await rig.station.unplug(DEAD)
    await rig.until(lambda: "modbus.unit-silent" in rig.told.get(DEAD, []))
    await rig.cycles(3, *NINE)
    before = {device: len(polls) for device, polls in rig.polls.items()}
    probes = len(rig.polls[DEAD])
    await rig.until(lambda: len(rig.polls[DEAD]) >= probes + 2)
    for device in NINE:
        assert all(good for _, good in rig.polls[device][before[device] :]), f"{device} suffered from {DEAD}"
    await rig.station.plug(DEAD)
    assert rig.collector.retry(DEAD) == 1
    await rig.cycles(2)
    rig.nothing_was_miscredited()


async def test_exceptions_make_that_unit_bad_and_it_is_back_within_two_cycles(rig: Rig) -> None:
    await rig.cycles(1)
    rig.station.exceptions = {10: 4}
    await rig.bad(3, DEAD)
    assert rig.told[DEAD] == ["modbus.exception-4"]
    rig.station.exceptions = {}
    since_ns = rig.hurry()
    await rig.cycles(2)
    rig.back_within_two_cycles(since_ns)
    rig.nothing_was_miscredited()


async def test_frozen_values_are_handed_on_as_they_are(rig: Rig) -> None:
    """A stuck meter answers with valid data: it is connected, and nothing is invented for it."""
    _, machine = rig.station.units[10]
    machine.release()
    rig.station.frozen = {10}
    await rig.cycles(3)
    rig.station.refresh()
    await rig.cycles(2)
    rig.nothing_was_miscredited()


async def test_a_restart_is_a_lost_link_and_then_goes_on(rig: Rig) -> None:
    """On a line this is the USB adapter pulled and plugged again: the same path, another device behind it."""
    await rig.cycles(1)
    back_ns = 0

    async def away() -> None:
        nonlocal back_ns
        await rig.station.restart(off_s=0.3)
        back_ns = rig.hurry()

    restart = asyncio.create_task(away())
    await rig.until(restart.done)
    await rig.cycles(2)
    assert rig.lost_links >= 1
    first_ns = min(at_ns for at_ns in rig.good["meter-1"] if at_ns > back_ns)
    assert (first_ns - back_ns) / 1e9 < 10, "back within ten seconds of the gateway's time"
    rig.nothing_was_miscredited()
