"""The data folder of a gateway: held by one process, with its outbox."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import structlog

from collectors.model import Trouble
from gateway.config import PlantConfig
from gateway.moving import NotMovedError, take_over
from gateway.outbox import DiskError, Outbox, OutboxError, OutboxThread
from gateway.outbox.limits import Limits
from gateway.outbox_troubles import not_there, opening
from gateway.stand_in import NOTHING, Left
from metrics.record import DAY_S

DISK_RETRY_S: Final = 5.0
SLOW_S: Final = 3.0
"""An outbox that takes longer to open is being mended, or lies on a slow card: machines are shown meanwhile."""
LOOK_S: Final = 0.5
_log = structlog.get_logger("gateway")


class Stopped(Exception):  # noqa: N818 (nothing is wrong)
    """The run was to end before the data folder could be used."""


class _Steps:
    """What the thread that opens an outbox has got done, and whether it is to give up."""

    def __init__(self) -> None:
        self.taken = 0
        self.give_up = False

    def step(self) -> None:
        self.taken += 1
        if self.give_up:
            raise Stopped


@asynccontextmanager
async def opened(
    config: PlantConfig,
    stopped: asyncio.Event,
    alive: Callable[[str], None],
    meanwhile: Callable[[asyncio.Event, Trouble], Coroutine[Any, Any, Left]],
    tell: Callable[[Trouble], None],
) -> AsyncIterator[tuple[OutboxThread, Left]]:
    """Hold the data folder and open its outbox, waiting for a disk that cannot be used; released at the end.

    `alive` is told what goes on, whenever the disk has answered. `meanwhile` runs beside a wait until its event is
    set; what it leaves is handed on, and `tell` has it show why it runs. Raises OutboxError, and Stopped where
    `stopped` is set before the outbox is open.
    """
    standing_in: asyncio.Task[Left] | None = None
    over = asyncio.Event()
    folder, told = config.gateway.data_dir, ""

    def wait_beside(trouble: Trouble, *, again: bool = True) -> None:
        nonlocal standing_in
        if standing_in is not None and not standing_in.done():
            tell(trouble)
            return
        if standing_in is None:
            _log.error(trouble.en)
        elif not again:
            return
        else:  # what failed may work now: its credential, too, may lie on the card that was away
            _log.debug("nothing could be shown meanwhile", error=str(standing_in.exception()))
        standing_in = asyncio.create_task(meanwhile(over, trouble))

    try:
        while True:
            try:
                held, outbox = await _attempt(config, stopped, alive, lambda: wait_beside(opening(folder), again=False))
                break
            except (DiskError, OSError) as error:
                # Started again and again by its supervisor it would do no better: it waits for the disk.
                if str(error) != told:
                    told = str(error)
                    _log.error("the data folder cannot be used", folder=str(folder), error=told)
                wait_beside(error.trouble if isinstance(error, NotMovedError) else not_there(folder))
            alive("the data folder cannot be used: waiting")
            with suppress(TimeoutError):
                async with asyncio.timeout(DISK_RETRY_S):
                    await stopped.wait()
                    raise Stopped
        with held:
            thread = OutboxThread(outbox)
            try:
                over.set()
                yield thread, NOTHING if standing_in is None else await _left_by(standing_in)
            finally:
                await asyncio.to_thread(thread.stop)
    except Stopped:
        over.set()
        if standing_in is not None and (rows := sum(len(r) for _, r in (await _left_by(standing_in)).batches)):
            _log.warning("records that only memory held are lost: the counters tell what they brought", rows=rows)
        raise
    finally:
        if standing_in is not None:
            standing_in.cancel()
            await asyncio.gather(standing_in, return_exceptions=True)


async def _left_by(standing_in: asyncio.Task[Left]) -> Left:
    try:
        return await standing_in
    except Exception as error:  # noqa: BLE001 (it was there for the time being only)
        _log.error("what stood in meanwhile has failed", error=str(error))
        return NOTHING


async def _attempt(
    config: PlantConfig, stopped: asyncio.Event, alive: Callable[[str], None], slow: Callable[[], None]
) -> tuple[ExitStack, Outbox]:
    """Hold the folder and open its outbox, on a thread: either may take long. `slow` is called when it does.

    Raises OutboxError, OSError, Stopped.
    """
    loop = asyncio.get_running_loop()
    steps, seen, began_s = _Steps(), 0, loop.time()
    attempt = loop.run_in_executor(None, _hold_and_open, config, steps.step)
    try:
        while not attempt.done():
            await asyncio.wait({attempt}, timeout=LOOK_S)
            steps.give_up = stopped.is_set()
            if steps.give_up and steps.taken == seen and not attempt.done():  # the disk hangs
                attempt.add_done_callback(_release)
                raise Stopped
            if steps.taken != seen:
                seen = steps.taken
                alive("the outbox is mended, or moved")
            if not attempt.done() and loop.time() - began_s >= SLOW_S:
                slow()
    except asyncio.CancelledError:
        steps.give_up = True
        attempt.add_done_callback(_release)
        raise
    return attempt.result()


def _release(attempt: asyncio.Future[tuple[ExitStack, Outbox]]) -> None:
    """Nobody waits for it any more."""
    if not attempt.cancelled() and attempt.exception() is None:
        held, outbox = attempt.result()
        outbox.close()
        held.close()


def _hold_and_open(config: PlantConfig, on_progress: Callable[[], None]) -> tuple[ExitStack, Outbox]:
    with ExitStack() as held:
        held.enter_context(only_one(config.gateway.data_dir))
        take_over(config.gateway.data_dir, only_one, on_progress)
        outbox = open_outbox(config, on_progress)
        return held.pop_all(), outbox


def open_outbox(config: PlantConfig, on_progress: Callable[[], None] = lambda: None) -> Outbox:
    """The outbox of a configuration. Raises OutboxError."""
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
        on_progress,
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
