"""What this hardware calls itself, so that the county can tell one box from another."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Final

_SERIALS: Final = ("sys/firmware/devicetree/base/serial-number", "sys/class/dmi/id/board_serial", "etc/machine-id")
"""The first that can be read tells the box: a Raspberry Pi's serial number, a board's, else the installation's."""
_MODELS: Final = ("sys/firmware/devicetree/base/model", "sys/class/dmi/id/product_name")
_MOST: Final = 200


def hardware_name(root: Path = Path("/")) -> str:
    """Host name, model and a digest of the serial number, such as `gw-3 · Raspberry Pi 4 Model B · 9f2c…`.

    The serial number itself stays here.
    """
    serial = _first(root, _SERIALS)
    mark = hashlib.sha256(f"plantpulse {serial}".encode()).hexdigest()[:12] if serial else ""
    parts = [socket.gethostname(), _first(root, _MODELS), mark]
    name = " · ".join(part for part in parts if part)
    return "".join(sign for sign in name if sign.isprintable())[:_MOST]


def _first(root: Path, names: tuple[str, ...]) -> str:
    for name in names:
        try:
            found = (root / name).read_text(encoding="utf-8", errors="replace").strip("\x00 \n")
        except OSError:
            continue
        if found and set(found) != {"0"}:
            return found
    return ""
