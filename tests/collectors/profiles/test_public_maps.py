"""The meters read from public drivers: every profile against words written by hand from its source.

Literal hex with another value in each register, so that it cannot follow a profile's mistakes; keys are protocol
addresses, the sheet's own number stands beside them where it differs.
"""

from __future__ import annotations

import pytest

from collectors.modbus.identification import identity_of, identity_request
from collectors.modbus.profile import load_modbus
from collectors.model import Identity
from tests.collectors.profiles.frames import read_profile


def test_eastron_sdm72() -> None:
    assert read_profile(
        "eastron-sdm72",
        4,
        {
            0x0034: "45D7 AC00",  # 30053 total power 6901.5 W
            0x0048: "47F1 2064",  # 30073 import 123456.78 kWh
            0x004A: "4148 0000",  # 30075 export 12.5 kWh
        },
    ) == {
        "power": pytest.approx(6.9015, rel=1e-6),
        "energy_import": pytest.approx(123456.78, rel=1e-6),
        "energy_export": pytest.approx(12.5, rel=1e-6),
    }


@pytest.mark.parametrize("profile", ["eastron-sdm72-v2", "eastron-sdm54"])
def test_eastron_sdm72_v2(profile: str) -> None:
    assert read_profile(
        profile,
        4,
        {
            0x0000: "4366 3333",  # voltage L1 230.2 V
            0x0002: "4367 8000",  # voltage L2 231.5 V
            0x0004: "4365 CCCD",  # voltage L3 229.8 V
            0x0006: "4124 0000",  # current L1 10.25 A
            0x0008: "4138 0000",  # current L2 11.5 A
            0x000A: "414C 0000",  # current L3 12.75 A
            0x000C: "4503 4800",  # power L1 2100.5 W
            0x000E: "450F C400",  # power L2 2300.25 W
            0x0010: "451C 4C00",  # power L3 2500.75 W
            0x0034: "45D7 AC00",  # 30053 total power 6901.5 W
            0x0046: "4248 147B",  # 30071 frequency 50.02 Hz
            0x0048: "47F1 2064",  # 30073 import 123456.78 kWh
            0x004A: "4148 0000",  # 30075 export 12.5 kWh
        },
    ) == {
        "voltage_l1": pytest.approx(230.2, rel=1e-6),
        "voltage_l2": pytest.approx(231.5, rel=1e-6),
        "voltage_l3": pytest.approx(229.8, rel=1e-6),
        "current_l1": pytest.approx(10.25, rel=1e-6),
        "current_l2": pytest.approx(11.5, rel=1e-6),
        "current_l3": pytest.approx(12.75, rel=1e-6),
        "power_l1": pytest.approx(2.1005, rel=1e-6),
        "power_l2": pytest.approx(2.30025, rel=1e-6),
        "power_l3": pytest.approx(2.50075, rel=1e-6),
        "power": pytest.approx(6.9015, rel=1e-6),
        "frequency": pytest.approx(50.02, rel=1e-6),
        "energy_import": pytest.approx(123456.78, rel=1e-6),
        "energy_export": pytest.approx(12.5, rel=1e-6),
    }


@pytest.mark.parametrize("profile", ["eastron-sdm220", "eastron-sdm230"])
def test_eastron_sdm220(profile: str) -> None:
    assert read_profile(
        profile,
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
        "voltage_l1": pytest.approx(230.2, rel=1e-6),
        "current_l1": pytest.approx(10.25, rel=1e-6),
        "power": pytest.approx(2.1005, rel=1e-6),
        "frequency": pytest.approx(50.02, rel=1e-6),
        "energy_import": pytest.approx(123456.78, rel=1e-6),
        "energy_export": pytest.approx(12.5, rel=1e-6),
    }


