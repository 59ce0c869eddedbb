"""What the journal holds of a message, whatever engine it lives in."""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.wire import Gap

SIGN_BIT: Final = 1 << 63


def stored(epoch: int) -> int:
    """An unsigned 64-bit epoch as SQLite's signed integer."""
    return epoch - (1 << 64) if epoch & SIGN_BIT else epoch


def told(epoch: int) -> int:
    """The epoch that `stored` made."""
    return epoch + (1 << 64) if epoch < 0 else epoch


class Batch(NamedTuple):
    """A batch as it is journalled. `refused` and `held` are row indices as little-endian u32; `days`: how many
    counted rows each local day has (written, and read by `counted` alone)."""

    position: int
    gateway: str
    epoch: int
    sequence: int
    previous: tuple[int, int] | None
    digest: bytes
    is_json: bool
    rows: int
    refused: bytes
    held: bytes
    arrived_ns: int
    body: bytes
    gaps: tuple[Gap, ...] = ()
    days: tuple[tuple[int, int], ...] = ()
    newest_end_s: int = 0
    """When the newest counted window ended; 0: none. Written by PostgreSQL's journal, for the alarm on two epochs."""


class AnnounceEntry(NamedTuple):
    """An announcement message as it is journalled."""

    gateway: str
    epoch: int
    arrived_ns: int
    is_json: bool
    body: bytes


def gap_of(
    devices: str, start_s: int, end_s: int, rows: int, reason: str, own_epoch: int, epoch: int, sequence: int
) -> Gap:
    """The gap that was journalled with a batch of `own_epoch`; `devices` by lines, `epoch` and `sequence` of the batch
    that it stands for (sequence 0: of none)."""
    names = devices.split("\n") if devices else []
    if epoch != own_epoch:
        return Gap(names, start_s, end_s, rows, reason, batch=(epoch, sequence))
    return Gap(names, start_s, end_s, rows, reason, sequence)
