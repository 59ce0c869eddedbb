"""What says that a service runs: held by every process of it, and asked for by what needs it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine, text

from api.settings import Settings
from api.store.lock import FolderLock
from api.store.port import StoreLockedError

_RUNNING_KEY: Final = 0x70_6C_61_6E_78  # PostgreSQL advisory lock: shared by services, exclusive for restore
_NAME: Final = "service.lock"


@contextmanager
def service_lock(settings: Settings, engine: Engine) -> Iterator[None]:
    """Hold the locks of a running service, on data folder and register; alone, unless its processes share everything.

    Raises StoreLockedError, naming who has them.
    """
    alone = settings.journal == "files"
    with _locked(settings, engine, alone=alone, exclusive=alone):
        yield


@contextmanager
def stopped_service(settings: Settings, engine: Engine) -> Iterator[None]:
    """Hold the same alone: no service runs, and none starts meanwhile. Raises StoreLockedError."""
    with _locked(settings, engine, alone=True, exclusive=True):
        yield


@contextmanager
def _locked(settings: Settings, engine: Engine, *, alone: bool, exclusive: bool) -> Iterator[None]:
    lock = FolderLock(settings.data_dir / _NAME) if alone else None
    try:
        if engine.dialect.name != "postgresql":
            yield
            return
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            try_lock = "pg_try_advisory_lock" if exclusive else "pg_try_advisory_lock_shared"
            if not connection.execute(text(f"select {try_lock}(:key)"), {"key": _RUNNING_KEY}).scalar():
                raise StoreLockedError(
                    f"{engine.url.render_as_string()}: 已被县级服务占用，请先停止所有服务进程 "
                    "in use by the county service: stop all its processes first"
                )
            try:
                yield
            finally:
                connection.invalidate()  # the lock ends with its connection
    finally:
        if lock is not None:
            lock.release()