def test_acrel_adl400() -> None:
    assert read_profile(
        "acrel-adl400",
        3,
        {
            0x000A: "00BC 614E",  # forward energy 12345678 × 0.01 kWh × 40
            0x0014: "0000 04E2",  # reverse energy 1250 × 0.01 kWh × 40
            0x0061: "08FE",  # voltage L1 2302 × 0.1 V × 2
            0x0062: "090B",  # voltage L2 2315 × 0.1 V × 2
            0x0063: "08FA",  # voltage L3 2298 × 0.1 V × 2
            0x0064: "019A",  # current L1 410 × 0.01 A × 20
            0x0065: "01CC",  # current L2 460 × 0.01 A × 20
            0x0066: "01FE",  # current L3 510 × 0.01 A × 20
            0x0077: "138A",  # frequency 5002 × 0.01 Hz
            0x008D: "0002",  # PT ratio 2
            0x008E: "0014",  # CT ratio 20
            0x0164: "FFFF FB2E",  # power L1 -1234 × 0.001 kW × 40
            0x0166: "0001 1170",  # power L2 70000 × 0.001 kW × 40
            0x0168: "0000 09C5",  # power L3 2501 × 0.001 kW × 40
            0x016A: "0001 1663",  # total power 71267 × 0.001 kW × 40
        },
    ) == {
        "energy_import": 4938271.2,
        "energy_export": 500.0,
        "voltage_l1": 460.4,
        "voltage_l2": 463.0,
        "voltage_l3": 459.6,
        "current_l1": 82.0,
        "current_l2": 92.0,
        "current_l3": 102.0,
        "frequency": 50.02,
        "pt_ratio": 2.0,
        "ct_ratio": 20.0,
        "power_l1": -49.36,
        "power_l2": 2800.0,
        "power_l3": pytest.approx(100.04, rel=1e-12),
        "power": 2850.68,
    }


def test_acrel_adl400_primary() -> None:
    assert read_profile(
        "acrel-adl400-primary",
        3,
        {
            0x0800: "4366 3333",  # voltage L1 230.2 V
            0x0802: "4367 8000",  # voltage L2 231.5 V
            0x0804: "4365 CCCD",  # voltage L3 229.8 V
            0x080C: "4124 0000",  # current L1 10.25 A
            0x080E: "4138 0000",  # current L2 11.5 A
            0x0810: "414C 0000",  # current L3 12.75 A
            0x0814: "4006 6E98",  # power A 2.1005 kW
            0x0816: "4013 374C",  # power B 2.30025 kW
            0x0818: "4020 0C4A",  # power C 2.50075 kW
            0x081A: "40DC D917",  # total power 6.9015 kW
            0x0834: "4248 147B",  # frequency 50.02 Hz
            0x0842: "0012 D704",  # combined 1234692 × 0.1 kWh
            0x084C: "0012 D687",  # forward 1234567 × 0.1 kWh
            0x0856: "0000 007D",  # reverse 125 × 0.1 kWh
        },
    ) == {
        "voltage_l1": pytest.approx(230.2, rel=1e-6),
        "voltage_l2": pytest.approx(231.5, rel=1e-6),
        "voltage_l3": pytest.approx(229.8, rel=1e-6),
        "current_l1": pytest.approx(10.25, rel=1e-6),
        "current_l2": pytest.approx(11.5, rel=1e-6),
        "current_l3": pytest.approx(12.75, rel=1e-6),
        "power_l1": pytest.approx(2.1005, rel=1e-6),
        "power_l2": pytest.approx(2.30025, rel=1e-6),
        "power_l3": pytest.approx(2.50075, rel=1e-6),
        "power": pytest.approx(6.9015, rel=1e-6),
        "frequency": pytest.approx(50.02, rel=1e-6),
        "energy_total": 123469.2,
        "energy_import": 123456.7,
        "energy_export": 12.5,
    }


