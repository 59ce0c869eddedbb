"""Scopes overlap or they do not; sums of those that do are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.rates import networking_rate
from metrics.record import local_day_start_s
from metrics.rollup import asset_period
from metrics.scopes import LADDER_ZH, Ladder, OverlapError, Scopes, ladder_class
from tests.metrics.records import DAY, DAY_TENTHS, all_days, assets, bindings, device_day


def test_industries_part_the_county_and_add_up() -> None:
    industries = Scopes.parted("industry", np.array([0, 1, 1, -1, 2]), 3)
    values = np.array([1, 20, 300, 4000, 50_000])
    assert industries.sums(values).tolist() == [1, 320, 50_000]
    assert industries.total(values, [0, 1, 2]) == 50_321


def test_chains_that_share_an_enterprise_are_not_added_up() -> None:
    chains = Scopes.from_pairs(("chain", "chain", "chain"), [(0, 0), (1, 0), (1, 1), (2, 2), (1, 1)])
    values = np.array([1, 20, 300])
    assert chains.sums(values).tolist() == [21, 20, 300]
    assert chains.total(values, [0, 2]) == 321
    with pytest.raises(OverlapError, match="chain 0 and chain 1 share member 1"):
        chains.total(values, [0, 1])
    assert values[chains.union([0, 1], 3) == 0].sum() == 21


def test_a_zone_and_an_industry_are_not_added_up_nor_a_scope_to_itself() -> None:
    both = Scopes.parted("zone", np.array([0, 0, 1]), 2).joined(Scopes.parted("industry", np.array([0, 1, 1]), 2))
    ones = np.ones(3, np.int64)
    assert both.total(ones, [0, 1]) == both.total(ones, [2, 3]) == 3
    with pytest.raises(OverlapError, match="zone 1 and industry 3 share member 2"):
        both.total(ones, [1, 3])
    with pytest.raises(OverlapError, match="to itself"):
        both.total(ones, [1, 1])


def test_scopes_outside_the_table_are_refused() -> None:
    with pytest.raises(ValueError, match="scope 2, there are 2"):
        Scopes.parted("area", np.array([0, 2]), 2)
    with pytest.raises(ValueError, match="outside the table"):
        Scopes.from_pairs(("chain",), [(0, 1)])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=15), st.sets(st.integers(0, 3)))
@settings(max_examples=150, deadline=None)
def test_a_total_is_the_sum_over_the_union_or_is_refused(pairs: list[tuple[int, int]], chosen: set[int]) -> None:
    scopes = Scopes.from_pairs(("chain",) * 4, pairs)
    values = 10 ** np.arange(6)
    members = [m for m, s in set(pairs) if s in chosen]
    if len(set(members)) == len(members):
        assert scopes.total(values, sorted(chosen)) == sum(10**m for m in members)
    else:
        with pytest.raises(OverlapError):
            scopes.total(values, sorted(chosen))
    assert values[scopes.union(sorted(chosen), 6) == 0].sum() == sum(10**m for m in set(members))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=10), st.lists(st.integers(0, 4), max_size=12))
@settings(max_examples=100, deadline=None)
def test_scopes_of_enterprises_reach_all_their_assets(pairs: list[tuple[int, int]], enterprise: list[int]) -> None:
    got = Scopes.from_pairs(("chain",) * 3, pairs).of_assets(np.array(enterprise, np.int64))
    expected = {(row, s) for e, s in pairs for row, owner in enumerate(enterprise) if owner == e}
    assert sorted(zip(got.member.tolist(), got.scope.tolist(), strict=True)) == sorted(expected)


def test_rates_of_overlapping_chains_come_from_their_members() -> None:
    """Enterprise 1 is in both chains; each chain's rate counts its two machines, the union counts them once."""
    register = assets([0, 1, 1, 2])
    states = all_days(device_day(0, observed=DAY_TENTHS, connected=5), device_day(1, observed=DAY_TENTHS, connected=5))
    period = asset_period(states, bindings((0, 0), (1, 1)), 4, DAY, DAY + 1, local_day_start_s(DAY + 1))
    chains = Scopes.from_pairs(("chain", "chain"), [(0, 0), (1, 0), (1, 1), (2, 1)]).of_assets(register.enterprise)
    rates = networking_rate(register.take(chains.member), period.take(chains.member), chains.scope, 2, DAY_TENTHS)
    assert rates.numerator.tolist() == [2, 1]
    assert rates.denominator.tolist() == [3, 3]
    whole = networking_rate(register, period, chains.union([0, 1], 4), 1, DAY_TENTHS).at(0)
    assert (whole.numerator, whole.denominator) == (2, 4)


def test_the_ladder_of_the_plan() -> None:
    """500, 50, 5 and 1 亿元 are the least output of each class."""
    wan_yuan = np.array([6e6, 5e6, 4_999_999.0, 500_000.0, 50_000.0, 49_999.0, 10_000.0, 9_999.0, 0.0, np.nan])
    expected = [Ladder.HEAD, Ladder.HEAD, Ladder.STRONG, Ladder.STRONG, Ladder.YOUNG]
    expected += [Ladder.CANDIDATE, Ladder.CANDIDATE, Ladder.BELOW, Ladder.BELOW]
    assert ladder_class(wan_yuan).tolist() == [*expected, -1]
    assert len(LADDER_ZH) == len(Ladder)
    with pytest.raises(ValueError, match="descend"):
        ladder_class(wan_yuan, (1.0, 2.0))
