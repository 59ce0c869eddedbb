"""The entries of a plant's file: one per address, checked by the model of the address's protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from collectors.strict_yaml import StrictModel

PROTOCOL_OF_SCHEME: Final = {
    "opc.tcp": "opcua",
    "modbus-tcp": "modbus",
    "modbus-rtu-tcp": "modbus",
    "modbus-rtu": "modbus",
    "mqtt": "mqtt",
    "mqtts": "mqtt",
}
"""Protocol folder that reads an address, by the address's scheme."""

EntryId = Annotated[str, Field(pattern=r"^[A-Za-z0-9一-鿿][A-Za-z0-9一-鿿_.-]{0,62}$")]


class DeviceEntry(StrictModel):
    """What every entry has. Protocols add their own keys in `collectors/<protocol>/config.py`."""

    id: EntryId
    profile: str
    address: str
    asset: str = ""
    """Proposes a binding to the asset of this number; the county decides."""
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None

    @property
    def link(self) -> str:
        """The name of the link over which it is read, or how that name begins."""
        return self.address

    @field_validator("address")
    @classmethod
    def _known_scheme(cls, address: str) -> str:
        parts = urlsplit(address)
        if parts.scheme not in PROTOCOL_OF_SCHEME:
            known = ", ".join(f"{scheme}://" for scheme in PROTOCOL_OF_SCHEME)
            raise ValueError(f"地址必须以下列之一开头：{known}。", f"an address starts with one of: {known}.")
        if parts.username or parts.password:
            raise ValueError(
                "地址中不能写用户名或密码，请用 username 和 password_file。",
                "no user or password in an address; use username and password_file.",
            )
        return address


def protocol_of(address: str) -> str:
    """The protocol folder for an address. Raises KeyError for an unknown scheme."""
    return PROTOCOL_OF_SCHEME[urlsplit(address).scheme]