def test_schneider_pm5000() -> None:
    assert read_profile(
        "schneider-pm5000",
        3,
        {
            2999: "4124 0000",  # current L1 10.25 A
            3001: "4138 0000",  # current L2 11.5 A
            3003: "414C 0000",  # current L3 12.75 A
            3019: "43C7 C000",  # voltage L12 399.5 V
            3021: "43C8 2000",  # voltage L23 400.25 V
            3023: "43C7 6000",  # voltage L31 398.75 V
            3027: "4366 3333",  # voltage L1 230.2 V
            3029: "4367 8000",  # voltage L2 231.5 V
            3031: "4365 CCCD",  # voltage L3 229.8 V
            3053: "4006 6E98",  # 3054 power A 2.1005 kW
            3055: "4013 374C",  # 3056 power B 2.30025 kW
            3057: "4020 0C4A",  # 3058 power C 2.50075 kW
            3059: "40DC D917",  # 3060 total power 6.9015 kW
            3109: "4248 147B",  # 3110 frequency 50.02 Hz
            3203: "0000 08FB 8FD9 828B",  # 3204 delivered 9876543210123 Wh
            3207: "0000 0000 0000 10E1",  # 3208 received 4321 Wh
        },
    ) == {
        "current_l1": pytest.approx(10.25, rel=1e-6),
        "current_l2": pytest.approx(11.5, rel=1e-6),
        "current_l3": pytest.approx(12.75, rel=1e-6),
        "voltage_l12": pytest.approx(399.5, rel=1e-6),
        "voltage_l23": pytest.approx(400.25, rel=1e-6),
        "voltage_l31": pytest.approx(398.75, rel=1e-6),
        "voltage_l1": pytest.approx(230.2, rel=1e-6),
        "voltage_l2": pytest.approx(231.5, rel=1e-6),
        "voltage_l3": pytest.approx(229.8, rel=1e-6),
        "power_l1": pytest.approx(2.1005, rel=1e-6),
        "power_l2": pytest.approx(2.30025, rel=1e-6),
        "power_l3": pytest.approx(2.50075, rel=1e-6),
        "power": pytest.approx(6.9015, rel=1e-6),
        "frequency": pytest.approx(50.02, rel=1e-6),
        "energy_import": 9876543210.123,
        "energy_export": 4.321,
    }


def test_schneider_pm5000_tells_its_serial_number() -> None:
    profile = load_modbus("schneider-pm5000")
    (serial,) = profile.identity
    request = identity_request(profile, serial)
    assert (request.function, request.address, request.count) == (3, 129, 2)
    assert identity_of(serial, bytes.fromhex("03 04 0012 D687")) == Identity(serial="1234567")


