"""What came for days that were final: listed with what it would have added, and not counted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from api.schemas import Page, TooLateEntry, TooLateList
from api.services.access import Reader
from metrics.record import DAY_S, TENTHS_PER_S, THOUSANDTHS

if TYPE_CHECKING:
    from api.runtime import County

MOST: Final = 20_000
"""Entries that are looked through, the newest first."""


def list_too_late(county: County, reader: Reader, offset: int, limit: int) -> TooLateList:
    """Entries of the gateways that the reader may see, the newest first."""
    view = county.register.view()
    found = [
        entry
        for entry in county.journal.kept.too_late(MOST)
        if reader.enterprise is None or view.gateway_enterprise(entry.gateway) == reader.enterprise
    ]
    items: list[TooLateEntry] = []
    for entry in found[offset : offset + limit]:
        bound = [b for b in view.devices.get((entry.gateway, entry.device), []) if b.valid_on(entry.day)]
        facts = [view.object_by_id.get(f"{kind}{b.object_id}") for b in bound for kind in "am"]
        fact = next((one for one in facts if one is not None), None)
        said = county.announcements.latest(entry.gateway, entry.device)
        items.append(
            TooLateEntry(
                position=entry.position,
                gateway=entry.gateway,
                device=entry.device,
                day=datetime.fromtimestamp(entry.day * DAY_S, UTC).date(),
                asset_id=None if fact is None else fact.id,
                name_zh="" if fact is None else fact.name_zh,
                rows=entry.rows,
                connected_s=entry.connected / TENTHS_PER_S,
                quantity=entry.quantity / THOUSANDTHS,
                unit="" if said is None else said.unit,
            )
        )
    return TooLateList(page=Page(offset=offset, limit=limit, total=len(found)), items=items)
