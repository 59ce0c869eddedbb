"""Networking and CNC rates: what is evidenced, and between which bounds the truth must lie.

Of `n` assets in scope, `c` are shown, `u` are not shown and could not have been seen. The value is
c/n; the rate lies in [c/n, (c+u)/n]. Unknown is not zero, and no asset means no value.

Definitions: `networking-rate/1` (form A: of all assets in scope), `networking-rate-digital/1` (form B:
of the numerically controlled ones), `cnc-rate/1` (by count), `cnc-rate-value/1` (by original value),
`key-process-cnc-rate/1` (of key processes, the mean over enterprises).
Sources: MIIT questionnaire on the digital level of small and medium enterprises (生产设备联网率,
生产设备数字化率), where forms A and B differ in the denominator; the national 关键工序数控化率 (key processes
under NC, DNC, FMC, PLC or DCS control, by enterprise, then averaged).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from metrics.record import Evidence
from metrics.rollup import ConnectionPeriod, add_scopes

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

    def take(self, rows: NDArray[np.int64]) -> Assets:
        """Some of the assets, as often as `rows` names them: for scopes that overlap, see metrics.scopes."""
        return Assets(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


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

    def evidence_rates(self) -> NDArray[np.float64]:
        """Share of all assets counted that is shown by each evidence class, (s, 4), by count; NaN where none counts.

        Read from the left and added up they are the rates at ever weaker evidence; all four give `value`.
        """
        n = np.repeat(self.counts.sum(axis=1), len(Evidence))
        return _ratio(self.by_evidence.reshape(-1), n).reshape(-1, len(Evidence))

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
    assets: Assets, period: ConnectionPeriod, watched_permille: int = WATCHED_PERMILLE
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
    period: ConnectionPeriod,
    scope: NDArray[np.int64],
    n_scopes: int,
    period_tenths: int,
    watched_permille: int = WATCHED_PERMILLE,
    timed: ConnectionPeriod | None = None,
    present: NDArray[np.int64] | None = None,
) -> Rates:
    """`networking-rate/1` at every scope of one kind.

    Parameters: `period` what the assets showed over the look-back; `scope` (a,) index of each asset's scope, -1
    for none. For the time-weighted rate: `period_tenths` the elapsed length of the figure's own period, 0.1 s;
    `timed` what the assets showed in that (None: it is `period`); `present` (a,) how long of it each was in
    the register and in scope, 0.1 s (metrics.rollup.present_tenths). Assets that entered or left within the period
    weigh the time that they were there, those that left with `in_scope` false and in no count. None: all in scope,
    all the time.

    Value c/n, bounds [c/n, (c+u)/n]. Coverage: time watched over time bound, an asset declared
    unconnected by a confirmed register counting as watched, one never bound of an unconfirmed register as not.
    Time-weighted: proven connected time over the assets' time in the register; its upper bound adds the time
    that nobody watched. The mean of enterprise rates counts each enterprise once.
    """
    return networking_rates(
        assets, period, [(scope, n_scopes)], period_tenths, watched_permille, timed=timed, present=present
    )[0]


def networking_rates(
    assets: Assets,
    period: ConnectionPeriod,
    scopes: Sequence[tuple[NDArray[np.int64], int]],
    period_tenths: int,
    watched_permille: int = WATCHED_PERMILLE,
    timed: ConnectionPeriod | None = None,
    present: NDArray[np.int64] | None = None,
) -> list[Rates]:
    """`networking_rate` for several kinds of scopes at once, each (scope of each asset, number of scopes).

    Assets are gone through once: what they add to their enterprises serves all kinds.
    """
    classes = classify_networked(assets, period, watched_permille)
    nobody = np.zeros(len(assets), np.int64)
    there = np.where(assets.in_scope, period_tenths, 0) if present is None else present
    return _networking(assets, period, classes, nobody, scopes, there, timed or period)


def networking_rate_digital(
    assets: Assets,
    period: ConnectionPeriod,
    scope: NDArray[np.int64],
    n_scopes: int,
    period_tenths: int,
    watched_permille: int = WATCHED_PERMILLE,
    timed: ConnectionPeriod | None = None,
    present: NDArray[np.int64] | None = None,
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
    there = np.where(assets.in_scope, period_tenths, 0) if present is None else present
    there = np.where(is_digital(assets.control), there, 0)
    return _networking(assets, period, classes_digital, candidates, [(scope, n_scopes)], there, timed or period)[0]


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
    then reach to 0 (one that may not be numerically controlled may weigh any amount above 0) and to 1 (one that may
    be), of the mean by those enterprises that have such assets.
    Numerator and denominator are sums of value; counts stay numbers of assets.
    """
    classes = classify_cnc(assets)
    sure = assets.confirmed & (assets.control != Control.UNKNOWN)
    return _by_value(assets, classes, sure, scope, n_scopes)


