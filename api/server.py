"""The service as a process: one uvicorn worker, drained when it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from typing import Final

import structlog
import uvicorn
import uvloop
from sqlalchemy.exc import SQLAlchemyError

from api.app import create_app
from api.journal.port import JournalError
from api.settings import Settings
from api.store.port import StoreError

_DRAIN_S: Final = 10


class ServeError(Exception):
    """The service cannot run; the text says why, in Chinese and English."""


class _Server(uvicorn.Server):
    """Ends the streams of presence before it waits for requests to end."""

    def __init__(self, config: uvicorn.Config, end_streams: Callable[[], None]) -> None:
        super().__init__(config)
        self._end_streams = end_streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._end_streams()
        await super().shutdown(sockets)


def _log_to_stderr(level: str) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket. Raises OSError.

    Made with its protocol named, because asyncio sets TCP_NODELAY only then; without it every answer waits 40 ms
    for the client's delayed acknowledgement.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises ServeError where the address is taken or something will not open."""
    _log_to_stderr(settings.log_level)
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        raise ServeError(
            f"无法监听 {settings.host}:{settings.port}，可能已被占用；请修改 PLANTPULSE_PORT "
            f"cannot listen there, it may be taken; set PLANTPULSE_PORT ({error})"
        ) from error
    host, port = listener.getsockname()[:2]
    structlog.get_logger(__name__).info("listening", url=f"http://{host}:{port}")
    # uvicorn drains, then raises the signal again for whoever listened before it: a drained stop is no failure
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(settings, listener))
    except (JournalError, sqlite3.Error) as error:
        raise ServeError(
            f"接收日志无法使用：{error}。请检查磁盘与 {settings.journal_dir}，必要时用 plantpulse-county restore "
            "从备份恢复 the journal cannot be used: check the disk and that folder; if need be restore a backup"
        ) from error
    except (StoreError, SQLAlchemyError, OSError, ValueError) as error:
        raise ServeError(f"服务未能启动 the service did not start: {error}") from error
    finally:
        listener.close()


async def _run(settings: Settings, listener: socket.socket) -> None:
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_S,
        timeout_keep_alive=75,
        lifespan="off",  # opened and closed here, so that what will not open is told in one line
    )
    async with app.router.lifespan_context(app):
        await _Server(config, app.state.county.live.close).serve(sockets=[listener])
