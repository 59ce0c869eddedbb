"""The account of a change leaves nothing over, whatever happened to the machines."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from metrics.change import Cause, Side, account, mix_effect
from metrics.rates import (
    AssetClass,
    Assets,
    Control,
    classify_cnc,
    classify_networked,
    cnc_rate,
    cnc_rate_value,
    networking_rate,
    networking_rate_digital,
)
from metrics.rollup import AssetPeriod

SCOPES = 3
BOUND = 864_000


@st.composite
def sides(draw: st.DrawFn, n: int, *, candidates: bool, weights: bool) -> Side:
    present = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    classes = [draw(st.integers(0, 4)) if p else 0 for p in present]
    may = [draw(st.integers(0, 4)) if p and c == 0 else 0 for p, c in zip(present, classes, strict=True)]
    return Side(
        present=np.array(present, np.bool_),
        classes=np.array(classes, np.int64),
        scope=np.array(draw(st.lists(st.integers(-1, SCOPES - 1), min_size=n, max_size=n)), np.int64),
        candidates=np.array(may, np.int64) if candidates else None,
        weight=np.array(draw(st.lists(st.integers(-1, 10**13), min_size=n, max_size=n)), np.int64) if weights else None,
    )


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Side, Side]:
    n = draw(st.integers(0, 9))
    form = draw(st.sampled_from(("plain", "candidates", "weights")))
    given_both = {"candidates": form == "candidates", "weights": form == "weights"}
    return draw(sides(n, **given_both)), draw(sides(n, **given_both))


@given(pairs())
def test_the_residual_is_zero_in_every_column(pair: tuple[Side, Side]) -> None:
    change = account(*pair, SCOPES)
    assert (change.by_cause.sum(axis=1) == change.after - change.before).all()
    assert not change.by_cause[:, Cause.UNCHANGED].any()
    for scope in range(SCOPES):
        got = change.at(scope)
        for name in ("value", "lower", "upper"):
            whole = getattr(got, name)
            parts = [getattr(effect, name) for effect in got.effects]
            assert parts == [None] * len(parts) if whole is None else sum(parts, Fraction(0)) == whole


@given(pairs())
def test_turned_round_every_effect_changes_its_sign(pair: tuple[Side, Side]) -> None:
    if pair[0].weight is not None:
        return  # gains are counted at the first period's weight, so direction matters there
    there, back = account(*pair, SCOPES), account(*reversed(pair), SCOPES)
    for scope in range(SCOPES):
        assert sorted(e.value or 0 for e in there.at(scope).effects) == sorted(
            -(e.value or 0) for e in back.at(scope).effects
        )


@given(pairs())
def test_each_machine_stands_once_in_each_scope_that_counts_it(pair: tuple[Side, Side]) -> None:
    change = account(*pair, SCOPES)
    for scope in range(SCOPES):
        members = [
            {
                i
                for i in range(len(side.classes))
                if side.scope[i] == scope and (side.classes[i] or (side.candidates is not None and side.candidates[i]))
            }
            for side in pair
        ]
        assert int(change.machines[scope].sum()) == len(members[0] | members[1])
        # A figure opens down to these machines.
        listed = {i for i in members[0] if change.cause_before[i]} | {i for i in members[1] if change.cause_after[i]}
        assert len(listed) == int(change.machines[scope, 1:].sum())


@st.composite
def counties(draw: st.DrawFn) -> tuple[Assets, AssetPeriod, np.ndarray]:
    """Registers of five machines with what they showed."""
    n = 5

    def column(values: st.SearchStrategy[int]) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=n, max_size=n)), np.int64)

    assets = Assets(
        in_scope=column(st.integers(0, 1)).astype(np.bool_),
        enterprise=np.arange(n),
        confirmed=column(st.integers(0, 1)).astype(np.bool_),
        control=column(st.sampled_from([int(c) for c in Control])),
        evidence=column(st.integers(0, 3)),
        value=column(st.integers(0, 10**9)),
    )
    bound = column(st.sampled_from((0, BOUND)))
    observed = np.minimum(column(st.sampled_from((0, BOUND // 2, BOUND))), bound)
    shown = (column(st.integers(0, 1)) > 0) & (observed > 0)
    zero = np.zeros(n, np.int64)
    never = np.full(n, -1)
    period = AssetPeriod(
        bound=bound, observed=observed, shown=shown, connected=observed * shown, state_bound=bound,
        state_observed=observed, running=zero, idle=zero, fault=zero, off=zero, first_connected_s=never,
        last_connected_s=never, parts=zero,
    )  # fmt: skip
    return assets, period, column(st.integers(-1, SCOPES - 1))


def side_of(assets: Assets, classes: np.ndarray, scope: np.ndarray, **more: np.ndarray) -> Side:
    return Side(present=np.ones(len(assets), np.bool_), classes=classes, scope=scope, **more)


@given(counties(), counties())
def test_the_account_is_of_the_published_rates(
    one: tuple[Assets, AssetPeriod, np.ndarray], two: tuple[Assets, AssetPeriod, np.ndarray]
) -> None:
    """Both ends of every account are numerator, denominator and bounds as `metrics.rates` publishes them."""
    for name in ("networking", "digital", "cnc", "value"):
        ends, published = [], []
        for assets, period, scope in (one, two):
            networked = classify_networked(assets, period)
            digital = np.isin(assets.control, (Control.CNC, Control.PLC, Control.ROBOT))
            unsure = ~digital & assets.in_scope & ((assets.control == Control.UNKNOWN) | ~assets.confirmed)
            if name == "networking":
                ends.append(side_of(assets, networked, scope))
                published.append(networking_rate(assets, period, scope, SCOPES, BOUND))
            elif name == "digital":
                ends.append(
                    side_of(
                        assets,
                        np.where(digital, networked, AssetClass.EXCLUDED),
                        scope,
                        candidates=np.where(unsure, networked, AssetClass.EXCLUDED),
                    )
                )
                published.append(networking_rate_digital(assets, period, scope, SCOPES, BOUND))
            elif name == "cnc":
                ends.append(side_of(assets, classify_cnc(assets), scope))
                published.append(cnc_rate(assets, scope, SCOPES))
            else:
                ends.append(side_of(assets, classify_cnc(assets), scope, weight=assets.value))
                published.append(cnc_rate_value(assets, scope, SCOPES))
        change = account(*ends, SCOPES)
        for rows, rates in zip((change.before, change.after), published, strict=True):
            assert (rows[:, 0] == rates.numerator).all()
            assert (rows[:, 1] == rates.denominator).all()
            for scope_index in np.flatnonzero(rates.denominator > 0):
                row = rows[scope_index]
                assert row[2] / row[3] == rates.lower[scope_index]
                assert row[4] / row[5] == rates.upper[scope_index]


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40)),
        min_size=1,
        max_size=9,
    )
)
def test_mix_and_within_add_up(rows: list[tuple[int, int, int, int]]) -> None:
    shown_before, extra_before, shown_after, extra_after = (list(c) for c in zip(*rows, strict=True))
    size_before = [a + b for a, b in zip(shown_before, extra_before, strict=True)]
    size_after = [a + b for a, b in zip(shown_after, extra_after, strict=True)]
    got = mix_effect(shown_before, size_before, shown_after, size_after)
    if got is None:
        assert sum(size_before) == 0 or sum(size_after) == 0
    else:
        assert got.within + got.mix == got.change
