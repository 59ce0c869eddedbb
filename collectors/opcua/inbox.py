"""Bounded hand-over between a subscription and the runner, in columns; what it sheds is counted."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

import numpy as np

from collectors.model import Samples

DEFAULT_LIMIT: Final = 100_000
"""Rows held while nobody reads: ten seconds of ten thousand values a second."""


class Chunk(NamedTuple):
    """Rows of one publication as columns of equal length; `device` is the collector's own number."""

    device: list[int]
    tag: list[int]
    value: list[float]
    quality: list[int]
    source_ns: list[int]
    received_ns: int

    @classmethod
    def empty(cls, received_ns: int) -> Chunk:
        """No rows yet."""
        return cls([], [], [], [], [], received_ns)

    def add(self, device: int, tag: int, value: float, quality: int, source_ns: int) -> None:
        """Append one row. `value` is NaN exactly where quality is BAD."""
        self.device.append(device)
        self.tag.append(tag)
        self.value.append(value)
        self.quality.append(quality)
        self.source_ns.append(source_ns)


class Inbox:
    """First in, first out; beyond `limit` rows the oldest publications go: a live page prefers now."""

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._chunks: deque[Chunk] = deque()
        self._limit = limit
        self._rows = 0
        self.shed_rows = 0
        """Rows dropped since the caller last set this to 0."""

    def __len__(self) -> int:
        return self._rows

    def put(self, chunk: Chunk) -> None:
        """Add a publication, dropping the oldest where there is no room."""
        if not chunk.tag:
            return
        self._chunks.append(chunk)
        self._rows += len(chunk.tag)
        while self._rows > self._limit:
            dropped = len(self._chunks.popleft().tag)
            self._rows -= dropped
            self.shed_rows += dropped

    def take(self) -> list[tuple[int, Samples]]:
        """Remove and give everything, by device, in the order of arrival."""
        if not self._chunks:
            return []
        chunks, self._rows = list(self._chunks), 0
        self._chunks.clear()
        device = np.array([d for chunk in chunks for d in chunk.device], np.int64)
        order = np.argsort(device, kind="stable")
        tag = np.array([t for chunk in chunks for t in chunk.tag], np.uint16)[order]
        value = np.array([v for chunk in chunks for v in chunk.value], np.float64)[order]
        quality = np.array([q for chunk in chunks for q in chunk.quality], np.uint8)[order]
        source_ns = np.array([s for chunk in chunks for s in chunk.source_ns], np.int64)[order]
        received_ns = np.repeat([c.received_ns for c in chunks], [len(c.tag) for c in chunks]).astype(np.int64)[order]
        device = device[order]
        starts = np.flatnonzero(np.diff(device, prepend=-1))
        ends = np.append(starts[1:], len(device))
        return [
            (int(device[a]), Samples(tag[a:b], value[a:b], quality[a:b], source_ns[a:b], received_ns[a:b]))
            for a, b in zip(starts, ends, strict=True)
        ]
