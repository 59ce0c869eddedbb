"""Which machines to connect, or to replace, first: the smallest set that brings a rate to its target.

A machine that is connected (networking rate) or made numerically controlled (CNC rate) moves from "not" to "shown"
in its rate; the denominator stays. Then each machine adds an amount of its own to the rate, whatever
the others do, so the set of the machines that add most is the smallest one: nothing needs to be searched. The same
holds for machines replaced by new ones of another value: with v old, w new and target T, N/D reaches T when the sum
of w − T·(w − v) over those replaced reaches T·D − N. Under the mean of enterprises' rates the machines of one
enterprise change its denominator for one another: see `metrics.replacement`. All amounts are exact.
Source of the rates: metrics.rates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.replacement import Shop, fewest_replacements


@dataclass(frozen=True, slots=True)
class Selection:
    """The smallest set of machines that reaches a target rate."""

    rows: NDArray[np.int64]
    """Rows of the machines to connect or replace, those that add most first; of equals the lower row. Where what one
    adds depends on the others (new weights in a mean of enterprises' rates): ascending."""
    reached: bool
    """Whether the rate reaches the target with them. If not, `rows` are all that could be chosen."""
    before: Fraction | None
    after: Fraction | None
    """The rate before and after, exact; None where nothing counts in it."""


def smallest_set(
    counted: NDArray[np.bool_],
    shown: NDArray[np.bool_],
    free: NDArray[np.bool_],
    target: Fraction | float,
    weight: NDArray[np.int64] | None = None,
    enterprise: NDArray[np.int64] | None = None,
    new_weight: NDArray[np.int64] | None = None,
) -> Selection:
    """The fewest machines that bring a rate to `target` (0 to 1) or above.

    Parameters, all (a,): `counted` in the denominator; `shown` in the numerator; `free` may be chosen (those not
    counted or shown already never are); `weight` of each machine, such as its original value in fen, not below 0,
    unknown (−1) not counted; None: each counts one. `enterprise` None: the pooled rate; else its
    index, and the rate is the mean of the enterprises' rates.
    `new_weight` of the machine that would replace each, above 0 (others are not chosen); None: weights stay.
    An enterprise whose machines are worth nothing now has no rate and stays out of the mean.
    `target` a Fraction, or a float taken at the decimal number it prints as (0.6 is 3/5).

    Raises ValueError for a target outside 0 to 1 or columns of unequal length.
    """
    goal = target if isinstance(target, Fraction) else Fraction(repr(float(target)))
    if not 0 <= goal <= 1:
        raise ValueError(f"target {float(goal)}: expected 0 to 1")
    n = len(counted)
    given = [x for x in (shown, free, weight, enterprise, new_weight) if x is not None]
    if any(len(x) != n for x in given):
        raise ValueError(f"columns of unequal length: {[n, *map(len, given)]}")
    weights = np.ones(n, np.int64) if weight is None else np.asarray(weight, np.int64)
    becomes = weights if new_weight is None else np.asarray(new_weight, np.int64)
    counts = counted & (weights >= 0)
    groups = np.zeros(n, np.int64) if enterprise is None else enterprise
    numerators, totals = _sums(groups, weights, counts & shown), _sums(groups, weights, counts)
    held = [g for g, total in enumerate(totals) if total > 0]
    if not held:
        return Selection(np.empty(0, np.int64), False, None, None)

    useful = [
        row for row in np.flatnonzero(counts & ~shown & free & (becomes > 0)).tolist() if totals[int(groups[row])] > 0
    ]
    if enterprise is not None and new_weight is not None:
        machines: dict[int, list[tuple[int, int, int]]] = {g: [] for g in held}
        for row in useful:
            machines[int(groups[row])].append((row, int(weights[row]), int(becomes[row])))
        order = fewest_replacements([Shop(numerators[g], totals[g], tuple(machines[g])) for g in held], goal)
    else:
        gains = {
            row: (int(becomes[row]) - goal * (int(becomes[row]) - int(weights[row]))) / totals[int(groups[row])]
            for row in useful
        }
        order = sorted(useful, key=lambda row: (-gains[row], row))

    def after(count: int) -> Fraction:
        above, below = numerators.copy(), totals.copy()
        for row in order[:count]:
            above[int(groups[row])] += int(becomes[row])
            below[int(groups[row])] += int(becomes[row]) - int(weights[row])
        return _balanced_sum([Fraction(above[g], below[g]) for g in held]) / len(held)

    count = _first(len(order), lambda k: after(k) >= goal)
    reached = count is not None
    chosen = order if count is None else order[:count]
    return Selection(np.array(chosen, np.int64), reached, after(0), after(len(chosen)))


def _sums(groups: NDArray[np.int64], weights: NDArray[np.int64], which: NDArray[Any]) -> list[int]:
    """Sums per group as Python integers, which have no largest one."""
    sums = [0] * (int(groups.max(initial=-1)) + 1)
    for group, weight in zip(groups[which].tolist(), weights[which].tolist(), strict=True):
        sums[group] += weight
    return sums


def _balanced_sum(parts: list[Fraction]) -> Fraction:
    """The exact sum, pair by pair: the long common denominator is met only at the end."""
    while len(parts) > 1:
        parts = [sum(parts[i : i + 2], Fraction(0)) for i in range(0, len(parts), 2)]
    return parts[0]


def _first(most: int, holds: Callable[[int], bool]) -> int | None:
    """The smallest k in 0 … most for which `holds`, which stays true once it is; None: not even for `most`."""
    if not holds(most):
        return None
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
