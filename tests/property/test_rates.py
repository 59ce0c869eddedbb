"""Every way to settle what is not known lies within the bounds, and both bounds are attained."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.rates import (
    Assets,
    Control,
    Rates,
    classify_cnc,
    classify_networked,
    cnc_rate,
    cnc_rate_value,
    networking_rate,
    networking_rate_digital,
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
    moved = Assets(**{name: getattr(register, name)[order] for name in Assets.__slots__})
    moved_period = AssetPeriod(**{name: getattr(period, name)[order] for name in AssetPeriod.__slots__})
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


@given(registers())
@settings(max_examples=100, deadline=None)
def test_the_value_weighted_rate_is_finite_and_in_order(case: tuple[Assets, AssetPeriod, np.ndarray]) -> None:
    register, _, scope = case
    rates = cnc_rate_value(register, scope, 3)
    known = ~np.isnan(rates.value)
    assert (known == (rates.denominator > 0)).all()
    assert (rates.lower[known] <= rates.value[known]).all()
    assert (rates.value[known] <= rates.upper[known]).all()
