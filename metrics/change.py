"""Why a rate changed between two periods: an integer account, machine by machine, that leaves nothing over.

Every machine of the two registers enters the account of its scope once, under one cause. The causes add up to
the change of numerator and denominator, of the value and of both bounds, exactly: integers are added, and
shares are fractions until the reader rounds them.

The change of a ratio is shared out by the midpoint identity
r₁ − r₀ = Σₖ (Δcₖ − r̄·Δnₖ) / n̄, with r̄ = (r₀ + r₁)/2 and n̄ = (n₀ + n₁)/2, which has no residual and treats both
periods alike. `mix_effect` splits a change into what happened within groups and what their weights did, by the
same midpoints (E. M. Kitagawa, Components of a difference between two rates, JASA 50 (1955), 1168-1194).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.rates import AssetClass
from metrics.rollup import add_scopes

UNKNOWN_WEIGHT: Final = -1
"""Weight of a machine whose original value is not known."""


class Cause(IntEnum):
    """What happened to one machine between two periods, in the account of one scope."""

    UNCHANGED = 0
    GAINED = 1
    LOST = 2
    OBSERVED_SHOWN = 3
    OBSERVED_NOT = 4
    UNOBSERVED_FROM_SHOWN = 5
    UNOBSERVED_FROM_NOT = 6
    DEVICE_FITTED = 7
    DEVICE_REMOVED = 8
    ENTERED = 9
    LEFT = 10
    MOVED_IN = 11
    MOVED_OUT = 12
    RECLASSIFIED_IN = 13
    RECLASSIFIED_OUT = 14
    REVALUED = 15


class Label(NamedTuple):
    """A text in both languages."""

    zh: str
    en: str


CAUSE_LABELS: Final[Mapping[Cause, Label]] = {
    Cause.UNCHANGED: Label("无变化", "unchanged"),
    Cause.GAINED: Label("新增达标", "newly shown"),
    Cause.LOST: Label("不再达标", "no longer shown"),
    Cause.OBSERVED_SHOWN: Label("恢复观测且达标", "observed again, and shown"),
    Cause.OBSERVED_NOT: Label("恢复观测但未达标", "observed again, and not shown"),
    Cause.UNOBSERVED_FROM_SHOWN: Label("原达标,现无法观测", "was shown, now unobserved"),
    Cause.UNOBSERVED_FROM_NOT: Label("原未达标,现无法观测", "was not shown, now unobserved"),
    Cause.DEVICE_FITTED: Label("已装采集设备,尚未达标", "got a device, not shown yet"),
    Cause.DEVICE_REMOVED: Label("已拆采集设备,未达标", "lost its device, not shown"),
    Cause.ENTERED: Label("新登记设备", "entered the register"),
    Cause.LEFT: Label("退出台账", "left the register"),
    Cause.MOVED_IN: Label("由其他范围转入", "moved in from another scope"),
    Cause.MOVED_OUT: Label("转出至其他范围", "moved out to another scope"),
    Cause.RECLASSIFIED_IN: Label("重新归类后计入", "reclassified, counts now"),
    Cause.RECLASSIFIED_OUT: Label("重新归类后不计", "reclassified, no longer counts"),
    Cause.REVALUED: Label("原值调整", "original value revised"),
}
"""Neutral wording, for every rate; a page may say 新增联网 for GAINED of a networking rate."""


class Part(IntEnum):
    """Columns of an account: numerator and denominator of the value and of both bounds."""

    NUMERATOR = 0
    DENOMINATOR = 1
    LOWER_NUMERATOR = 2
    LOWER_DENOMINATOR = 3
    UPPER_NUMERATOR = 4
    UPPER_DENOMINATOR = 5


@dataclass(frozen=True, slots=True)
class Side:
    """All machines of either register as they stood in one period. Arrays of length a, same rows on both sides."""

    present: NDArray[np.bool_]
    """In the register on the last day of the period."""
    classes: NDArray[np.int64]
    """AssetClass, as `metrics.rates` gives it; EXCLUDED for a machine that is not present."""
    scope: NDArray[np.int64]
    """Index of its scope, -1: none."""
    candidates: NDArray[np.int64] | None = None
    """AssetClass of machines that may belong in though they do not count (`networking-rate-digital/1`)."""
    weight: NDArray[np.int64] | None = None
    """Original value, fen, or UNKNOWN_WEIGHT; None: every machine weighs 1."""


class Effect(NamedTuple):
    """What one cause did to one scope. Shares are exact; None where a side has no value or no such bound."""

    cause: Cause
    machines: int
    numerator: int
    denominator: int
    value: Fraction | None
    lower: Fraction | None
    upper: Fraction | None


class ScopeChange(NamedTuple):
    """The change of a rate at one scope; the effects add up to it, without a residual."""

    value_before: Fraction | None
    value_after: Fraction | None
    value: Fraction | None
    lower: Fraction | None
    upper: Fraction | None
    effects: tuple[Effect, ...]
    """Causes that moved at least one machine, in the order of Cause, UNCHANGED left out."""


@dataclass(frozen=True, slots=True)
class Change:
    """Accounts of every scope of one kind."""

    before: NDArray[np.int64]
    """(s, 6) in the order of Part: numbers (or weights) of the first period."""
    after: NDArray[np.int64]
    by_cause: NDArray[np.int64]
    """(s, causes, 6): what each cause added."""
    machines: NDArray[np.int64]
    """(s, causes): machines in each account. One that was revalued as well stands under its other cause."""
    unvalued: NDArray[np.int64]
    """(s,) machines of unknown weight on either side: bounds are not accounted for where there is one."""
    cause_before: NDArray[np.int64]
    """(a,) Cause under which each machine stands in its scope of the first period; UNCHANGED where in none."""
    cause_after: NDArray[np.int64]
    """(a,) the same in its scope of the second period."""

    def __len__(self) -> int:
        return len(self.before)

    def at(self, scope: int) -> ScopeChange:
        """The account of one scope as exact fractions."""
        before, after = self.before[scope].tolist(), self.after[scope].tolist()
        parts = {
            "value": (Part.NUMERATOR, Part.DENOMINATOR),
            "lower": (Part.LOWER_NUMERATOR, Part.LOWER_DENOMINATOR),
            "upper": (Part.UPPER_NUMERATOR, Part.UPPER_DENOMINATOR),
        }
        counted = before[Part.DENOMINATOR] > 0 and after[Part.DENOMINATOR] > 0
        shares: dict[str, _Shares | None] = {
            name: _Shares(before[top], before[bottom], after[top], after[bottom])
            if counted and (name == "value" or not self.unvalued[scope])
            else None
            for name, (top, bottom) in parts.items()
        }
        effects: list[Effect] = []
        for cause in Cause:
            machines = int(self.machines[scope, cause])
            row = self.by_cause[scope, cause].tolist()
            if cause is Cause.UNCHANGED or not (machines or any(row)):
                continue
            of = {
                name: None if share is None else share.of(row[parts[name][0]], row[parts[name][1]])
                for name, share in shares.items()
            }
            effects.append(Effect(cause, machines, row[Part.NUMERATOR], row[Part.DENOMINATOR], **of))
        change = {name: None if share is None else share.change for name, share in shares.items()}
        return ScopeChange(
            value_before=_ratio(before[Part.NUMERATOR], before[Part.DENOMINATOR]),
            value_after=_ratio(after[Part.NUMERATOR], after[Part.DENOMINATOR]),
            **change,
            effects=tuple(effects),
        )


class _Shares:
    """Shares the change of one ratio out among causes; both denominators are above 0."""

    def __init__(self, top_before: int, bottom_before: int, top_after: int, bottom_after: int):
        before, after = Fraction(top_before, bottom_before), Fraction(top_after, bottom_after)
        self.change = after - before
        self._mean = (before + after) / 2
        self._size = Fraction(bottom_before + bottom_after, 2)

    def of(self, top: int, bottom: int) -> Fraction:
        return (top - self._mean * bottom) / self._size


def _ratio(top: int, bottom: int) -> Fraction | None:
    return Fraction(top, bottom) if bottom > 0 else None


def account(before: Side, after: Side, n_scopes: int) -> Change:
    """Account for the change of a rate at every scope of one kind, machine by machine.

    Row i of both sides is the same machine. A machine that counts in the same scope on both sides stands under
    what its class did; one that does not, under ENTERED or LEFT (the register), MOVED (it counts in another
    scope on the other side) or RECLASSIFIED (the register has it on both sides, but it counts on one: out of
    scope, other control type). Bounds are those of `metrics.rates`: [c/n, (c+u)/n], with candidates
    wherever they can lie.

    Where a weight changed as well, the class counts at the first period's weight and REVALUED takes the rest.
    Raises ValueError for sides of different length, a negative weight other than UNKNOWN_WEIGHT or a machine
    that counts without being present; OverflowError where a sum leaves 63 bits.
    """
    _require_sides(before, after)
    a = len(before.classes)
    level_before, kind_before = _membership(before)
    level_after, kind_after = _membership(after)
    stays = (level_before > 0) & (level_after == level_before) & (before.scope == after.scope)
    cause = np.where(stays, _TRANSITION[kind_before, kind_after], Cause.UNCHANGED)

    elsewhere_after = (level_after > 0) & (after.scope >= 0) & (after.scope != before.scope)
    elsewhere_before = (level_before > 0) & (before.scope >= 0) & (before.scope != after.scope)
    same_scope = before.scope == after.scope
    rises = same_scope & (level_after > level_before)
    leaves = np.select(
        [stays, level_before == 0, ~after.present, elsewhere_after, rises],
        [cause, Cause.UNCHANGED, Cause.LEFT, Cause.MOVED_OUT, Cause.RECLASSIFIED_IN],
        Cause.RECLASSIFIED_OUT,
    ).astype(np.int64)
    falls = same_scope & (level_after < level_before)
    enters = np.select(
        [stays, level_after == 0, ~before.present, elsewhere_before, falls],
        [cause, Cause.UNCHANGED, Cause.ENTERED, Cause.MOVED_IN, Cause.RECLASSIFIED_OUT],
        Cause.RECLASSIFIED_IN,
    ).astype(np.int64)

    weight_before, weight_after = _weights(before), _weights(after)
    share_before, share_after = _parts(before), _parts(after)
    counts_before, counts_after = share_before * weight_before[:, None], share_after * weight_after[:, None]
    middle = np.where(stays[:, None], share_after * weight_before[:, None], 0)

    # Each machine's ledger has three entries: out of the old scope, into the new one, and its new weight.
    cells = len(Cause)
    entries = (
        (before.scope, leaves, np.where(stays[:, None], middle - counts_before, -counts_before)),
        (after.scope, enters, np.where(stays[:, None], 0, counts_after)),
        (after.scope, np.full(a, Cause.REVALUED), np.where(stays[:, None], counts_after - middle, 0)),
    )
    by_cause = np.zeros((n_scopes * cells, len(Part)), np.int64)
    for scope, which, amount in entries:
        cell = np.where(scope >= 0, scope * cells + which, -1)
        for part in Part:
            by_cause[:, part] += add_scopes(amount[:, part], cell, n_scopes * cells)

    revalued = stays & (leaves == Cause.UNCHANGED) & (weight_before != weight_after)
    stands_before = np.where(revalued, Cause.REVALUED, leaves)
    stands_after = np.where(revalued, Cause.REVALUED, enters)
    machines = _count(before.scope, stands_before, level_before > 0, n_scopes)
    once = (level_after > 0) & ~stays & ~((level_before > 0) & same_scope)
    machines += _count(after.scope, stands_after, once, n_scopes)
    return Change(
        before=_totals(counts_before, before.scope, n_scopes),
        after=_totals(counts_after, after.scope, n_scopes),
        by_cause=by_cause.reshape(n_scopes, cells, len(Part)),
        machines=machines,
        unvalued=_unvalued(before, level_before, n_scopes) + _unvalued(after, level_after, n_scopes),
        cause_before=np.where((level_before > 0) & (before.scope >= 0), stands_before, Cause.UNCHANGED),
        cause_after=np.where((level_after > 0) & (after.scope >= 0), stands_after, Cause.UNCHANGED),
    )


def _transitions() -> NDArray[np.int64]:
    """Cause by class before and after, (5, 5)."""
    shown, unseen = AssetClass.SHOWN, AssetClass.UNOBSERVED
    declared, shown_not = AssetClass.DECLARED_UNCONNECTED, AssetClass.SHOWN_NOT
    table = np.full((len(AssetClass), len(AssetClass)), Cause.UNCHANGED, np.int64)
    for outside in (declared, shown_not):
        table[outside, shown] = Cause.GAINED
        table[shown, outside] = Cause.LOST
        table[outside, unseen] = Cause.UNOBSERVED_FROM_NOT
        table[unseen, outside] = Cause.OBSERVED_NOT
    table[unseen, shown] = Cause.OBSERVED_SHOWN
    table[shown, unseen] = Cause.UNOBSERVED_FROM_SHOWN
    table[declared, shown_not] = Cause.DEVICE_FITTED
    table[shown_not, declared] = Cause.DEVICE_REMOVED
    return table


_TRANSITION: Final = _transitions()


def _require_sides(before: Side, after: Side) -> None:
    lengths = {len(column) for side in (before, after) for column in (side.present, side.classes, side.scope)}
    if len(lengths) != 1:
        raise ValueError(f"columns of unequal length: {sorted(lengths)}")
    for side in (before, after):
        if bool((_membership(side)[0][~side.present] > 0).any()):
            raise ValueError("a machine counts in a period in which the register does not have it")
        if side.weight is not None and bool((side.weight < UNKNOWN_WEIGHT).any()):
            raise ValueError(f"weight {int(side.weight.min())}: expected 0 or more, or {UNKNOWN_WEIGHT} for unknown")


def _membership(side: Side) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(level, class): level 2 counts, 1 may belong in, 0 neither; the class under which it does."""
    counts = side.classes != AssetClass.EXCLUDED
    if side.candidates is None:
        return np.where(counts, 2, 0), side.classes
    kind = np.where(counts, side.classes, side.candidates)
    return np.where(counts, 2, np.where(side.candidates != AssetClass.EXCLUDED, 1, 0)), kind


