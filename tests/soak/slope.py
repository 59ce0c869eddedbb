"""How a program's memory moves: the slope of a line through what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

_S_PER_H: Final = 3600.0
_KIB_PER_MB: Final = 1000 / 1.024


class Held(NamedTuple):
    """What a process held at an instant. `at_s` on any clock that runs evenly."""

    at_s: float
    rss_mb: float
    """Resident memory, 10^6 bytes."""
    descriptors: int
    threads: int


def held(pid: int, at_s: float) -> Held:
    """What a process holds now. Raises OSError where it does not run."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    status = dict(line.split(":", 1) for line in lines)
    rss_kib = float(status["VmRSS"].split()[0])
    return Held(at_s, rss_kib / _KIB_PER_MB, len(list(Path(f"/proc/{pid}/fd").iterdir())), int(status["Threads"]))


def slope_mb_per_h(taken: Sequence[Held]) -> float | None:
    """Slope of the least squares line through resident memory; None where there are fewer than two instants."""
    if len(taken) < 2 or taken[0].at_s == taken[-1].at_s:
        return None
    hours = (np.array([one.at_s for one in taken]) - taken[0].at_s) / _S_PER_H
    rss_mb = np.array([one.rss_mb for one in taken])
    centred = hours - hours.mean()
    return float((centred * (rss_mb - rss_mb.mean())).sum() / (centred**2).sum())
