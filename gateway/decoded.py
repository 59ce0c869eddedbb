"""A batch in words, as the page, the commands and the support archive show it."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.wire import Ingest, decode, records_of


def batch(body: bytes) -> dict[str, Any]:
    """A body of `ingest`: rows as objects, devices by their names. Raises WireError."""
    message = decode(body, Ingest)
    columns = {name: array.tolist() for name, array in records_of(message).columns().items()}
    columns["device"] = [message.devices[index].id for index in columns["device"]]
    return {
        "gateway": message.gateway,
        "epoch": message.epoch,
        "sequence": message.sequence,
        "devices": [{"id": ref.id, "announcement": ref.announcement} for ref in message.devices],
        "rows": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        "gaps": msgspec.to_builtins(message.gaps),
    }
