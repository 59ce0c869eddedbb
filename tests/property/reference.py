"""The same figures, computed slowly: plain Python, exact integers and fractions, no numpy.

Written from the definitions, not from the code under test; it shares nothing with `metrics` but names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from metrics.record import Records

TIMES = ("observed", "connected", "running", "idle", "fault", "off")
STATES = ("running", "idle", "fault", "off")
ESTIMATED = 8


@dataclass
class Day:
    """What one device did on one day."""

    times: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TIMES, 0))
    sums: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    first_connected_s: int = -1
    last_connected_s: int = -1
    readings: list[tuple[int, int, int]] = field(default_factory=list)
    flags: int = 0


def rows_of(records: Records) -> list[dict[str, int]]:
    """Every record as a dict."""
    columns = records.columns()
    return [{name: int(column[i]) for name, column in columns.items()} for i in range(len(records))]


def device_days(rows: Sequence[dict[str, int]], position: Sequence[int]) -> dict[int, Day]:
    """One Day per device, record by record."""
    days: dict[int, Day] = defaultdict(Day)
    kept: dict[tuple[int, int, int], dict[str, int]] = {}
    for _, row in sorted(zip(position, rows, strict=True), key=lambda pair: pair[0]):
        key = (row["device"], row["start"], row["part"])
        if key in kept:
            days[row["device"]].sums["duplicates" if kept[key] == row else "conflicts"] += 1
        else:
            kept[key] = row
    windows: dict[tuple[int, int], list[dict[str, int]]] = defaultdict(list)
    for (device, start, _), row in sorted(kept.items()):
        windows[device, start].append(row)
        day = days[device]
        for name in ("quantity", "quantity_idle", "parts", "good", "bad"):
            day.sums[name] += row[name]
        day.sums["quantity_span_s"] += row["quantity_span"]
        day.sums["records"] += 1
        day.sums["supplements"] += row["part"] > 0
        day.sums["quantity_estimated"] += row["quantity"] if row["flags"] & ESTIMATED else 0
        day.flags |= row["flags"]
        if row["reading"] != -1:
            day.readings.append((start, row["part"], row["reading"]))
    busy_until: dict[int, int] = defaultdict(lambda: -(10**18))
    for (device, start), parts in sorted(windows.items()):
        day = days[device]
        length = max(p["length"] for p in parts)
        end = start * 10 + length
        room = min(length, max(0, end - max(start * 10, busy_until[device])))
        day.sums["overlaps"] += busy_until[device] > start * 10
        busy_until[device] = max(busy_until[device], end)
        added = {name: sum(p[name] for p in parts) for name in TIMES}
        if added["connected"]:
            day.first_connected_s = start if day.first_connected_s < 0 else min(day.first_connected_s, start)
            day.last_connected_s = max(day.last_connected_s, start + length // 10)
        for name in ("observed", "connected"):
            day.times[name] += min(added[name], room)
        left = room
        for name in STATES:
            given = min(added[name], left)
            left -= given
            day.times[name] += given
    return dict(days)


def bounds(classes: Iterable[str]) -> tuple[Fraction, Fraction, Fraction] | None:
    """Value, lower and upper bound of a rate by trying both answers for every asset that nobody watched."""
    counted = [c for c in classes if c != "excluded"]
    if not counted:
        return None
    shown, unknown = counted.count("shown"), counted.count("unobserved")
    possible = [Fraction(shown + k, len(counted)) for k in range(unknown + 1)]
    return Fraction(shown, len(counted)), min(possible), max(possible)
