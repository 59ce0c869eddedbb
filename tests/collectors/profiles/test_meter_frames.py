"""Every Modbus profile against words written by hand from its source, another value in each register.

The words are literal so that they cannot follow the profile's mistakes. Addresses are protocol
addresses; the sheet's own number stands beside them where it differs.
"""

from __future__ import annotations

import struct

import pytest

from tests.collectors.profiles.frames import read_profile


def test_eastron_sdm630() -> None:
    assert read_profile(
        "eastron-sdm630",
        4,
        {
            0x0000: "4366 3333",  # 30001 voltage L1 230.2 V
            0x0002: "4367 8000",  # 30003 voltage L2 231.5 V
            0x0004: "4365 CCCD",  # 30005 voltage L3 229.8 V
            0x0006: "4124 0000",  # 30007 current L1 10.25 A
            0x0008: "4138 0000",  # 30009 current L2 11.5 A
            0x000A: "414C 0000",  # 30011 current L3 12.75 A
            0x000C: "4503 4800",  # 30013 power L1 2100.5 W
            0x000E: "450F C400",  # 30015 power L2 2300.25 W
            0x0010: "451C 4C00",  # 30017 power L3 2500.75 W
            0x0034: "45D7 AC00",  # 30053 total power 6901.5 W
            0x0046: "4248 147B",  # 30071 frequency 50.02 Hz
            0x0048: "47F1 2064",  # 30073 import 123456.78 kWh
            0x004A: "4148 0000",  # 30075 export 12.5 kWh
        },
    ) == {
        "voltage_l1": pytest.approx(230.2, abs=1e-4),
        "voltage_l2": 231.5,
        "voltage_l3": pytest.approx(229.8, abs=1e-4),
        "current_l1": 10.25,
        "current_l2": 11.5,
        "current_l3": 12.75,
        "power_l1": pytest.approx(2.1005, abs=1e-9),
        "power_l2": pytest.approx(2.30025, abs=1e-9),
        "power_l3": pytest.approx(2.50075, abs=1e-9),
        "power": pytest.approx(6.9015, abs=1e-9),
        "frequency": pytest.approx(50.02, abs=1e-5),
        "energy_import": 123456.78125,
        "energy_export": 12.5,
    }


def test_eastron_sdm120() -> None:
    assert read_profile(
        "eastron-sdm120",
        4,
        {
            0x0000: "4366 3333",  # 30001 voltage 230.2 V
            0x0006: "4124 0000",  # 30007 current 10.25 A
            0x000C: "4503 4800",  # 30013 active power 2100.5 W
            0x0046: "4248 147B",  # 30071 frequency 50.02 Hz
            0x0048: "47F1 2064",  # 30073 import 123456.78 kWh
            0x004A: "4148 0000",  # 30075 export 12.5 kWh
        },
    ) == {
        "voltage_l1": pytest.approx(230.2, abs=1e-4),
        "current_l1": 10.25,
        "power": pytest.approx(2.1005, abs=1e-9),
        "frequency": pytest.approx(50.02, abs=1e-5),
        "energy_import": 123456.78125,
        "energy_export": 12.5,
    }


DTSU666_LIVE = {
    0x2000: "4579 C000",  # line voltage L1-L2, not to be taken for a phase voltage
    0x2002: "457A C000",
    0x2004: "457B C000",
    0x2006: "450F E000",  # voltage L1 2302 (÷ 10 V)
    0x2008: "4510 B000",  # voltage L2 2315
    0x200A: "450F A000",  # voltage L3 2298
    0x200C: "4620 2800",  # current L1 10250 (÷ 1000 A)
    0x200E: "4633 B000",  # current L2 11500
    0x2010: "4647 3800",  # current L3 12750
    0x2012: "4786 CB80",  # total power 69015 (÷ 10 W)
    0x2014: "46A4 1A00",  # power L1 21005
    0x2016: "46B3 B500",  # power L2 23002.5
    0x2018: "46C3 5F00",  # power L3 25007.5
    0x2044: "459C 5000",  # frequency 5002 (÷ 100 Hz)
}
DTSU666_EXPECTED = {
    "voltage_l1": 230.2,
    "voltage_l2": 231.5,
    "voltage_l3": 229.8,
    "current_l1": 10.25,
    "current_l2": 11.5,
    "current_l3": 12.75,
    "power": 6.9015,
    "power_l1": 2.1005,
    "power_l2": 2.30025,
    "power_l3": 2.50075,
    "frequency": 50.02,
    "energy_import": 123456.78125,
    "energy_export": 12.5,
}