def _parts(side: Side) -> NDArray[np.int64]:
    """(a, 6): 1 where a machine of weight 1 would add to that part; see `metrics.rates` for the bounds."""
    counts = side.classes != AssetClass.EXCLUDED
    shown = side.classes == AssetClass.SHOWN
    unseen = side.classes == AssetClass.UNOBSERVED
    if side.candidates is None:
        none = np.zeros(len(side.classes), np.bool_)
        maybe_shown = maybe_not = none
    else:
        only = np.where(counts, AssetClass.EXCLUDED, side.candidates)
        maybe_shown = (only == AssetClass.SHOWN) | (only == AssetClass.UNOBSERVED)
        maybe_not = only >= AssetClass.UNOBSERVED
    columns = (shown, counts, shown, counts | maybe_not, shown | unseen | maybe_shown, counts | maybe_shown)
    return np.stack([column.astype(np.int64) for column in columns], axis=1)


def _weights(side: Side) -> NDArray[np.int64]:
    return np.ones(len(side.classes), np.int64) if side.weight is None else np.maximum(side.weight, 0)


def _unvalued(side: Side, level: NDArray[np.int64], n_scopes: int) -> NDArray[np.int64]:
    if side.weight is None:
        return np.zeros(n_scopes, np.int64)
    return add_scopes(((side.weight == UNKNOWN_WEIGHT) & (level > 0)).astype(np.int64), side.scope, n_scopes)


