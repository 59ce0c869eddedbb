"""How things are measured: both sides interleaved in one run, medians, process CPU by clock in ns."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """One line of `make bench`. `ok` says whether the goal was reached; one that was not is printed too."""

    name: str
    value: float
    unit: str
    ratio: float | None
    against: str
    goal: str
    ok: bool

    def json(self) -> str:
        """The line as it is printed."""
        rounded = {k: _significant(v) if isinstance(v, float) else v for k, v in asdict(self).items()}
        return json.dumps(rounded, ensure_ascii=False)


def at_most(name: str, value: float, unit: str, limit: float, against: str = "") -> Line:
    """A line whose goal is an absolute limit."""
    return Line(name, value, unit, None, against, f"<= {limit:g} {unit}", value <= limit)


def ratio_at_most(name: str, value: float, unit: str, other: float, against: str, limit: float) -> Line:
    """A line whose goal is a ratio to another side measured in the same run."""
    ratio = value / other
    return Line(name, value, unit, ratio, against, f"<= {limit:g} x", ratio <= limit)


def cpu_ns(work: Callable[[], Any]) -> int:
    """CPU time of this process, all threads, for one call."""
    before = time.process_time_ns()
    work()
    return time.process_time_ns() - before


def wall_ns(work: Callable[[], Any]) -> int:
    """Elapsed time of one call."""
    before = time.perf_counter_ns()
    work()
    return time.perf_counter_ns() - before


def interleaved(
    runs: int, *sides: Callable[[], Any], clock: Callable[[Callable[[], Any]], int] = cpu_ns
) -> list[float]:
    """Median of each side in ns, after one call of each to warm up; sides take turns within every run."""
    for side in sides:
        side()
    taken = [[float(clock(side)) for side in sides] for _ in range(runs)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def peak_rss_bytes() -> int:
    """The largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def machine() -> str:
    """The machine in one line, for stderr."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return (
        f"{cpu}, {os.cpu_count()} CPUs, {memory_gib:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, load {load:.1f}"
    )


def _significant(value: float) -> float:
    return float(f"{value:.4g}")
