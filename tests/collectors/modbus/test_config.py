"""Entries, addresses and how entries become collectors: everything wrong is refused before anything is opened."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from collectors.modbus.address import LinkAddress, lasting_name, parse_address
from collectors.modbus.config import ModbusEntry
from collectors.modbus.factory import collectors_for
from collectors.model import ConfigError
from collectors.strict_yaml import FileError


def entry(device: str = "d1", address: str = "modbus-tcp://192.0.2.1:502", **more: Any) -> ModbusEntry:
    return ModbusEntry(**{"id": device, "profile": "eastron-sdm630", "address": address} | more)


def collectors(*entries: ModbusEntry) -> list[str]:
    return [collector.link for collector in collectors_for(entries, time.time_ns, [], Path("unused"))]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("modbus-tcp://192.0.2.1:1502", LinkAddress("tcp", host="192.0.2.1", port=1502)),
        ("modbus-tcp://plc-3.lan", LinkAddress("tcp", host="plc-3.lan", port=502)),
        ("modbus-rtu-tcp://[2001:db8::7]:4001/", LinkAddress("rtu-tcp", host="2001:db8::7", port=4001)),
        ("modbus-rtu:///dev/ttyUSB0", LinkAddress("serial", path="/dev/ttyUSB0")),
        (
            "modbus-rtu:///dev/serial/by-id/usb-x?baudrate=19200&parity=E&stop_bits=2",
            LinkAddress("serial", path="/dev/serial/by-id/usb-x", baudrate=19200, parity="E", stop_bits=2),
        ),
    ],
)
def test_addresses_are_taken_apart(address: str, expected: LinkAddress) -> None:
    assert parse_address(address) == expected
    assert parse_address(expected.url) == expected


@pytest.mark.parametrize(
    "address",
    [
        "modbus-tcp://",
        "modbus-tcp://host:0",
        "modbus-tcp://host:99999",
        "modbus-tcp://host:502/unit/3",
        "modbus-tcp://host:502?unit=3",
        "modbus-rtu://dev/ttyUSB0",
        "modbus-rtu:///dev/ttyUSB0?baudrate=12345",
        "modbus-rtu:///dev/ttyUSB0?parity=X",
        "modbus-rtu:///dev/ttyUSB0?stop_bits=3",
        "modbus-rtu:///dev/ttyUSB0?baud=9600",
    ],
)
def test_a_wrong_address_is_refused_in_both_languages(address: str) -> None:
    with pytest.raises(ValueError) as failure:
        parse_address(address)
    zh, en = failure.value.args
    assert "modbus-" in zh
    assert "write modbus-" in en
    with pytest.raises(ValidationError):
        entry(address=address)


@pytest.mark.parametrize(
    "wrong",
    [
        {"unit": 256},
        {"unit": -1},
        {"timeout_ms": 5},
        {"username": "root"},
        {"slave": 3},
        {"counts": []},
        {"counts": ["import", "import"]},
        {"counts": ["heat"]},
        {"counts": ["import", "export"], "direction": "generation"},
        {"ct_ratio": 0},
        {"address": "modbus-rtu:///dev/ttyUSB0", "unit": 0},
        {"address": "modbus-rtu-tcp://host:4001", "unit": 248},
        {"power_thresholds": {"off_below_kw": 2, "running_above_kw": 1, "hysteresis_kw": 0.1, "dwell_s": 5}},
    ],
    ids=lambda wrong: ",".join(wrong),
)
def test_a_wrong_entry_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        entry(**wrong)


def test_entries_of_one_host_share_one_collector_and_hosts_do_not() -> None:
    other = "modbus-tcp://192.0.2.2:502"
    assert collectors(
        entry("a", unit=1), entry("b", unit=2, address="modbus-tcp://192.0.2.1"), entry("c", address=other)
    ) == ["modbus-tcp://192.0.2.1:502", other]


def test_no_entries_make_no_collectors() -> None:
    assert collectors() == []


def test_mixed_framing_on_one_host_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"modbus-rtu-tcp://192\.0\.2\.1:502"):
        collectors(entry("a"), entry("b", address="modbus-rtu-tcp://192.0.2.1:502"))


def test_two_line_speeds_on_one_port_are_refused() -> None:
    line = "modbus-rtu:///dev/ttyUSB0"
    with pytest.raises(ConfigError):
        collectors(entry("a", f"{line}?baudrate=9600"), entry("b", f"{line}?baudrate=19200"))


def test_one_line_under_two_names_is_told(tmp_path: Path) -> None:
    port, other = tmp_path / "port", tmp_path / "by-id"
    port.touch()
    other.symlink_to(port)
    settings = "?baudrate=9600&parity=N&stop_bits=1"
    with pytest.raises(ConfigError) as failure:
        collectors(entry("a", f"modbus-rtu://{port}{settings}"), entry("b", f"modbus-rtu://{other}{settings}", unit=2))
    assert failure.value.code == "modbus.mixed-link"


def test_a_line_numbered_by_plugging_order_is_told_its_lasting_name(tmp_path: Path) -> None:
    numbered = parse_address("modbus-rtu:///dev/ttyUSB7")
    assert lasting_name(numbered, tmp_path) == ""
    (tmp_path / "usb-FTDI_1234").symlink_to("/dev/ttyUSB7")
    (tmp_path / "usb-Other_99").symlink_to("/dev/ttyUSB8")
    assert lasting_name(numbered, tmp_path) == str(tmp_path / "usb-FTDI_1234")
    assert lasting_name(parse_address("modbus-rtu:///dev/serial/by-id/usb-FTDI_1234"), tmp_path) is None
    assert lasting_name(parse_address("modbus-tcp://192.0.2.1"), tmp_path) is None


def test_profiles_that_want_different_line_settings_need_them_in_the_address() -> None:
    line = "modbus-rtu:///dev/ttyUSB0"
    with pytest.raises(ConfigError) as failure:
        collectors(entry("a", line), entry("b", line, profile="schneider-iem3000", unit=2))
    assert failure.value.code == "modbus.line-settings"
    stated = f"{line}?baudrate=9600&parity=N&stop_bits=1"
    assert collectors(entry("a", stated), entry("b", stated, profile="schneider-iem3000", unit=2)) == [stated]


def test_an_unknown_profile_is_refused_with_those_that_exist() -> None:
    with pytest.raises(FileError, match="eastron-sdm630"):
        collectors(entry(profile="sdm-360"))


def test_an_entry_s_own_values_go_before_the_profile_s() -> None:
    thresholds = {"off_below_kw": 0.3, "running_above_kw": 3, "hysteresis_kw": 0.2, "dwell_s": 20}
    (collector,) = collectors_for(
        [
            entry("lathe", profile="retrofit-clamp-dtsu666", power_thresholds=thresholds, rated_max_per_h=12, unit=7),
            entry("solar", profile="eastron-sdm630", direction="generation"),
        ],
        time.time_ns,
        [],
        Path("unused"),
    )
    lathe, solar = (member.device for member in collector._devices)  # type: ignore[attr-defined]
    assert lathe.power_thresholds is not None
    assert (lathe.power_thresholds.running_above_kw, lathe.power_thresholds.dwell_s) == (3, 20)
    assert lathe.rated_max_per_h == 12
    assert (lathe.carrier, lathe.unit, lathe.direction) == ("electricity", "kWh", "import")
    assert lathe.address == "modbus-tcp://192.0.2.1:502?unit=7"
    assert solar.direction == "generation"
    assert solar.power_thresholds is None
