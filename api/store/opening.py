"""Opens a DuckDB file; what is damaged is set aside, never deleted, and the service goes on without it.

A write-ahead file with a wrong checksum keeps the whole database from opening (duckdb/duckdb#19712, #22044), for ever
unless somebody moves it. Everything in the store can be made again from the journal and the sealed files.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import duckdb
import structlog

from api.store.port import StoreError

_CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "memory_limit": "1GB",
    "checkpoint_threshold": "256MB",  # the default 16 MiB costs half as much again per record
    "threads": 1,
}
_DAMAGE: Final = ("replaying wal", "corrupt", "not a valid duckdb database", "not read enough bytes", "checksum")
_ASIDE: Final = ".damaged-"
_CIRCUMSTANCE: Final = ("no space left", "permission denied", "could not set lock", "newer version", "older version")
"""Reasons that pass or that a person removes; the files are sound."""

log = structlog.get_logger(__name__)


def connect(path: Path) -> tuple[duckdb.DuckDBPyConnection, str]:
    """The database, and a notice (Chinese and English) of what was set aside; empty for nothing.

    Raises StoreError where it cannot be opened for another reason than damage.
    """
    for suffix in (".wal", ""):
        try:
            return duckdb.connect(str(path), config=_CONFIG), _notice(path)
        except duckdb.Error as error:
            if not _damaged(error):
                raise StoreError(f"{path}: {error}") from error
            if moved := _set_aside(Path(f"{path}{suffix}")):
                log.error("store_damaged", set_aside=moved, error=str(error))
    try:
        return duckdb.connect(str(path), config=_CONFIG), _notice(path)
    except duckdb.Error as error:
        raise StoreError(f"{path}: {error}") from error


def _damaged(error: duckdb.Error) -> bool:
    words = str(error).lower()
    if any(reason in words for reason in _CIRCUMSTANCE):
        return False
    kinds = (duckdb.InternalException, duckdb.SerializationException, duckdb.FatalException)
    return isinstance(error, kinds) or any(sign in words for sign in _DAMAGE)


def _set_aside(path: Path) -> str:
    """Rename a damaged file; returns its new name, or '' where there is none."""
    if not path.exists():
        return ""
    stem = f"{path.name}{_ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    target = path.with_name(stem)
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"{stem}-{number}")
    try:
        path.rename(target)
    except OSError as error:
        raise StoreError(f"{path}: {error}") from error
    return target.name


def _notice(path: Path) -> str:
    """What is told as long as somebody has not looked at what was set aside, whoever opened the store first."""
    names = ", ".join(sorted(aside.name for aside in path.parent.glob(f"{path.name}*{_ASIDE}*")))
    if not names:
        return ""
    return (
        f"明细库文件损坏，已移开 {names}，正由接收日志重建；确认无误后可删除该文件 "
        f"damaged store files were set aside as {names}; their days are made again from the journal; "
        "delete them once all is well"
    )
