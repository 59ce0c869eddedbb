"""Presence that several processes share through PostgreSQL: heard by one, shown by all within a second.

What this process heard is written every quarter of a second, the newest of each gateway, in one statement; what the
others heard is read as often as twice a second. Ages are told by the server's clock alone. It is volatile: a server
that is away costs the other processes' presence, never a figure.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import msgspec
import structlog
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from api.live import SILENT_AFTER_S, LivePresence
from gateway.wire import Live

_WRITE_S: Final = 0.25
_READ_S: Final = 0.5
_RETRY_S: Final = 2.0
_FORGET_S: Final = 24 * 3600
_WRITE: Final = text(
    "insert into live.presence as p(gateway, version, sent_ns, heard_at, content) "
    "values (:gateway, nextval('live.version'), :sent_ns, clock_timestamp(), :content) "
    "on conflict (gateway) do update set version = excluded.version, sent_ns = excluded.sent_ns, "
    "heard_at = excluded.heard_at, content = excluded.content "
    "where p.sent_ns <= excluded.sent_ns or p.heard_at < clock_timestamp() - make_interval(secs => :silent_s)"
)
_VERSIONS: Final = text("select gateway, version from live.presence")
_CONTENT: Final = text(
    "select gateway, version, content, extract(epoch from clock_timestamp() - heard_at) as age_s "
    "from live.presence where gateway = any(:gateways)"
)

log = structlog.get_logger(__name__)


class SharedPresence:
    """Owns the thread that writes and reads. `catch_up` reads whatever else the processes tell each other."""

    def __init__(self, engine: Engine, live: LivePresence, catch_up: Callable[[], None] = lambda: None) -> None:
        self._catch_up = catch_up
        self._engine = engine
        self._live = live
        self._lock = threading.Lock()
        self._heard: dict[str, Live] = {}
        self._versions: dict[str, int] = {}
        self._since_read_s = _READ_S
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)
        live.on_heard(self._take)

    def start(self) -> None:
        """Begin to share."""
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _take(self, message: Live) -> None:
        with self._lock:
            self._heard[message.gateway] = message

    def _run(self) -> None:
        failing = False
        while not self._stopping.wait(_RETRY_S if failing else _WRITE_S):
            try:
                self._write()
                self._since_read_s += _WRITE_S
                if self._since_read_s >= _READ_S:
                    self._read()
                    self._catch_up()
                    self._since_read_s = 0.0
                failing = False
            except Exception as error:  # of whatever kind: who ends this thread ends the page of all processes
                if not failing:
                    told = None if isinstance(error, SQLAlchemyError) else error
                    log.warning("presence_not_shared", error=str(error), exc_info=told)
                failing = True

    def _write(self) -> None:
        with self._lock:
            heard, self._heard = self._heard, {}
        if not heard:
            return
        rows = [
            {
                "gateway": gateway,
                "sent_ns": message.sent_ns,
                "content": msgspec.msgpack.encode(message),
                "silent_s": SILENT_AFTER_S,
            }
            for gateway, message in sorted(heard.items())
        ]
        with self._engine.begin() as connection:
            connection.execute(_WRITE, rows)

    def _read(self) -> None:
        with self._engine.connect() as connection:
            found = {row.gateway: row.version for row in connection.execute(_VERSIONS)}
            changed = [gateway for gateway, version in found.items() if self._versions.get(gateway) != version]
            if not changed:
                return
            rows = connection.execute(_CONTENT, {"gateways": changed}).all()
        for row in rows:
            self._versions[row.gateway] = row.version
            if row.age_s < _FORGET_S:
                self._live.take_shared(msgspec.msgpack.decode(row.content, type=Live), float(row.age_s))
