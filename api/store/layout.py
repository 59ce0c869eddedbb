"""Where a DuckDB store lies: the file that an address names, and the folder of its sealed days."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_DUCKDB: Final = "duckdb:///"


def duckdb_path(address: str) -> Path | None:
    """The DuckDB file that an address names; None for another store."""
    return Path(address.removeprefix(_DUCKDB)) if address.startswith(_DUCKDB) else None


def sealed_folder(path: Path) -> Path:
    """Where the sealed days of a DuckDB file are."""
    return path.with_name(f"{path.stem}-sealed")
