"""When nobody watched: from day states where a whole day tells it, from minute records within a day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from api.clock import moment
from api.services.register_view import BindingFact
from api.services.sources import Question
from metrics.record import DAY_S, TENTHS_PER_S, local_day_start_s

if TYPE_CHECKING:
    from api.runtime import County
    from api.store.port import DayRecords

MAX_GAPS: Final = 20
_MAX_DAYS_READ: Final = 20
_ARRIVING_S: Final = 900
"""The last stretch of the present is not called a gap: its windows may be on their way."""

_NS: Final = 1_000_000_000
Span = tuple[int, int]


class GapFinder:
    """Finds gaps of some objects over the same days: of a page of them, each gateway's day read once.

    Records are read as they are now, whatever time the figure is as of.
    """

    def __init__(self, county: County, question: Question, window: tuple[int, int]) -> None:
        self._county = county
        self._days = question.days
        self._window = window
        self._short: dict[int, dict[int, int]] = {}
        """By device the days on which it was not watched all the time, and for how long it was, 0.1 s."""
        self._now_s = question.now_s
        self._read_days = 0

    def look(self, bindings: Iterable[BindingFact]) -> None:
        """Look up at once how long the devices of a page were watched each day."""
        devices = sorted({self._days.number(b.gateway, b.device) for b in bindings})
        wanted = np.array(devices, np.uint32)  # as the tables have them: another type would copy each table
        tables = {int(states.day[0]): states for states in self._days.tables(*self._window) if len(states)}
        self._short |= {device: {} for device in devices}
        for day in range(*self._window):
            seen = np.zeros(len(wanted), np.int64)
            if (states := tables.get(day)) is not None:
                at = np.minimum(np.searchsorted(states.device, wanted), len(states) - 1)
                seen = np.where(states.device[at] == wanted, states.observed[at], 0).astype(np.int64)
            for k in np.flatnonzero(seen < self._past_s(day) * TENTHS_PER_S).tolist():
                self._short[devices[k]][day] = int(seen[k])

    def _past_s(self, day: int) -> int:
        """How much of a local day is over, s."""
        return min(DAY_S, self._now_s - local_day_start_s(day))

    def gaps(self, bindings: Sequence[BindingFact]) -> list[tuple[datetime, datetime]]:
        """Times within the days of the bindings in which no device bound was watched, longest first, at most 20.

        The bindings must have been looked up.
        """
        spans: list[Span] = []
        for day in sorted({day for b in bindings for day in self._short[self._days.number(b.gateway, b.device)]}):
            held = [b for b in bindings if b.valid_on(day)]
            if held:
                spans.extend(self._day(day, held))
        joined = _join(sorted(spans))
        joined.sort(key=lambda span: (span[0] - span[1], span[0]))
        return [(moment(a * _NS), moment(b * _NS)) for a, b in joined[:MAX_GAPS]]

    def _day(self, day: int, held: list[BindingFact]) -> list[Span]:
        start_s = local_day_start_s(day)
        end_s = start_s + self._past_s(day)
        found: list[Span] | None = None
        for binding in held:
            observed = self._short[self._days.number(binding.gateway, binding.device)].get(day)
            if observed is None:
                return []
            own = [(start_s, end_s)] if observed == 0 else self._within(binding, day, start_s, end_s)
            found = own if found is None else _both(found, own)
        return [span for span in found or [] if span[1] < self._now_s or span[1] - span[0] > _ARRIVING_S]

    def _within(self, binding: BindingFact, day: int, start_s: int, end_s: int) -> list[Span]:
        """Gaps of one device within a day, from its records."""
        watched = self._watched(binding.gateway, day)
        if watched is None or binding.device not in watched:
            return []
        spans: list[Span] = []
        at_s = start_s
        for start, end in watched[binding.device]:
            if start >= end_s:
                break
            if start > at_s:
                spans.append((at_s, start))
            at_s = max(at_s, end)
        if at_s < end_s:
            spans.append((at_s, end_s))
        return spans

    def _watched(self, gateway: str, day: int) -> dict[str, list[Span]] | None:
        """When each device of a gateway was watched on a day; read once as long as the day's states are the same."""
        digest = self._days.digest(gateway, day)

        def make() -> dict[str, list[Span]]:
            self._read_days += 1
            found = next(iter(self._county.store.read_days([(gateway, day)])), None)
            return {} if found is None else _spans(found)

        if self._read_days >= _MAX_DAYS_READ:
            return None
        return self._county.memory.once("watched", (gateway, day, digest), make)


def _spans(found: DayRecords) -> dict[str, list[Span]]:
    """Stretches in which windows with a watch follow one another, by device."""
    records = found.records
    watched = records.take(records.observed > 0)
    order = np.lexsort((watched.start, watched.device))
    device, start = watched.device[order], watched.start[order]
    end = start + watched.length[order].astype(np.int64) // TENTHS_PER_S
    new = np.ones(len(order), np.bool_)
    new[1:] = (device[1:] != device[:-1]) | (start[1:] > end[:-1])
    heads = np.flatnonzero(new)
    if not len(heads):
        return {}
    spans: dict[str, list[Span]] = {}
    ends = np.maximum.reduceat(end, heads)
    for d, a, b in zip(device[heads].tolist(), start[heads].tolist(), ends.tolist(), strict=True):
        spans.setdefault(found.devices[d], []).append((a, b))
    return spans


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
