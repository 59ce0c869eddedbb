"""Rates, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.rates import (
    AssetClass,
    Control,
    Rates,
    classify_cnc,
    classify_networked,
    cnc_rate,
    cnc_rate_value,
    networking_rate,
    networking_rate_digital,
)
from metrics.record import local_day_start_s
from metrics.rollup import AssetPeriod, asset_period
from tests.metrics.records import DAY, DAY_TENTHS, all_days, assets, bindings, device_day

ALL = 1


def everywhere(n: int) -> np.ndarray:
    return np.zeros(n, np.int64)


def day_of(n_assets: int, *devices: dict[str, int]) -> AssetPeriod:
    """Asset i is bound to device i; the devices' day is given, the other assets are bound to nothing."""
    states = all_days(*(device_day(i, **columns) for i, columns in enumerate(devices)))
    bound = bindings(*((i, i) for i in range(len(devices))))
    return asset_period(states, bound, n_assets, DAY, DAY + 1, local_day_start_s(DAY + 1))


WATCHED = {"observed": DAY_TENTHS}
PROVEN = {"observed": DAY_TENTHS, "connected": DAY_TENTHS // 2}
UNWATCHED = {"observed": DAY_TENTHS * 9 // 10 - 1}


def test_each_asset_falls_in_one_class() -> None:
    register = assets([0] * 6, confirmed=[True, True, True, True, True, False])
    period = day_of(6, PROVEN, WATCHED, UNWATCHED, {"observed": DAY_TENTHS * 9 // 10})
    assert classify_networked(register, period).tolist() == [
        AssetClass.SHOWN,
        AssetClass.SHOWN_NOT,
        AssetClass.UNOBSERVED,
        AssetClass.SHOWN_NOT,  # exactly q of the time is enough
        AssetClass.DECLARED_UNCONNECTED,
        AssetClass.UNOBSERVED,  # not in a confirmed register
    ]


def test_a_proof_counts_however_short_the_watch_and_whatever_the_register() -> None:
    period = day_of(1, {"observed": 600, "connected": 1})
    assert classify_networked(assets([0], confirmed=False), period).tolist() == [AssetClass.SHOWN]


def test_value_bounds_and_counts() -> None:
    period = day_of(5, PROVEN, PROVEN, UNWATCHED, WATCHED)
    got = networking_rate(assets([0] * 5), period, everywhere(5), ALL, DAY_TENTHS).at(0)
    assert (got.numerator, got.denominator) == (2, 5)
    assert (got.value, got.lower, got.upper) == (0.4, 0.4, 0.6)
    assert (got.shown, got.unobserved, got.declared_unconnected, got.shown_not) == (2, 1, 1, 1)
    watched = 3 * DAY_TENTHS + (DAY_TENTHS * 9 // 10 - 1) + DAY_TENTHS  # the fifth by its register's word
    assert got.coverage == watched / (5 * DAY_TENTHS)


def test_time_weighted_rate_counts_proven_time_and_bounds_what_nobody_watched() -> None:
    period = day_of(4, PROVEN, {"observed": DAY_TENTHS // 4, "connected": DAY_TENTHS // 4}, WATCHED)
    got = networking_rate(assets([0] * 4), period, everywhere(4), ALL, DAY_TENTHS).at(0)
    assert got.time_weighted == got.time_weighted_lower == (0.5 + 0.25) / 4
    assert got.time_weighted_upper == (0.5 + 1.0) / 4


def test_no_asset_means_no_value_never_zero() -> None:
    got = networking_rate(assets([]), day_of(0), everywhere(0), 2, DAY_TENTHS).at(1)
    assert (got.value, got.lower, got.upper, got.coverage, got.mean_of_enterprises, got.time_weighted) == (None,) * 6
    assert (got.numerator, got.denominator, got.enterprises) == (0, 0, 0)


def test_assets_out_of_scope_are_in_no_figure() -> None:
    register = assets([0, 0], in_scope=[True, False])
    got = networking_rate(register, day_of(2, WATCHED, PROVEN), everywhere(2), ALL, DAY_TENTHS).at(0)
    assert (got.numerator, got.denominator, got.value) == (0, 1, 0.0)


def test_forms_a_and_b_of_the_questionnaire_differ() -> None:
    """100 machines, 72 digital, 54 networked, all of them digital: A = 54 %, B = 75 %; 72 % CNC."""
    register = assets([0] * 100, control=[Control.CNC] * 72 + [Control.MANUAL] * 28)
    period = day_of(100, *[PROVEN] * 54)
    a = networking_rate(register, period, everywhere(100), ALL, DAY_TENTHS).at(0)
    b = networking_rate_digital(register, period, everywhere(100), ALL, DAY_TENTHS).at(0)
    assert (a.value, b.value) == (0.54, 0.75)
    assert (b.numerator, b.denominator) == (54, 72)
    assert cnc_rate(register, everywhere(100), ALL).at(0).value == 0.72


def test_the_pooled_rate_and_the_mean_of_enterprise_rates_differ() -> None:
    register = assets([0, 0, 0, 0, 0, 0, 0, 0, 1, 1])
    period = day_of(10, *[PROVEN] * 8, UNWATCHED, WATCHED)
    got = networking_rate(register, period, everywhere(10), ALL, DAY_TENTHS).at(0)
    assert (got.value, got.mean_of_enterprises, got.enterprises) == (0.8, 0.5, 2)
    assert (got.mean_lower, got.mean_upper) == (0.5, 0.75)


def test_scopes_split_the_county_and_add_up_to_it() -> None:
    register = assets([0, 0, 1, 2])
    period = day_of(4, PROVEN, WATCHED, PROVEN)
    county = networking_rate(register, period, everywhere(4), ALL, DAY_TENTHS)
    zones = networking_rate(register, period, np.array([0, 0, 1, -1]), 3, DAY_TENTHS)
    assert zones.numerator.tolist() == [1, 1, 0]
    assert zones.denominator.tolist() == [2, 1, 0]
    assert county.denominator.tolist() == [4]
    assert zones.at(2).value is None


def test_assets_shown_divide_by_evidence_class() -> None:
    register = assets([0] * 4, evidence=[0, 2, 2, 1])
    got = networking_rate(register, day_of(4, PROVEN, PROVEN, PROVEN, WATCHED), everywhere(4), ALL, DAY_TENTHS).at(0)
    assert got.by_evidence == (1, 0, 2, 0)


def test_control_types_decide_the_cnc_rate() -> None:
    register = assets(
        [0, 0, 0, 0, 0, 0, 1],
        control=[
            Control.CNC,
            Control.PLC,
            Control.ROBOT,
            Control.MANUAL,
            Control.NONE,
            Control.UNKNOWN,
            Control.MANUAL,
        ],
        confirmed=[True] * 6 + [False],
    )
    assert (
        classify_cnc(register).tolist()
        == [AssetClass.SHOWN] * 3 + [AssetClass.SHOWN_NOT] * 2 + [AssetClass.UNOBSERVED] * 2
    )
    got = cnc_rate(register, everywhere(7), ALL).at(0)
    assert (got.value, got.lower, got.upper) == (3 / 7, 3 / 7, 5 / 7)
    assert got.coverage == 5 / 7
    assert got.time_weighted is None


def test_an_unknown_control_widens_form_b_to_both_sides() -> None:
    control = [Control.CNC, Control.CNC, Control.UNKNOWN, Control.UNKNOWN]
    period = day_of(4, PROVEN, WATCHED, PROVEN, WATCHED)
    got = networking_rate_digital(assets([0] * 4, control=control), period, everywhere(4), ALL, DAY_TENTHS).at(0)
    assert (got.value, got.lower, got.upper) == (1 / 2, 1 / 3, 2 / 3)


def test_the_value_weighted_rate_weighs_original_value() -> None:
    register = assets([0, 0, 1], control=[Control.CNC, Control.MANUAL, Control.CNC], value=[300, 100, 600])
    got = cnc_rate_value(register, everywhere(3), ALL).at(0)
    assert (got.value, got.numerator, got.denominator) == (0.9, 900, 1000)
    assert got.mean_of_enterprises == (0.75 + 1.0) / 2
    assert (got.lower, got.upper) == (0.9, 0.9)


@pytest.mark.parametrize(
    ("control", "bounds"), [(Control.CNC, (0.75, 1.0)), (Control.MANUAL, (0.0, 0.75)), (Control.UNKNOWN, (0.0, 1.0))]
)
def test_an_unknown_value_may_weigh_anything(control: Control, bounds: tuple[float, float]) -> None:
    register = assets([0, 0, 0], control=[Control.CNC, Control.MANUAL, control], value=[300, 100, -1])
    got = cnc_rate_value(register, everywhere(3), ALL).at(0)
    assert got.value == 0.75
    assert (got.lower, got.upper) == bounds


def test_the_share_q_is_a_parameter() -> None:
    period = day_of(1, {"observed": DAY_TENTHS // 2})
    classes = [classify_networked(assets([0]), period, q).tolist()[0] for q in (400, 500, 501)]
    assert classes == [AssetClass.SHOWN_NOT, AssetClass.SHOWN_NOT, AssetClass.UNOBSERVED]


def test_rates_know_their_number_of_scopes() -> None:
    got: Rates = cnc_rate(assets([0]), everywhere(1), 4)
    assert len(got) == 4
