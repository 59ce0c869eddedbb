"""Which machines to replace first, where the rate is the mean of enterprises' rates and new machines differ in value.

A machine of value v, not numerically controlled, replaced by one of value w that is, changes its enterprise's rate
from N/D to (N + w)/(D + w − v): what it adds depends on what else is replaced there, so the machines that add most one
by one need not be the best ones together. Two exact steps instead:

- within an enterprise, the best k machines make the largest of such ratios: fractional programming by Dinkelbach's
  method (W. Dinkelbach, On nonlinear fractional programming, Management Science 13 (1967) 492-498);
- between enterprises, the best split of a number of machines adds up the best of each: dynamic programming.

A replacement never lowers a rate, so more machines never reach less.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Shop:
    """One enterprise: its rate `shown`/`total` now, `total` above 0, and the machines that may be replaced."""

    shown: int
    total: int
    machines: tuple[tuple[int, int, int], ...]
    """(row, value now, value of the new one); values not below 0, new ones above."""


@dataclass(frozen=True, slots=True)
class _Best:
    """The largest sum of rates with a number of machines, and their rows."""

    rates: Fraction
    rows: tuple[int, ...]


def fewest_replacements(shops: list[Shop], target: Fraction) -> list[int]:
    """Rows of the fewest machines that bring the mean of the shops' rates to `target`, ascending.

    All rows where even they do not reach it. The work grows with the shops and the square of the answer.
    """
    everything = sorted(row for shop in shops for row, _, _ in shop.machines)
    most = 1
    while True:
        tables = [_best_of_each(shop, most) for shop in shops]
        while len(tables) > 1:  # neighbours first: long common denominators are met only at the end
            tables = [_joined(tables[i : i + 2], most) for i in range(0, len(tables), 2)]
        for best in tables[0]:
            if best.rates >= target * len(shops):
                return sorted(best.rows)
        if most >= len(everything):
            return everything
        most *= 2


def _best_of_each(shop: Shop, most: int) -> list[_Best]:
    """The best rate of a shop with 0, 1, … `most` of its machines replaced."""
    rate = Fraction(shop.shown, shop.total)
    table = [_Best(rate, ())]
    for count in range(1, min(most, len(shop.machines)) + 1):
        while True:
            p, q = rate.numerator, rate.denominator
            chosen = sorted(shop.machines, key=lambda m: (p * (m[2] - m[1]) - q * m[2], m[0]))[:count]
            gained, grown = sum(new for _, _, new in chosen), sum(new - old for _, old, new in chosen)
            better = Fraction(shop.shown + gained, shop.total + grown)
            if better <= rate:
                break
            rate = better
        table.append(_Best(better, tuple(row for row, _, _ in chosen)))
    return table


def _joined(tables: list[list[_Best]], most: int) -> list[_Best]:
    """The best of two tables together with 0, 1, … `most` machines."""
    if len(tables) == 1:
        return tables[0]
    one, other = tables
    joined: list[_Best] = []
    for count in range(min(most, len(one) + len(other) - 2) + 1):
        splits = range(max(0, count - len(other) + 1), min(count, len(one) - 1) + 1)
        first = max(splits, key=lambda k: one[k].rates + other[count - k].rates)
        rates = one[first].rates + other[count - first].rates
        joined.append(_Best(rates, one[first].rows + other[count - first].rows))
    return joined
