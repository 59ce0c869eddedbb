"""Samples of one device while they are gathered, before they become the columns of a batch."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from collectors.model import Quality, Samples

_BAD = int(Quality.BAD)


class Shape(Protocol):
    """How messages of one shape become values (see `sparkplug_layout`)."""

    tags: array[int]
    """Tag index of each value of one message."""

    def values(self, data: Sequence[bytes], converted: array[float]) -> array[float]:
        """The values of these messages, one message after the other, in the order of `tags`."""


class Rows:
    """Growing columns, in the machine's own number formats; times as runs of rows that share them.

    Messages of one shape are kept as they came and read together, column by column, when they are asked for.
    """

    __slots__ = (
        "_converted",
        "_data",
        "_quality",
        "_received_ns",
        "_run",
        "_shape",
        "_source_ns",
        "_tag",
        "_value",
    )  # fmt: skip

    def __init__(self) -> None:
        self._tag = array("H")
        self._value = array("d")
        self._quality = array("B")
        self._run = array("I")
        self._source_ns = array("q")
        self._received_ns = array("q")
        self._shape: Shape | None = None
        self._data: list[bytes] = []
        self._converted = array("d")

    def __len__(self) -> int:
        waiting = 0 if self._shape is None else len(self._data) * len(self._shape.tags)
        return len(self._tag) + waiting

    @property
    def tag(self) -> array[int]:
        """Tag index of each row."""
        self._read_waiting()
        return self._tag

    @property
    def value(self) -> array[float]:
        """Value of each row, before what is BAD becomes NaN."""
        self._read_waiting()
        return self._value

    @property
    def quality(self) -> array[int]:
        """Quality of each row."""
        self._read_waiting()
        return self._quality

    def add(self, tag: int, value: float, quality: int, source_ns: int, received_ns: int) -> None:
        """One sample. A value that is not finite becomes BAD."""
        if self._data:
            self._read_waiting()
        self._tag.append(tag)
        self._value.append(value)
        self._quality.append(quality)
        self._run.append(1)
        self._source_ns.append(source_ns)
        self._received_ns.append(received_ns)

    def add_message(
        self, shape: Shape, data: bytes, converted: Sequence[float], source_ns: int, received_ns: int
    ) -> None:
        """The good samples of one message of a known shape, all of one time."""
        if self._shape is not shape:
            self._read_waiting()
            self._shape = shape
        self._data.append(data)
        if converted:
            self._converted.extend(converted)
        self._run.append(len(shape.tags))
        self._source_ns.append(source_ns)
        self._received_ns.append(received_ns)

    def samples(self) -> Samples:
        """The columns: NaN exactly where quality is BAD. Nothing can be added afterwards."""
        self._read_waiting()
        value = np.frombuffer(self._value, np.float64)
        quality = np.frombuffer(self._quality, np.uint8)
        quality[~np.isfinite(value)] = _BAD
        value[quality == _BAD] = np.nan
        run = np.frombuffer(self._run, np.uintc)
        return Samples(
            np.frombuffer(self._tag, np.uint16),
            value,
            quality,
            np.frombuffer(self._source_ns, np.int64).repeat(run),
            np.frombuffer(self._received_ns, np.int64).repeat(run),
        )

    def _read_waiting(self) -> None:
        if self._shape is not None and self._data:
            values = self._shape.values(self._data, self._converted)
            self._value.extend(values)
            self._tag.extend(self._shape.tags * len(self._data))
            self._quality.frombytes(bytes(len(values)))  # GOOD is 0
            self._data = []
            self._converted = array("d")
        self._shape = None
