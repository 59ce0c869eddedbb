"""The simulated station against pymodbus' client: registers, ledger, writes, unplugging."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from pymodbus.client import AsyncModbusTcpClient

from simulators.ledger import Ledger
from simulators.modbus_maps import MAPS
from simulators.modbus_server import ModbusStation, crc16
from simulators.physics import Machine


class Times:
    """The station's clock in s UTC."""

    now_s = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
async def station(times: Times) -> AsyncIterator[ModbusStation]:
    units = {
        1: ("moulding-plc", Machine("plc", "moulding", start_energy_kwh=1234.5, start_parts=77)),
        2: ("sdm630", Machine("main", "meter-electricity", start_energy_kwh=98765.4)),
        3: ("water-meter", Machine("water", "meter-water", start_water_m3=12.3)),
    }
    station = ModbusStation(units, Ledger(), clock=times)
    await station.start()
    yield station
    await station.stop()


@pytest.fixture
async def client(station: ModbusStation) -> AsyncIterator[AsyncModbusTcpClient]:
    client = AsyncModbusTcpClient("127.0.0.1", port=urlsplit(station.address).port or 0, timeout=0.3, retries=0)
    await client.connect()
    yield client
    client.close()


async def test_the_ledger_holds_exactly_what_the_registers_said(
    station: ModbusStation, client: AsyncModbusTcpClient
) -> None:
    plc = (await client.read_holding_registers(0, count=15, device_id=1)).registers
    main = (await client.read_input_registers(0x48, count=2, device_id=2)).registers
    water = (await client.read_holding_registers(1, count=6, device_id=3)).registers
    served = station.ledger.as_dict()
    assert served["plc"]["quantity"] == [(plc[10] << 16 | plc[11]) / 100]
    assert served["plc"]["parts"] == [plc[2] << 16 | plc[3]]
    assert served["plc"]["state"] == [{0: "off", 1: "idle", 2: "running", 3: "fault"}[plc[1]]]
    assert served["main"]["quantity"] == [struct.unpack(">f", struct.pack(">HH", *main))[0]]
    assert served["water"]["quantity"] == [struct.unpack("<f", struct.pack(">HH", *water[:2]))[0]]
    assert served["main"]["state"] == [None]


async def test_a_read_that_misses_the_counter_serves_no_quantity(
    station: ModbusStation, client: AsyncModbusTcpClient
) -> None:
    await client.read_input_registers(0, count=20, device_id=2)
    await client.read_input_registers(0x49, count=1, device_id=2)
    assert station.ledger.count("main") == 0


async def test_counters_follow_the_clock_and_never_fall(
    station: ModbusStation, client: AsyncModbusTcpClient, times: Times
) -> None:
    seen = []
    for _ in range(5):
        times.now_s += 600
        station.refresh()
        words = (await client.read_input_registers(0x48, count=2, device_id=2)).registers
        seen.append(struct.unpack(">f", struct.pack(">HH", *words))[0])
    assert seen == sorted(set(seen))


async def test_every_kind_of_write_is_refused_and_counted(station: ModbusStation, client: AsyncModbusTcpClient) -> None:
    replies = [
        await client.write_register(1, 3, device_id=1),
        await client.write_registers(1, [3, 4], device_id=1),
        await client.write_coil(1, True, device_id=1),
        await client.write_coils(1, [True], device_id=1),
        await client.mask_write_register(address=1, and_mask=1, or_mask=1, device_id=1),
    ]
    assert all(reply.isError() for reply in replies)
    assert station.writes == 5


async def test_registers_that_do_not_exist_are_refused(client: AsyncModbusTcpClient) -> None:
    reply = await client.read_holding_registers(500, count=2, device_id=1)
    assert reply.exception_code == 2
    reply = await client.read_input_registers(0, count=2, device_id=1)
    assert reply.exception_code == 2


async def test_a_machine_says_who_it_is_where_its_kind_can(client: AsyncModbusTcpClient) -> None:
    said = await client.read_device_information(device_id=1)
    assert said.information[1] == b"SM-160"
    assert (await client.read_device_information(device_id=2)).isError()


async def test_an_unplugged_machine_is_silent_and_the_others_are_not(
    station: ModbusStation, client: AsyncModbusTcpClient
) -> None:
    await station.unplug("plc")
    with pytest.raises(Exception, match="No response"):
        await client.read_holding_registers(0, count=2, device_id=1)
    assert (await client.read_input_registers(0, count=2, device_id=2)).registers
    await station.plug("plc")
    await client.connect()
    assert (await client.read_holding_registers(0, count=2, device_id=1)).registers
    with pytest.raises(KeyError):
        await station.unplug("nobody")


async def test_stops_twice_and_starts_again_at_the_same_address(station: ModbusStation) -> None:
    address = station.address
    await station.stop()
    await station.stop()
    await station.start()
    assert station.address == address
    client = AsyncModbusTcpClient("127.0.0.1", port=urlsplit(address).port or 0)
    await client.connect()
    assert (await client.read_input_registers(0, count=2, device_id=2)).registers
    client.close()


def test_an_unknown_map_is_refused() -> None:
    with pytest.raises(ValueError, match="moulding-plc"):
        ModbusStation({1: ("no-such", Machine("x", "cnc"))}, Ledger())


@pytest.mark.parametrize("name", MAPS)
def test_every_map_holds_words_only_and_the_counters_it_names(name: str) -> None:
    kind = "moulding" if name == "moulding-plc" else "meter-water" if name == "water-meter" else "meter-electricity"
    machine = Machine("x", kind, start_energy_kwh=400_000, start_parts=2**31, start_water_m3=9e4)
    machine.advance(1_795_000_000)
    image = MAPS[name].image(machine)
    registers = image.holding if MAPS[name].function == 3 else image.input
    assert all(0 <= word <= 0xFFFF for word in registers.values())
    assert MAPS[name].quantity_at
    assert all(at in registers for part in ("quantity_at", "parts_at", "state_at") for at in getattr(MAPS[name], part))


def test_the_checksum_is_the_one_of_the_standard() -> None:
    assert crc16(b"\x02\x07").hex(" ") == "41 12"
