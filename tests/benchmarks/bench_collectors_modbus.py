"""Modbus: requests for a meter of forty values, what one dead unit costs the others, decoding the catalogue."""

from __future__ import annotations

import asyncio
import struct
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from collectors.modbus.address import parse_address
from collectors.modbus.breaker import Breaker
from collectors.modbus.collector import ModbusCollector
from collectors.modbus.config import ModbusEntry
from collectors.modbus.device import polled_device
from collectors.modbus.link import Link
from collectors.modbus.plan import polls_of
from collectors.modbus.profile import ModbusProfile, load_modbus
from collectors.model import Clock, Quality
from collectors.profiles.loader import BUILT_IN, load_all
from simulators.ledger import Ledger
from simulators.modbus_server import ModbusStation
from simulators.physics import Machine
from tests.benchmarks.measure import Line, at_most, ratio_at_most

_NS = 1_000_000_000

# ---------------------------------------------------------------------------------------- coalesce

FORTY = (
    *range(0x0000, 0x0024, 2),
    *(0x0034, 0x0038, 0x003C, 0x003E, 0x0046, 0x0048, 0x004A, 0x0054, 0x00EA, 0x00EC, 0x00EE, 0x00F8, 0x0156),
    *range(0x015A, 0x016C, 2),
)
"""Forty 32-bit values of Eastron's SDM54: volts, amperes, powers and factors of each phase, sums, energies, THD."""


def modbus_coalesce(*, long: bool) -> Iterator[Line]:
    """Requests on the wire for one poll of a meter of forty values, with nothing configured but its points."""
    del long
    asked, values = asyncio.run(_forty_values())
    assert values == len(FORTY)
    yield at_most(
        "collectors.modbus_coalesce", asked, "requests", 3, f"{values} values of one meter, one request each: 40"
    )


async def _forty_values() -> tuple[int, int]:
    """Requests and good values of one poll, counted by the server."""
    asked = 0
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while True:
            head = await reader.read(12)
            if len(head) < 12:
                break
            asked += 1
            transaction, _, _, unit, function, address, count = struct.unpack(">HHHBBHH", head)
            body = b"".join(struct.pack(">f", 1.0 + at)[2 * (at % 2) :][:2] for at in range(address, address + count))
            writer.write(struct.pack(">HHHBBB", transaction, 0, 3 + len(body), unit, function, len(body)) + body)
        writer.close()
        done.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"modbus-tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    points = [{"tag": f"v{at}", "unit": "1", "at": at, "type": "f32", "table": "input"} for at in FORTY]
    profile = ModbusProfile.model_validate(_head("forty") | {"points": points, "identification": False})
    device = polled_device(ModbusEntry(id="meter", profile="forty", address=address), profile, Breaker())
    collector = ModbusCollector(Link(parse_address(address)), [device], time.time_ns)
    await collector.connect()
    await collector.read()  # announces the meter
    ((_, samples),) = (await collector.read()).samples
    await collector.close()
    await done.wait()
    server.close()
    await server.wait_closed()
    return asked, int(np.count_nonzero(samples.quality == Quality.GOOD))


def _head(name: str) -> dict[str, object]:
    return {
        "profile": name,
        "protocol": "modbus",
        "device_class": "meter-electricity",
        "evidence": "native",
        "title_zh": "基准",
        "title_en": "benchmark",
        "source": {"document": "tests/benchmarks"},
        "liveness_s": 5,
    }


# --------------------------------------------------------------------------------------- dead unit

UNITS = 10
EVERY_S = 0.25
REPLY_S = 0.004
TIMEOUT_MS = 100
DEAD_UNIT = 1  # asked first: the worst place


def modbus_dead_unit(*, long: bool) -> Iterator[Line]:
    """From the beat to the last of nine units' samples, p95, with a tenth unit that is dead beside without it."""
    for framing, where in (("tcp", "TCP gateway"), ("serial", "RTU line")):
        with_dead, without = asyncio.run(_cycles(framing, 240 if long else 60))
        yield ratio_at_most(
            "collectors.modbus_dead_unit",
            float(np.percentile(with_dead, 95)) / 1e6,
            "ms p95 cycle of nine units",
            float(np.percentile(without, 95)) / 1e6,
            f"the nine alone, {where}",
            1.10,
        )


