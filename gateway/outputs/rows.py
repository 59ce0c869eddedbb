"""Samples on their way out: a ring of columns with a limit, no object per value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from collectors.model import Device, Samples

_DESCRIPTIONS: Final = 1024
"""So many descriptions of devices are kept before those that no queued row needs are forgotten."""
_COLUMNS: Final = {
    "device": np.uint32,
    "tag": np.uint16,
    "value": np.float64,
    "quality": np.uint8,
    "source_ns": np.int64,
    "received_ns": np.int64,
}


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples of several devices as columns of equal length, oldest first; as `Samples` otherwise."""

    devices: Mapping[int, Device]
    device: NDArray[np.uint32]
    """Key into `devices`."""
    tag: NDArray[np.uint16]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]
    source_ns: NDArray[np.int64]
    received_ns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tag)

    @property
    def time_ns(self) -> NDArray[np.int64]:
        """The device's own time where it gave one, else the gateway's; ns UTC."""
        return np.where(self.source_ns == 0, self.received_ns, self.source_ns)


class RowQueue:
    """At most `limit` rows; a new one pushes the oldest out."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        # pages of memory that no row has touched cost nothing
        self._ring: dict[str, NDArray[Any]] = {name: np.empty(limit, kind) for name, kind in _COLUMNS.items()}
        self._first = self._length = 0
        self._devices: dict[int, Device] = {}
        self._number_of: dict[str, int] = {}
        self._next_number = 0

    def __len__(self) -> int:
        return self._length

    def put(self, device: Device, samples: Samples, ahead_ns: int = 0) -> int:
        """Append the samples of a device, `ahead_ns` added to the gateway's time. Returns how many rows went."""
        n = len(samples)
        skipped = max(0, n - self.limit)
        pushed_out = max(0, self._length + n - skipped - self.limit)
        self._first = (self._first + pushed_out) % self.limit
        self._length -= pushed_out
        at = (self._first + self._length) % self.limit
        number = self._number(device)
        until_end = min(n - skipped, self.limit - at)
        for start, end, into in ((skipped, skipped + until_end, at), (skipped + until_end, n, 0)):
            if start < end:
                place = slice(into, into + end - start)
                self._ring["device"][place] = number
                for name in ("tag", "value", "quality", "source_ns"):
                    self._ring[name][place] = getattr(samples, name)[start:end]
                np.add(samples.received_ns[start:end], ahead_ns, out=self._ring["received_ns"][place])
        self._length += n - skipped
        return skipped + pushed_out

    def take(self, most: int) -> Rows:
        """Remove up to `most` of the oldest rows."""
        places = self._places()[:most]
        n = len(places)
        columns = {name: column[places] for name, column in self._ring.items()}
        self._first = (self._first + n) % self.limit
        self._length -= n
        return Rows({int(key): self._devices[int(key)] for key in np.unique(columns["device"])}, **columns)

    def shift(self, by_ns: int) -> None:
        """The time line was set on: what is queued was received that much later."""
        self._ring["received_ns"][self._places()] += by_ns

    def _places(self) -> NDArray[np.int64]:
        return (self._first + np.arange(self._length)) % self.limit

    def _number(self, device: Device) -> int:
        """The key of a description; another one where a device's tags have changed."""
        number = self._number_of.get(device.id)
        if number is not None:
            known = self._devices[number]
            if known is device or known.tags == device.tags:
                return number
        if len(self._devices) >= _DESCRIPTIONS:
            self._forget_unused()
        number, self._next_number = self._next_number, (self._next_number + 1) % (1 << 32)
        self._devices[number] = device
        self._number_of[device.id] = number
        return number

    def _forget_unused(self) -> None:
        used = set(np.unique(self._ring["device"][self._places()]).tolist())
        self._devices = {number: device for number, device in self._devices.items() if number in used}
        self._number_of = {name: number for name, number in self._number_of.items() if number in used}
