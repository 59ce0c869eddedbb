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
    for entry in entries:
        address = entry.link_address
        first = links.setdefault(address.place, address)
        if first != address:
            raise _contradiction(first, address)
        breaker = breakers.setdefault((*address.place, entry.unit), Breaker())
        devices.setdefault(address.place, []).append(polled_device(entry, breaker, profile_folders))
    return [
        ModbusCollector(Link(links[place], members[0].profile.serial), members, clock)
        for place, members in devices.items()
    ]


def _contradiction(first: LinkAddress, second: LinkAddress) -> ConfigError:
    return ConfigError(
        "modbus.mixed-link",
        f"{first.url} 和 {second.url} 是同一个连接，却用了不同的协议或串口参数。",
        f"{first.url} and {second.url} are the same link with different framing or line settings.",
        "一个主机端口只能用 modbus-tcp 或 modbus-rtu-tcp 之一；同一串口的参数必须一致。",
        "use either modbus-tcp or modbus-rtu-tcp for one host and port, and the same settings for one line.",
    )
