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
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from metrics.record import Evidence
from metrics.rollup import AssetPeriod, add_scopes

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
        shown, unobserved, declared, shown_not = (int(count) for count in self.counts[scope])
        first, second, third, fourth = (int(count) for count in self.by_evidence[scope])
        return ScopeRate(
            value=_known(self.value[scope]),
            lower=_known(self.lower[scope]),
            upper=_known(self.upper[scope]),
            coverage=_known(self.coverage[scope]),
            numerator=int(self.numerator[scope]),
            denominator=int(self.denominator[scope]),
            shown=shown,
            unobserved=unobserved,
            declared_unconnected=declared,
            shown_not=shown_not,
            mean_of_enterprises=_known(self.mean[scope]),
            mean_lower=_known(self.mean_lower[scope]),
            mean_upper=_known(self.mean_upper[scope]),
            enterprises=int(self.enterprises[scope]),
            time_weighted=_known(self.time_weighted[scope]),
            time_weighted_lower=_known(self.time_weighted_lower[scope]),
            time_weighted_upper=_known(self.time_weighted_upper[scope]),
            by_evidence=(first, second, third, fourth),
        )


def _known(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def is_digital(control: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether an asset is under numerical or programmable control: CNC, PLC or robot."""
    return np.isin(control, (Control.CNC, Control.PLC, Control.ROBOT))


def classify_networked(
    assets: Assets, period: AssetPeriod, watched_permille: int = WATCHED_PERMILLE
) -> NDArray[np.int64]:
    """AssetClass of each asset for `networking-rate/1`, (a,).

    SHOWN: proven connected at least once. Else UNOBSERVED: its register is not confirmed, or it was bound
    and watched for less than q of that time. Else DECLARED_UNCONNECTED: never bound, by a confirmed
    register. Else SHOWN_NOT. `period` must reach back over the look-back.
    """
    watched_less = period.observed * 1000 < period.bound * watched_permille
    return np.select(
        [~assets.in_scope, period.shown, ~assets.confirmed | watched_less, period.bound == 0],
        [AssetClass.EXCLUDED, AssetClass.SHOWN, AssetClass.UNOBSERVED, AssetClass.DECLARED_UNCONNECTED],
        AssetClass.SHOWN_NOT,
    ).astype(np.int64)


def classify_cnc(assets: Assets) -> NDArray[np.int64]:
    """AssetClass of each asset for `cnc-rate/1`, (a,), from the register's control types.

    SHOWN: numerically controlled. Else UNOBSERVED: control not known, or the register is not confirmed.
    Else SHOWN_NOT. What a meter proves never enters.
    """
    return np.select(
        [~assets.in_scope, is_digital(assets.control), _control_open(assets)],
        [AssetClass.EXCLUDED, AssetClass.SHOWN, AssetClass.UNOBSERVED],
        AssetClass.SHOWN_NOT,
    ).astype(np.int64)


def _control_open(assets: Assets) -> NDArray[np.bool_]:
    """Whether an asset may turn out to be numerically controlled though the register does not say so."""
    unsure: NDArray[np.bool_] = (assets.control == Control.UNKNOWN) | ~assets.confirmed
    return ~is_digital(assets.control) & unsure


def networking_rate(
    assets: Assets,
    period: AssetPeriod,
    scope: NDArray[np.int64],
    n_scopes: int,
    period_tenths: int,
    watched_permille: int = WATCHED_PERMILLE,
    timed: AssetPeriod | None = None,
) -> Rates:
    """`networking-rate/1` at every scope of one kind.

    Parameters: `period` what the assets showed over the look-back; `scope` (a,) index of each asset's scope, -1
    for none; `period_tenths` the elapsed length of the figure's own period, 0.1 s, and `timed` what the
    assets showed in that (None: it is `period`), for the time-weighted rate.

    Value c/n, bounds [c/n, (c+u)/n]. Coverage: time watched over time bound, an asset declared
    unconnected by a confirmed register counting as watched, one never bound of an unconfirmed register as not.
    Time-weighted: proven connected time over n times the period; its upper bound adds the time that nobody
    watched. The mean of enterprise rates counts each enterprise once.
    """
    classes = classify_networked(assets, period, watched_permille)
    return _networking(
        assets, period, classes, np.zeros(len(assets), np.int64), scope, n_scopes, period_tenths, timed or period
    )


def networking_rate_digital(
    assets: Assets,
    period: AssetPeriod,
    scope: NDArray[np.int64],
    n_scopes: int,
    period_tenths: int,
    watched_permille: int = WATCHED_PERMILLE,
    timed: AssetPeriod | None = None,
) -> Rates:
    """`networking-rate-digital/1` at every scope: the numerically controlled assets only, as networking_rate.

    Assets whose control is not known (or said by an unconfirmed register not to be numerical) are not
    counted in the value, but every way to count them lies within the bounds. Coverage and the time-weighted
    rate are of the assets counted.
    """
    classes = classify_networked(assets, period, watched_permille)
    maybe = _control_open(assets) & assets.in_scope
    classes_digital = np.where(is_digital(assets.control), classes, AssetClass.EXCLUDED)
    candidates = np.where(maybe, classes, AssetClass.EXCLUDED)
    return _networking(assets, period, classes_digital, candidates, scope, n_scopes, period_tenths, timed or period)


def cnc_rate(assets: Assets, scope: NDArray[np.int64], n_scopes: int) -> Rates:
    """`cnc-rate/1` at every scope; coverage is the share of assets whose control is known and confirmed.

    Time-weighted columns are NaN: the rate does not depend on time.
    """
    classes = classify_cnc(assets)
    tally = _Tally(assets, classes, np.zeros(len(assets), np.int64), scope, n_scopes)
    sure = assets.confirmed & (assets.control != Control.UNKNOWN) & tally.counted
    coverage = _ratio(tally.scopes(sure), tally.n)
    return tally.rates(coverage, None)


def cnc_rate_value(assets: Assets, scope: NDArray[np.int64], n_scopes: int) -> Rates:
    """`cnc-rate-value/1` at every scope: as `cnc_rate`, each asset weighing its original value, fen.

    Assets of unknown value are left out of value and mean, and coverage counts them as not known; the bounds
    then reach to 0 (one that may not be numerically controlled may weigh any amount) and to 1 (one that may be).
    Numerator and denominator are sums of value; counts stay numbers of assets.
    """
    classes = classify_cnc(assets)
    weight = np.where(assets.value >= 0, assets.value, 0)
    tally = _Tally(assets, classes, np.zeros(len(assets), np.int64), scope, n_scopes, weight)
    valued = assets.value >= 0
    sure = assets.confirmed & (assets.control != Control.UNKNOWN) & tally.counted & valued
    rates = tally.rates(_ratio(tally.scopes(sure), tally.scopes(tally.counted)), None)
    open_value = tally.counted & ~valued
    pulls_down = tally.scopes(open_value & (classes != AssetClass.SHOWN)) > 0
    pulls_up = tally.scopes(open_value & (classes != AssetClass.SHOWN_NOT)) > 0
    has = ~np.isnan(rates.value)
    for bound, pulled, limit in (
        (rates.lower, pulls_down, 0.0),
        (rates.mean_lower, pulls_down, 0.0),
        (rates.upper, pulls_up, 1.0),
        (rates.mean_upper, pulls_up, 1.0),
    ):
        bound[pulled & has] = limit
    return rates


def _networking(
    assets: Assets,
    period: AssetPeriod,
    classes: NDArray[np.int64],
    candidates: NDArray[Any],
    scope: NDArray[np.int64],
    n_scopes: int,
    period_tenths: int,
    timed: AssetPeriod,
) -> Rates:
    """Rates of `classes`; `candidates` (a,) are classes of assets that may belong in, 0 where none."""
    tally = _Tally(assets, classes, candidates, scope, n_scopes)
    never_bound = tally.counted & (period.bound == 0)
    looked_back = int(period.bound.max(initial=period_tenths))
    expected = np.where(tally.counted, np.where(period.bound == 0, looked_back, period.bound), 0)
    watched = np.where(never_bound & assets.confirmed, looked_back, np.where(tally.counted, period.observed, 0))
    coverage = _ratio(tally.scopes(watched), tally.scopes(expected))

    connected = np.where(tally.counted, np.minimum(timed.connected, period_tenths), 0)
    # A confirmed register's word that there is no device holds for all the time outside bindings.
    outside = np.where(assets.confirmed, 0, np.maximum(period_tenths - timed.state_bound, 0))
    unwatched = np.where(tally.counted, np.maximum(timed.state_bound - timed.state_observed, 0) + outside, 0)
    time = tally.n * period_tenths
    proven = tally.scopes(connected)
    possible = np.minimum(proven + tally.scopes(unwatched), time)
    return tally.rates(coverage, (_ratio(proven, time), _ratio(possible, time)))


class _Tally:
    """Counts assets by class, scope and enterprise."""

    def __init__(
        self,
        assets: Assets,
        classes: NDArray[np.int64],
        candidates: NDArray[Any],
        scope: NDArray[np.int64],
        n_scopes: int,
        weight: NDArray[np.int64] | None = None,
    ):
        self._assets = assets
        self._classes = classes
        self._n_scopes = n_scopes
        self._n_enterprises = int(assets.enterprise.max(initial=-1)) + 1
        self._group, self._scope_of_group = self._groups(scope)
        self._weight = weight
        self._candidates = candidates
        self.counted = classes != AssetClass.EXCLUDED
        self._by_class = self._table(classes, len(AssetClass), weight)
        self.n = self._to_scopes(self._by_class[:, 1:].sum(axis=1))

    def _groups(self, scope: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The group of each asset, and the scope of each group, -1 for none.

        A group is one enterprise within one scope, so every figure is added once by asset and then by group.
        Groups ascend by enterprise within a scope: the sum of their rates has one order.
        """
        enterprise = self._assets.enterprise
        scope_of_enterprise = np.full(self._n_enterprises, -1, np.int64)
        scope_of_enterprise[enterprise] = scope
        if bool((scope_of_enterprise[enterprise] == scope).all()):
            return enterprise, scope_of_enterprise
        pair = np.where(scope >= 0, scope * self._n_enterprises + enterprise, -1)
        pairs, group = np.unique(pair, return_inverse=True)
        return group, np.where(pairs >= 0, pairs // max(self._n_enterprises, 1), -1)

    def scopes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Exact sums per scope of one value per asset."""
        return self._to_scopes(add_scopes(values.astype(np.int64), self._group, len(self._scope_of_group)))

    def _to_scopes(self, of_group: NDArray[np.int64]) -> NDArray[np.int64]:
        if of_group.ndim == 1:
            return add_scopes(of_group, self._scope_of_group, self._n_scopes)
        return np.stack([self._to_scopes(column) for column in of_group.T], axis=1)

    def _table(self, code: NDArray[Any], codes: int, weight: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Assets, or their weight, by group and code: (groups, codes)."""
        cell = self._group * codes + code
        cells = len(self._scope_of_group) * codes
        counts = np.bincount(cell, minlength=cells) if weight is None else add_scopes(weight, cell, cells)
        return counts.reshape(-1, codes)

    def rates(
        self, coverage: NDArray[np.float64], timed: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    ) -> Rates:
        candidates = self._table(self._candidates, len(AssetClass), self._weight)
        value, lower, upper = _bounds(self._to_scopes(self._by_class), self._to_scopes(candidates))
        mean, mean_lower, mean_upper, enterprises = self._means(*_bounds(self._by_class, candidates))
        counts = self._by_class if self._weight is None else self._table(self._classes, len(AssetClass))
        shown_by = np.where(self._classes == AssetClass.SHOWN, self._assets.evidence + 1, 0)
        absent = np.full(self._n_scopes, np.nan)
        time_weighted, time_upper = timed or (absent, absent)
        return Rates(
            numerator=self._to_scopes(self._by_class[:, AssetClass.SHOWN]),
            denominator=self.n,
            value=value,
            lower=np.where(self.n > 0, lower, np.nan),
            upper=np.where(self.n > 0, upper, np.nan),
            coverage=np.where(self.n > 0, coverage, np.nan),
            counts=self._to_scopes(counts[:, 1:]),
            enterprises=enterprises,
            mean=mean,
            mean_lower=mean_lower,
            mean_upper=mean_upper,
            time_weighted=time_weighted,
            time_weighted_lower=time_weighted.copy(),
            time_weighted_upper=time_upper,
            by_evidence=self._to_scopes(self._table(shown_by, 1 + len(Evidence))[:, 1:]),
        )

    def _means(
        self, value: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Mean of the groups' values, lower and upper bounds per scope, and how many groups have a value."""
        mean, enterprises = self._mean(value)
        # An enterprise of which only uncertain assets are known would pull the mean down, or up.
        mean_lower, _ = self._mean(lower)
        mean_upper, _ = self._mean(upper)
        some = enterprises > 0
        return mean, np.where(some, mean_lower, np.nan), np.where(some, mean_upper, np.nan), enterprises

    def _mean(self, of_group: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        keep = ~np.isnan(of_group) & (self._scope_of_group >= 0)
        scope = self._scope_of_group[keep]
        count = np.bincount(scope, minlength=self._n_scopes)
        return _ratio(np.bincount(scope, weights=of_group[keep], minlength=self._n_scopes), count), count


def _bounds(
    counted: NDArray[np.int64], candidates: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Value, lower and upper bound; each NaN where no asset counts, or may count, in it.

    Both (x, AssetClass) numbers or weights of assets: those that count, and those that may belong in. Below:
    of the latter, those perhaps not connected do and the connected ones do not. Above: those that are, or may
    be, connected do. No ratio being above 1, no other choice goes further.
    """
    n, shown, unobserved = counted[:, 1:].sum(axis=1), counted[:, AssetClass.SHOWN], counted[:, AssetClass.UNOBSERVED]
    maybe_shown = candidates[:, AssetClass.SHOWN] + candidates[:, AssetClass.UNOBSERVED]
    maybe_not = candidates[:, AssetClass.UNOBSERVED :].sum(axis=1)
    return _ratio(shown, n), _ratio(shown, n + maybe_not), _ratio(shown + unobserved + maybe_shown, n + maybe_shown)


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[np.float64]:
    """The last division; NaN where there is nothing to divide by."""
    out = np.full(len(denominator), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out
