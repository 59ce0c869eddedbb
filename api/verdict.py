"""Which rows of a batch count: what breaks the schema is refused, what lies in the future is held.

The verdict is journalled with the batch: rows that are counted stay the same whenever the store is filled again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from api.journal.batch import Batch
from api.store.port import Append
from gateway.wire import (
    MAX_ID,
    Announce,
    Ingest,
    IngestJson,
    Live,
    RefusedRow,
    WireError,
    decode,
    decode_json,
    from_json,
    is_device_id,
    records_of,
)
from metrics.record import Records, refusals

HELD_AHEAD_S: Final = 600
"""Rows that start more than this ahead of the county's clock are journalled and held, not counted."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A batch with its verdict. Indices are rows of the batch."""

    message: Ingest
    counted: Records
    refused: list[RefusedRow]
    held: NDArray[np.uint32]
    after_hand_over: int = 0
    """How many of the refused rows start after their sender was replaced."""


def read_batch(body: bytes, is_json: bool) -> Ingest:
    """The batch in a body. Raises WireError saying what is wrong."""
    return from_json(decode_json(body, IngestJson)) if is_json else decode(body, Ingest)


def read_live(body: bytes, is_json: bool) -> Live:
    """The presence in a body. Raises WireError saying what is wrong."""
    return decode_json(body, Live) if is_json else decode(body, Live)


def read_announce(body: bytes, is_json: bool) -> Announce:
    """The announcements in a body. Raises WireError saying what is wrong."""
    message = decode_json(body, Announce) if is_json else decode(body, Announce)
    _check_ids(said.device for said in message.announcements)
    return message


def check_names(message: Ingest) -> None:
    """Raise WireError for what cannot be a device's id or a gap's reason: journals keep them as text, by lines."""
    _check_ids(device.id for device in message.devices)
    for gap in message.gaps:
        _check_ids(gap.devices)
        if not gap.reason.isprintable():
            raise WireError(f"gap reason {gap.reason!r}: expected printable signs")


def _check_ids(ids: Iterable[str]) -> None:
    for found in ids:
        if not is_device_id(found):
            raise WireError(f"device id {found!r}: expected 1 to {MAX_ID} printable signs")


def judge(message: Ingest, now_s: int, hand_over_s: int | None = None) -> Judged:
    """Refuse and hold rows; from `hand_over_s` on all are refused. Raises WireError where the columns do not fit."""
    records = records_of(message)
    broken = refusals(records, len(message.devices))
    refused = [RefusedRow(r.row, r.column, r.value, r.expected) for r in broken]
    late = 0
    if hand_over_s is not None:
        after = records.start >= hand_over_s
        after[[r.row for r in broken]] = False
        expected = f"< {hand_over_s} (other hardware took over)"
        refused += [RefusedRow(i, "start", int(records.start[i]), expected) for i in np.flatnonzero(after).tolist()]
        late = len(refused) - len(broken)
        refused.sort(key=lambda r: r.index)
    ahead = records.start > now_s + HELD_AHEAD_S
    keep: NDArray[np.bool_] | None = None
    held = np.empty(0, np.uint32)
    if ahead.any():
        if refused:
            ahead[[r.index for r in refused]] = False
        held = np.flatnonzero(ahead).astype(np.uint32)
        keep = ~ahead
    if refused:
        keep = np.ones(len(records), np.bool_) if keep is None else keep
        keep[[r.index for r in refused]] = False
    return Judged(message, records if keep is None else records.take(keep), refused, held, late)


def replayed(batch: Batch) -> Append:
    """The counted rows of a journalled batch, by the verdict that was journalled with it."""
    message = read_batch(batch.body, batch.is_json)
    records = records_of(message)
    dropped = np.concatenate([np.frombuffer(batch.refused, "<u4"), np.frombuffer(batch.held, "<u4")])
    if len(dropped):
        keep = np.ones(len(records), np.bool_)
        keep[dropped] = False
        records = records.take(keep)
    return Append(batch.position, batch.gateway, [d.id for d in message.devices], records)
