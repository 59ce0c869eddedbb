"""The last value of every tag, for the page: raw samples stay in the plant, and in memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from collectors.model import Device, Quality, Samples, Tag


class LastValue(NamedTuple):
    """A tag's latest sample. `value` is None where quality is BAD; `quality` is None where none has come.

    Times in ns UTC, `source_ns` 0 where the protocol carries none.
    """

    tag: Tag
    value: float | None
    quality: Quality | None
    source_ns: int
    received_ns: int


class _Latest:
    """The latest samples of one device, as columns."""

    __slots__ = ("bad", "good", "quality", "received_ns", "source_ns", "tags", "value", "whole")

    def __init__(self, tags: tuple[Tag, ...]) -> None:
        n = len(tags)
        self.tags = tags
        self.value = np.full(n, np.nan)
        self.quality = np.zeros(n, np.uint8)
        self.source_ns = np.zeros(n, np.int64)
        self.received_ns = np.zeros(n, np.int64)
        self.good = self.bad = 0
        self.whole: Samples | None = None
        """Newer than the columns: undated samples of known tags, not put there yet. A device that brings the same
        tags with every poll has them replaced, poll after poll, until somebody looks."""

    def settle(self) -> None:
        """Put `whole` into the columns."""
        if self.whole is not None:
            self.put(self.whole)
            self.whole = None

    def put(self, samples: Samples) -> None:
        """Put samples of known tags into the columns, of several of one tag the last."""
        tag = samples.tag
        self.value[tag] = samples.value
        self.quality[tag] = samples.quality
        self.source_ns[tag] = samples.source_ns
        self.received_ns[tag] = samples.received_ns


class LastValues:
    """Kept by device id, for devices that are read."""

    def __init__(self) -> None:
        self._latest: dict[str, _Latest] = {}

    def take(self, device: Device, samples: Samples) -> None:
        """Keep what is newer than what is known; samples of unknown tags are left out."""
        n = len(samples)
        latest = self._latest.get(device.id)
        if latest is None or latest.tags != device.tags:
            fresh = _Latest(device.tags)
            if latest is not None:
                fresh.good, fresh.bad = latest.good, latest.bad
            latest = self._latest[device.id] = fresh
        if n == 0:
            return
        bad = int(np.count_nonzero(samples.quality))
        latest.good += n - bad
        latest.bad += bad
        tag, source_ns, whole = samples.tag, samples.source_ns, latest.whole
        if whole is not None:
            if tag is whole.tag and source_ns is whole.source_ns:
                latest.whole = samples
                return
            latest.settle()
        if int(tag.max()) >= len(latest.tags) or source_ns.any():
            keep = tag < len(latest.tags)
            keep[keep] = (source_ns[keep] == 0) | (source_ns[keep] >= latest.source_ns[tag[keep]])
            latest.put(
                Samples(
                    tag[keep], samples.value[keep], samples.quality[keep], source_ns[keep], samples.received_ns[keep]
                )
            )
        elif tag.flags.writeable or source_ns.flags.writeable:
            latest.put(samples)
        else:  # columns that nobody can change are the same for as long as they are the same object
            latest.whole = samples

    def of(self, device: str) -> list[LastValue]:
        """The tags of a device in their order; empty where it has not been read."""
        latest = self._latest.get(device)
        if latest is None:
            return []
        latest.settle()
        columns = zip(
            latest.tags,
            latest.value.tolist(),
            latest.quality.tolist(),
            latest.source_ns.tolist(),
            latest.received_ns.tolist(),
            strict=True,
        )
        return [
            LastValue(
                tag, None if not received_ns or value != value else value, Quality(quality), source_ns, received_ns
            )
            if received_ns
            else LastValue(tag, None, None, 0, 0)
            for tag, value, quality, source_ns, received_ns in columns
        ]

    def counts(self, device: str) -> tuple[int, int]:
        """Samples with good and with not good quality since the start."""
        latest = self._latest.get(device)
        return (latest.good, latest.bad) if latest is not None else (0, 0)

    def forget(self, device: str) -> None:
        """The device is no longer read."""
        self._latest.pop(device, None)