def networking_rate_value(
    assets: Assets,
    period: ConnectionPeriod,
    scope: NDArray[np.int64],
    n_scopes: int,
    watched_permille: int = WATCHED_PERMILLE,
) -> Rates:
    """`networking-rate/1` by original value, fen, at every scope; unknown values as in `cnc_rate_value`.

    Coverage is the share of assets that are not unobserved and whose value is known. Time-weighted columns are NaN.
    """
    classes = classify_networked(assets, period, watched_permille)
    return _by_value(assets, classes, classes != AssetClass.UNOBSERVED, scope, n_scopes)


def _by_value(
    assets: Assets, classes: NDArray[np.int64], sure: NDArray[np.bool_], scope: NDArray[np.int64], n_scopes: int
) -> Rates:
    weight = np.where(assets.value >= 0, assets.value, 0)
    tally = _Tally(assets, classes, np.zeros(len(assets), np.int64), scope, n_scopes, weight)
    known = tally.scopes(tally.counted & sure & (assets.value >= 0))
    return tally.rates(_ratio(known, tally.scopes(tally.counted)), None)


def declared_rate(assets: Assets, claimed: NDArray[np.int64], scope: NDArray[np.int64], n_scopes: int) -> Rates:
    """The networking rate that the register claims: shown beside the evidenced one, never in its place.

    `claimed` (a,) 1: said to be networked, 0: said not to be, −1: nothing is said, which widens the bounds.
    Coverage is the share of assets of which something is said. Time-weighted columns are NaN.
    """
    classes = np.select(
        [~assets.in_scope, claimed > 0, claimed < 0],
        [AssetClass.EXCLUDED, AssetClass.SHOWN, AssetClass.UNOBSERVED],
        AssetClass.SHOWN_NOT,
    ).astype(np.int64)
    tally = _Tally(assets, classes, np.zeros(len(assets), np.int64), scope, n_scopes)
    return tally.rates(_ratio(tally.scopes(tally.counted & (claimed >= 0)), tally.n), None)


@dataclass(frozen=True, slots=True)
class Gaps:
    """Declared, evidenced and time-weighted rates side by side. Arrays of length s; NaN where one has no value."""

    declared: NDArray[np.float64]
    evidenced: NDArray[np.float64]
    time_weighted: NDArray[np.float64]
    declared_less_evidenced: NDArray[np.float64]
    unexplained: NDArray[np.float64]
    """Part of that which stays even if all that nobody watched was connected; 0 or more."""
    evidenced_less_time_weighted: NDArray[np.float64]


def gaps(declared: Rates, evidenced: Rates) -> Gaps:
    """How far the rates of the same scopes lie apart: of `declared_rate` and of a networking rate."""
    return Gaps(
        declared=declared.value,
        evidenced=evidenced.value,
        time_weighted=evidenced.time_weighted,
        declared_less_evidenced=declared.value - evidenced.value,
        unexplained=np.maximum(declared.value - evidenced.upper, 0.0),
        evidenced_less_time_weighted=evidenced.value - evidenced.time_weighted,
    )


class ProcessControl(IntEnum):
    """Whether a process is under NC, DNC, FMC, PLC or DCS control."""

    UNKNOWN = 0
    CONTROLLED = 1
    NOT_CONTROLLED = 2


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of the enterprises' lists. Arrays of equal length k."""

    enterprise: NDArray[np.int64]
    """Index of the enterprise."""
    key: NDArray[np.bool_]
    """Whether it is a key process (关键工序); the others are in no figure."""
    control: NDArray[np.int64]
    """See ProcessControl."""

    def __len__(self) -> int:
        return len(self.enterprise)


