"""Who a device says it is: function 43/14 (Modbus Application Protocol V1.1b3, 6.21), or registers of its own."""

from __future__ import annotations

from typing import Final

from collectors.modbus.plan import Request
from collectors.modbus.point import FUNCTION_OF, IdentityPoint
from collectors.modbus.profile import ModbusProfile
from collectors.model import Identity

FUNCTION: Final = 0x2B
_MEI: Final = 0x0E
_BASIC: Final = 0x01
_VENDOR, _PRODUCT_CODE, _MODEL_NAME = 0x00, 0x01, 0x05
_HEADER_BYTES: Final = 7
_LONGEST_TEXT: Final = 80

REQUEST: Final = bytes([FUNCTION, _MEI, _BASIC, 0x00])
"""Asks for vendor, product code and revision."""


def identity_from(pdu: bytes) -> Identity | None:
    """Who the device says it is; None where it says nothing useful or the reply is malformed."""
    if len(pdu) < _HEADER_BYTES or pdu[0] != FUNCTION or pdu[1] != _MEI:
        return None
    texts: dict[int, str] = {}
    at = _HEADER_BYTES
    for _ in range(pdu[6]):
        if at + 2 > len(pdu) or at + 2 + pdu[at + 1] > len(pdu):
            return None
        texts[pdu[at]] = _clean(pdu[at + 2 : at + 2 + pdu[at + 1]])
        at += 2 + pdu[at + 1]
    vendor, model = texts.get(_VENDOR, ""), texts.get(_MODEL_NAME) or texts.get(_PRODUCT_CODE, "")
    return Identity(manufacturer=vendor, model=model) if vendor and model else None


def identity_request(profile: ModbusProfile, point: IdentityPoint) -> Request:
    """The read that brings a point of a profile's `identity`."""
    return Request(FUNCTION_OF[point.table or profile.table], point.at - profile.count_from, point.width)


def identity_of(point: IdentityPoint, pdu: bytes) -> Identity | None:
    """What such a read says; None where it says nothing: refused, blank, all zeros or all ones."""
    raw = pdu[2:]
    if len(raw) != 2 * point.width or not raw.strip(b"\x00") or not raw.strip(b"\xff"):
        return None
    if point.type == "string":
        if point.order == "BA":
            raw = b"".join(raw[at : at + 2][::-1] for at in range(0, len(raw), 2))
        text = _clean(raw.split(b"\x00", 1)[0])
    elif point.type.startswith("bcd"):
        text = raw.hex()
        if not text.isdecimal():
            return None
    else:
        text = str(int.from_bytes(raw, "big"))
    return Identity(**{point.field: text}) if text else None


def _clean(raw: bytes) -> str:
    """Text as it may be shown: what cannot be printed is left out."""
    text = raw.decode("utf-8", errors="replace")
    return "".join(c for c in text if c.isprintable() and c != "�").strip()[:_LONGEST_TEXT]
