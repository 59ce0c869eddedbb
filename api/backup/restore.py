"""A backup put back: into an empty data folder and an empty register, of either engine, with the service stopped.

Nothing that is there is ever overwritten: who wants to replace a county moves its folder and database away first.
Everything is verified before anything is written. The county then asks its gateways for what came after the backup.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from alembic.util import CommandError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from api.backup.frames import BackupError, digest_of, read_rows
from api.backup.make import FORMAT, MANIFEST
from api.backup.tables import is_empty, read_tables, revision_of, table_names
from api.journal.batch import AnnounceEntry, Batch
from api.journal.exchange import JournalMaker, Lasting
from api.journal.files_exchange import FilesMaker
from api.journal.port import TooLate
from api.journal.postgres_exchange import PostgresMaker
from api.journal.ranges import Receipts, Received
from api.register.audit import write_audit
from api.register.database import migrate, open_register, writing
from api.running import stopped_service
from api.settings import Settings
from api.store.layout import duckdb_path, sealed_folder
from api.store.open import open_store
from api.store.port import StoreError

_CHUNK: Final = 500


class Restored(NamedTuple):
    """What was put back."""

    made: str
    batches: int
    sealed_days: int
    rows: int


def restore_backup(settings: Settings, source: Path, now_ns: int, actor: str = "cli") -> Restored:
    """Put a backup back. Raises BackupError, StoreLockedError while a service runs; then nothing was changed, or
    what was written is named."""
    manifest = _verified(source)
    engine = open_register(settings.register_address)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        with stopped_service(settings, engine):
            _refuse_unless_empty(settings, engine)
            applied = _applied(settings)
            _restore_register(engine, source, manifest)
            batches = _restore_journal(settings, engine, source / "journal", applied)
            sealed = _restore_sealed(settings, source / "sealed")
            migrate(engine)
            with writing(engine) as connection:
                write_audit(connection, now_ns, actor, "restore", source.name, manifest["made"])
    except (SQLAlchemyError, sqlite3.Error, OSError, CommandError) as error:
        raise BackupError(
            f"恢复中断，请清空目标后重试 the restore broke off, empty the target and try again: {error}"
        ) from error
    finally:
        engine.dispose()
    return Restored(manifest["made"], batches, sealed, sum(manifest["tables"].values()))


def _verified(source: Path) -> dict[str, Any]:
    """The manifest of a backup whose files are all as they were written."""
    try:
        manifest: dict[str, Any] = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackupError(f"{source / MANIFEST}: 不是备份 no backup: {error}") from error
    if manifest.get("format") != FORMAT:
        raise BackupError(
            f"{source}: 备份格式 format {manifest.get('format')}，本版本只认 this version reads {FORMAT}；"
            "请用制作它的版本恢复 restore it with the version that made it"
        )
    for name, digest in manifest["files"].items():
        path = source / name
        try:
            there = digest_of(path)
        except OSError as error:
            raise BackupError(f"{path}: 缺失或无法读取 missing or not readable: {error}") from error
        if there != digest:
            raise BackupError(f"{path}: 内容与清单不符，备份已损坏 differs from the manifest, the backup is damaged")
    return manifest


def _refuse_unless_empty(settings: Settings, engine: Engine) -> None:
    full: list[str] = []
    with engine.connect() as connection:
        if not is_empty(connection):
            full.append(engine.url.render_as_string())
    if settings.journal == "files" and not FilesMaker(settings.journal_dir).is_empty():
        full.append(str(settings.journal_dir))
    path = duckdb_path(settings.store_address)
    if path is not None and (path.exists() or any(sealed_folder(path).glob("*.parquet"))):
        full.append(str(path))
    if full:
        raise BackupError(
            f"{', '.join(full)}: 目标不是空的；为免覆盖数据，请先把原有数据移走或改用新的数据文件夹和数据库 "
            "not empty; nothing is overwritten: move what is there away, or name another data folder and database"
        )


def _applied(settings: Settings) -> int:
    """How far an InfluxDB that stayed, or came back from its own backup, had applied the journal."""
    if duckdb_path(settings.store_address) is not None:
        return 0
    try:
        store = open_store(
            settings.store_address,
            folder=settings.data_dir / "store",
            token_file=settings.store_token_file,
            ca_file=settings.store_ca_file,
        )
        try:
            return store.applied()
        finally:
            store.close()
    except StoreError as error:
        raise BackupError(
            f"PLANTPULSE_STORE_URL: InfluxDB 须在线，否则新批次的编号可能与其中已有的重复 "
            f"the InfluxDB must answer, or new batches could get numbers that it has already: {error}"
        ) from error


def _restore_register(engine: Engine, source: Path, manifest: dict[str, Any]) -> None:
    """The tables as they were, at the migration they were at; later migrations then change them with their data."""
    migrate(engine, manifest["revision"])
    with writing(engine) as connection:
        if revision_of(connection) != manifest["revision"]:
            raise BackupError(
                f"{engine.url.render_as_string()}: 数据库已是 {revision_of(connection)} 版，备份为 "
                f"{manifest['revision']} 版，请使用新建的空数据库 use a new, empty database"
            )
        folder = source / "register"
        read_tables(connection, folder, list(table_names(folder)))


def _restore_journal(settings: Settings, engine: Engine, folder: Path, applied: int) -> int:
    if settings.journal == "postgresql":
        migrate(engine)  # its tables are there since a later migration than a backup may be of
    maker: JournalMaker = FilesMaker(settings.journal_dir) if settings.journal == "files" else PostgresMaker(engine)
    batches = 0
    try:
        for path in sorted(folder.glob("*.batches.zst")):
            day = path.name.removesuffix(".batches.zst")
            announces = list(read_rows(folder / f"{day}.announces.zst", AnnounceEntry))
            rows = read_rows(path, Batch)
            chunk = list(islice(rows, _CHUNK))
            while chunk or announces:
                maker.write(day, chunk, announces)
                batches += len(chunk)
                announces = []
                chunk = list(islice(rows, _CHUNK))
        maker.finish(_lasting(folder, applied))
    finally:
        maker.close()
    return batches


def _lasting(folder: Path, applied: int) -> Lasting:
    (position, conflicts, final), ranges, late = read_rows(folder / "lasting.zst")
    receipts = {
        (gateway, epoch): Received([(first, last) for first, last in found], floor)
        for gateway, epoch, found, floor in ranges
    }
    return Lasting(
        position=max(position, applied),
        receipts=Receipts(receipts),
        conflicts=conflicts,
        final_before=None if final is None else (final[0], final[1]),
        too_late=msgspec.convert(late, list[TooLate]),
    )


def _restore_sealed(settings: Settings, folder: Path) -> int:
    path = duckdb_path(settings.store_address)
    files = sorted(folder.glob("*.parquet"))
    if path is None:
        return 0
    target = sealed_folder(path)
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy2(file, target / file.name)
    return len(files)
