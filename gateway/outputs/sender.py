"""One output at work: a bounded queue, a thread of its own, retries with pauses, a counter for every drop."""

from __future__ import annotations

import asyncio
import time
from collections import Counter as Counts
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
import structlog

from collectors.model import Clock, Device, LinkError, Samples, Trouble
from gateway.outputs.config import Output
from gateway.outputs.rows import RowQueue, Rows
from gateway.outputs.worker import Worker
from gateway.troubles import Troubles

GATHER_S: Final = 1.0
"""Samples are gathered for so long before a batch that is not full goes."""
PAUSE_FIRST_S: Final = 1.0
PAUSE_MOST_S: Final = 60.0
"""Longest pause before a batch that could not be delivered is tried again."""
STUCK_S: Final = 60.0
"""A batch that takes longer than this is told: a server may hold a request for ever, byte by byte."""
REFUSED_TOLD_S: Final = 60.0
"""A refusal of rows is shown until none came for so long."""


_log = structlog.get_logger("gateway")


class Sink(Protocol):
    """Where rows go; called in one thread. Pauses, retries and counters are the sender's."""

    def write(self, rows: Rows) -> int:
        """Deliver; how many rows are refused for good. Raises LinkError where it is to be tried again."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class Sender:
    """Takes samples on the event loop, delivers them off it.

    Every row taken is at any time exactly one of: delivered, dropped (`dropped`, by reason), queued or on its way.
    """

    def __init__(
        self, config: Output, sink: Sink, troubles: Troubles, clock: Clock, *, time_is_known: bool = True
    ) -> None:
        self.config = config
        self.taken_rows = self.sent_rows = 0
        self.dropped: Counts[str] = Counts()
        self.failures = 0
        self.last_sent_ns = 0
        self.is_failing = False
        self._sink, self._troubles, self._clock = sink, troubles, clock
        self._subject = f"output/{config.id}"
        self._queue = RowQueue(config.queue_rows)
        self._worker = Worker(f"output {config.id}")
        self._batch: Rows | None = None
        self._writing: asyncio.Future[int] | None = None
        self._filled, self._dated = asyncio.Event(), asyncio.Event()
        if time_is_known:
            self._dated.set()
        self._full_told = False
        self._refused_s = 0.0

    def take(self, device: Device, samples: Samples, ahead_ns: int) -> None:
        """Queue samples of a device; the oldest make room."""
        known = samples.tag < len(device.tags)
        if not known.all():
            self._drop("unknown_tag", int(np.count_nonzero(~known)))
            samples = Samples(
                *(getattr(samples, name)[known] for name in ("tag", "value", "quality", "source_ns", "received_ns"))
            )
        if pushed_out := self._queue.put(device, samples, ahead_ns):
            self.dropped["queue_full"] += pushed_out
            self._tell_full()
        self.taken_rows += len(samples)
        self._filled.set()

    def fail(self, rows: int, error: Exception) -> None:
        """Samples could not even be queued, by a mistake of ours; it is logged once."""
        if not self.dropped["failed"]:
            _log.error("output failed", output=self.config.id, exc_info=error)
        self._drop("failed", rows)

    def _drop(self, reason: str, rows: int) -> None:
        """Count samples that are not taken."""
        self.taken_rows += rows
        self.dropped[reason] += rows

    def correct(self, by_ns: int) -> None:
        """The time is known, or was wrong: what waits was received `by_ns` later than it says."""
        self._queue.shift(by_ns)
        self._dated.set()

    @property
    def waiting_rows(self) -> int:
        """Rows queued or on their way."""
        return len(self._queue) + (len(self._batch) if self._batch is not None else 0)

    def summary(self) -> dict[str, Any]:
        """For the status; times in ns UTC, 0: never."""
        return {
            "id": self.config.id,
            "kind": self.config.kind,
            "target": self.config.target,
            "failing": self.is_failing,
            "taken": self.taken_rows,
            "sent": self.sent_rows,
            "queued": self.waiting_rows,
            "queue_limit": self.config.queue_rows,
            "dropped": {reason: n for reason, n in self.dropped.items() if n},
            "failures": self.failures,
            "last_sent_ns": self.last_sent_ns,
        }

    async def run(self) -> None:
        """Deliver until cancelled. A batch on its way is not given up by that: see `finish`."""
        pause_s = PAUSE_FIRST_S
        await self._dated.wait()  # a point in 1970 would stay there
        while True:
            if self._batch is None:
                await self._filled.wait()
                if len(self._queue) < self.config.batch_rows:
                    await asyncio.sleep(GATHER_S)
            if await self._deliver():
                pause_s = PAUSE_FIRST_S
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, PAUSE_MOST_S)

    async def finish(self, within_s: float) -> None:
        """After `run` was cancelled: deliver what is left if it goes well, count it as dropped otherwise."""
        if self._dated.is_set() and not self.is_failing:
            try:
                async with asyncio.timeout(within_s):
                    while self.waiting_rows and await self._deliver():
                        pass
            except TimeoutError:
                pass  # counted below
            except Exception:  # noqa: BLE001 (the records of the county are written beside this)
                _log.exception("output failed", output=self.config.id)
        self.dropped["stopped"] += self.waiting_rows
        self._batch = None
        self._queue.take(len(self._queue))
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        self._worker.stop(self._sink.close)
        await asyncio.to_thread(self._worker.join, within_s)

    async def _deliver(self) -> bool:
        """Deliver one batch; False where that is to be tried again."""
        if self._batch is None:
            self._batch = self._queue.take(self.config.batch_rows)
            if not len(self._queue):
                self._filled.clear()
        if self._writing is None:
            self._writing = self._worker.submit(partial(self._sink.write, self._batch))
        while not self._writing.done():
            done, _ = await asyncio.wait({self._writing}, timeout=STUCK_S)
            if not done:
                self._failed(_stuck(self._subject, self.config.target))
        writing, batch, self._writing = self._writing, self._batch, None
        try:
            refused = writing.result()
        except LinkError as error:
            self._failed(error.trouble(self._subject))
            return False
        except Exception:
            self._batch = None  # a mistake of ours that this batch brings out would come again
            self.dropped["failed"] += len(batch)
            raise
        self._batch = None
        self._sent(len(batch), refused)
        return True

    def _sent(self, rows: int, refused: int) -> None:
        self.sent_rows += rows - refused
        self.last_sent_ns = self._clock()
        self.is_failing = False
        self._troubles.clear(self._subject)
        now_s = time.monotonic()
        if refused:
            self.dropped["refused"] += refused
            self._refused_s = now_s
            self._troubles.report(_refused(self._subject, self.config.target, self.dropped["refused"]))
        elif self._refused_s and now_s - self._refused_s > REFUSED_TOLD_S:
            self._refused_s = 0.0
            self._troubles.clear(f"{self._subject}/refused")
        if self._full_told and len(self._queue) < self.config.queue_rows // 2:
            self._full_told = False
            self._troubles.clear(f"{self._subject}/queue")

    def _failed(self, trouble: Trouble) -> None:
        self.failures += 1
        self.is_failing = True
        self._troubles.report(trouble)

    def _tell_full(self) -> None:
        if not self._full_told:
            self._full_told = True
            self._troubles.report(_full(self._subject, self.config))


def _full(subject: str, config: Output) -> Trouble:
    return Trouble(
        f"{subject}/queue",
        "output_queue_full",
        f"等待送往 {config.target} 的样本超过 {config.queue_rows}，最旧的正在被丢弃（见计数）。采集和上报不受影响。",
        f"more than {config.queue_rows} samples wait for {config.target}: the oldest are dropped, and counted. "
        "Reading and sending to the county go on.",
        "请修复该服务器；若它只是慢，请用 devices 少送一些或增大 queue_rows。",
        "Mend the server; where it is only slow, send less with `devices`, or raise queue_rows.",
    )


def _refused(subject: str, target: str, rows: int) -> Trouble:
    return Trouble(
        f"{subject}/refused",
        "output_rows_refused",
        f"{target} 拒收了 {rows} 个样本。",
        f"{target} refused {rows} samples.",
        "请检查 bucket 的保留期限、字段类型冲突，以及设备自己的时钟。",
        "Check the bucket's retention, conflicts of field types, and the machines' own clocks.",
    )


def _stuck(subject: str, target: str) -> Trouble:
    return Trouble(
        subject,
        "output_stuck",
        f"{target} 已超过 {STUCK_S:.0f} 秒没有完成应答。",
        f"{target} has not finished its answer for more than {STUCK_S:.0f} s.",
        "请重启该服务器，并检查它前面的代理。",
        "Restart the server; look at proxies before it.",
    )
