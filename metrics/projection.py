"""Where an indicator is heading: a projection with an interval that holds as often as it says.

The indicator is taken as a random walk with drift: what it gains in a time is normal, with a mean and a variance
in proportion to that time. Then the interval holds exactly as often as it says, by Student's t. For a
straight trend with independent errors it holds about as often one step ahead, and more often further ahead.
It does not hold where growth itself drifts (momentum), where a straight trend with errors is asked about less than one
step ahead, and for a series with seasons: give one value per year, or the year's sums, of those.
Three values are the least that say anything about the spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

Scale = Literal["linear", "compound"]
"""linear: shares, counts, index. compound: money; gains are taken as ratios."""

DEFAULT_SHARE: Final = 0.80
"""How often the interval holds, if nothing else is asked."""

MIN_VALUES: Final = 3


@dataclass(frozen=True, slots=True)
class Projection:
    """An indicator at a later time, in its own unit."""

    year: float
    value: float
    """The middle: half of all courses end above it."""
    lower: float
    upper: float
    share: float
    """How often the truth lies within [lower, upper], 0 to 1."""
    at_least: float | None
    """Chance of being at or above the goal that was asked about, 0 to 1; None: none was."""
    values_used: int


def project(
    years: Sequence[float],
    values: Sequence[float],
    year: float,
    *,
    share: float = DEFAULT_SHARE,
    scale: Scale = "linear",
    goal: float | None = None,
    within: tuple[float, float] | None = None,
) -> Projection | None:
    """Project a series to a later time; None where fewer than MIN_VALUES values are known.

    Parameters: `years` of the values, ascending (2023.5: half-way through); `year` after the last; `share`
    between 0 and 1; `goal` whose chance to be met or passed is asked; `within` limits that the indicator
    cannot leave (a share: 0 and 1), to which the ends are cut.
    Raises ValueError for times that do not ascend, a time not after the last, a share outside 0 to 1, numbers
    that are not finite, or values not above 0 on the compound scale.
    """
    if len(years) != len(values):
        raise ValueError(f"{len(years)} years for {len(values)} values")
    if not 0 < share < 1:
        raise ValueError(f"share {share}: expected a number between 0 and 1")
    if not all(abs(x) <= _MOST for x in (*years, *values, year)):  # no NaN is below it either
        raise ValueError(f"years and values must be finite, at most {_MOST:g}")
    if scale == "compound" and (any(v <= 0 for v in values) or (goal is not None and goal <= 0)):
        raise ValueError("the compound scale needs values above 0")
    steps = [b - a for a, b in pairwise(years)]
    if any(step <= 0 for step in steps):
        raise ValueError("years must ascend")
    if years and year <= years[-1]:
        raise ValueError(f"year {year} is not after the last value, of {years[-1]}")
    if len(values) < MIN_VALUES:
        return None

    def scaled(x: float) -> float:
        return math.log(x) if scale == "compound" else x

    def unscaled(x: float) -> float:
        return _exp(x) if scale == "compound" else x

    level = [scaled(v) for v in values]
    length, ahead, degrees = years[-1] - years[0], year - years[-1], len(steps) - 1
    drift = (level[-1] - level[0]) / length
    gains = ((a, b, step) for (a, b), step in zip(pairwise(level), steps, strict=True))
    variance = math.fsum((b - a - drift * step) ** 2 / step for a, b, step in gains) / degrees
    # The walk's own spread over the time ahead, and that of the drift, known from the time behind only.
    spread = math.sqrt(variance * (ahead + ahead**2 / length))
    middle = level[-1] + drift * ahead
    reach = student_quantile(0.5 + share / 2, degrees) * spread
    low, high = within or (-math.inf, math.inf)

    def cut(x: float) -> float:
        return min(max(unscaled(x), low), high)

    chance = None
    if goal is not None:
        above = middle - scaled(goal)
        chance = student_share_below(above / spread, degrees) if spread > 0 else float(above >= 0)
    return Projection(year, cut(middle), cut(middle - reach), cut(middle + reach), share, chance, len(values))


def student_share_below(t: float, degrees: int) -> float:
    """Share of Student's t distribution below `t`, for a whole number of degrees of freedom.

    By the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4. Raises ValueError below one degree.
    """
    if degrees < 1:
        raise ValueError(f"{degrees} degrees of freedom, at least 1 is needed")
    angle = math.atan2(t, math.sqrt(degrees))
    cos2 = math.cos(angle) ** 2
    odd = degrees % 2
    term = math.cos(angle) if odd else 1.0
    series = term if degrees > 1 else 0.0
    for k in range(2 if odd else 1, degrees - 1, 2):
        term *= cos2 * k / (k + 1)
        series += term
    inside = 2 / math.pi * (angle + math.sin(angle) * series) if odd else math.sin(angle) * series
    return 0.5 + inside / 2


def student_quantile(share: float, degrees: int) -> float:
    """The t below which lies `share` (between 0 and 1) of Student's t distribution."""
    if not 0 < share < 1:
        raise ValueError(f"share {share}: expected a number between 0 and 1")
    if share < 0.5:
        return -student_quantile(1 - share, degrees)
    low, high = 0.0, 1.0
    while student_share_below(high, degrees) < share:
        low, high = high, high * 2
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return middle
        low, high = (middle, high) if student_share_below(middle, degrees) < share else (low, middle)


def _exp(x: float) -> float:
    """e^x, cut to the largest number there is: an interval of a short series may reach anywhere."""
    return math.exp(min(x, _LARGEST))


_LARGEST: Final = math.log(1.7e308)
_MOST: Final = 1e100
"""Beyond it squares leave the range of floating-point numbers."""