@pytest.mark.parametrize("profile", ["chint-dtsu666", "retrofit-clamp-dtsu666"])
def test_chint_dtsu666(profile: str) -> None:
    energy = {0x101E: "47F1 2064", 0x1028: "4148 0000", 0x401E: "0000 0001", 0x4028: "0000 0002"}
    assert read_profile(profile, 3, DTSU666_LIVE | energy) == DTSU666_EXPECTED


def test_chint_dtsu666_with_the_firmware_that_counts_at_401e() -> None:
    energy = {0x401E: "47F1 2064", 0x4028: "4148 0000", 0x101E: "0000 0001", 0x1028: "0000 0002"}
    assert read_profile("chint-dtsu666-401e", 3, DTSU666_LIVE | energy) == DTSU666_EXPECTED


def test_acrel_adw300() -> None:
    assert read_profile(
        "acrel-adw300",
        3,
        {
            20: "08FE",  # voltage A 2302 × 0.1 V
            21: "090B",  # voltage B 2315
            22: "08FA",  # voltage C 2298
            26: "0401",  # current A 1025 × 0.01 A
            27: "047E",  # current B 1150
            28: "04FB",  # current C 1275
            30: "FFFF FB2E",  # power A −1234 W: wired the wrong way round
            32: "0001 1170",  # power B 70000 W
            34: "0000 09C5",  # power C 2501 W
            36: "0001 1667",  # total power 71271 W
            62: "075B CD15",  # forward energy 123456789 × 0.01 kWh
            64: "0000 04E2",  # reverse energy 1250 × 0.01 kWh
        },
    ) == {
        "voltage_l1": 230.2,
        "voltage_l2": 231.5,
        "voltage_l3": 229.8,
        "current_l1": 10.25,
        "current_l2": 11.5,
        "current_l3": 12.75,
        "power_l1": -1.234,
        "power_l2": 70.0,
        "power_l3": 2.501,
        "power": 71.271,
        "energy_import": 1234567.89,
        "energy_export": 12.5,
    }


def test_schneider_iem3000() -> None:
    assert read_profile(
        "schneider-iem3000",
        3,
        {
            0x0BB7: "4124 0000",  # 3000 current L1 10.25 A
            0x0BB9: "4138 0000",  # 3002 current L2 11.5 A
            0x0BBB: "414C 0000",  # 3004 current L3 12.75 A
            0x0BD3: "4366 3333",  # 3028 voltage L1-N 230.2 V
            0x0BD5: "4367 8000",  # 3030 voltage L2-N 231.5 V
            0x0BD7: "4365 CCCD",  # 3032 voltage L3-N 229.8 V
            0x0BED: "4006 6E98",  # 3054 power L1 2.1005 kW
            0x0BEF: "4013 374C",  # 3056 power L2 2.30025 kW
            0x0BF1: "4020 0C4A",  # 3058 power L3 2.50075 kW
            0x0BF3: "40DC D917",  # 3060 total power 6.9015 kW
            0x0C25: "4248 147B",  # 3110 frequency 50.02 Hz
            0x0C83: "0000 08FB 8FD9 828B",  # 3204 import 9876543210123 Wh
            0x0C87: "0000 0000 0000 10E1",  # 3208 export 4321 Wh
        },
    ) == {
        "current_l1": 10.25,
        "current_l2": 11.5,
        "current_l3": 12.75,
        "voltage_l1": pytest.approx(230.2, abs=1e-4),
        "voltage_l2": 231.5,
        "voltage_l3": pytest.approx(229.8, abs=1e-4),
        "power_l1": pytest.approx(2.1005, abs=1e-6),
        "power_l2": pytest.approx(2.30025, abs=1e-6),
        "power_l3": pytest.approx(2.50075, abs=1e-6),
        "power": pytest.approx(6.9015, abs=1e-6),
        "frequency": pytest.approx(50.02, abs=1e-5),
        "energy_import": 9876543210.123,
        "energy_export": 4.321,
    }


