"""The data folder of a gateway: held by one process, with its outbox."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import structlog

from gateway.config import PlantConfig
from gateway.outbox import DiskError, Outbox, OutboxError, OutboxThread
from gateway.outbox.limits import Limits
from gateway.stand_in import NOTHING, Left
from metrics.record import DAY_S

DISK_RETRY_S: Final = 5.0
_log = structlog.get_logger("gateway")


@asynccontextmanager
async def opened(
    config: PlantConfig,
    waiting_for_disk: Callable[[], None],
    meanwhile: Callable[[asyncio.Event], Coroutine[Any, Any, Left]],
) -> AsyncIterator[tuple[OutboxThread, Left]]:
    """Hold the data folder and open its outbox, waiting for a disk that cannot be used; released at the end.

    `waiting_for_disk` is called before every wait. `meanwhile` runs beside the waiting until its event is set; what it
    leaves is handed on. Raises OutboxError.
    """
    waiting: asyncio.Task[Left] | None = None
    over = asyncio.Event()
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(only_one(config.gateway.data_dir))
                thread = OutboxThread(_open_outbox(config))
                break
            except (DiskError, OSError) as error:
                held.pop_all().close()
                # Started again and again by its supervisor it would do no better: it waits for the disk.
                if waiting is None:
                    folder = str(config.gateway.data_dir)
                    _log.error("the data folder cannot be used: waiting", folder=folder, error=str(error))
                    waiting = asyncio.create_task(meanwhile(over))
            waiting_for_disk()
            try:
                await asyncio.sleep(DISK_RETRY_S)
            except asyncio.CancelledError:
                await _end(waiting)
                raise
        try:
            over.set()
            yield thread, NOTHING if waiting is None else await waiting
        finally:
            await asyncio.to_thread(thread.stop)


async def _end(task: asyncio.Task[Left]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _open_outbox(config: PlantConfig) -> Outbox:
    settings = config.gateway
    return Outbox(
        settings.data_dir / "outbox.sqlite3",
        config.site,
        Limits(
            bytes=settings.outbox_limit_mb * 1024 * 1024,
            keep_s=settings.keep_days * DAY_S,
            unsent_s=settings.unsent_days * DAY_S,
            reserve_bytes=settings.reserve_mb * 1024 * 1024,
        ),
    )


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold a data folder for this process; it is free again when the process ends, however it ends.

    Raises OutboxError where another process holds it, OSError where the folder cannot be used.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutboxError(
                f"另一个网关进程正在使用 {data_dir}。请先停止它，或换一个 data_dir。 / "
                f"another gateway process uses {data_dir}. Stop it first, or use another data_dir."
            ) from error
        yield
