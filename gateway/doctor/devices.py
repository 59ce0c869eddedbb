"""Checks of the devices' addresses: ports that answer, serial lines that may be opened."""

from __future__ import annotations

import asyncio
import grp
import os
import socket
import stat
import sys
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from collectors.causes import cause_of
from collectors.entries import DeviceEntry, protocol_of
from collectors.modbus.address import lasting_name, parse_address
from gateway.doctor.findings import Finding

CONNECT_S: Final = 3.0
_AT_ONCE: Final = 16
_DEFAULT_PORTS: Final = {"modbus-tcp": 502, "modbus-rtu-tcp": 502, "mqtt": 1883, "mqtts": 8883, "opc.tcp": 4840}
_ESTABLISHED: Final = "01"
_SERIAL_GROUP: Final = "dialout"


class Place(NamedTuple):
    """Where some entries are read."""

    host: str
    port: int
    entries: tuple[str, ...]


async def ports(entries: Iterable[DeviceEntry]) -> list[Finding]:
    """One finding for each host and port. What a running gateway is connected to is not connected to again: many
    devices have room for one only."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(place: Place) -> Finding:
        async with limit:
            return await _port(place)

    return list(await asyncio.gather(*(one(place) for place in places(entries))))


def places(entries: Iterable[DeviceEntry]) -> list[Place]:
    """Hosts and ports of all entries that are read over a network, each once."""
    found: dict[tuple[str, int], list[str]] = {}
    for entry in entries:
        parts = urlsplit(entry.address)
        if parts.scheme in _DEFAULT_PORTS and parts.hostname:
            key = parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme]
            found.setdefault(key, []).append(entry.id)
    return [Place(host, port, tuple(ids)) for (host, port), ids in found.items()]


async def _port(place: Place) -> Finding:
    subject = f"{place.host}:{place.port} ({', '.join(place.entries)})"
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_S):
            known = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
            addresses = {str(entry[4][0]) for entry in known}
            if await asyncio.to_thread(_connected_now, addresses, place.port):
                zh, en = (
                    "已连接（有程序正在使用，未再连接）。",
                    "connected now, by a running program: not connected to again.",
                )
                return Finding("device.port", "ok", zh, en, subject=subject)
            _, writer = await asyncio.open_connection(place.host, place.port)
    except (OSError, TimeoutError, UnicodeError) as error:
        return _no_port(subject, error)
    writer.transport.abort()
    return Finding("device.port", "ok", "端口可以连接。", "the port can be reached.", subject=subject)


def _no_port(subject: str, error: Exception) -> Finding:
    cause = cause_of(error)
    if isinstance(error, socket.gaierror | UnicodeError):
        return Finding(
            "device.port",
            "fail",
            f"找不到主机名（{cause.zh}）。",
            f"the host name is not found ({cause.en}).",
            "请在 address 中写 IP 地址，或检查 DNS。",
            "Write the IP address into `address`, or check the name server.",
            subject,
        )
    if isinstance(error, ConnectionRefusedError):
        return Finding(
            "device.port",
            "fail",
            "设备在线，但这个端口没有开放。",
            "the device is there, the port is closed.",
            "请核对端口；在设备上启用该协议（如 Modbus TCP、OPC UA 服务器）；防火墙也可能拒绝。",
            "Check the port; turn the protocol on at the device (Modbus TCP, OPC UA server); a firewall may refuse.",
            subject,
        )
    return Finding(
        "device.port",
        "fail",
        f"连接不上（{cause.zh}）。",
        f"cannot be reached ({cause.en}).",
        "请检查设备电源、网线、IP 地址，以及网关与设备是否在同一网段（或有路由）。",
        "Check the device's power, cable and IP address, and that gateway and device share a network or a route.",
        subject,
    )


def _connected_now(addresses: set[str], port: int) -> bool:
    """Whether a program of this machine holds a connection to one of the addresses."""
    wanted = {(ip_address(address), port) for address in addresses}
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:  # sl local_address rem_address st …
            words = line.split()
            if words[3] == _ESTABLISHED and _remote(words[2]) in wanted:
                return True
    return False


def _remote(written: str) -> tuple[object, int]:
    """An address of the kernel's table: 32-bit words in the machine's own order, then the port."""
    number, _, port = written.partition(":")
    raw = bytes.fromhex(number)
    words = [raw[i : i + 4] for i in range(0, len(raw), 4)]
    ordered = words if sys.byteorder == "big" else [word[::-1] for word in words]
    return ip_address(b"".join(ordered)), int(port, 16)


def serial_lines(entries: Iterable[DeviceEntry], by_id: Path = Path("/dev/serial/by-id")) -> list[Finding]:
    """One finding for each serial line: is it there, may we open it, and does its name stay."""
    lines: dict[str, list[DeviceEntry]] = {}
    for entry in entries:
        if protocol_of(entry.address) == "modbus" and parse_address(entry.address).kind == "serial":
            lines.setdefault(parse_address(entry.address).path, []).append(entry)
    return [_serial(path, found, by_id) for path, found in lines.items()]


def _serial(path: str, entries: list[DeviceEntry], by_id: Path) -> Finding:
    subject = f"{path} ({', '.join(entry.id for entry in entries)})"
    stable = sorted(str(name) for name in by_id.glob("*")) if by_id.is_dir() else []
    try:
        found = os.stat(path)
    except OSError as error:
        there = f"现有：{', '.join(stable)}。" if stable else "没有看到任何 USB 串口。"
        there_en = f"There are: {', '.join(stable)}." if stable else "No USB adapter is seen."
        return Finding(
            "device.serial",
            "fail",
            f"没有这个串口（{cause_of(error).zh}）。{there}",
            f"there is no such line ({cause_of(error).en}). {there_en}",
            "请插好转换器；在 address 中写 /dev/serial/by-id/ 下的名称。",
            "Plug the adapter in; use its name below /dev/serial/by-id/ in `address`.",
            subject,
            {"by_id": stable},
        )
    if not stat.S_ISCHR(found.st_mode):
        zh, en = "这不是串口。", "this is no serial line."
        step = "请写 /dev/serial/by-id/ 下的名称。", "Use a name below /dev/serial/by-id/."
        return Finding("device.serial", "fail", zh, en, *step, subject)
    if not may_open(found, os.geteuid(), {os.getegid(), *os.getgroups()}):
        group = _group(found.st_gid)
        return Finding(
            "device.serial",
            "fail",
            f"没有读写权限，它属于组 {group}。",
            f"no right to read and write it; it belongs to the group {group}.",
            f"请执行 sudo usermod -aG {group} 网关用户，然后重启网关（systemd 服务可写 SupplementaryGroups={group}）。",
            f"Run sudo usermod -aG {group} USER for the gateway's user and restart it (or set "
            f"SupplementaryGroups={group} in its service).",
            subject,
        )
    lasting = lasting_name(parse_address(entries[0].address), by_id)
    if lasting is not None:
        name = lasting or "/dev/serial/by-id/…"
        return Finding(
            "device.serial",
            "warn",
            "可以打开，但这个名称随插拔顺序改变。",
            "can be opened, but the name changes with the order of plugging.",
            f"请在 address 中改写为 {name}。",
            f"Write {name} into `address`.",
            subject,
            {"by_id": lasting},
        )
    return Finding("device.serial", "ok", "可以打开，名称固定。", "can be opened, the name stays.", subject=subject)


def may_open(found: os.stat_result, uid: int, groups: set[int]) -> bool:
    """Whether a user of these groups may read and write a file of these rights."""
    if uid == 0:
        return True
    shift = 6 if found.st_uid == uid else 3 if found.st_gid in groups else 0
    return (found.st_mode >> shift) & 0o6 == 0o6


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return _SERIAL_GROUP
