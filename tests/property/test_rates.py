"""Every way to settle what is not known lies within the bounds, and both bounds are attained."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.rates import (
    Assets,
    Control,
    ProcessControl,
    Processes,
    Rates,
    classify_cnc,
    classify_networked,
    cnc_rate,
    cnc_rate_value,
    key_process_cnc_rate,
    networking_rate,
    networking_rate_digital,
    networking_rate_value,
    networking_rates,
)
from metrics.record import DAY_S, local_day_start_s
from metrics.rollup import AssetPeriod, asset_period
from tests.metrics.records import DAY, all_days, bindings, device_day
from tests.property import reference

CLASS_NAMES = ("excluded", "shown", "unobserved", "declared", "shown-not")
PERIOD_TENTHS = DAY_S * 10
DIGITAL = (Control.CNC, Control.PLC, Control.ROBOT)


@st.composite
def registers(draw: st.DrawFn, most: int = 7) -> tuple[Assets, AssetPeriod, np.ndarray]:
    """A register, what its devices showed in a day, and a scope of three for each asset."""
    n = draw(st.integers(0, most))
    enterprises = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    confirmed = draw(st.lists(st.booleans(), min_size=3, max_size=3))
    control = draw(st.lists(st.sampled_from(list(Control)), min_size=n, max_size=n))
    register = Assets(
        in_scope=np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), np.bool_),
        enterprise=np.array(enterprises, np.int64),
        confirmed=np.array([confirmed[e] for e in enterprises], np.bool_),
        control=np.array([int(c) for c in control], np.int64),
        evidence=np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), np.int64),
        value=np.array(draw(st.lists(st.integers(-1, 10**12), min_size=n, max_size=n)), np.int64),
    )
    days, bound = [], []
    for i in range(n):
        if draw(st.booleans()):
            observed = draw(st.integers(0, PERIOD_TENTHS))
            connected = draw(st.one_of(st.just(0), st.integers(0, observed)))
            days.append(device_day(i, observed=observed, connected=connected))
            bound.append((i, i))
    period = asset_period(all_days(*days), bindings(*bound), n, DAY, DAY + 1, local_day_start_s(DAY + 1))
    return register, period, np.array(draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n)), np.int64)


def assert_finite(rates: Rates) -> None:
    """No value exactly where there is no denominator; never infinite, never out of [0, 1] or order."""
    for name in ("value", "lower", "upper", "mean", "mean_lower", "mean_upper"):
        column = getattr(rates, name)
        assert (np.isnan(column) == (rates.denominator == 0)).all(), name
        known = column[~np.isnan(column)]
        assert ((known >= 0) & (known <= 1)).all(), name
    some = rates.denominator > 0
    assert (rates.lower[some] <= rates.value[some]).all()
    assert (rates.value[some] <= rates.upper[some]).all()
    assert (rates.mean_lower[some] <= rates.mean[some] + 1e-12).all()
    assert (rates.mean[some] <= rates.mean_upper[some] + 1e-12).all()
    for name in ("coverage", "time_weighted", "time_weighted_lower", "time_weighted_upper"):
        known = getattr(rates, name)[~np.isnan(getattr(rates, name))]
        assert ((known >= 0) & (known <= 1)).all(), name


@given(registers())
@settings(max_examples=150, deadline=None)
def test_value_and_bounds_equal_the_slow_reference(case: tuple[Assets, AssetPeriod, np.ndarray]) -> None:
    register, period, scope = case
    for rates, classes in (
        (networking_rate(register, period, scope, 3, PERIOD_TENTHS), classify_networked(register, period)),
        (cnc_rate(register, scope, 3), classify_cnc(register)),
    ):
        assert_finite(rates)
        for s in range(3):
            names = [CLASS_NAMES[k] for k in classes[scope == s]]
            expected = reference.bounds(names)
            got = rates.at(s)
            assert (got.value, got.lower, got.upper) == (
                (None, None, None) if expected is None else tuple(float(f) for f in expected)
            )
            assert got.denominator == len([n for n in names if n != "excluded"])
            assert got.shown + got.unobserved + got.declared_unconnected + got.shown_not == got.denominator
            assert sum(got.by_evidence) == got.shown == got.numerator


@given(registers(most=6), st.sampled_from([1000, 900, 500]))
@settings(max_examples=120, deadline=None)
def test_the_bounds_are_the_ends_of_all_completions(
    case: tuple[Assets, AssetPeriod, np.ndarray], watched_permille: int
) -> None:
    """What was watched for less than q, or is of an unconfirmed register, may be either; all else stays as it is."""
    register, period, _ = case
    n = len(register)
    got = networking_rate(register, period, np.zeros(n, np.int64), 1, PERIOD_TENTHS, watched_permille).at(0)
    counted = [i for i in range(n) if register.in_scope[i]]
    choices = []
    for i in counted:
        bound, observed = int(period.bound[i]), int(period.observed[i])
        unwatched = bound > 0 and Fraction(observed, bound) < Fraction(watched_permille, 1000)
        if period.shown[i]:
            choices.append((True,))
        else:
            choices.append((True, False) if unwatched or not register.confirmed[i] else (False,))  # type: ignore[arg-type]
    if not counted:
        assert got.value is None
        return
    pooled, means = [], []
    for completion in product(*choices):
        each: dict[int, list[bool]] = {}
        for i, connected in zip(counted, completion, strict=True):
            each.setdefault(int(register.enterprise[i]), []).append(connected)
        pooled.append(Fraction(sum(completion), len(completion)))
        means.append(sum((Fraction(sum(x), len(x)) for x in each.values()), Fraction(0)) / len(each))
    assert (got.lower, got.upper) == (float(min(pooled)), float(max(pooled)))
    assert (got.mean_lower, got.mean_upper) == (pytest.approx(float(min(means))), pytest.approx(float(max(means))))


@given(registers(most=5))
@settings(max_examples=100, deadline=None)
def test_every_completion_of_form_b_lies_within_its_bounds(case: tuple[Assets, AssetPeriod, np.ndarray]) -> None:
    register, period, _ = case
    n = len(register)
    got = networking_rate_digital(register, period, np.zeros(n, np.int64), 1, PERIOD_TENTHS).at(0)
    networked = classify_networked(register, period)
    choices = []
    for i in range(n):
        connected = {1: (True,), 2: (True, False)}.get(int(networked[i]), (False,))
        if not register.in_scope[i]:
            digital: tuple[bool, ...] = (False,)
        elif register.control[i] in DIGITAL:
            digital = (True,)
        else:
            digital = (True, False) if register.control[i] == 0 or not register.confirmed[i] else (False,)
        choices.append([(d, c) for d in digital for c in connected])
    possible, pooled_of_enterprises = [], []
    for completion in product(*choices):
        counted = [(int(register.enterprise[i]), c) for i, (d, c) in enumerate(completion) if d]
        if counted:
            possible.append(Fraction(sum(c for _, c in counted), len(counted)))
            per_enterprise = [[c for e, c in counted if e == k] for k in range(3)]
            shares = [Fraction(sum(x), len(x)) for x in per_enterprise if x]
            pooled_of_enterprises.append(sum(shares, Fraction(0)) / len(shares))
    if got.value is None:
        return
    assert (got.lower, got.upper) == (float(min(possible)), float(max(possible)))
    assert got.mean_lower is not None
    assert got.mean_upper is not None
    assert got.mean_lower <= float(min(pooled_of_enterprises)) + 1e-12
    assert got.mean_upper >= float(max(pooled_of_enterprises)) - 1e-12


@given(registers(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_assets_does_not_show(case: tuple[Assets, AssetPeriod, np.ndarray], random: object) -> None:
    register, period, scope = case
    order = np.random.default_rng(random.randint(0, 2**32)).permutation(len(register))  # type: ignore[attr-defined]
    moved, moved_period = register.take(order), period.take(order)
    pairs = (
        (
            networking_rate(register, period, scope, 3, PERIOD_TENTHS),
            networking_rate(moved, moved_period, scope[order], 3, PERIOD_TENTHS),
        ),
        (cnc_rate_value(register, scope, 3), cnc_rate_value(moved, scope[order], 3)),
    )
    for given_order, other_order in pairs:
        for name in Rates.__slots__:
            assert getattr(given_order, name).tobytes() == getattr(other_order, name).tobytes(), name


@given(registers(), st.lists(st.integers(-1, 1), min_size=3, max_size=3))
@settings(max_examples=100, deadline=None)
def test_several_kinds_of_scopes_at_once_give_the_same_bits_as_one_by_one(
    case: tuple[Assets, AssetPeriod, np.ndarray], scope_of_enterprise: list[int]
) -> None:
    register, period, across = case  # scopes that cut through enterprises, between two kinds that do not
    of_enterprise = np.array(scope_of_enterprise)[register.enterprise]
    kinds = [(of_enterprise, 2), (across, 3), (register.enterprise, 3), (across, 3)]
    for (scope, n_scopes), got in zip(kinds, networking_rates(register, period, kinds, PERIOD_TENTHS), strict=True):
        alone = networking_rate(register, period, scope, n_scopes, PERIOD_TENTHS)
        for name in Rates.__slots__:
            assert getattr(got, name).tobytes() == getattr(alone, name).tobytes(), name


@given(registers())
@settings(max_examples=100, deadline=None)
def test_the_value_weighted_rate_is_finite_and_in_order(case: tuple[Assets, AssetPeriod, np.ndarray]) -> None:
    register, _, scope = case
    rates = cnc_rate_value(register, scope, 3)
    known = ~np.isnan(rates.value)
    assert (known == (rates.denominator > 0)).all()
    assert (rates.lower[known] <= rates.value[known]).all()
    assert (rates.value[known] <= rates.upper[known]).all()


VALUES = (1, 3, 10**6)  # what an unknown value may be; the bounds hold for any above 0


@given(registers(most=4))
@settings(max_examples=80, deadline=None)
def test_every_completion_by_value_lies_within_its_bounds(case: tuple[Assets, AssetPeriod, np.ndarray]) -> None:
    register, period, _ = case
    n = len(register)
    everywhere = np.zeros(n, np.int64)
    for rates, classes in (
        (cnc_rate_value(register, everywhere, 1), classify_cnc(register)),
        (networking_rate_value(register, period, everywhere, 1), classify_networked(register, period)),
    ):
        got = rates.at(0)
        if got.value is None:
            continue
        assert got.lower is not None
        assert got.upper is not None
        assert got.mean_lower is not None
        assert got.mean_upper is not None
        counted = [i for i in range(n) if classes[i]]
        choices = [
            [
                (value, shown)
                for value in ((int(register.value[i]),) if register.value[i] >= 0 else VALUES)
                for shown in {1: (True,), 2: (True, False)}.get(int(classes[i]), (False,))
            ]
            for i in counted
        ]
        for completion in product(*choices):
            each: dict[int, list[tuple[int, bool]]] = {}
            for i, (value, shown) in zip(counted, completion, strict=True):
                each.setdefault(int(register.enterprise[i]), []).append((value, shown))
            rate = share([x for rows in each.values() for x in rows])
            assert rate is None or got.lower - 1e-12 <= rate <= got.upper + 1e-12
            shares = [s for s in map(share, each.values()) if s is not None]
            assert got.mean_lower - 1e-12 <= sum(shares) / len(shares) <= got.mean_upper + 1e-12


def share(rows: list[tuple[int, bool]]) -> float | None:
    """Value shown over value, exact before the one division; None where there is none."""
    whole = sum(value for value, _ in rows)
    return sum(value for value, shown in rows if shown) / whole if whole else None


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(list(ProcessControl)), st.booleans()), max_size=6),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
@settings(max_examples=100, deadline=None)
def test_every_completion_of_the_key_processes_lies_within_bounds_that_are_attained(
    rows: list[tuple[int, ProcessControl, bool]], confirmed: list[bool]
) -> None:
    columns = np.array([(e, k, c) for e, c, k in rows], np.int64).reshape(-1, 3).T
    processes = Processes(columns[0], columns[1].astype(np.bool_), columns[2])
    listed = [any(e == i for e, _, _ in rows) for i in range(3)]
    got = key_process_cnc_rate(processes, np.array(listed), np.array(confirmed), np.zeros(3, np.int64), 1).at(0)
    each: list[list[Fraction | None]] = []
    for i in range(3):
        mine = [c for e, c, k in rows if e == i and k]
        if not listed[i]:
            each.append([None, Fraction(0), Fraction(1, 3), Fraction(1)])
        elif not mine:
            each.append([None])
        else:
            sure = mine.count(ProcessControl.CONTROLLED)
            open_ = mine.count(ProcessControl.UNKNOWN) if confirmed[i] else len(mine) - sure
            each.append([Fraction(sure + k, len(mine)) for k in range(open_ + 1)])
    if not any(listed[i] and any(e == i and k for e, _, k in rows) for i in range(3)):
        assert got.value is None
        return
    means = []
    for completion in product(*each):
        known = [x for x in completion if x is not None]
        means.append(sum(known, Fraction(0)) / len(known))
    assert (got.lower, got.upper) == (pytest.approx(float(min(means))), pytest.approx(float(max(means))))
