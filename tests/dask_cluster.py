"""A Dask cluster as processes of their own: a scheduler and workers on loopback, as a county would start them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_START_S = 60.0


def _start(folder: Path, name: str, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + name.split("-")[0], *arguments],
            stdout=out,
            stderr=out,
            cwd=Path(__file__).parents[1],
            env=os.environ | {"DASK_DISTRIBUTED__WORKER__DAEMON": "false"},
        )
    return process, log


def _find(log: Path, process: subprocess.Popen[bytes], pattern: str) -> str:
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s:
        said = log.read_text("utf-8", "replace")
        if found := re.search(pattern, said):
            return found[1] if found.groups() else found[0]
        assert process.poll() is None, said
        time.sleep(0.05)
    raise AssertionError(log.read_text("utf-8", "replace"))


@contextmanager
def dask_cluster(folder: Path, workers: int) -> Iterator[str]:
    """The scheduler's address, once that many workers have registered."""
    folder.mkdir(parents=True, exist_ok=True)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        scheduler, log = _start(
            folder, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"
        )
        processes.append(scheduler)
        address = _find(log, scheduler, r"Scheduler at: +(tcp://127\.0\.0\.1:\d+)")
        for number in range(workers):
            worker, said = _start(
                folder,
                f"worker-{number}",
                address,
                "--host",
                "127.0.0.1",
                "--nthreads",
                "1",
                "--no-nanny",
                "--no-dashboard",
                "--local-directory",
                str(folder / f"w{number}"),
            )
            processes.append(worker)
            _find(said, worker, r"Registered to: ")
        yield address
    finally:
        for process in reversed(processes):  # at once: they hold nothing that anybody will ask for
            process.kill()
            process.wait()