@pytest.mark.parametrize("profile", ["siemens-pac2200", "siemens-pac3120"])
def test_siemens_pac2200(profile: str) -> None:
    assert read_profile(
        profile,
        4,
        {
            1: "4366 3333",  # voltage L1 230.2 V
            3: "4367 8000",  # voltage L2 231.5 V
            5: "4365 CCCD",  # voltage L3 229.8 V
            7: "43C7 C000",  # voltage L12 399.5 V
            9: "43C8 2000",  # voltage L23 400.25 V
            11: "43C7 6000",  # voltage L31 398.75 V
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
        "voltage_l1": pytest.approx(230.2, rel=1e-6),
        "voltage_l2": pytest.approx(231.5, rel=1e-6),
        "voltage_l3": pytest.approx(229.8, rel=1e-6),
        "voltage_l12": pytest.approx(399.5, rel=1e-6),
        "voltage_l23": pytest.approx(400.25, rel=1e-6),
        "voltage_l31": pytest.approx(398.75, rel=1e-6),
        "current_l1": pytest.approx(10.25, rel=1e-6),
        "current_l2": pytest.approx(11.5, rel=1e-6),
        "current_l3": pytest.approx(12.75, rel=1e-6),
        "power_l1": pytest.approx(2.1005, rel=1e-6),
        "power_l2": pytest.approx(2.30025, rel=1e-6),
        "power_l3": pytest.approx(2.50075, rel=1e-6),
        "frequency": pytest.approx(50.02, rel=1e-6),
        "power": pytest.approx(6.9015, rel=1e-6),
        "energy_import": 123456.78925,
        "energy_export": 1.2345,
    }


def test_siemens_pac4200() -> None:
    assert read_profile(
        "siemens-pac4200",
        3,
        {
            1: "4366 3333",  # voltage L1 230.2 V
            3: "4367 8000",  # voltage L2 231.5 V
            5: "4365 CCCD",  # voltage L3 229.8 V
            13: "4124 0000",  # current L1 10.25 A
            15: "4138 0000",  # current L2 11.5 A
            17: "414C 0000",  # current L3 12.75 A
            25: "4503 4800",  # power L1 2100.5 W
            27: "450F C400",  # power L2 2300.25 W
            29: "451C 4C00",  # power L3 2500.75 W
            65: "45D7 AC00",  # total power 6901.5 W
            801: "419D 6F34 5500 0000",  # import tariff 1 123456789.25 Wh
            809: "4093 4A00 0000 0000",  # export tariff 1 1234.5 Wh
        },
    ) == {
        "voltage_l1": pytest.approx(230.2, rel=1e-6),
        "voltage_l2": pytest.approx(231.5, rel=1e-6),
        "voltage_l3": pytest.approx(229.8, rel=1e-6),
        "current_l1": pytest.approx(10.25, rel=1e-6),
        "current_l2": pytest.approx(11.5, rel=1e-6),
        "current_l3": pytest.approx(12.75, rel=1e-6),
        "power_l1": pytest.approx(2.1005, rel=1e-6),
        "power_l2": pytest.approx(2.30025, rel=1e-6),
        "power_l3": pytest.approx(2.50075, rel=1e-6),
        "power": pytest.approx(6.9015, rel=1e-6),
        "energy_import": 123456.78925,
        "energy_export": 1.2345,
    }


def test_siemens_pac1600() -> None:
    assert read_profile(
        "siemens-pac1600",
        3,
        {
            1: "0000 59EC",  # voltage L1 23020 × 0.01 V
            3: "0000 5A6E",  # voltage L2 23150 × 0.01 V
            5: "0000 59C4",  # voltage L3 22980 × 0.01 V
            7: "0001 9064",  # current L1 102500 × 0.1 mA
            9: "0001 C138",  # current L2 115000 × 0.1 mA
            11: "0001 F20C",  # current L3 127500 × 0.1 mA
            13: "0000 9C0E",  # voltage L12 39950 × 0.01 V
            15: "0000 9C59",  # voltage L23 40025 × 0.01 V
            17: "0000 9BC3",  # voltage L31 39875 × 0.01 V
            19: "0003 3482",  # power L1 210050 × 0.01 W
            21: "FFFC 7D77",  # power L2 -230025 × 0.01 W
            23: "006A CFC0",  # power L3 7000000 × 0.01 W
            49: "0000 138A",  # frequency 5002 × 0.01 Hz
            57: "006A 81B9",  # total power 6980025 × 0.01 W
            6687: "BA2C 2B15",  # import 3123456789 Wh
            6689: "0000 10E1",  # export 4321 Wh
        },
    ) == {
        "voltage_l1": 230.2,
        "voltage_l2": 231.5,
        "voltage_l3": 229.8,
        "current_l1": 10.25,
        "current_l2": 11.5,
        "current_l3": 12.75,
        "voltage_l12": 399.5,
        "voltage_l23": 400.25,
        "voltage_l31": 398.75,
        "power_l1": 2.1005,
        "power_l2": -2.30025,
        "power_l3": 70.0,
        "frequency": 50.02,
        "power": 69.80025,
        "energy_import": 3123456.789,
        "energy_export": 4.321,
    }


def test_abb_b23() -> None:
    assert read_profile(
        "abb-b23",
        3,
        {
            0x5000: "0000 011F 71FB 04CB",  # import 1234567890123 × 0.01 kWh
            0x5004: "0000 0000 0000 04E2",  # export 1250 × 0.01 kWh
            0x5B00: "0000 08FE",  # voltage L1 2302 × 0.1 V
            0x5B02: "0000 090B",  # voltage L2 2315 × 0.1 V
            0x5B04: "0000 08FA",  # voltage L3 2298 × 0.1 V
            0x5B0C: "0000 0401",  # current L1 1025 × 0.01 A
            0x5B0E: "0000 047E",  # current L2 1150 × 0.01 A
            0x5B10: "0000 04FB",  # current L3 1275 × 0.01 A
            0x5B14: "006A 81B9",  # total power 6980025 × 0.01 W
            0x5B16: "0003 3482",  # power L1 210050 × 0.01 W
            0x5B18: "FFFC 7D77",  # power L2 -230025 × 0.01 W
            0x5B1A: "006A CFC0",  # power L3 7000000 × 0.01 W
            0x5B2C: "138A",  # frequency 5002 × 0.01 Hz
        },
    ) == {
        "energy_import": 12345678901.23,
        "energy_export": 12.5,
        "voltage_l1": 230.2,
        "voltage_l2": 231.5,
        "voltage_l3": 229.8,
        "current_l1": 10.25,
        "current_l2": 11.5,
        "current_l3": 12.75,
        "power": 69.80025,
        "power_l1": 2.1005,
        "power_l2": -2.30025,
        "power_l3": 70.0,
        "frequency": 50.02,
    }


def test_inepro_pro380() -> None:
    assert read_profile(
        "inepro-pro380",
        3,
        {
            0x5002: "4366 3333",  # voltage L1 230.2 V
            0x5004: "4367 8000",  # voltage L2 231.5 V
            0x5006: "4365 CCCD",  # voltage L3 229.8 V
            0x5008: "4248 147B",  # frequency 50.02 Hz
            0x500C: "4124 0000",  # current L1 10.25 A
            0x500E: "4138 0000",  # current L2 11.5 A
            0x5010: "414C 0000",  # current L3 12.75 A
            0x5012: "40DC D917",  # total power 6.9015 kW
            0x5014: "4006 6E98",  # power L1 2.1005 kW
            0x5016: "4013 374C",  # power L2 2.30025 kW
            0x5018: "4020 0C4A",  # power L3 2.50075 kW
            0x6000: "4592 FC00",  # total 4703.5 kWh
            0x600C: "4592 9800",  # forward 4691 kWh
            0x6018: "4148 0000",  # reverse 12.5 kWh
        },
    ) == {
        "voltage_l1": pytest.approx(230.2, rel=1e-6),
        "voltage_l2": pytest.approx(231.5, rel=1e-6),
        "voltage_l3": pytest.approx(229.8, rel=1e-6),
        "frequency": pytest.approx(50.02, rel=1e-6),
        "current_l1": pytest.approx(10.25, rel=1e-6),
        "current_l2": pytest.approx(11.5, rel=1e-6),
        "current_l3": pytest.approx(12.75, rel=1e-6),
        "power": pytest.approx(6.9015, rel=1e-6),
        "power_l1": pytest.approx(2.1005, rel=1e-6),
        "power_l2": pytest.approx(2.30025, rel=1e-6),
        "power_l3": pytest.approx(2.50075, rel=1e-6),
        "energy_total": pytest.approx(4703.5, rel=1e-6),
        "energy_import": pytest.approx(4691.0, rel=1e-6),
        "energy_export": pytest.approx(12.5, rel=1e-6),
    }


@pytest.mark.parametrize("profile", ["janitza-umg96rm", "weidmueller-em525"])
def test_janitza_umg96rm(profile: str) -> None:
    assert read_profile(
        profile,
        3,
        {
            19000: "4366 3333",  # voltage L1 230.2 V
            19002: "4367 8000",  # voltage L2 231.5 V
            19004: "4365 CCCD",  # voltage L3 229.8 V
            19006: "43C7 C000",  # voltage L12 399.5 V
            19008: "43C8 2000",  # voltage L23 400.25 V
            19010: "43C7 6000",  # voltage L31 398.75 V
            19012: "4124 0000",  # current L1 10.25 A
            19014: "4138 0000",  # current L2 11.5 A
            19016: "414C 0000",  # current L3 12.75 A
            19020: "4503 4800",  # power L1 2100.5 W
            19022: "450F C400",  # power L2 2300.25 W
            19024: "451C 4C00",  # power L3 2500.75 W
            19026: "45D7 AC00",  # sum of power 6901.5 W
            19050: "4248 147B",  # frequency 50.02 Hz
            19068: "4CBC 614F",  # consumed 98765432 Wh
            19076: "449C 4000",  # delivered 1250 Wh
        },
    ) == {
        "voltage_l1": pytest.approx(230.2, rel=1e-6),
        "voltage_l2": pytest.approx(231.5, rel=1e-6),
        "voltage_l3": pytest.approx(229.8, rel=1e-6),
        "voltage_l12": pytest.approx(399.5, rel=1e-6),
        "voltage_l23": pytest.approx(400.25, rel=1e-6),
        "voltage_l31": pytest.approx(398.75, rel=1e-6),
        "current_l1": pytest.approx(10.25, rel=1e-6),
        "current_l2": pytest.approx(11.5, rel=1e-6),
        "current_l3": pytest.approx(12.75, rel=1e-6),
        "power_l1": pytest.approx(2.1005, rel=1e-6),
        "power_l2": pytest.approx(2.30025, rel=1e-6),
        "power_l3": pytest.approx(2.50075, rel=1e-6),
        "power": pytest.approx(6.9015, rel=1e-6),
        "frequency": pytest.approx(50.02, rel=1e-6),
        "energy_import": pytest.approx(98765.432, rel=1e-6),
        "energy_export": pytest.approx(1.25, rel=1e-6),
    }


def test_carlogavazzi_em24() -> None:
    assert read_profile(
        "carlogavazzi-em24",
        4,
        {
            0x0000: "08FE 0000",  # voltage L1 2302 × 0.1 V
            0x0002: "090B 0000",  # voltage L2 2315 × 0.1 V
            0x0004: "08FA 0000",  # voltage L3 2298 × 0.1 V
            0x000C: "280A 0000",  # current L1 10250 × 0.001 A
            0x000E: "2CEC 0000",  # current L2 11500 × 0.001 A
            0x0010: "31CE 0000",  # current L3 12750 × 0.001 A
            0x0012: "520D 0000",  # power L1 21005 × 0.1 W
            0x0014: "A626 FFFF",  # power L2 -23002 × 0.1 W
            0x0016: "AE60 000A",  # power L3 700000 × 0.1 W
            0x0028: "A693 000A",  # total power 698003 × 0.1 W
            0x0037: "01F5",  # frequency 501 × 0.1 Hz
            0x0042: "D687 0012",  # import 1234567 × 0.1 kWh
            0x005C: "007D 0000",  # export 125 × 0.1 kWh
        },
    ) == {
        "voltage_l1": 230.2,
        "voltage_l2": 231.5,
        "voltage_l3": 229.8,
        "current_l1": 10.25,
        "current_l2": 11.5,
        "current_l3": 12.75,
        "power_l1": 2.1005,
        "power_l2": -2.3002,
        "power_l3": 70.0,
        "power": 69.8003,
        "frequency": 50.1,
        "energy_import": 123456.7,
        "energy_export": 12.5,
    }


def test_carlogavazzi_em340() -> None:
    assert read_profile(
        "carlogavazzi-em340",
        4,
        {
            0x0000: "08FE 0000",  # voltage L1 2302 × 0.1 V
            0x0002: "090B 0000",  # voltage L2 2315 × 0.1 V
            0x0004: "08FA 0000",  # voltage L3 2298 × 0.1 V
            0x000C: "280A 0000",  # current L1 10250 × 0.001 A
            0x000E: "2CEC 0000",  # current L2 11500 × 0.001 A
            0x0010: "31CE 0000",  # current L3 12750 × 0.001 A
            0x0012: "520D 0000",  # power L1 21005 × 0.1 W
            0x0014: "A626 FFFF",  # power L2 -23002 × 0.1 W
            0x0016: "AE60 000A",  # power L3 700000 × 0.1 W
            0x0028: "A693 000A",  # total power 698003 × 0.1 W
            0x0033: "01F5",  # frequency 501 × 0.1 Hz
            0x0034: "D687 0012",  # import 1234567 × 0.1 kWh
            0x004E: "007D 0000",  # export 125 × 0.1 kWh
        },
    ) == {
        "voltage_l1": 230.2,
        "voltage_l2": 231.5,
        "voltage_l3": 229.8,
        "current_l1": 10.25,
        "current_l2": 11.5,
        "current_l3": 12.75,
        "power_l1": 2.1005,
        "power_l2": -2.3002,
        "power_l3": 70.0,
        "power": 69.8003,
        "frequency": 50.1,
        "energy_import": 123456.7,
        "energy_export": 12.5,
    }


def test_orno_we516() -> None:
    assert read_profile(
        "orno-we516",
        3,
        {
            0x000E: "4366 3333",  # voltage L1 230.2 V
            0x0010: "4367 8000",  # voltage L2 231.5 V
            0x0012: "4365 CCCD",  # voltage L3 229.8 V
            0x0014: "4248 147B",  # frequency 50.02 Hz
            0x0016: "4124 0000",  # current L1 10.25 A
            0x0018: "4138 0000",  # current L2 11.5 A
            0x001A: "414C 0000",  # current L3 12.75 A
            0x001C: "40DC D917",  # total power 6.9015 kW
            0x001E: "4006 6E98",  # power L1 2.1005 kW
            0x0020: "4013 374C",  # power L2 2.30025 kW
            0x0022: "4020 0C4A",  # power L3 2.50075 kW
            0x0100: "4592 FC00",  # total 4703.5 kWh
            0x0108: "4592 9800",  # forward 4691 kWh
            0x0110: "4148 0000",  # reverse 12.5 kWh
        },
    ) == {
        "voltage_l1": pytest.approx(230.2, rel=1e-6),
        "voltage_l2": pytest.approx(231.5, rel=1e-6),
        "voltage_l3": pytest.approx(229.8, rel=1e-6),
        "frequency": pytest.approx(50.02, rel=1e-6),
        "current_l1": pytest.approx(10.25, rel=1e-6),
        "current_l2": pytest.approx(11.5, rel=1e-6),
        "current_l3": pytest.approx(12.75, rel=1e-6),
        "power": pytest.approx(6.9015, rel=1e-6),
        "power_l1": pytest.approx(2.1005, rel=1e-6),
        "power_l2": pytest.approx(2.30025, rel=1e-6),
        "power_l3": pytest.approx(2.50075, rel=1e-6),
        "energy_total": pytest.approx(4703.5, rel=1e-6),
        "energy_import": pytest.approx(4691.0, rel=1e-6),
        "energy_export": pytest.approx(12.5, rel=1e-6),
    }


def test_socomec_countis_e() -> None:
    assert read_profile(
        "socomec-countis-e",
        3,
        {
            0xC552: "0000 9C0E",  # voltage L12 39950 × 0.01 V
            0xC554: "0000 9C59",  # voltage L23 40025 × 0.01 V
            0xC556: "0000 9BC3",  # voltage L31 39875 × 0.01 V
            0xC558: "0000 59EC",  # voltage L1 23020 × 0.01 V
            0xC55A: "0000 5A6E",  # voltage L2 23150 × 0.01 V
            0xC55C: "0000 59C4",  # voltage L3 22980 × 0.01 V
            0xC55E: "0000 138A",  # frequency 5002 × 0.01 Hz
            0xC560: "0000 280A",  # current L1 10250 mA
            0xC562: "0000 2CEC",  # current L2 11500 mA
            0xC564: "0000 31CE",  # current L3 12750 mA
            0xC568: "000A A693",  # total power 698003 × 0.01 kW
            0xC570: "0000 520D",  # power L1 21005 × 0.01 kW
            0xC572: "FFFF A626",  # power L2 -23002 × 0.01 kW
            0xC574: "000A AE60",  # power L3 700000 × 0.01 kW
            0xC652: "BA2C 2B15",  # import 3123456789 kWh
            0xC658: "0000 10E1",  # export 4321 kWh
        },
    ) == {
        "voltage_l12": 399.5,
        "voltage_l23": 400.25,
        "voltage_l31": 398.75,
        "voltage_l1": 230.2,
        "voltage_l2": 231.5,
        "voltage_l3": 229.8,
        "frequency": 50.02,
        "current_l1": 10.25,
        "current_l2": 11.5,
        "current_l3": 12.75,
        "power": 6980.03,
        "power_l1": 210.05,
        "power_l2": -230.02,
        "power_l3": 7000.0,
        "energy_import": 3123456789.0,
        "energy_export": 4321.0,
    }


def test_lovato_dmg610() -> None:
    assert read_profile(
        "lovato-dmg610",
        4,
        {
            0x0001: "0000 59EC",  # voltage L1 23020 × 0.01 V
            0x0003: "0000 5A6E",  # voltage L2 23150 × 0.01 V
            0x0005: "0000 59C4",  # voltage L3 22980 × 0.01 V
            0x0007: "0001 9064",  # current L1 102500 × 0.1 mA
            0x0009: "0001 C138",  # current L2 115000 × 0.1 mA
            0x000B: "0001 F20C",  # current L3 127500 × 0.1 mA
            0x0013: "0003 3482",  # power L1 210050 × 0.01 W
            0x0015: "FFFC 7D77",  # power L2 -230025 × 0.01 W
            0x0017: "006A CFC0",  # power L3 7000000 × 0.01 W
            0x0031: "0000 C364",  # frequency 50020 × 0.001 Hz
            0x0039: "006A 81B9",  # total power 6980025 × 0.01 W
            0x1B1F: "0000 011F 71FB 04CB",  # imported 1234567890123 × 0.01 kWh
            0x1B23: "0000 0000 0000 04E2",  # exported 1250 × 0.01 kWh
        },
    ) == {
        "voltage_l1": 230.2,
        "voltage_l2": 231.5,
        "voltage_l3": 229.8,
        "current_l1": 10.25,
        "current_l2": 11.5,
        "current_l3": 12.75,
        "power_l1": 2.1005,
        "power_l2": -2.30025,
        "power_l3": 70.0,
        "frequency": 50.02,
        "power": 69.80025,
        "energy_import": 12345678901.23,
        "energy_export": 12.5,
    }


def test_huawei_smartlogger() -> None:
    assert read_profile(
        "huawei-smartlogger",
        3,
        {
            32260: "0000 59EC",  # voltage L1 23020 × 0.01 V
            32262: "0000 5A6E",  # voltage L2 23150 × 0.01 V
            32264: "0000 59C4",  # voltage L3 22980 × 0.01 V
            32272: "0000 0401",  # current L1 1025 × 0.1 A
            32274: "FFFF FB82",  # current L2 -1150 × 0.1 A
            32276: "0000 04FB",  # current L3 1275 × 0.1 A
            32278: "0001 0D97",  # active power 69015 W
            32335: "0000 520D",  # power L1 21005 W
            32337: "FFFF A626",  # power L2 -23002 W
            32339: "0001 1564",  # power L3 71012 W
            32349: "0000 011F 71FB 04CB",  # negative active 1234567890123 × 0.01 kWh
            32357: "0000 0000 0000 04E2",  # positive active 1250 × 0.01 kWh
        },
    ) == {
        "voltage_l1": 230.2,
        "voltage_l2": 231.5,
        "voltage_l3": 229.8,
        "current_l1": 102.5,
        "current_l2": -115.0,
        "current_l3": 127.5,
        "power": 69.015,
        "power_l1": 21.005,
        "power_l2": -23.002,
        "power_l3": 71.012,
        "energy_import": 12345678901.23,
        "energy_export": 12.5,
    }


FUXIN_GAS = (
    # 03 000A 0014: the worked example of the source, all forty bytes of it
    "4B3C 6156 449B 6392 0000 0000 4022 0C4A 0000 1243 1116 4020 0000 1228 5686 4222 41AD 3127 42CC 6C8B"
)


def test_fuxin_gas() -> None:
    assert read_profile("fuxin-gas", 3, {0x000A: FUXIN_GAS}) == {
        "gas_flow": pytest.approx(2.532, abs=5e-4),
        "gas_volume": 1243.1116,
        "gas_flow_uncorrected": 2.5,  # the source rounds to 2.53
        "gas_volume_uncorrected": 12285686.4222,  # as sent; the source's text says 12345686.4222
        "gas_temperature": pytest.approx(21.65, abs=5e-3),
        "gas_pressure": pytest.approx(102.21, abs=5e-3),
    }


def test_a_ratio_of_zero_makes_what_it_multiplies_bad() -> None:
    found = read_profile("acrel-adl400", 3, {0x000A: "00BC 614E", 0x0061: "08FE", 0x0077: "138A", 0x008D: "0001 0000"})
    assert found["energy_import"] is None
    assert found["current_l1"] is None
    assert found["voltage_l1"] == 230.2
    assert found["frequency"] == 50.02


def test_phases_that_a_single_phase_abb_meter_lacks_are_bad() -> None:
    found = read_profile(
        "abb-b23", 3, {0x5B00: "0000 08FE FFFF FFFF", 0x5B16: "0003 3482 7FFF FFFF", 0x5000: "FFFF FFFF FFFF FFFF"}
    )
    assert found["voltage_l1"] == 230.2
    assert found["voltage_l2"] is None
    assert found["power_l1"] == pytest.approx(2.1005)
    assert found["power_l2"] is None
    assert found["energy_import"] is None
