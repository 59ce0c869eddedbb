"""A backup of the county, made beside the running service.

A folder: `manifest.json`, the register's tables as rows, the journal's days as rows, the sealed days of DuckDB, and the
definitions and plans that were in force. It is engine-neutral: any of it is restored into SQLite or PostgreSQL.

Sealed days first, the journal last: whatever a sealed file holds up to a journal position is in the journal's copy or
was dropped from it, and what the register's copy knows and the journal's lacks is asked for again from the gateways.
The open DuckDB file is not in it, because the journal makes it again.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from api.backup.frames import BackupError, RowWriter, digest_of
from api.backup.tables import revision_of, write_tables
from api.journal.exchange import JournalReader, Lasting
from api.journal.files_exchange import FilesReader
from api.journal.postgres_exchange import PostgresReader
from api.register.database import newest_revision, open_register
from api.settings import Settings
from api.store.layout import duckdb_path, sealed_folder

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
DEFINITIONS: Final = Path(__file__).parent.parent / "definitions"


def make_backup(settings: Settings, into: Path, now_ns: int) -> Path:
    """Write a backup into a new folder below `into`, named by the time. Raises BackupError; then none is there."""
    made = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC)
    target = into / f"plantpulse-{made:%Y%m%dT%H%M%SZ}"
    partial = target.with_name(target.name + ".partial")
    if target.exists() or partial.exists():
        raise BackupError(f"{target}: 已存在 is there already")
    try:
        partial.mkdir(parents=True)
        told = _write(settings, partial)
        told |= {"format": FORMAT, "made": made.isoformat(), "files": _files(partial)}
        manifest = partial / MANIFEST
        manifest.write_text(json.dumps(told, ensure_ascii=False, indent=1), encoding="utf-8")
        for path in (manifest, partial):
            _sync(path)
        partial.rename(target)
        _sync(into)
    except (OSError, SQLAlchemyError, sqlite3.Error) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise BackupError(
            f"{target}: 备份失败，请检查磁盘与数据库 the backup failed, check disk and database: {error}"
        ) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target


def _write(settings: Settings, folder: Path) -> dict[str, Any]:
    sealed = _copy_sealed(settings, folder / "sealed")
    engine = open_register(settings.register_address)
    try:
        with _snapshot(engine) as connection:
            revision = revision_of(connection)
            if revision is None:
                raise BackupError(
                    f"{engine.url.render_as_string()}: 台账为空，请先运行 plantpulse-county serve "
                    "the register is empty, run plantpulse-county serve first"
                )
            if revision != newest_revision():
                raise BackupError(
                    f"{engine.url.render_as_string()}: 台账为 {revision} 版，请先用本版本启动一次服务以完成升级 "
                    f"the register is at {revision}: start this version's service once, which migrates it"
                )
            tables = write_tables(connection, folder / "register")
        reader: JournalReader = (
            FilesReader(settings.journal_dir) if settings.journal == "files" else PostgresReader(engine)
        )
        try:
            position, batches = _write_journal(reader, folder / "journal")
        finally:
            reader.close()
    finally:
        engine.dispose()
    shutil.copytree(DEFINITIONS, folder / "definitions")
    shutil.copytree(settings.plans_dir, folder / "plans", ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    return {
        "revision": revision,
        "position": position,
        "batches": batches,
        "sealed_days": sealed,
        "store": "duckdb" if duckdb_path(settings.store_address) else "influxdb",
        "tables": tables,
    }


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """One state of the register, whatever is written meanwhile."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


def _write_journal(reader: JournalReader, folder: Path) -> tuple[int, int]:
    """Returns the last position, and how many batches there are."""
    lasting = reader.lasting()
    batches = 0
    folder.mkdir()
    for day in reader.days():
        with RowWriter(folder / f"{day}.batches.zst") as out:
            for batch in reader.batches(day):
                out.write(batch)
                _receive(lasting, batch)
            batches += out.rows
        with RowWriter(folder / f"{day}.announces.zst") as out:
            for entry in reader.announces(day):
                out.write(entry)
    with RowWriter(folder / "lasting.zst") as out:
        out.write([lasting.position, lasting.conflicts, lasting.final_before])
        ranges = lasting.receipts.ranges
        out.write([[gateway, epoch, list(received), received.floor] for (gateway, epoch), received in ranges.items()])
        out.write(lasting.too_late)
    return lasting.position, batches


def _receive(lasting: Lasting, batch: Any) -> None:
    lasting.position = max(lasting.position, batch.position)
    lasting.receipts.mark(batch.gateway, batch.epoch, batch.sequence, batch.previous)
    for gap in batch.gaps:
        if (lost := gap.stands_for(batch.epoch)) is not None:
            lasting.receipts.of(batch.gateway, lost[0]).add(lost[1])


def _copy_sealed(settings: Settings, into: Path) -> int:
    """Copy the sealed days. A day that is sealed again meanwhile is copied as it is then."""
    path = duckdb_path(settings.store_address)
    into.mkdir()
    if path is None:
        return 0
    source = sealed_folder(path)
    done: set[str] = set()
    while missing := [p for p in sorted(source.glob("*.parquet")) if p.name not in done]:
        for file in missing:
            done.add(file.name)
            try:
                shutil.copy2(file, into / file.name)
            except FileNotFoundError:
                (into / file.name).unlink(missing_ok=True)  # a newer one has taken its place
    return len(list(into.glob("*.parquet")))


def _files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file by its path within the backup; each is synced."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = digest_of(path)
            _sync(path)
    return found


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