async def _cycles(framing: str, number: int) -> tuple[list[int], list[int]]:
    """Cycle times [ns] with the dead unit and without, side by side on two stations, half a period apart: what
    else the machine does hits both alike."""
    with tempfile.TemporaryDirectory() as folder:
        text = (BUILT_IN / "eastron-sdm630.yaml").read_text(encoding="utf-8")
        (Path(folder) / "eastron-sdm630.yaml").write_text(f"{text}every_s: {EVERY_S}\n", encoding="utf-8")
        profile = load_modbus("eastron-sdm630", [Path(folder)])
    everyone = list(range(1, UNITS + 1))
    living = [unit for unit in everyone if unit != DEAD_UNIT]
    half_ns = int(EVERY_S * _NS / 2)
    return await asyncio.gather(
        _side(framing, profile, everyone, time.time_ns, number),
        _side(framing, profile, living, lambda: time.time_ns() + half_ns, number),
    )


async def _side(framing: str, profile: ModbusProfile, units: Sequence[int], clock: Clock, number: int) -> list[int]:
    """Cycle times [ns] of the living among `units` on a station of their own."""
    machines = {unit: Machine(f"m{unit}", "meter-electricity", seed=unit) for unit in range(1, UNITS + 1)}
    station = ModbusStation(
        {unit: ("sdm630", machine) for unit, machine in machines.items()},
        Ledger(),
        framing=framing,  # type: ignore[arg-type]  # one of the two it takes
    )
    await station.start()
    station.delay_s = dict.fromkeys(machines, REPLY_S)
    await station.unplug(f"m{DEAD_UNIT}")
    collector = _collector(station.address, profile, units, clock)
    try:
        await collector.connect()
        return await _watch(collector, number)
    finally:
        await collector.close()
        await station.stop()


def _collector(address: str, profile: ModbusProfile, units: Sequence[int], clock: Clock) -> ModbusCollector:
    members = []
    for unit in units:
        entry = ModbusEntry(id=f"u{unit}", profile=profile.profile, address=address, unit=unit, timeout_ms=TIMEOUT_MS)
        member = polled_device(entry, profile, Breaker())
        member.wants_identification = False
        members.append(member)
    return ModbusCollector(Link(parse_address(address)), members, clock)


async def _watch(collector: ModbusCollector, number: int) -> list[int]:
    """Times from beat to last sample of the living units, for so many whole cycles; the first after connecting,
    which is not on the beat, is left out."""
    period_ns = int(EVERY_S * _NS)
    last: dict[int, dict[str, int]] = {}
    whole: list[int] = []
    while len(whole) <= number:
        for device, samples in (await collector.read()).samples:
            if device != f"u{DEAD_UNIT}":
                at_ns = int(samples.received_ns.max())
                cycle = last.setdefault(at_ns // period_ns, {})
                cycle[device] = at_ns
        whole = [beat for beat, seen in last.items() if len(seen) == UNITS - 1]
    return [max(last[beat].values()) - beat * period_ns for beat in whole[1:]][:number]


# --------------------------------------------------------------------------------------- catalogue


def modbus_catalogue(*, long: bool) -> Iterator[Line]:
    """CPU to decode one whole reading of a profile, the slowest of the catalogue."""
    rounds, calls = (15, 4000) if long else (7, 1000)
    slowest, name = 0.0, ""
    for profile in load_all("modbus", ModbusProfile):
        polls = [(poll.decoder, _plausible(poll.decoder.size_bytes)) for poll in polls_of(profile)]
        times = []
        for _ in range(rounds):
            before = time.process_time_ns()
            for _ in range(calls):
                for decoder, raw in polls:
                    decoder.decode(raw)
            times.append((time.process_time_ns() - before) / calls)
        took = sorted(times)[len(times) // 2]
        if took > slowest:
            slowest, name = took, profile.profile
    yield at_most("collectors.modbus_catalogue", slowest / 1000, "us CPU", 10, f"slowest profile: {name}")


def _plausible(size_bytes: int) -> bytes:
    """Bytes that are a number above 0 in every type and order: no profile takes the path of a bad value."""
    return bytes([0x01]) * size_bytes


BENCHMARKS = (modbus_coalesce, modbus_catalogue, modbus_dead_unit)
