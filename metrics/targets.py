"""Targets of a plan: the path from base to target, completion, and status from both ends of an interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

PathMethod = Literal["linear", "compound", "yearly", "none"]
"""linear: shares, counts, index. compound: money. yearly: a figure typed in per year. none: no target."""

Comparator = Literal[">=", ">", "<=", "<", "=", "~"]


class Status(StrEnum):
    """Progress towards a target; the value is the Chinese label."""

    REACHED = "已完成"
    ON_TRACK = "正常"
    SLOW = "偏慢"
    BEHIND = "滞后"
    REVERSED = "倒退"
    CANNOT_TELL = "无法判断"
    NO_TARGET = "无目标"


@dataclass(frozen=True, slots=True)
class Target:
    """A row of a plan: from `base` in `base_year` to `target` in `target_year`."""

    method: PathMethod
    base_year: int | None = None
    base: float | None = None
    target_year: int | None = None
    target: float | None = None
    comparator: Comparator = ">="
    direction: Literal["up", "down"] = "up"
    yearly: Mapping[int, float] = field(default_factory=dict)
    tolerance: float = 0.05
    """Share of the target by which a value meets a target with the comparator ~ (左右)."""


ON_TRACK_FROM: Final = 0.95
SLOW_FROM: Final = 0.60
"""Least completion for the statuses ON_TRACK and SLOW, as in Open SDG's progress method."""


def required(target: Target, year: float) -> float | None:
    """Where the path stands at `year` (2023.5: half-way through); None without a path there.

    linear: b + (T−b)·s, compound: b·(T/b)^s, with s the share of the time that is over, 0 to 1.
    yearly: the figure typed in for that calendar year.
    """
    if target.method == "yearly":
        return target.yearly.get(math.floor(year))
    ends = _ends(target)
    if ends is None:
        return None
    base, goal, elapsed = ends.base, ends.goal, min(max(ends.elapsed(year), 0.0), 1.0)
    if target.method == "linear" or elapsed in (0.0, 1.0):
        return base * (1 - elapsed) + goal * elapsed
    return math.exp(math.log(base) * (1 - elapsed) + math.log(goal) * elapsed)


def completion(target: Target, value: float | None, year: float) -> float | None:
    """Progress made over progress due at `year`, 1: exactly on the path; None where it cannot be said.

    linear: ((a−b)/(T−b)) / ((t−t0)/(T−t0)). compound: the same of logarithms. yearly: value over the typed figure
    (up) or the typed figure over the value (down). After the target year all of the progress is due.
    """
    if value is None:
        return None
    if target.method == "yearly":
        due = target.yearly.get(math.floor(year))
        if due is None:
            return None
        above, below = (value, due) if target.direction == "up" else (due, value)
        return _quotient(above, below) if above > 0 and below > 0 else None
    ends = _ends(target)
    if ends is None or ends.base == ends.goal:
        return None
    elapsed = min(ends.elapsed(year), 1.0)
    if elapsed <= 0:
        return None
    if target.method == "linear":
        return _quotient(value - ends.base, (ends.goal - ends.base) * elapsed)
    if value <= 0:
        return None
    return _quotient(math.log(value) - math.log(ends.base), (math.log(ends.goal) - math.log(ends.base)) * elapsed)


def _quotient(above: float, below: float) -> float | None:
    """None where it has no finite value: figures too far apart, or too close, for a quotient to say anything."""
    if below == 0 or not math.isfinite(above) or not math.isfinite(below):
        return None
    quotient = above / below
    return quotient if math.isfinite(quotient) else None


def is_reached(target: Target, value: float, year: float) -> bool:
    """Whether a value meets the target itself (yearly: the figure of that year), as its comparator says."""
    goal = target.yearly.get(math.floor(year)) if target.method == "yearly" else target.target
    if goal is None:
        return False
    match target.comparator:
        case ">=":
            return value >= goal
        case ">":
            return value > goal
        case "<=":
            return value <= goal
        case "<":
            return value < goal
        case "~":
            return abs(value - goal) <= target.tolerance * abs(goal)
        case "=":
            return value >= goal if target.direction == "up" else value <= goal