def test_siemens_pac3200() -> None:
    assert read_profile(
        "siemens-pac3200",
        4,
        {
            1: "4366 3333",  # voltage L1-N 230.2 V
            3: "4367 8000",  # voltage L2-N 231.5 V
            5: "4365 CCCD",  # voltage L3-N 229.8 V
            13: "4124 0000",  # current L1 10.25 A
            15: "4138 0000",  # current L2 11.5 A
            17: "414C 0000",  # current L3 12.75 A
            25: "4503 4800",  # power L1 2100.5 W
            27: "450F C400",  # power L2 2300.25 W
            29: "451C 4C00",  # power L3 2500.75 W
            55: "4248 147B",  # frequency 50.02 Hz
            65: "45D7 AC00",  # total power 6901.5 W
            801: "419D 6F34 5500 0000",  # import tariff 1 123456789.25 Wh
            809: "4093 4A00 0000 0000",  # export tariff 1 1234.5 Wh
        },
    ) == {
        "voltage_l1": pytest.approx(230.2, abs=1e-4),
        "voltage_l2": 231.5,
        "voltage_l3": pytest.approx(229.8, abs=1e-4),
        "current_l1": 10.25,
        "current_l2": 11.5,
        "current_l3": 12.75,
        "power_l1": pytest.approx(2.1005, abs=1e-9),
        "power_l2": pytest.approx(2.30025, abs=1e-9),
        "power_l3": pytest.approx(2.50075, abs=1e-9),
        "power": pytest.approx(6.9015, abs=1e-9),
        "frequency": pytest.approx(50.02, abs=1e-5),
        "energy_import": 123456.78925,
        "energy_export": 1.2345,
    }


def test_xintai_water() -> None:
    found = read_profile(
        "xintai-water",
        3,
        {
            0x0001: "0000 B142",  # forward volume 88.5 m³, lowest byte first
            0x0003: "0000 803E",  # reverse volume 0.25 m³
            0x0005: "1E85 0B3F",  # flow: the worked example of the maker's protocol, 0.545 m³/h
        },
    )
    assert found == {
        "water_volume": 88.5,
        "water_volume_reverse": 0.25,
        "water_flow": pytest.approx(0.545, abs=1e-6),
    }


PLC = {
    0: "0001",  # 40001 version of the sheet
    1: "0002",  # 40002 state: running
    2: "EE6B 287B",  # 40003 parts 4000000123
    4: "000F 4242",  # 40005 cycles 1000002
    6: "0181",  # 40007 cycle time 385 × 0.1 s
    7: "0011",  # 40008 alarm code 17
    8: "41A8 6666",  # 40009 power 21.05 kW
    10: "BA2C 2B15",  # 40011 energy 3123456789 × 0.01 kWh
    12: "08A7",  # 40013 barrel 2215 × 0.1 °C
    13: "FFCE",  # 40014 oil −50 × 0.1 °C
    14: "0002",  # 40015 bits: manual, guard closed
}


def test_plc_moulding() -> None:
    assert read_profile("plc-moulding", 3, PLC) == {
        "sheet_version": 1.0,
        "state": 1.0,  # MachineState.RUNNING
        "parts": 4_000_000_123.0,
        "cycle_count": 1_000_002.0,
        "cycle_time": 38.5,
        "alarm_code": 17.0,
        "power": pytest.approx(21.05, abs=1e-6),
        "energy_import": 31_234_567.89,
        "barrel_temperature": 221.5,
        "oil_temperature": -5.0,
        "automatic_mode": 0.0,
        "guard_closed": 1.0,
    }


@pytest.mark.parametrize(("word", "code"), [("0000", 4.0), ("0001", 2.0), ("0002", 1.0), ("0003", 3.0), ("0004", None)])
def test_plc_moulding_says_each_state_and_no_other(word: str, code: float | None) -> None:
    assert read_profile("plc-moulding", 3, PLC | {1: word})["state"] == code


def test_plc_moulding_marks_what_is_not_fitted_as_bad() -> None:
    found = read_profile("plc-moulding", 3, PLC | {6: "FFFF", 7: "FFFF", 12: "7FFF", 13: "7FFF"})
    assert [found[tag] for tag in ("cycle_time", "alarm_code", "barrel_temperature", "oil_temperature")] == [None] * 4
    assert found["parts"] == 4_000_000_123.0


def test_the_words_above_are_the_numbers_they_claim() -> None:
    """Guards the hand-written hex itself, by the standard library alone."""
    assert struct.unpack(">f", bytes.fromhex("47F12064"))[0] == 123456.78125
    assert struct.unpack(">d", bytes.fromhex("419D6F3455000000"))[0] == 123456789.25
    assert struct.unpack("<f", bytes.fromhex("1E850B3F"))[0] == pytest.approx(0.545, abs=1e-6)
