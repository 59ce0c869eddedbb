"""The register's database: opened, migrated under a lock, and asked in transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import Connection, make_url

from api.store.lock import FolderLock

_MIGRATION_KEY: Final = 0x70_6C_61_6E_74  # PostgreSQL advisory lock: one migration at a time
_BUSY_TIMEOUT_S: Final = 30.0
_POSTGRES: Final[dict[str, Any]] = {
    # a server that is gone without a word is noticed in seconds, not after the kernel's hours
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_STARTING_KEY: Final = 0x70_6C_61_6E_77
_MIGRATION_WAIT_S: Final = 120.0


def open_register(address: str) -> Engine:
    """An engine on the register's SQLAlchemy URL; the folder of an SQLite file is made.

    Raises sqlalchemy.exc.ArgumentError for a URL that is none.
    """
    url = make_url(address)
    if url.get_backend_name() == "sqlite":
        if url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=30, connect_args=_POSTGRES)


class RegisterMissingError(ValueError):
    """There is no register where the settings say; the text says what to do, in Chinese and English."""


def require_register(address: str) -> None:
    """Raise RegisterMissingError where an SQLite file is not there: a mistyped folder is no empty county."""
    url = make_url(address)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).is_file():
        raise RegisterMissingError(
            f"{url.database}: 这里没有台账。请核对 PLANTPULSE_DATA_DIR 与 PLANTPULSE_REGISTER_URL；"
            "首次使用请先运行 plantpulse-county serve 或 import / there is no register here. Check PLANTPULSE_DATA_DIR "
            "and PLANTPULSE_REGISTER_URL; the first time run plantpulse-county serve or import"
        )


def _prepare_sqlite(connection: Any, _: object) -> None:
    # the driver must not begin transactions itself: then DDL and reads are in them too
    connection.isolation_level = None
    for pragma in ("journal_mode = wal", "synchronous = full", "foreign_keys = on"):
        connection.execute(f"pragma {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("begin immediate" if writes else "begin")


def writing(engine: Engine) -> Any:
    """A transaction that writes: `with writing(engine) as connection`.

    On SQLite it waits its turn at the start, so that it never fails half-way because another one wrote.
    """
    return engine.execution_options(writes=True).begin()


@contextmanager
def one_at_a_time(engine: Engine) -> Iterator[None]:
    """Let services that start at once do what follows one after the other (PostgreSQL; SQLite has one service)."""
    if engine.dialect.name != "postgresql":
        yield
        return
    with engine.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _STARTING_KEY})
        yield


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def known_revisions() -> list[str]:
    """The migrations that this version knows, the newest first."""
    return [found.revision for found in ScriptDirectory.from_config(_alembic()).walk_revisions()]


def newest_revision() -> str:
    """The migration that this version brings a register to."""
    return str(ScriptDirectory.from_config(_alembic()).get_current_head())


def migrate(engine: Engine, revision: str = "head") -> None:
    """Bring the register's tables to this version, under a lock, all migrations in one transaction or none.

    `revision`: another one to stop at. Raises alembic's CommandError for one that this version does not know.
    """
    config = _alembic()
    if engine.dialect.name == "sqlite":
        database = engine.url.database
        lock = FolderLock(Path(database).with_name("register.migrate.lock"), _MIGRATION_WAIT_S) if database else None
        try:
            with writing(engine) as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, revision)
        finally:
            if lock is not None:
                lock.release()
        return
    with engine.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_KEY})
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
