"""Bounded hand-over between a subscription and the runner, in columns; what it sheds is counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from collectors.model import Samples

DEFAULT_LIMIT: Final = 100_000
"""Rows held while nobody reads: ten seconds of ten thousand values a second."""


class Chunk(NamedTuple):
    """Rows of one publication as columns of equal length; `device` is the collector's own number."""

    device: NDArray[np.int32]
    tag: NDArray[np.uint16]
    value: NDArray[np.float64]
    """NaN exactly where quality is BAD."""
    quality: NDArray[np.uint8]
    source_ns: NDArray[np.int64]
    received_ns: int

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, float, int, int]], received_ns: int) -> Chunk:
        """From rows of (device, tag, value, quality, source_ns)."""
        device, tag, value, quality, source_ns = zip(*rows, strict=True) if rows else ((),) * 5
        return cls(
            np.array(device, np.int32),
            np.array(tag, np.uint16),
            np.array(value, np.float64),
            np.array(quality, np.uint8),
            np.array(source_ns, np.int64),
            received_ns,
        )


def together(chunks: Sequence[Chunk]) -> Chunk:
    """Chunks of one reception as one."""
    return Chunk(
        np.concatenate([c.device for c in chunks]),
        np.concatenate([c.tag for c in chunks]),
        np.concatenate([c.value for c in chunks]),
        np.concatenate([c.quality for c in chunks]),
        np.concatenate([c.source_ns for c in chunks]),
        chunks[0].received_ns,
    )


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
        if not len(chunk.tag):
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
        received_ns = np.repeat([c.received_ns for c in chunks], [len(c.tag) for c in chunks]).astype(np.int64)
        device, tag, value, quality, source_ns, _ = together(chunks)
        if device[0] == device[-1] and (device == device[0]).all():
            return [(int(device[0]), Samples(tag, value, quality, source_ns, received_ns))]
        order = np.argsort(device, kind="stable")
        device, tag, value, quality = device[order], tag[order], value[order], quality[order]
        source_ns, received_ns = source_ns[order], received_ns[order]
        starts = np.flatnonzero(np.diff(device, prepend=-1))
        ends = np.append(starts[1:], len(device))
        return [
            (int(device[a]), Samples(tag[a:b], value[a:b], quality[a:b], source_ns[a:b], received_ns[a:b]))
            for a, b in zip(starts, ends, strict=True)
        ]
