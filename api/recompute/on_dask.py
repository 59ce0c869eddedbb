"""Tasks on a Dask cluster (`plantpulse[dask]`). Its workers need the same release and reach the same records: sealed
files under the same path, or the InfluxDB with its token's file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from distributed import Client, as_completed

from api.recompute.run import RecomputeError
from api.recompute.tasks import Row, Task, work

_TIMEOUT_S: Final = "20s"
_AHEAD: Final = 4
"""Tasks under way for each worker's thread: results wait in the workers' memory, so they are few."""


class OnDask:
    """Runs tasks on the cluster of a scheduler, `tcp://host:port` or `tls://host:port`."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __call__(self, tasks: list[Task], now_ns: int) -> Iterable[list[Row]]:
        """The rows of each task as they come. Raises RecomputeError where the cluster is away or has no workers."""
        try:
            client = Client(self._address, timeout=_TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            raise RecomputeError(
                f"{self._address}: 调度器没有应答，请检查地址与 dask scheduler the scheduler does not answer: {error}"
            ) from error
        with client:
            threads = sum(client.nthreads().values())
            if not threads:
                raise RecomputeError(
                    f"{self._address}: 没有工作进程，请先启动 dask worker there are no workers: start dask worker first"
                )
            yield from self._run(client, tasks, now_ns, threads * _AHEAD)

    def _run(self, client: Client, tasks: list[Task], now_ns: int, ahead: int) -> Iterator[list[Row]]:
        waiting = iter(tasks)
        under_way = as_completed([], with_results=True)
        for task in islice(waiting, ahead):
            under_way.add(client.submit(work, task, now_ns, pure=False))
        for future, rows in under_way:
            future.release()
            for task in islice(waiting, 1):
                under_way.add(client.submit(work, task, now_ns, pure=False))
            yield rows
