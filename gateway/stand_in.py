"""A gateway on memory, while its disk cannot be used: machines are shown, and what is recorded goes to the county.

Nothing is *accepted* meanwhile: the outbox in memory is lost with the process. So counters are left alone: what they
grow by is counted once the disk is there, from the last reading that is on it. Times and states go to the county at
once where it can be reached; what still waits moves to the disk when that can be used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from gateway.clock import NS_PER_S, TimeLine
from gateway.config import PlantConfig
from gateway.dating import Dating
from gateway.outbox import Outbox, OutboxThread
from gateway.outbox.limits import Limits
from gateway.resuming import Resumed
from gateway.windows import Windows
from gateway.wire import DeviceRef, Ingest, decode, records_of
from metrics.record import Records

LIMIT_BYTES: Final = 16 * 1024 * 1024
"""Of records held in memory: weeks of fifty devices. The oldest go first, each told as a gap and counted."""


class Runs(Protocol):
    """What of a gateway is needed here."""

    async def run(self) -> int:
        """Work until stopped; returns the exit code."""

    def stop(self) -> None:
        """End the run in order."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a stand-in leaves to the gateway that follows it."""

    batches: tuple[tuple[list[DeviceRef], Records], ...] = ()
    """Records that the county does not have."""
    until_ns: int = 0
    """Its last window ends here on the time line; 0: there was none."""
    shed: tuple[tuple[str, int], ...] = ()
    """What it dropped, by reason."""


NOTHING: Final = Left()


async def stand_in(
    config: PlantConfig,
    clock: TimeLine,
    dating: Dating,
    make: Callable[[OutboxThread, Resumed], Runs],
    over: asyncio.Event,
) -> Left:
    """Run a gateway on memory until `over` is set. `make` makes it over its outbox and its windows."""
    thread = OutboxThread(Outbox(Path(":memory:"), config.site, Limits(bytes=LIMIT_BYTES)))
    try:
        window_s = config.gateway.window_s
        windows = Windows(window_s, config.entry_ids, clock(), counts=False)
        windows.links_behind_ns = clock.corrected_ns
        windows.skip_to(windows.closed_ns + window_s * NS_PER_S)  # the minute before may be on the disk
        dating.start_is_known()
        begins_s = windows.closed_ns // NS_PER_S
        resumed = Resumed(windows, [], "", begins_s, 0, None if dating.is_known else begins_s)
        gateway = make(thread, resumed)
        running = asyncio.create_task(gateway.run())
        waiting = asyncio.create_task(over.wait())
        try:
            await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
            gateway.stop()
            await running
        finally:
            for task in (running, waiting):
                task.cancel()
            await asyncio.gather(running, waiting, return_exceptions=True)
        return await thread.call(_left, thread.outbox, windows, dating.is_known)
    finally:
        await asyncio.to_thread(thread.stop)


def _left(outbox: Outbox, windows: Windows, time_is_known: bool) -> Left:
    batches = []
    shed = dict(windows.shed_counts())
    for _, body in outbox.batches.unsent_after(0):
        message = decode(body, Ingest)
        if time_is_known:
            batches.append(([DeviceRef(ref.id) for ref in message.devices], records_of(message)))
        else:  # nobody can say when that was: the counters will tell what it brought
            shed["disk_not_writable"] = shed.get("disk_not_writable", 0) + message.rows
    dropped = outbox.depth().dropped_rows
    if dropped:
        shed["disk_not_writable"] = shed.get("disk_not_writable", 0) + dropped
    return Left(tuple(batches), windows.closed_ns, tuple(shed.items()))
