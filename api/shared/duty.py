"""Which process derives: one at a time applies the journal, computes days and keeps house.

Several processes take batches and serve pages; the duty is an advisory lock that PostgreSQL gives back when its
holder's connection ends, so that another process goes on within seconds of a crash. Should two hold it for a moment,
across a broken network, nothing is counted twice: a record's place in InfluxDB follows from the journal alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Protocol

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

_DUTY_KEY: Final = 0x70_6C_61_6E_75
_POLL_S: Final = 1.0

log = structlog.get_logger(__name__)


class Duty(Protocol):
    """Says whether this process derives now."""

    def holds(self) -> bool:
        """Whether it does."""
        ...


class AlwaysOnDuty:
    """The duty of the only process."""

    def holds(self) -> bool:
        """It does."""
        return True


class SharedDuty:
    """Owns the thread that tries to take the lock, and that sees to it that it is still there.

    `taken_over` is called before the process derives, because whoever did so before may have gone further than is known
    here; `let_go` when it does so no longer.
    """

    def __init__(self, engine: Engine, taken_over: Callable[[], None], let_go: Callable[[], None]) -> None:
        self._engine = engine
        self._taken_over = taken_over
        self._told_let_go = let_go
        self._last_error = ""
        self._connection: Connection | None = None
        self._holds = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="duty", daemon=True)

    def start(self) -> None:
        """Begin to try."""
        self._thread.start()

    def holds(self) -> bool:
        """Whether this process derives now."""
        return self._holds

    def close(self) -> None:
        """Give the duty back."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._let_go()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look()
                self._last_error = ""
            except Exception as error:  # noqa: BLE001 (the server is away, or the disk: try again)
                if str(error) != self._last_error:
                    self._last_error = str(error)
                    log.warning("duty_lost" if self._holds else "duty_not_taken", error=str(error))
                self._let_go()
            self._stopping.wait(_POLL_S)

    def _look(self) -> None:
        if self._connection is None:
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        if self._holds:
            self._connection.execute(text("select 1"))
        elif self._connection.execute(text("select pg_try_advisory_lock(:key)"), {"key": _DUTY_KEY}).scalar():
            self._taken_over()
            self._holds = True
            log.info("duty_taken")

    def _let_go(self) -> None:
        if self._holds:
            self._holds = False
            self._told_let_go()
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            # the lock belongs to the connection: it must not go back to the pool with it
            connection.invalidate()
            connection.close()
        except SQLAlchemyError as error:
            log.warning("duty_connection_lost", error=str(error))
