"""Networking and CNC rates: what is evidenced, and between which bounds the truth must lie.

Of `n` assets in scope, `c` are shown, `u` are not shown and could not have been seen. The value is
c/n; the rate lies in [c/n, (c+u)/n]. Unknown is not zero, and no asset means no value.

Definitions: `networking-rate/1` (form A: of all assets in scope), `networking-rate-digital/1` (form B:
of the numerically controlled ones), `cnc-rate/1` (by count), `cnc-rate-value/1` (by original value).
Source: MIIT questionnaire on the digital level of small and medium enterprises (生产设备联网率,
生产设备数字化率); forms A and B differ in the denominator.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from metrics.rollup import AssetPeriod

WATCHED_PERMILLE: Final = 900
"""Parameter q of `networking-rate/1`, in 1/1000: watched for less of its bound time, an asset counts as unobserved."""

LOOK_BACK_DAYS: Final = 30
"""Parameter of `networking-rate/1`: an asset proven connected within so many days counts as networked."""


class AssetClass(IntEnum):
    """How an asset counts in a rate. The four classes after EXCLUDED add up to the denominator."""

    EXCLUDED = 0
    SHOWN = 1
    UNOBSERVED = 2
    DECLARED_UNCONNECTED = 3
    SHOWN_NOT = 4


class Control(IntEnum):
    """How the register says an asset is controlled. CNC, PLC and ROBOT are numerical control."""

    UNKNOWN = 0
    CNC = 1
    PLC = 2
    ROBOT = 3
    MANUAL = 4
    NONE = 5


@dataclass(frozen=True, slots=True)
class Assets:
    """The assets of the register on the last day of a period. Arrays of equal length a."""

    in_scope: NDArray[np.bool_]
    """Production assets that count; the others are in no figure."""
    enterprise: NDArray[np.int64]
    """Index of the enterprise, from 0."""
    confirmed: NDArray[np.bool_]
    """Whether the enterprise has confirmed its register."""
    control: NDArray[np.int64]
    """See Control."""
    evidence: NDArray[np.int64]
    """0 self-identified, 1 native, 2 retrofit, 3 declared: the place in metrics.record.Evidence."""
    value: NDArray[np.int64]
    """Original value, in fen (0.01 CNY); -1: not known."""

    def __len__(self) -> int:
        return len(self.in_scope)


@dataclass(frozen=True, slots=True)
class ScopeRate:
    """A rate of one scope. Shares are 0 to 1; None where there is no asset."""

    value: float | None
    lower: float | None
    upper: float | None
    coverage: float | None
    numerator: int
    denominator: int
    shown: int
    unobserved: int
    declared_unconnected: int
    shown_not: int
    mean_of_enterprises: float | None
    mean_lower: float | None
    mean_upper: float | None
    enterprises: int
    """Enterprises with at least one asset in scope."""
    time_weighted: float | None
    time_weighted_lower: float | None
    time_weighted_upper: float | None
    by_evidence: tuple[int, int, int, int]
    """Assets shown, by evidence class in the order of metrics.record.Evidence."""


@dataclass(frozen=True, slots=True)
class Rates:
    """A rate at every scope of one kind. Arrays of length s; float columns are NaN where n is 0."""

    numerator: NDArray[np.int64]
    denominator: NDArray[np.int64]
    value: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    coverage: NDArray[np.float64]
    counts: NDArray[np.int64]
    """(s, 4) assets shown, unobserved, declared unconnected, shown not."""
    enterprises: NDArray[np.int64]
    mean: NDArray[np.float64]
    mean_lower: NDArray[np.float64]
    mean_upper: NDArray[np.float64]
    time_weighted: NDArray[np.float64]
    time_weighted_lower: NDArray[np.float64]
    time_weighted_upper: NDArray[np.float64]
    by_evidence: NDArray[np.int64]
    """(s, 4) assets shown, by evidence class."""

    def __len__(self) -> int:
        return len(self.numerator)

    def at(self, scope: int) -> ScopeRate:
        """The rate of one scope as Python numbers, None for what has no value."""
        raise NotImplementedError


def is_digital(control: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether an asset is under numerical or programmable control: CNC, PLC or robot."""
    raise NotImplementedError


def classify_networked(
    assets: Assets, period: AssetPeriod, watched_permille: int = WATCHED_PERMILLE
) -> NDArray[np.int64]:
    """AssetClass of each asset for `networking-rate/1`, (a,).

    SHOWN: proven connected at least once. Else UNOBSERVED: its register is not confirmed, or it was bound
    and watched for less than q of that time. Else DECLARED_UNCONNECTED: never bound, by a confirmed
    register. Else SHOWN_NOT. `period` must reach back over the look-back.
    """
    raise NotImplementedError


def classify_cnc(assets: Assets) -> NDArray[np.int64]:
    """AssetClass of each asset for `cnc-rate/1`, (a,), from the register's control types.

    SHOWN: numerically controlled. Else UNOBSERVED: control not known, or the register is not confirmed.
    Else SHOWN_NOT. What a meter proves never enters.
    """
    raise NotImplementedError


def networking_rate(
    assets: Assets,
    period: AssetPeriod,
    scope: NDArray[np.int64],
    n_scopes: int,
    period_tenths: int,
    watched_permille: int = WATCHED_PERMILLE,
) -> Rates:
    """`networking-rate/1` at every scope of one kind.

    Parameters: `scope` (a,) index of each asset's scope, -1 for none; `period_tenths` the elapsed length
    of the period that `period` covers, 0.1 s, for the time-weighted rate.

    Value c/n, bounds [c/n, (c+u)/n]. Coverage: time watched over time bound, an asset declared
    unconnected by a confirmed register counting as watched, one never bound of an unconfirmed register as not.
    Time-weighted: proven connected time over n times the period; its upper bound adds the time that nobody
    watched. The mean of enterprise rates counts each enterprise once.
    """
    raise NotImplementedError


def networking_rate_digital(
    assets: Assets,
    period: AssetPeriod,
    scope: NDArray[np.int64],
    n_scopes: int,
    period_tenths: int,
    watched_permille: int = WATCHED_PERMILLE,
) -> Rates:
    """`networking-rate-digital/1` at every scope: the numerically controlled assets only, as networking_rate.

    Assets whose control is not known (or said by an unconfirmed register not to be numerical) are not
    counted in the value, but every way to count them lies within the bounds.
    """
    raise NotImplementedError


def cnc_rate(assets: Assets, scope: NDArray[np.int64], n_scopes: int) -> Rates:
    """`cnc-rate/1` at every scope; coverage is the share of assets whose control is known and confirmed.

    Time-weighted columns are NaN: the rate does not depend on time.
    """
    raise NotImplementedError


def cnc_rate_value(assets: Assets, scope: NDArray[np.int64], n_scopes: int) -> Rates:
    """`cnc-rate-value/1` at every scope: as `cnc_rate`, each asset weighing its original value, fen.

    Assets of unknown value are left out of value and coverage counts them as not known; the bounds then reach to
    0 (one that is not numerically controlled may weigh any amount) and to 1 (one that is).
    """
    raise NotImplementedError
