"""The interval store's port: what the service asks of any engine that keeps minute records.

A store is derived: the journal can fill it again. It is append only, keeps each record with its journal position,
and says up to which position it has applied the journal, in the same transaction as the records: after any
crash the journal's batches beyond that position are applied again, and none twice. Sealing a finished day and
dropping it are the store's own affair; `read_days` answers the same before and after.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from metrics.record import Records


class StoreError(Exception):
    """The store cannot answer now; trying again later may help. Nothing of the failed call was applied."""


class StoreLockedError(StoreError):
    """Another process owns the store. The text names it."""


@dataclass(frozen=True, slots=True)
class Append:
    """The counted rows of one journalled batch."""

    position: int
    gateway: str
    devices: list[str]
    """Device ids that `records.device` points into."""
    records: Records


@dataclass(frozen=True, slots=True)
class DayRecords:
    """Everything that is stored of one gateway and one local (Asia/Shanghai) day, sorted by device, start and part."""

    gateway: str
    day: int
    devices: list[str]
    """Device ids that `records.device` points into; ascending, each with at least one record."""
    records: Records
    position: NDArray[np.int64]
    """Journal position of each record: the lower came first."""


class IntervalStore(Protocol):
    """An engine that keeps interval records. Calls may come from any thread."""

    def applied(self) -> int:
        """The journal position up to which everything is stored; 0 for an empty store."""
        ...

    def append(self, batches: Sequence[Append], applied: int) -> None:
        """Store batches and the position that is reached with them, together or not at all.

        Raises StoreError; then nothing of the call is stored. Batches at or below the position that is already
        applied must not be given again.
        """
        ...

    def read_days(self, keys: Sequence[tuple[str, int]]) -> Iterator[DayRecords]:
        """The records of each (gateway, local day) that has any, in no particular order."""
        ...

    def gateway_days(self, gateway: str) -> list[int]:
        """The local days of which a gateway has records, ascending."""
        ...

    def rows(self) -> int:
        """How many records are stored."""
        ...

    def close(self) -> None:
        """Give the store back."""
        ...


@runtime_checkable
class SharedStore(IntervalStore, Protocol):
    """A store on a server, which several processes read and one at a time writes to."""

    def follow(self) -> None:
        """Another process writes: ask again and again how far it is."""
        ...

    def take_over(self) -> None:
        """This process writes from now on: forget what was known, another one may have gone on. Raises StoreError."""
        ...


@runtime_checkable
class EmbeddedStore(IntervalStore, Protocol):
    """A store whose files are the service's own: it can be compared with the journal, sealed and shortened."""

    @property
    def notice(self) -> str:
        """What was found damaged when the store was opened, in Chinese and English; empty for nothing."""
        ...

    def hot_days(self) -> list[int]:
        """The local days that have unsealed records, ascending."""
        ...

    def hot_counts(self, day: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Journal positions, ascending, and how many unsealed records of a local day each has."""
        ...

    def rewind(self, position: int) -> None:
        """Forget what came after a journal position, so that it is applied again."""
        ...

    def sealed_days(self) -> list[int]:
        """The local days that are sealed, ascending."""
        ...

    def seal(self, before_day: int) -> list[int]:
        """Seal every local day before `before_day` that has unsealed records; returns those days.

        Raises StoreError, for a full disk too; then the day at hand stays as it was.
        """
        ...

    def expire(self, before_day: int, held: Sequence[tuple[int, int]] = ()) -> list[int]:
        """Drop the records of every local day before `before_day`; returns those days.

        `held`: first and last local day of stretches that stay.
        """
        ...