def _totals(counts: NDArray[np.int64], scope: NDArray[np.int64], n_scopes: int) -> NDArray[np.int64]:
    return np.stack([add_scopes(column, scope, n_scopes) for column in counts.T], axis=1)


def _count(
    scope: NDArray[np.int64], cause: NDArray[np.int64], chosen: NDArray[np.bool_], n_scopes: int
) -> NDArray[np.int64]:
    kept = chosen & (scope >= 0)
    cell = scope[kept] * len(Cause) + cause[kept]
    return np.bincount(cell, minlength=n_scopes * len(Cause)).reshape(n_scopes, len(Cause))


class GroupEffect(NamedTuple):
    """What one group added to the change of the pooled rate, as exact shares."""

    within: Fraction
    """Its own rate changed: mean weight × change of rate."""
    mix: Fraction
    """Its weight changed: mean rate × change of weight."""


class Mix(NamedTuple):
    """A change of a pooled rate, split by group; `within` + `mix` = `change`, without a residual."""

    change: Fraction
    within: Fraction
    mix: Fraction
    groups: tuple[GroupEffect, ...]


def mix_effect(
    shown_before: Sequence[int], size_before: Sequence[int], shown_after: Sequence[int], size_after: Sequence[int]
) -> Mix | None:
    """Split the change of a pooled rate into rates of groups and weights of groups.

    Each sequence has one whole number per group (industry, zone, enterprise): numerator and denominator of its rate
    before and after. A group's weight w is its share of all denominators, so the pooled rate is Σ w·r, and
    its change = Σ w̄·Δr + Σ r̄·Δw (midpoints). A group without machines on one side has no rate there: it is taken
    to have had its other one, so all it did is mix. None where one side has no machines at all.
    Raises ValueError for sequences of different length or a numerator outside [0, denominator].
    """
    rows = list(zip(shown_before, size_before, shown_after, size_after, strict=True))
    for index, (c0, n0, c1, n1) in enumerate(rows):
        if not (0 <= c0 <= n0 and 0 <= c1 <= n1):
            raise ValueError(f"group {index}: {c0} of {n0} before, {c1} of {n1} after")
    total_before, total_after = sum(size_before), sum(size_after)
    if total_before == 0 or total_after == 0:
        return None
    groups: list[GroupEffect] = []
    for c0, n0, c1, n1 in rows:
        rate_before = _ratio(c0, n0)
        rate_after = _ratio(c1, n1)
        if rate_before is None or rate_after is None:
            rate_before = rate_after = rate_before if rate_after is None else rate_after
        if rate_before is None or rate_after is None:
            groups.append(GroupEffect(Fraction(0), Fraction(0)))
            continue
        weight_before, weight_after = Fraction(n0, total_before), Fraction(n1, total_after)
        groups.append(
            GroupEffect(
                within=(weight_before + weight_after) / 2 * (rate_after - rate_before),
                mix=(rate_before + rate_after) / 2 * (weight_after - weight_before),
            )
        )
    return Mix(
        change=Fraction(sum(shown_after), total_after) - Fraction(sum(shown_before), total_before),
        within=sum((g.within for g in groups), Fraction(0)),
        mix=sum((g.mix for g in groups), Fraction(0)),
        groups=tuple(groups),
    )
