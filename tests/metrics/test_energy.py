"""Meter trees, standard coal and intensity, worked by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from metrics.energy import (
    NO_BOUND,
    UNKNOWN_RATE,
    Amount,
    Coefficient,
    MeterRole,
    Meters,
    add_amounts,
    coefficient,
    counted,
    fill_gaps,
    intensity,
    intensity_change,
    plant_energy,
    standard_coal,
    total,
)
from metrics.rollup import MeterPeriod
from metrics.scopes import OverlapError, Scopes

DAY_S = 86_400
IMPORT, EXPORT, GENERATION, SUB = MeterRole.IMPORT, MeterRole.EXPORT, MeterRole.GENERATION, MeterRole.SUB


def meters(*rows: tuple[MeterRole, int] | tuple[MeterRole, int, int], plant: Sequence[int] | None = None) -> Meters:
    """Rows of (role, parent, rated maximum in 0.001 unit per hour)."""
    full = [(*row, UNKNOWN_RATE)[:3] for row in rows]
    role, parent, rated = (np.array(column, np.int64) for column in zip(*full, strict=True))
    return Meters(role, np.asarray(plant or [0] * len(full), np.int64), parent, rated)


def metered(quantity: Sequence[int], span_s: Sequence[int] | int = DAY_S, estimated: int = 0) -> MeterPeriod:
    """One bound day of meters that counted `quantity`, 0.001 of the unit."""
    n = len(quantity)
    zeros = np.zeros(n, np.int64)
    return MeterPeriod(
        bound_s=np.full(n, DAY_S),
        span_s=np.broadcast_to(np.asarray(span_s, np.int64), (n,)).copy(),
        quantity=np.asarray(quantity, np.int64),
        quantity_idle=zeros,
        quantity_estimated=np.full(n, estimated),
        observed=zeros,
        connected=zeros,
        first_connected_s=zeros - 1,
        last_connected_s=zeros - 1,
        flags=zeros,
    )


def test_a_plants_energy_is_import_and_generation_less_export() -> None:
    tree = meters((IMPORT, -1), (GENERATION, 0), (EXPORT, -1), (SUB, 0), (SUB, 3), (SUB, -1))
    assert counted(tree).tolist() == [1, 1, -1, 0, 0, 0]
    got = plant_energy(tree, metered([1000, 300, 200, 400, 150, 250]), 1)
    assert got.metered.tolist() == [1100]
    assert got.sub_metered.tolist() == [650]  # the sub-sub-meter is in its own main
    assert got.unallocated.tolist() == [450]
    assert (got.lower.tolist(), got.upper.tolist()) == ([1100], [1100])


def test_an_import_meter_behind_another_is_not_added_again() -> None:
    assert counted(meters((IMPORT, -1), (IMPORT, 0), (IMPORT, -1))).tolist() == [1, 0, 1]


def test_without_a_main_meter_sub_meters_show_a_lower_bound_only() -> None:
    tree = meters((SUB, -1), (SUB, 0), (SUB, -1))
    got = plant_energy(tree, metered([500, 200, 40]), 1)
    assert (got.metered.tolist(), got.lower.tolist(), got.upper.tolist()) == ([540], [540], [NO_BOUND])
    assert (got.has_main.tolist(), got.unallocated.tolist()) == ([False], [0])


def test_time_not_metered_is_bounded_by_the_rated_maximum() -> None:
    """60 kW for the six hours not metered is 360 kWh; exported power of 10 kW could have taken 60 away."""
    tree = meters((IMPORT, -1, 60_000), (EXPORT, -1, 10_000))
    got = plant_energy(tree, metered([900_000, 100_000], span_s=DAY_S - 6 * 3600), 1)
    assert got.metered.tolist() == [800_000]
    assert (got.lower.tolist(), got.upper.tolist()) == ([740_000], [1_160_000])
    assert total(got, np.zeros(1, np.int64), 1) == [Amount(800.0, 740.0, 1160.0, 0.75)]


def test_without_a_rated_maximum_there_is_no_upper_bound() -> None:
    got = plant_energy(meters((IMPORT, -1)), metered([900], span_s=DAY_S - 1), 1)
    assert (got.lower.tolist(), got.upper.tolist()) == ([900], [NO_BOUND])
    assert total(got, np.zeros(1, np.int64), 1)[0].upper is None


def test_plants_add_up_to_scopes_and_a_plant_without_meter_has_no_value() -> None:
    tree = meters((IMPORT, -1), (IMPORT, -1), plant=[0, 1])
    got = plant_energy(tree, metered([1500, 2500]), 3)
    assert total(got, np.array([0, 0, 1]), 2) == [Amount(4.0, 4.0, 4.0, 1.0), Amount(None, None, None, None)]


def test_a_meter_tree_with_a_loop_is_refused() -> None:
    with pytest.raises(ValueError, match="contained in itself"):
        counted(meters((SUB, 1), (SUB, 0)))


def test_a_meter_under_a_meter_of_another_plant_is_refused() -> None:
    with pytest.raises(ValueError, match="another plant"):
        counted(meters((IMPORT, -1), (SUB, 0), plant=[0, 1]))


COAL = [
    Coefficient("electricity", "kWh", "calorific", 122_900, 0, "GB/T 2589-2020 A.2"),
    Coefficient("electricity", "kWh", "equivalent", 300_000, 0, "typed in"),
    Coefficient("electricity", "kWh", "equivalent", 298_000, 100, "typed in"),
]


def test_one_gigawatt_hour_is_122_9_tce_calorific() -> None:
    gwh = Amount(1e6, 1e6, None, 0.5)
    assert standard_coal(gwh, coefficient(COAL, "electricity", "calorific", 5)) == Amount(122.9, 122.9, None, 0.5)
    assert standard_coal(gwh, coefficient(COAL, "electricity", "equivalent", 5)).value == 300.0


def test_the_coefficient_in_force_is_the_latest_that_has_begun() -> None:
    days = [coefficient(COAL, "electricity", "equivalent", day).micro_kgce for day in (99, 100, 101)]
    assert days == [300_000, 298_000, 298_000]
    with pytest.raises(LookupError, match="steam"):
        coefficient(COAL, "steam", "calorific", 5)


def test_amounts_add_up_and_a_missing_bound_stays_missing() -> None:
    parts = [Amount(1.0, 0.5, 2.0, 0.9), Amount(2.0, 2.0, None, 0.6), Amount(None, None, None, None)]
    assert add_amounts(parts) == Amount(3.0, 2.5, None, 0.6)
    assert add_amounts([]) == Amount(None, None, None, None)
    assert add_amounts([Amount(0.1, 0.1, 0.1, 1.0)] * 10).value == 1.0


def test_intensity_needs_a_positive_denominator() -> None:
    assert intensity(Amount(125.0, 100.0, None, 0.5), 1000.0) == Amount(0.125, 0.1, None, 0.5)
    for nothing in (None, 0.0, -1.0):
        assert intensity(Amount(1.0, 1.0, 1.0, 1.0), nothing).value is None


def test_the_yearly_change_is_a_quotient_of_growths() -> None:
    """Energy −7.4 %, value added +6.6 %: −13.1 %, not −14.0."""
    assert intensity_change(-0.074, 0.066) == pytest.approx(-0.1313, abs=5e-5)
    assert intensity_change(None, 0.1) is intensity_change(0.1, -1.0) is None


def test_gaps_are_filled_by_the_meters_own_rate_and_marked() -> None:
    """900 kWh in 18 of 24 hours is 50 kW: 300 kWh more. The exported 100 become 133.333."""
    tree = meters((IMPORT, -1), (EXPORT, -1))
    got = fill_gaps(tree, metered([900_000, 100_000], span_s=DAY_S - 6 * 3600), 1)
    assert (got.value.tolist(), got.filled.tolist(), got.known.tolist()) == ([1_066_667], [333_333], [True])


def test_a_filled_gap_stays_below_what_the_meter_can_count() -> None:
    got = fill_gaps(meters((IMPORT, -1, 40_000)), metered([900_000], span_s=DAY_S - 6 * 3600), 1)
    assert (got.value.tolist(), got.filled.tolist()) == ([1_140_000], [240_000])


def test_where_less_than_half_was_metered_nothing_is_guessed() -> None:
    tree = meters((IMPORT, -1), (IMPORT, -1), plant=[0, 1])
    got = fill_gaps(tree, metered([900_000, 500], span_s=[DAY_S // 2 - 1, DAY_S]), 3)
    assert (got.known.tolist(), got.value.tolist(), got.filled.tolist()) == ([False, True, False], [0, 500, 0], [0] * 3)


def test_chains_that_share_a_plant_each_show_all_of_its_energy() -> None:
    tree = meters((IMPORT, -1), (IMPORT, -1), (IMPORT, -1), plant=[0, 1, 2])
    got = plant_energy(tree, metered([1000, 20_000, 300_000]), 3)
    chains = Scopes.from_pairs(("chain", "chain"), [(0, 0), (1, 0), (1, 1), (2, 1)])
    assert [a.value for a in total(got.take(chains.member), chains.scope, 2)] == [21.0, 320.0]
    with pytest.raises(OverlapError):
        chains.total(got.metered, [0, 1])
    assert total(got, chains.union([0, 1], 3), 1)[0].value == 321.0
