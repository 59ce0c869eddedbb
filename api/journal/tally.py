"""How many batches, refused and held rows each gateway sent: of every day that is kept, and of all together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from api.journal.batch import Batch
from api.journal.port import Totals


class GatewayCount(NamedTuple):
    """What one gateway sent on one day."""

    gateway: str
    batches: int
    refused_rows: int
    held_rows: int


class Tally:
    """Counters of the days; a day that is dropped leaves them."""

    def __init__(self) -> None:
        self.totals: defaultdict[str, Totals] = defaultdict(Totals)
        self._days: defaultdict[str, dict[str, GatewayCount]] = defaultdict(dict)

    def add(self, day: str, counts: Iterable[GatewayCount]) -> None:
        """Add what was sent on a day."""
        of_day = self._days[day]
        for count in counts:
            gateway, batches, refused_rows, held_rows = count
            before = of_day.get(gateway)
            of_day[gateway] = (
                count
                if before is None
                else GatewayCount(gateway, before[1] + batches, before[2] + refused_rows, before[3] + held_rows)
            )
            totals = self.totals[gateway]
            totals.batches += batches
            totals.refused_rows += refused_rows
            totals.held_rows += held_rows

    def add_batches(self, day: str, batches: Iterable[Batch]) -> None:
        """Add batches of a day."""
        self.add(day, (GatewayCount(b.gateway, 1, len(b.refused) // 4, len(b.held) // 4) for b in batches))

    def of(self, day: str) -> list[GatewayCount]:
        """What was sent on a day."""
        return list(self._days[day].values())

    def drop(self, day: str) -> None:
        """Take a day out."""
        for gateway, batches, refused_rows, held_rows in self._days.pop(day, {}).values():
            totals = self.totals[gateway]
            totals.batches -= batches
            totals.refused_rows -= refused_rows
            totals.held_rows -= held_rows
