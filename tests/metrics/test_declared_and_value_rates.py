"""Evidence classes, declared against evidenced, assets that come and go, value weights and key processes, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.rates import (
    Control,
    ProcessControl,
    Processes,
    cnc_rate_value,
    declared_rate,
    gaps,
    key_process_cnc_rate,
    networking_rate,
    networking_rate_digital,
    networking_rate_value,
)
from metrics.record import local_day_start_s
from metrics.rollup import NO_END, AssetPeriod, asset_period, present_tenths
from tests.metrics.records import DAY, DAY_TENTHS, all_days, assets, bindings, device_day

UNKNOWN, YES, NO = ProcessControl.UNKNOWN, ProcessControl.CONTROLLED, ProcessControl.NOT_CONTROLLED
PROVEN = {"observed": DAY_TENTHS, "connected": DAY_TENTHS // 2}
WATCHED = {"observed": DAY_TENTHS}


def day_of(n_assets: int, *devices: dict[str, int]) -> AssetPeriod:
    states = all_days(*(device_day(i, **columns) for i, columns in enumerate(devices)))
    bound = bindings(*((i, i) for i in range(len(devices))))
    return asset_period(states, bound, n_assets, DAY, DAY + 1, local_day_start_s(DAY + 1))


def everywhere(n: int) -> np.ndarray:
    return np.zeros(n, np.int64)


def test_rates_by_evidence_class_add_up_to_the_rate() -> None:
    register = assets([0] * 5, evidence=[0, 1, 1, 2, 3])
    rates = networking_rate(register, day_of(5, PROVEN, PROVEN, PROVEN, PROVEN), everywhere(5), 2, DAY_TENTHS)
    assert rates.evidence_rates()[0].tolist() == [0.2, 0.4, 0.2, 0.0]
    assert rates.evidence_rates()[0].sum() == pytest.approx(rates.value[0])
    assert np.isnan(rates.evidence_rates()[1]).all()


def test_declared_evidenced_and_time_weighted_stand_side_by_side() -> None:
    """Ten machines: eight claimed, one without a word; four shown for half the day, one that nobody watched."""
    register = assets([0] * 10)
    claimed = np.array([1] * 8 + [0, -1])
    declared = declared_rate(register, claimed, everywhere(10), 1)
    assert (declared.value[0], declared.lower[0], declared.upper[0], declared.coverage[0]) == (0.8, 0.8, 0.9, 0.9)
    evidenced = networking_rate(register, day_of(10, *[PROVEN] * 4, {"observed": 0}), everywhere(10), 1, DAY_TENTHS)
    got = gaps(declared, evidenced)
    assert (got.declared[0], got.evidenced[0], got.time_weighted[0]) == (0.8, 0.4, 0.2)
    assert got.declared_less_evidenced[0] == pytest.approx(0.4)
    assert got.unexplained[0] == pytest.approx(0.3)  # the unwatched one may be connected
    assert got.evidenced_less_time_weighted[0] == pytest.approx(0.2)


def test_assets_weigh_the_time_that_they_were_in_the_register() -> None:
    """Two days. One asset there and connected throughout; one entered on the second day and was connected then; one
    left after the first, on which it was not connected: 3 of 4 asset-days. The count is of the last day."""
    n_days = 2
    states = all_days(
        device_day(0, observed=DAY_TENTHS, connected=DAY_TENTHS),
        device_day(0, day=DAY + 1, observed=DAY_TENTHS, connected=DAY_TENTHS),
        device_day(1, day=DAY + 1, observed=DAY_TENTHS, connected=DAY_TENTHS),
        device_day(2, observed=DAY_TENTHS),
    )
    bound = bindings((0, 0), (1, 1, 0, DAY + 1, NO_END), (2, 2, 0, 0, DAY + 1))
    now_s = local_day_start_s(DAY + n_days)
    period = asset_period(states, bound, 3, DAY, DAY + n_days, now_s)
    register = assets([0] * 3, in_scope=[True, True, False], control=Control.CNC)
    present = present_tenths(np.array([0, DAY + 1, 0]), np.array([NO_END, NO_END, DAY + 1]), DAY, DAY + n_days, now_s)
    for rate in (networking_rate, networking_rate_digital):
        got = rate(register, period, everywhere(3), 1, n_days * DAY_TENTHS, present=present).at(0)
        assert (got.value, got.denominator) == (1.0, 2)
        assert (got.time_weighted, got.time_weighted_lower, got.time_weighted_upper) == (0.75, 0.75, 0.75)


def test_networking_by_original_value() -> None:
    """Shown 300 of 300 + 100 + 100 whose last nobody watched."""
    register = assets([0] * 3, value=[300, 100, 100])
    got = networking_rate_value(register, day_of(3, PROVEN, WATCHED, {"observed": 0}), everywhere(3), 1).at(0)
    assert (got.numerator, got.denominator, got.value, got.lower, got.upper) == (300, 500, 0.6, 0.6, 0.8)
    assert got.coverage == pytest.approx(2 / 3)
    assert (got.shown, got.unobserved, got.shown_not) == (1, 1, 1)
    assert got.time_weighted is None


def test_an_unknown_value_pulls_only_its_own_enterprise_in_the_mean() -> None:
    """Enterprise 0: 100 numerical of 200. Enterprise 1: 50 of 50, and a manual machine of unknown value: 0 to 1."""
    register = assets([0, 0, 1, 1], control=[Control.CNC, Control.MANUAL] * 2, value=[100, 100, 50, -1])
    got = cnc_rate_value(register, everywhere(4), 1).at(0)
    assert (got.value, got.lower, got.upper) == (0.6, 0.0, 0.6)
    assert (got.mean_of_enterprises, got.mean_lower, got.mean_upper) == (0.75, 0.25, 0.75)


def test_an_enterprise_of_which_only_the_kind_is_known_has_the_rate_of_its_kind() -> None:
    """All its machines are numerical, at whatever value: its rate is 1, and the mean lies at 0.5 or at 0.75."""
    register = assets([0, 0, 1], control=[Control.CNC, Control.MANUAL, Control.CNC], value=[100, 100, -1])
    got = cnc_rate_value(register, everywhere(3), 1).at(0)
    assert (got.mean_of_enterprises, got.mean_lower, got.mean_upper) == (0.5, 0.75, 0.75)


def processes(*rows: tuple[int, ProcessControl]) -> Processes:
    owner, control = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    return Processes(owner, np.ones(len(rows), np.bool_), control)


def test_key_processes_are_averaged_over_enterprises() -> None:
    """Shares 3/4, 1/2 and 0/1: the mean is 5/12, not 4/7 of all processes together."""
    rows = [(0, YES)] * 3 + [(0, NO), (1, YES), (1, NO), (2, NO)]
    all_three = np.ones(3, np.bool_)
    got = key_process_cnc_rate(processes(*rows), all_three, all_three, everywhere(3), 1).at(0)
    assert got.value == got.lower == got.upper == got.mean_of_enterprises == pytest.approx(5 / 12)
    assert (got.numerator, got.denominator, got.enterprises, got.coverage) == (4, 7, 3, 1.0)


def test_an_unknown_process_and_an_enterprise_without_a_list_widen_the_bounds() -> None:
    """One enterprise at 1/2 or, if the unknown one is controlled, 1; a second that gave no list: anything."""
    listed = np.array([True, False])
    got = key_process_cnc_rate(processes((0, YES), (0, UNKNOWN)), listed, listed, everywhere(2), 1).at(0)
    assert (got.value, got.lower, got.upper, got.coverage) == (0.5, 0.25, 1.0, 0.5)
    assert (got.shown, got.unobserved) == (1, 1)


def test_what_a_list_not_confirmed_calls_uncontrolled_is_open() -> None:
    listed, confirmed = np.array([True]), np.array([False])
    got = key_process_cnc_rate(processes((0, YES), (0, NO)), listed, confirmed, everywhere(1), 1).at(0)
    assert (got.value, got.lower, got.upper) == (0.5, 0.5, 1.0)


def test_a_list_without_key_processes_is_not_counted_and_no_list_at_all_is_no_value() -> None:
    none_is_key = Processes(np.array([0]), np.zeros(1, np.bool_), np.array([YES]))
    listed = np.array([True, False])
    got = key_process_cnc_rate(none_is_key, listed, listed, np.array([0, 1]), 2)
    for scope in range(2):
        at = got.at(scope)
        assert (at.value, at.lower, at.upper, at.coverage, at.denominator) == (None, None, None, None, 0)


def test_an_enterprise_of_manual_machines_of_unknown_value_pulls_the_mean_down() -> None:
    """Its rate is 0 at whatever value, so the mean lies at 0.25; the value leaves it out."""
    register = assets([0, 0, 1], control=[Control.CNC, Control.MANUAL, Control.MANUAL], value=[100, 100, -1])
    got = cnc_rate_value(register, everywhere(3), 1).at(0)
    assert (got.mean_of_enterprises, got.mean_lower, got.mean_upper) == (0.5, 0.25, 0.25)


def test_only_a_confirmed_register_vouches_for_what_has_no_device() -> None:
    """One machine watched all day and one without a device: covered if the register is confirmed, half if not."""
    for confirmed, coverage in ((True, 1.0), (False, 0.5)):
        register = assets([0, 0], confirmed=confirmed)
        assert networking_rate(register, day_of(2, WATCHED), everywhere(2), 1, DAY_TENTHS).at(0).coverage == coverage
