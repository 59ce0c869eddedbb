"""Where an InfluxDB is: `influxdb+http://host:port/bucket?org=…` or `influxdb+https://…`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

SCHEMES: Final = ("influxdb+http", "influxdb+https")


@dataclass(frozen=True, slots=True)
class InfluxAddress:
    """A bucket (InfluxDB 1.x and 3.x: a database) on a server."""

    url: str
    """`http://host:port` or `https://host:port`, without a slash at the end."""
    bucket: str
    org: str
    """Organization, by name or id; only InfluxDB 2.x asks for it."""

    @classmethod
    def parse(cls, address: str) -> InfluxAddress:
        """Read an address. Raises ValueError that says what is expected."""
        expected = f"PLANTPULSE_STORE_URL={address!r}: 应为 expected influxdb+http://host:port/bucket?org=…"
        parts = urlsplit(address)
        if "@" in parts.netloc:
            raise ValueError(
                "PLANTPULSE_STORE_URL: 地址中不得写口令，请写入 PLANTPULSE_STORE_TOKEN_FILE 所指文件 "
                "no password in the address; put the token into the file that PLANTPULSE_STORE_TOKEN_FILE names"
            )
        bucket = unquote(parts.path.removeprefix("/"))
        given = parse_qs(parts.query, keep_blank_values=True)
        try:
            port = parts.port
        except ValueError as error:
            raise ValueError(expected) from error
        if parts.scheme not in SCHEMES or not parts.hostname or not bucket or "/" in bucket or set(given) - {"org"}:
            raise ValueError(expected)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        scheme = parts.scheme.removeprefix("influxdb+")
        return cls(f"{scheme}://{host}:{port or 8086}", bucket, given.get("org", [""])[0])
