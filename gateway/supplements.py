"""Records for windows of a device that have theirs already: each is the window's next part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gateway.clock import AGAIN_PART, NS_PER_S
from gateway.row import Row
from gateway.spans import moved
from metrics.record import TENTHS_PER_S, UNKNOWN_READING, Flag

MAX_PART: Final = 255
"""Parts of one window; what comes after them is dropped and counted."""
_COUNTS: Final = (
    *("running", "idle", "fault", "off"),
    *("quantity", "quantity_idle", "quantity_span", "parts", "good", "bad"),
)


class Supplements:
    """The parts given to closed windows, and the records that wait for the next batch."""

    def __init__(self, device_id: str, window_s: int) -> None:
        self._device_id, self._window_s = device_id, window_s
        self.again_until_ns = 0
        """Windows before this have their records already: the clock was set back. They get another part."""
        self.used: dict[int, int] = {}
        """Last part given to windows that more can still come for, by their start in s."""
        self.rows: list[Row] = []
        """To be written with the next batch."""
        self.past_last = 0
        """Supplements dropped since this was last asked for: their window has no part left."""

    def comes_again(self, start_s: int) -> bool:
        """Whether a window that is open now has its record already."""
        return start_s * NS_PER_S < self.again_until_ns

    def next_part(self, start_s: int) -> int | None:
        """The number of another part of a window; None, counted, where there is none left."""
        part = self.used.get(start_s, 0) + 1
        if self.comes_again(start_s):
            part = max(part, AGAIN_PART)  # those before may have been given to the window's first records
        if part > MAX_PART:
            self.past_last += 1
            return None
        self.used[start_s] = part
        return part

    def add(self, start_s: int, flags: Flag, **counts: int) -> None:
        """The next part of a closed window: it proves no connection and was not observed."""
        part = self.next_part(start_s)
        if part is None:
            return
        values = dict.fromkeys(_COUNTS, 0) | counts
        self.rows.append(
            Row(
                self._device_id,
                start_s,
                self._window_s * TENTHS_PER_S,
                observed=0,
                part=part,
                connected=0,
                reading=UNKNOWN_READING,
                flags=int(flags),
                **values,
            )
        )

    def take(self) -> list[Row]:
        """The records that wait; they wait no longer."""
        rows, self.rows = self.rows, []
        return rows

    def take_past_last(self) -> int:
        """How many were dropped since this was last asked."""
        dropped, self.past_last = self.past_last, 0
        return dropped

    def forget(self, more_may_come: Callable[[int], bool]) -> None:
        """Keep the numbers only of windows (by their start in s) for which more can come."""
        self.used = {start_s: part for start_s, part in self.used.items() if more_may_come(start_s)}

    def date(self, by_s: int, from_s: int) -> None:
        """Windows from `from_s` on are moved by `by_s`."""
        self.used = {moved(start_s, by_s, from_s): part for start_s, part in self.used.items()}
        self.rows = [replace(row, start=moved(row.start, by_s, from_s)) for row in self.rows]
