"""Short digests of the batches whose day was dropped: they tell one that is sent again from another under its key.

A card that was imaged weeks ago numbers what it reads now as the county has received it already. Eight bytes a batch
are kept in runs of consecutive sequences, for as long as a gateway keeps what it could not deliver. Of what is older
nobody can tell: that is called a conflict, so that the gateway sends it under a new epoch. Records that are there
already count once when they come once more; a record that was taken for one of them would be lost.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import Final, NamedTuple

import numpy as np

SHORT_BYTES: Final = 8
KEEP_DAYS: Final = 400
"""A gateway drops what it could not deliver for 400 days."""
NOBODY_CAN_TELL: Final = b""
"""In the place of a digest: the batch, or a gap in its stead, was received, and no more is known of it."""


class Run(NamedTuple):
    """Digests of consecutive sequences from `first` on."""

    gateway: str
    epoch: int
    first: int
    digests: bytes


def runs(batches: Iterable[tuple[str, int, int, bytes]]) -> Iterator[Run]:
    """The runs of batches in any order: (gateway, epoch, sequence, digest)."""
    sequences: defaultdict[tuple[str, int], array[int]] = defaultdict(lambda: array("q"))
    digests: defaultdict[tuple[str, int], bytearray] = defaultdict(bytearray)
    for gateway, epoch, sequence, digest in batches:
        sequences[gateway, epoch].append(sequence)
        digests[gateway, epoch] += digest[:SHORT_BYTES]
    for (gateway, epoch), found in sequences.items():
        numbers = np.frombuffer(found, np.int64)
        order = np.argsort(numbers)
        begins = np.flatnonzero(np.diff(numbers[order]) != 1) + 1
        short = np.frombuffer(digests[gateway, epoch], f"V{SHORT_BYTES}")
        for part in np.split(order, begins):
            yield Run(gateway, epoch, int(numbers[part[0]]), short[part].tobytes())


def short_digest(digests: bytes, at: int) -> bytes:
    """That of the sequence `at` behind a run's first one, NOBODY_CAN_TELL beyond its end."""
    return digests[at * SHORT_BYTES : (at + 1) * SHORT_BYTES] or NOBODY_CAN_TELL


def forgotten_before(day: str) -> str:
    """The first day whose digests stay when `day` is dropped, both as `2026-11-23`."""
    return (date.fromisoformat(day) - timedelta(days=KEEP_DAYS)).isoformat()
