"""When nobody watched: from day states where a whole day tells it, from minute records within a day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from api.clock import moment
from api.services.register_view import BindingFact
from metrics.days import DayStates
from metrics.record import DAY_S, TENTHS_PER_S, local_day_start_s

if TYPE_CHECKING:
    from api.runtime import County
    from api.store.port import DayRecords

MAX_GAPS: Final = 20
_MAX_DAYS_READ: Final = 40
_ARRIVING_S: Final = 900
"""The last stretch of the present is not called a gap: its windows may be on their way."""

_NS: Final = 1_000_000_000
Span = tuple[int, int]


class GapFinder:
    """Finds gaps of many objects over the same days, reading each gateway's day once."""

    def __init__(self, county: County, states: DayStates, window: tuple[int, int], now_s: int) -> None:
        self._county = county
        self._window = window
        self._now_s = now_s
        keys = list(zip(states.day.tolist(), states.device.tolist(), strict=True))
        self._observed = dict(zip(keys, states.observed.tolist(), strict=True))
        self._records: dict[tuple[str, int], DayRecords | None] = {}

    def gaps(self, bindings: Sequence[BindingFact]) -> list[tuple[datetime, datetime]]:
        """Times within the days of the bindings in which no device bound was watched, longest first, at most 20."""
        spans: list[Span] = []
        for day in range(*self._window):
            held = [b for b in bindings if b.valid_on(day)]
            if held:
                spans.extend(self._day(day, held))
        joined = _join(sorted(spans))
        joined.sort(key=lambda span: (span[0] - span[1], span[0]))
        return [(moment(a * _NS), moment(b * _NS)) for a, b in joined[:MAX_GAPS]]

    def _day(self, day: int, held: list[BindingFact]) -> list[Span]:
        start_s = local_day_start_s(day)
        end_s = min(start_s + DAY_S, self._now_s)
        if end_s <= start_s:
            return []
        found: list[Span] | None = None
        for binding in held:
            device = self._county.days.number(binding.gateway, binding.device)
            observed = self._observed.get((day, device), 0)
            if observed >= (end_s - start_s) * TENTHS_PER_S:
                return []
            own = [(start_s, end_s)] if observed == 0 else self._within(binding, day, start_s, end_s)
            found = own if found is None else _both(found, own)
        return [span for span in found or [] if span[1] < self._now_s or span[1] - span[0] > _ARRIVING_S]

    def _within(self, binding: BindingFact, day: int, start_s: int, end_s: int) -> list[Span]:
        """Gaps of one device within a day, from its records."""
        records = self._read(binding.gateway, day)
        if records is None or binding.device not in records.devices:
            return []
        rows = records.records.device == records.devices.index(binding.device)
        watched = rows & (records.records.observed > 0)
        starts = records.records.start[watched]
        ends = starts + records.records.length[watched].astype(np.int64) // TENTHS_PER_S
        spans: list[Span] = []
        at_s = start_s
        for start, end in sorted(zip(starts.tolist(), ends.tolist(), strict=True)):
            if start > at_s:
                spans.append((at_s, start))
            at_s = max(at_s, end)
        if at_s < end_s:
            spans.append((at_s, end_s))
        return spans

    def _read(self, gateway: str, day: int) -> DayRecords | None:
        key = (gateway, day)
        if key not in self._records:
            if len(self._records) >= _MAX_DAYS_READ:
                return None
            self._records[key] = next(iter(self._county.store.read_days([key])), None)
        return self._records[key]


def _join(spans: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _both(one: list[Span], other: list[Span]) -> list[Span]:
    """Where both have a gap."""
    found: list[Span] = []
    for a, b in one:
        for c, d in other:
            if max(a, c) < min(b, d):
                found.append((max(a, c), min(b, d)))
    return found
