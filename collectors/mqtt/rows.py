"""Samples of one device while they are gathered, before they become the columns of a batch."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np

from collectors.model import Quality, Samples

_BAD = int(Quality.BAD)


class Rows:
    """Growing columns, in the machine's own number formats; times as runs of rows that share them."""

    __slots__ = ("_received_ns", "_run", "_source_ns", "quality", "tag", "value")

    def __init__(self) -> None:
        self.tag = array("H")
        self.value = array("d")
        self.quality = array("B")
        self._run = array("I")
        self._source_ns = array("q")
        self._received_ns = array("q")

    def __len__(self) -> int:
        return len(self.tag)

    def add(self, tag: int, value: float, quality: int, source_ns: int, received_ns: int) -> None:
        """One sample. A value that is not finite becomes BAD."""
        self.tag.append(tag)
        self.value.append(value)
        self.quality.append(quality)
        self._run.append(1)
        self._source_ns.append(source_ns)
        self._received_ns.append(received_ns)

    def add_good(self, tags: array[int], values: Iterable[float], source_ns: int, received_ns: int) -> None:
        """n good samples of one time: n tags, n values."""
        n = len(tags)
        self.tag.extend(tags)
        self.value.extend(values)
        self.quality.frombytes(bytes(n))  # GOOD is 0
        self._run.append(n)
        self._source_ns.append(source_ns)
        self._received_ns.append(received_ns)

    def samples(self) -> Samples:
        """The columns: NaN exactly where quality is BAD. Nothing can be added afterwards."""
        value = np.frombuffer(self.value, np.float64)
        quality = np.frombuffer(self.quality, np.uint8)
        quality[~np.isfinite(value)] = _BAD
        value[quality == _BAD] = np.nan
        run = np.frombuffer(self._run, np.uintc)
        return Samples(
            np.frombuffer(self.tag, np.uint16),
            value,
            quality,
            np.frombuffer(self._source_ns, np.int64).repeat(run),
            np.frombuffer(self._received_ns, np.int64).repeat(run),
        )
