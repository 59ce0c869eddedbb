"""The seam of a store whose engine may refuse single records for ever."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class SetsAside(Protocol):
    """A store that keeps what its engine refuses in a file, counted and shown."""

    @property
    def set_aside(self) -> int:
        """How many records are in the file and not in the store."""
        ...

    @property
    def set_aside_where(self) -> str:
        """The file's path."""
        ...
