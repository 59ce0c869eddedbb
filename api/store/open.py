"""The interval store that a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from api.store.port import IntervalStore

_DUCKDB: Final = "duckdb:///"


def open_store(address: str) -> IntervalStore:
    """Open `duckdb:///path` (three slashes and a relative, four and an absolute path).

    Raises ValueError for another address, StoreError where it cannot be opened, StoreLockedError while another
    process has it.
    """
    if address.startswith(_DUCKDB):
        from api.store.duckdb import DuckDBStore  # the engine is loaded by who uses it

        return DuckDBStore(Path(address.removeprefix(_DUCKDB)))
    raise ValueError(f"PLANTPULSE_STORE_URL={address!r}: 应为 expected duckdb:///path")