def key_process_cnc_rate(
    processes: Processes,
    listed: NDArray[np.bool_],
    confirmed: NDArray[np.bool_],
    scope: NDArray[np.int64],
    n_scopes: int,
) -> Rates:
    """`key-process-cnc-rate/1` at every scope: each enterprise's share of key processes under control, averaged.

    Parameters, all (e,): `listed` whether the enterprise gave the list of its processes; `confirmed` whether it
    stands by it; `scope` index of its scope, -1 for none.

    Value, lower and upper are those of the mean, which the mean columns repeat; numerator, denominator and counts
    are of processes, all enterprises together. An enterprise without a list is unknown (anything from 0
    to 1, or without key processes); one whose list has no key process is not counted. A process whose control is not
    known, or said to be uncontrolled by a list not confirmed, counts as not controlled in the value and both ways in
    the bounds. Coverage: enterprises with a list over all of the scope. Time-weighted and evidence: none.
    """
    n_enterprises = len(scope)
    owner = processes.enterprise
    controlled = processes.control == ProcessControl.CONTROLLED
    classes = np.select(
        [~processes.key, controlled, (processes.control == ProcessControl.UNKNOWN) | ~confirmed[owner]],
        [AssetClass.EXCLUDED, AssetClass.SHOWN, AssetClass.UNOBSERVED],
        AssetClass.SHOWN_NOT,
    ).astype(np.int64)
    cell = owner * len(AssetClass) + classes
    by_class = np.bincount(cell, minlength=n_enterprises * len(AssetClass)).reshape(n_enterprises, len(AssetClass))
    each = _bounds(by_class, np.zeros_like(by_class))
    valued = ~np.isnan(each[0]) & (scope >= 0)
    silent = ~listed & ~valued & (scope >= 0)

    def count(which: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(scope[which], minlength=n_scopes)

    enterprises, unknown = count(valued), count(silent)

    def mean(of_enterprise: NDArray[np.float64], silent_adds: int) -> NDArray[np.float64]:
        total = np.bincount(scope[valued], weights=of_enterprise[valued], minlength=n_scopes)
        added = unknown if silent_adds >= 0 else np.zeros_like(unknown)
        rate = _ratio(total + silent_adds * added, enterprises + added)
        return np.where(enterprises > 0, rate, np.nan)

    value, lower, upper = mean(each[0], -1), mean(each[1], 0), mean(each[2], 1)
    per_scope = np.stack([add_scopes(column, scope, n_scopes) for column in by_class.T], axis=1)
    known = scope >= 0
    absent = np.full(n_scopes, np.nan)
    return Rates(
        numerator=per_scope[:, AssetClass.SHOWN],
        denominator=per_scope[:, 1:].sum(axis=1),
        value=value,
        lower=lower,
        upper=upper,
        coverage=np.where(enterprises > 0, _ratio(count(known & (listed | valued)), count(known)), np.nan),
        counts=per_scope[:, 1:],
        enterprises=enterprises,
        mean=value.copy(),
        mean_lower=lower.copy(),
        mean_upper=upper.copy(),
        time_weighted=absent,
        time_weighted_lower=absent.copy(),
        time_weighted_upper=absent.copy(),
        by_evidence=np.zeros((n_scopes, len(Evidence)), np.int64),
    )


def _networking(
    assets: Assets,
    period: ConnectionPeriod,
    classes: NDArray[np.int64],
    candidates: NDArray[Any],
    scopes: Sequence[tuple[NDArray[np.int64], int]],
    present: NDArray[np.int64],
    timed: ConnectionPeriod,
) -> list[Rates]:
    """Rates of `classes`; `candidates` (a,) are classes of assets that may belong in, 0 where none."""
    counted = classes != AssetClass.EXCLUDED
    never_bound = period.bound == 0
    # As long as others were looked at; where nobody was bound any length will do.
    looked_back = max(int(period.bound.max(initial=0)), int(present.max(initial=0)), 1)
    expected = np.where(counted, np.where(never_bound, looked_back, period.bound), 0)
    watched = np.where(never_bound & assets.confirmed, looked_back, period.observed) * counted

    connected = np.minimum(timed.connected, present)
    # A confirmed register's word that there is no device holds for all the time outside bindings.
    outside = np.where(assets.confirmed, 0, np.maximum(present - timed.state_bound, 0))
    unwatched = np.minimum(np.maximum(timed.state_bound - timed.state_observed, 0) + outside, present - connected)

    rates: list[Rates] = []
    tally: _Tally | None = None
    for scope, n_scopes in scopes:
        tally = tally.moved(scope, n_scopes) if tally else _Tally(assets, classes, candidates, scope, n_scopes)
        coverage = _ratio(tally.scopes(watched), tally.scopes(expected))
        time, proven = tally.scopes(present), tally.scopes(connected)
        rates.append(tally.rates(coverage, (_ratio(proven, time), _ratio(proven + tally.scopes(unwatched), time))))
    return rates


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
        self._of_group: dict[int, tuple[NDArray[Any], NDArray[np.int64]]] = {}
        self._tables: dict[str, NDArray[np.int64]] = {}
        self.counted = classes != AssetClass.EXCLUDED

    def moved(self, scope: NDArray[np.int64], n_scopes: int) -> _Tally:
        """The same assets in other scopes; what was added up by group is kept where the groups stay the same."""
        other = _Tally(self._assets, self._classes, self._candidates, scope, n_scopes, self._weight)
        if other._group is self._group:
            other._of_group, other._tables = self._of_group, self._tables
        return other

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
        """Exact sums per scope of one value per asset. The same array is added up by group once."""
        # Held with its sums, an array cannot pass its identity on to another one.
        if id(values) not in self._of_group:
            sums = add_scopes(values.astype(np.int64, copy=False), self._group, len(self._scope_of_group))
            self._of_group[id(values)] = (values, sums)
        return self._to_scopes(self._of_group[id(values)][1])

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

    def _classified(self) -> dict[str, NDArray[np.int64]]:
        """Tables by group: weight and number by class, candidates by class, and those shown by evidence."""
        if not self._tables:
            shown_by = np.where(self._classes == AssetClass.SHOWN, self._assets.evidence + 1, 0)
            number = self._table(self._classes, len(AssetClass))
            weighed = number if self._weight is None else self._table(self._classes, len(AssetClass), self._weight)
            self._tables |= {
                "number": number,
                "weight": weighed,
                "candidates": self._table(self._candidates, len(AssetClass), self._weight),
                "evidence": self._table(shown_by, 1 + len(Evidence)),
            }
        return self._tables

    @property
    def n(self) -> NDArray[np.int64]:
        """Assets counted, or their weight, per scope."""
        return self._to_scopes(self._classified()["weight"][:, 1:].sum(axis=1))

    def _unvalued(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Per group, assets counted of unknown value that may not be, and that may be, shown."""
        unvalued = self.counted & (self._assets.value < 0)
        table = self._table(np.where(unvalued, self._classes, AssetClass.EXCLUDED), len(AssetClass))
        return (
            table[:, AssetClass.UNOBSERVED :].sum(axis=1),
            table[:, AssetClass.SHOWN : AssetClass.UNOBSERVED + 1].sum(axis=1),
        )

    def rates(
        self, coverage: NDArray[np.float64], timed: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    ) -> Rates:
        tables = self._classified()
        by_class, candidates = tables["weight"], tables["candidates"]
        of_scope, n = self._to_scopes(by_class), self.n
        value, lower, upper = _bounds(of_scope, self._to_scopes(candidates))
        each, each_lower, each_upper = _bounds(by_class, candidates)
        if self._weight is not None:
            # An asset of unknown value may outweigh all others: its class is then the rate.
            down, up = self._unvalued()
            pulled_down, pulled_up = self._to_scopes(down) > 0, self._to_scopes(up) > 0
            lower, upper = np.where(pulled_down, 0.0, lower), np.where(pulled_up, 1.0, upper)
            alone = np.isnan(each) & (down + up > 0)
            each_lower = np.where(down > 0, 0.0, np.where(alone, 1.0, each_lower))
            each_upper = np.where(up > 0, 1.0, np.where(alone, 0.0, each_upper))
        mean, mean_lower, mean_upper, enterprises = self._means(each, each_lower, each_upper)
        absent = np.full(self._n_scopes, np.nan)
        time_weighted, time_upper = timed or (absent, absent)
        return Rates(
            numerator=of_scope[:, AssetClass.SHOWN],
            denominator=n,
            value=value,
            lower=np.where(n > 0, lower, np.nan),
            upper=np.where(n > 0, upper, np.nan),
            coverage=np.where(n > 0, coverage, np.nan),
            counts=self._to_scopes(tables["number"][:, 1:]),
            enterprises=enterprises,
            mean=mean,
            mean_lower=mean_lower,
            mean_upper=mean_upper,
            time_weighted=time_weighted,
            time_weighted_lower=time_weighted.copy(),
            time_weighted_upper=time_upper,
            by_evidence=self._to_scopes(tables["evidence"][:, 1:]),
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
