"""Samples of one device while they are gathered, row by row, before they become columns."""

from __future__ import annotations

import numpy as np

from collectors.model import Quality, Samples

_BAD = int(Quality.BAD)


class Rows:
    """Parallel lists of equal length; `samples` turns them into arrays once per batch."""

    __slots__ = ("quality", "received_ns", "source_ns", "tag", "value")

    def __init__(self) -> None:
        self.tag: list[int] = []
        self.value: list[float] = []
        self.quality: list[int] = []
        self.source_ns: list[int] = []
        self.received_ns: list[int] = []

    def __len__(self) -> int:
        return len(self.tag)

    def add(self, tag: int, value: float, quality: int, source_ns: int, received_ns: int) -> None:
        """One sample. A value that is not finite becomes BAD."""
        self.tag.append(tag)
        self.value.append(value)
        self.quality.append(quality)
        self.source_ns.append(source_ns)
        self.received_ns.append(received_ns)

    def samples(self) -> Samples:
        """The columns: NaN exactly where quality is BAD."""
        value = np.array(self.value, np.float64)
        quality = np.array(self.quality, np.uint8)
        quality[~np.isfinite(value)] = _BAD
        value[quality == _BAD] = np.nan
        return Samples(
            np.array(self.tag, np.uint16),
            value,
            quality,
            np.array(self.source_ns, np.int64),
            np.array(self.received_ns, np.int64),
        )