def status(target: Target, lower: float | None, upper: float | None, year: float) -> Status:
    """Status of the interval [lower, upper] at `year`: the one that both ends have, else CANNOT_TELL.

    Reached, else by completion: at least 0.95 on track, 0.60 slow, 0 behind, below 0 reversed. An interval
    without an end, and a moment at which nothing is due yet, cannot be told.
    """
    if target.method == "none" or (target.method != "yearly" and _ends(target) is None):
        return Status.NO_TARGET
    if target.method == "yearly" and math.floor(year) not in target.yearly:
        return Status.NO_TARGET
    if lower is None or upper is None:
        return Status.CANNOT_TELL
    low, high = _status_of(target, lower, year), _status_of(target, upper, year)
    return low if low == high else Status.CANNOT_TELL


def _status_of(target: Target, value: float, year: float) -> Status:
    if is_reached(target, value, year):
        return Status.REACHED
    made = completion(target, value, year)
    if made is None:
        return Status.CANNOT_TELL
    if made >= ON_TRACK_FROM:
        return Status.ON_TRACK
    if made >= SLOW_FROM:
        return Status.SLOW
    return Status.BEHIND if made >= 0 else Status.REVERSED


def fulfilment(
    kind: Literal["level", "increment"],
    value: float | None,
    target: float,
    base: float | None = None,
    direction: Literal["up", "down"] = "up",
) -> float | None:
    """完成率 of a value against the target itself, 1: fulfilled; None where it cannot be said.

    level: actual/target, and target/actual for a target downwards. increment: (actual − base)/(target − base), which
    holds in both directions; of a figure that counts what was added, the base is 0. None without a value, without
    the base of an increment, where base and target are equal, for a level that is not above 0, and for an increment
    whose target lies on the other side of its base than `direction` says.
    """
    if value is None:
        return None
    if kind == "level":
        above, below = (value, target) if direction == "up" else (target, value)
        return _quotient(above, below) if below > 0 and above >= 0 else None
    if base is None or target == base or (target > base) != (direction == "up"):
        return None
    return _quotient(value - base, target - base)


@dataclass(frozen=True, slots=True)
class Settling:
    """What would settle a status that cannot be told. Widths in the indicator's unit."""

    width: float
    """At most this wide, an interval that keeps either end of the present one has one status."""
    coverage: float | None
    """Coverage at which the interval would be so narrow, if it narrows in proportion; None: coverage not known."""


def settling_width(
    target: Target, lower: float | None, upper: float | None, year: float, coverage: float | None = None
) -> Settling | None:
    """How narrow the interval must become to settle 无法判断; None where it is settled, or nothing can settle it.

    The interval of a rate narrows as more is watched: its lower end rises or its upper end falls. `width` is the
    largest one at which the status is settled both if the lower end stays and if the upper one stays. (A truth
    that lies beside a threshold needs still more: no coverage below 1 settles every truth.)
    `coverage` 0 to 1: of the figure as it stands; what is not covered is taken to be in proportion to the width.
    """
    if lower is None or upper is None or status(target, lower, upper, year) is not Status.CANNOT_TELL:
        return None
    at_lower, at_upper = _status_of(target, lower, year), _status_of(target, upper, year)
    if at_lower == at_upper:
        return None  # nothing is due yet: no width helps
    full = upper - lower
    if full <= 0:
        return None
    from_below = _reach(lambda width: _status_of(target, lower + width, year) == at_lower, full)
    from_above = _reach(lambda width: _status_of(target, upper - width, year) == at_upper, full)
    width = min(from_below, from_above)
    needed = None if coverage is None else 1 - (1 - coverage) * width / full
    return Settling(width, needed)


def _reach(holds: Callable[[float], bool], most: float) -> float:
    """The largest width up to `most` for which `holds`; it holds at 0 and not at `most`, and changes once between."""
    low, high = 0.0, most
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return low
        low, high = (middle, high) if holds(middle) else (low, middle)


@dataclass(frozen=True, slots=True)
class _Ends:
    base_year: int
    base: float
    target_year: int
    goal: float

    def elapsed(self, year: float) -> float:
        return (year - self.base_year) / (self.target_year - self.base_year)


def _ends(target: Target) -> _Ends | None:
    """Both ends of a path, or None where one is missing or the method cannot join them."""
    if target.method not in ("linear", "compound"):
        return None
    base_year, base, target_year, goal = target.base_year, target.base, target.target_year, target.target
    if base_year is None or base is None or target_year is None or goal is None or target_year <= base_year:
        return None
    if target.method == "compound" and (base <= 0 or goal <= 0):
        return None
    return _Ends(base_year, base, target_year, goal)
