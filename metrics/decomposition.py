"""Why energy changed: LMDI-I, additive, into activity, structure and intensity by industry.

E = Σ Eᵢ = Σ A · Sᵢ · Iᵢ, with A the activity of all industries together, Sᵢ = aᵢ/A the share of an industry
and Iᵢ = Eᵢ/aᵢ its intensity. Each effect of a factor x is Σ L(Eᵢ₁, Eᵢ₀) · ln(x₁/x₀) with the logarithmic
mean L(a, b) = (a − b)/(ln a − ln b), L(a, a) = a. The effects add up to the change; nothing is left over.
Source of the method: B. W. Ang, "The LMDI approach to decomposition analysis: a practical guide",
Energy Policy 33 (2005), and for zeros B. W. Ang and N. Liu, "Handling zero values in the logarithmic mean
Divisia index decomposition approach", Energy Policy 35 (2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_MOST: Final = 1e150
"""Largest number taken: sums and products beyond it could leave the range of floating-point numbers."""


@dataclass(frozen=True, slots=True)
class Decomposition:
    """The change of energy by industry. Arrays of length i, in the unit of the energy given (tce, MWh …)."""

    change: NDArray[np.float64]
    """Energy after less energy before."""
    activity: NDArray[np.float64]
    """By more or less activity altogether."""
    structure: NDArray[np.float64]
    """By the industry's share of all activity."""
    intensity: NDArray[np.float64]
    """By energy per activity within the industry."""

    def totals(self) -> tuple[float, float, float, float]:
        """Change, activity, structure and intensity effect of all industries together."""
        return (
            float(self.change.sum()),
            float(self.activity.sum()),
            float(self.structure.sum()),
            float(self.intensity.sum()),
        )


def decompose(
    energy_before: NDArray[Any], energy_after: NDArray[Any], activity_before: NDArray[Any], activity_after: NDArray[Any]
) -> Decomposition:
    """Decompose a change of energy between two periods of equal kind.

    Parameters: (i,) energy of each industry in one unit, and its activity (value added or output at comparable
    prices, in one unit), before and after; all finite and not below 0.

    Zeros take the analytic limit: an industry that begins or ends changes by structure alone; one that has activity
    in both periods and energy in one changes by intensity alone; where there was, or is, no activity at all
    everything is activity. Raises ValueError for numbers below 0, not finite or above 1e150, for unequal lengths,
    and for an industry with energy but no activity: its intensity has no value, and it cannot be decomposed.
    """
    e0, e1, a0, a1 = (np.asarray(x, np.float64) for x in (energy_before, energy_after, activity_before, activity_after))
    if not e0.shape == e1.shape == a0.shape == a1.shape or e0.ndim != 1:
        raise ValueError("energy and activity before and after must be columns of one length")
    if not all(bool(((x >= 0) & (x <= _MOST)).all()) for x in (e0, e1, a0, a1)):
        raise ValueError(f"energy and activity must be finite, not below 0 and at most {_MOST:g}")
    strange = np.flatnonzero(((e0 > 0) & (a0 == 0)) | ((e1 > 0) & (a1 == 0)))
    if len(strange):
        raise ValueError(f"industry {int(strange[0])} uses energy without any activity: leave it out, undecomposed")
    total0, total1 = float(a0.sum()), float(a1.sum())
    change = e1 - e0
    nothing = np.zeros_like(change)
    if total0 == 0 or total1 == 0:
        return Decomposition(change, change.copy(), nothing, nothing.copy())

    both = (e0 > 0) & (e1 > 0)
    was, now, had, has = (np.where(both, x, 1.0) for x in (e0, e1, a0, a1))
    weight = logarithmic_mean(now, was)
    # Differences of logarithms: quotients of very large and very small numbers would leave the range.
    more = np.log(total1) - np.log(total0)
    per_industry = np.log(has) - np.log(had)
    by_energy = np.log(now) - np.log(was)
    # The factor that is zero takes all of the change: its logarithm outgrows the others' as it goes to zero.
    turned = ~both & (change != 0)
    by_structure = turned & ((a0 == 0) | (a1 == 0))
    return Decomposition(
        change=change,
        activity=np.where(both, weight * more, 0.0),
        structure=np.where(both, weight * (per_industry - more), np.where(by_structure, change, 0.0)),
        intensity=np.where(both, weight * (by_energy - per_industry), np.where(turned & ~by_structure, change, 0.0)),
    )


def logarithmic_mean(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """L(a, b) of positive numbers, exact also where they are nearly equal."""
    difference = a - b
    close = np.abs(difference) < b / 2  # there log1p keeps the digits that the difference of logarithms loses
    growth = np.where(close, difference, 1.0) / np.where(close, b, 1.0)
    logarithm = np.where(close, np.log1p(growth), np.log(a) - np.log(b))
    same = difference == 0
    return np.where(same, b, difference / np.where(same, 1.0, logarithm))
