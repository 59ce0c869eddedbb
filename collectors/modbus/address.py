"""Where a link leads: the URL of a Modbus host, serial server or serial line, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from os.path import realpath
from pathlib import Path
from typing import Final, Literal
from urllib.parse import parse_qsl, urlsplit

MODBUS_PORT: Final = 502
BAUDRATES: Final = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
_SERIAL_KEYS: Final = ("baudrate", "parity", "stop_bits")
_NUMBERED: Final = re.compile(r"/dev/tty(USB|ACM)\d+$")

Kind = Literal["tcp", "rtu-tcp", "serial"]


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """One host and port, or one serial line with its settings (None: the profile's)."""

    kind: Kind
    host: str = ""
    port: int = 0
    path: str = ""
    baudrate: int | None = None
    parity: Literal["N", "E", "O"] | None = None
    stop_bits: Literal[1, 2] | None = None

    @property
    def url(self) -> str:
        """The link's name: shown to people, unique in a gateway."""
        if self.kind == "serial":
            settings = [f"{key}={getattr(self, key)}" for key in _SERIAL_KEYS if getattr(self, key) is not None]
            return f"modbus-rtu://{self.path}" + (f"?{'&'.join(settings)}" if settings else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"modbus-{self.kind}://{host}:{self.port}"

    @property
    def place(self) -> tuple[str, int | str]:
        """What two addresses share when they lead to the same socket or line, whatever the line is called."""
        return (self.host, self.port) if self.kind != "serial" else ("", realpath(self.path))


_BY_ID: Final = Path("/dev/serial/by-id")


def lasting_name(address: LinkAddress, by_id: Path = _BY_ID) -> str | None:
    """For a line named by the order in which adapters were plugged (/dev/ttyUSB0): the name that stays with the
    adapter, blank where the system has none; None for a line that has a lasting name, and for a network."""
    if address.kind != "serial" or not _NUMBERED.match(address.path):
        return None
    names = sorted(name for name in by_id.glob("*") if realpath(name) == realpath(address.path))
    return str(names[0]) if names else ""


def parse_address(address: str) -> LinkAddress:
    """Take an address apart. Raises ValueError with a Chinese and an English text."""
    parts = urlsplit(address)
    if parts.scheme == "modbus-rtu":
        return _serial(parts.path, parts.netloc, parts.query)
    try:
        port = MODBUS_PORT if parts.port is None else parts.port
    except ValueError:
        port = 0
    if not parts.hostname or not 0 < port < 65536 or parts.path not in ("", "/") or parts.query:
        raise ValueError(
            f"应写成 {parts.scheme}://主机:端口，例如 modbus-tcp://192.168.1.10:502。",
            f"write {parts.scheme}://host:port, for example modbus-tcp://192.168.1.10:502.",
        )
    return LinkAddress("tcp" if parts.scheme == "modbus-tcp" else "rtu-tcp", host=parts.hostname, port=port)


def _serial(path: str, netloc: str, query: str) -> LinkAddress:
    settings = dict(parse_qsl(query, keep_blank_values=True))
    unknown = [key for key in settings if key not in _SERIAL_KEYS]
    baudrate, parity, stop_bits = (settings.get(key) for key in _SERIAL_KEYS)
    if (
        netloc
        or not path.startswith("/")
        or unknown
        or (baudrate is not None and baudrate not in map(str, BAUDRATES))
        or (parity is not None and parity not in ("N", "E", "O"))
        or (stop_bits is not None and stop_bits not in ("1", "2"))
    ):
        raise ValueError(
            "应写成 modbus-rtu:///dev/ttyUSB0?baudrate=9600&parity=N&stop_bits=1（parity 为 N、E 或 O）。",
            "write modbus-rtu:///dev/ttyUSB0?baudrate=9600&parity=N&stop_bits=1 (parity N, E or O).",
        )
    return LinkAddress(
        "serial",
        path=path,
        baudrate=int(baudrate) if baudrate else None,
        parity=parity,  # type: ignore[arg-type]  # one of the three, checked above
        stop_bits=int(stop_bits) if stop_bits else None,  # type: ignore[arg-type]
    )
