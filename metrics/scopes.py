"""Scopes: which enterprises or assets a figure is about, and which scopes may be added up.

Industries, zones with their areas, parks and ladder classes part a county, each object in one at most. Chains
and zones beside industries overlap: what lies in two of them must not be counted twice. So a scope's figure is computed
from its members, and sums over scopes are refused where any object lies in two of those added.
Source of the ladder: 《宁海县“十四五”制造业高质量发展规划》 专栏5 (“215”: 头雁, 强雁, 雏雁).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from metrics.rollup import add_scopes

ScopeKind = Literal["enterprise", "industry", "zone", "area", "chain", "park", "ladder", "county"]


class OverlapError(ValueError):
    """Scopes that share a member were to be added up."""


@dataclass(frozen=True, slots=True)
class Scopes:
    """Scopes of one or several kinds and their members. `member` and `scope` are pairs (p,), each pair once."""

    kinds: tuple[ScopeKind, ...]
    """Kind of each scope, (s,)."""
    member: NDArray[np.int64]
    """Row of the member (enterprise, asset or plant) in the caller's table."""
    scope: NDArray[np.int64]
    """Index of the scope."""

    def __len__(self) -> int:
        return len(self.kinds)

    @classmethod
    def parted(cls, kind: ScopeKind, scope: NDArray[np.int64], n_scopes: int) -> Scopes:
        """From one scope per member, (m,), -1: in none. Raises ValueError for a scope outside the table."""
        if len(scope) and int(scope.max()) >= n_scopes:
            raise ValueError(f"scope {int(scope.max())}, there are {n_scopes}")
        member = np.flatnonzero(scope >= 0)
        return cls((kind,) * n_scopes, member, scope[member])

    @classmethod
    def from_pairs(cls, kinds: Sequence[ScopeKind], pairs: Sequence[tuple[int, int]]) -> Scopes:
        """From (member, scope) in any order; a pair given twice counts once."""
        table = np.array(sorted(set(pairs)), np.int64).reshape(-1, 2)
        if len(table) and (int(table.min()) < 0 or int(table[:, 1].max()) >= len(kinds)):
            raise ValueError(f"a pair (member, scope) outside the table of {len(kinds)} scopes")
        return cls(tuple(kinds), table[:, 0].copy(), table[:, 1].copy())

    def joined(self, other: Scopes) -> Scopes:
        """Both sets of scopes over the same members; those of `other` come after."""
        return Scopes(
            self.kinds + other.kinds,
            np.concatenate((self.member, other.member)),
            np.concatenate((self.scope, other.scope + len(self))),
        )

    def sums(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Exact sum per scope, (s,), of one value per member. These stand beside one another; see `total`."""
        return add_scopes(values[self.member], self.scope, len(self))

    def overlap(self, chosen: Sequence[int]) -> tuple[int, int, int] | None:
        """A member that lies in two of the chosen scopes, with both; None where no two share one."""
        inside = np.isin(self.scope, np.asarray(chosen, np.int64))
        member, scope = self.member[inside], self.scope[inside]
        order = np.lexsort((scope, member))
        again = np.flatnonzero(member[order][1:] == member[order][:-1])
        if not len(again):
            return None
        first, second = order[again[0]], order[again[0] + 1]
        return int(member[first]), int(scope[first]), int(scope[second])

    def total(self, values: NDArray[np.int64], chosen: Sequence[int]) -> int:
        """The sum of the chosen scopes' sums. Raises OverlapError where two of them share a member, or are one."""
        if len(set(chosen)) != len(chosen):
            raise OverlapError("a scope was to be added to itself")
        shared = self.overlap(chosen)
        if shared is not None:
            member, first, second = shared
            raise OverlapError(
                f"{self.kinds[first]} {first} and {self.kinds[second]} {second} share member {member}:"
                " take their union instead of their sum"
            )
        return sum(int(x) for x in self.sums(values)[list(chosen)])

    def union(self, chosen: Sequence[int], n_members: int) -> NDArray[np.int64]:
        """Scope 0 for every member of any chosen scope, -1 for the others, (n_members,): each counts once."""
        scope = np.full(n_members, -1, np.int64)
        scope[self.member[np.isin(self.scope, np.asarray(chosen, np.int64))]] = 0
        return scope

    def of_assets(self, enterprise: NDArray[np.int64]) -> Scopes:
        """Scopes of enterprises as scopes of their assets; `enterprise` (a,) index of each asset's enterprise."""
        order = np.argsort(enterprise, kind="stable")
        n = 1 + max(int(enterprise.max(initial=-1)), int(self.member.max(initial=-1)))
        counts = np.bincount(enterprise, minlength=n)
        first = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        sizes = counts[self.member]
        within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows = order[np.repeat(first[self.member], sizes) + within]
        return Scopes(self.kinds, rows, np.repeat(self.scope, sizes))


class Ladder(IntEnum):
    """Classes of the 215 ladder, by yearly output. A class does not hold those above it."""

    HEAD = 0
    STRONG = 1
    YOUNG = 2
    CANDIDATE = 3
    BELOW = 4


LADDER_ZH: Final = ("头雁", "强雁", "雏雁", "培育对象", "亿元以下")

LADDER_FROM_WAN_YUAN: Final = (5_000_000, 500_000, 50_000, 10_000)
"""Least output of HEAD, STRONG, YOUNG and CANDIDATE: 500, 50, 5 and 1 亿元, in 万元 (10,000 CNY)."""


def ladder_class(
    output_wan_yuan: NDArray[np.float64], thresholds_wan_yuan: Sequence[float] = LADDER_FROM_WAN_YUAN
) -> NDArray[np.int64]:
    """Ladder of each enterprise by its output of a year, 万元, (e,); -1 where the output is not known (NaN).

    `thresholds_wan_yuan` descending, one per class but the last. Raises ValueError for another order.
    """
    if any(low >= high for high, low in pairwise(thresholds_wan_yuan)):
        raise ValueError("the thresholds of a ladder must descend")
    steps = np.asarray(thresholds_wan_yuan, np.float64)[::-1]
    known = ~np.isnan(output_wan_yuan)
    above = np.searchsorted(steps, np.where(known, output_wan_yuan, 0.0), side="right")
    return np.where(known, len(steps) - above, -1).astype(np.int64)
