"""From a plant's entries to collectors: one per host or line, everything checked before anything is opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from collectors.base import Collector
from collectors.modbus.address import LinkAddress
from collectors.modbus.breaker import Breaker
from collectors.modbus.collector import ModbusCollector
from collectors.modbus.config import ModbusEntry
from collectors.modbus.device import PolledDevice, polled_device
from collectors.modbus.link import Link
from collectors.modbus.profile import ModbusProfile, Serial, load_modbus
from collectors.model import Clock, ConfigError


def collectors_for(
    entries: Sequence[ModbusEntry], clock: Clock, profile_folders: Sequence[Path], state_folder: Path
) -> list[Collector]:
    """Collectors for all Modbus entries; nothing is opened.

    Raises FileError for a profile that is missing or wrong, ConfigError where entries of one host or
    line contradict one another. `state_folder` is not used: Modbus keeps nothing between starts.
    """
    links: dict[tuple[str, int | str], LinkAddress] = {}
    devices: dict[tuple[str, int | str], list[PolledDevice]] = {}
    breakers: dict[tuple[str, int | str, int], Breaker] = {}
    profiles: dict[str, ModbusProfile] = {}
    for entry in entries:
        if entry.profile not in profiles:
            profiles[entry.profile] = load_modbus(entry.profile, profile_folders)
        address = entry.link_address
        first = links.setdefault(address.place, address)
        if first != address:
            raise _contradiction(first, address)
        breaker = breakers.setdefault((*address.place, entry.unit), Breaker())
        devices.setdefault(address.place, []).append(polled_device(entry, profiles[entry.profile], breaker))
    return [
        ModbusCollector(Link(links[place], _line_settings(links[place], members)), members, clock)
        for place, members in devices.items()
    ]


def _line_settings(address: LinkAddress, members: Sequence[PolledDevice]) -> Serial:
    """Factory settings of a line's devices, where the address says nothing of its own."""
    settings = {member.profile.serial for member in members}
    stated = None not in (address.baudrate, address.parity, address.stop_bits)
    if address.kind == "serial" and len(settings) > 1 and not stated:
        raise ConfigError(
            "modbus.line-settings",
            f"{address.url} 上的设备出厂串口参数不同，无法确定用哪一个。",
            f"the devices on {address.url} have different factory line settings.",
            "在地址里写明 baudrate、parity 和 stop_bits，并把所有设备设成一样。",
            "state baudrate, parity and stop_bits in the address and set all devices alike.",
        )
    return members[0].profile.serial


def _contradiction(first: LinkAddress, second: LinkAddress) -> ConfigError:
    return ConfigError(
        "modbus.mixed-link",
        f"{first.url} 和 {second.url} 是同一个连接，却用了不同的协议或串口参数。",
        f"{first.url} and {second.url} are the same link with different framing or line settings.",
        "一个主机端口只能用 modbus-tcp 或 modbus-rtu-tcp 之一；同一串口的参数必须一致。",
        "use either modbus-tcp or modbus-rtu-tcp for one host and port, and the same settings for one line.",
    )
