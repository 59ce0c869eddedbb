"""The interval store that a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from api.store.layout import duckdb_path
from api.store.port import IntervalStore

_INFLUXDB: Final = "influxdb+"
_ASIDE_NAME: Final = "influxdb-refused.lp"


def open_store(
    address: str, *, folder: Path | None = None, token_file: Path | None = None, ca_file: Path | None = None
) -> IntervalStore:
    """Open the store that an address names.

    `duckdb:///path` (three slashes and a relative, four and an absolute path), or
    `influxdb+http://host:port/bucket?org=…` (or `influxdb+https`), with a file that holds the token, one with the
    certificates of those who may vouch for the server (None: the system's), and a `folder` for what it refuses.

    Raises ValueError for another address, StoreError where it cannot be opened, StoreLockedError while another
    process has it. An InfluxDB that is away is no error here.
    """
    if (path := duckdb_path(address)) is not None:
        from api.store.duckdb import DuckDBStore  # the engine is loaded by who uses it

        return DuckDBStore(path)
    if address.startswith(_INFLUXDB):
        from api.store.influx_address import InfluxAddress
        from api.store.influx_aside import SetAside
        from api.store.influx_http import InfluxServer
        from api.store.influxdb import InfluxDBStore

        server = InfluxServer(InfluxAddress.parse(address), token_file, ca_file)
        return InfluxDBStore(server, SetAside((folder or Path.cwd()) / _ASIDE_NAME))
    raise ValueError(
        f"PLANTPULSE_STORE_URL={address!r}: 应为 expected duckdb:///path or influxdb+http://host:port/bucket?org=…"
    )
