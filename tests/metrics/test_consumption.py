"""Standard coal of several carriers, value added at its prices, water and intensity, worked by hand."""

from __future__ import annotations

from datetime import date

import pytest

from metrics.coefficients import CARRIERS_ZH, STANDARD_COAL
from metrics.consumption import (
    Flow,
    LeftOut,
    Provenance,
    ValueAdded,
    at_comparable_prices,
    consumption,
    energy_intensity_change,
    mean_yearly_change,
    per_value_added,
)
from metrics.energy import Amount, Certainty, Coefficient, coefficient, standard_coal

TODAY = (date(2026, 11, 23) - date(1970, 1, 1)).days
GWH = Amount(1e6, 1e6, 1e6, 1.0)


def exactly(quantity: float) -> Amount:
    return Amount(quantity, quantity, quantity, 1.0)


def test_the_table_by_physics() -> None:
    """1 kgce is 29.3076 MJ: a kWh is 3.6 MJ, a MJ of heat one 29.3076th, raw coal of 20,934 kJ/kg 0.7143."""
    for carrier, mega_joule in (("electricity", 3.6), ("heat", 1.0), ("raw-coal", 20.934), ("diesel", 42.705)):
        row = coefficient(STANDARD_COAL, carrier, "calorific", TODAY)
        assert row.micro_kgce / 1e6 == pytest.approx(mega_joule / 29.3076, rel=1e-3)


def test_every_row_has_a_source_a_name_and_a_date_and_no_key_comes_twice() -> None:
    keys = [(row.carrier, row.basis, row.from_day) for row in STANDARD_COAL]
    assert len(set(keys)) == len(keys)
    assert {row.carrier for row in STANDARD_COAL} == set(CARRIERS_ZH)
    for row in STANDARD_COAL:
        assert "GB/T 2589-20" in row.source
        assert row.from_day in {(date(2008, 6, 1) - date(1970, 1, 1)).days, (date(2021, 4, 1) - date(1970, 1, 1)).days}
        assert (row.least_micro_kgce is None) == (row.most_micro_kgce is None)
        assert (row.least_micro_kgce or row.micro_kgce) <= row.micro_kgce <= (row.most_micro_kgce or row.micro_kgce)


def test_marks_of_what_is_not_confirmed_are_kept() -> None:
    of = {(row.carrier, row.from_day > 18_000): row.certainty for row in STANDARD_COAL}
    assert of["diesel", True] is Certainty.FIRM
    assert of["crude-oil", True] is of["hydrogen", True] is Certainty.KNOWLEDGE
    assert of["fresh-water", True] is Certainty.WEAK
    assert of["natural-gas", True] is Certainty.RANGE
    assert of["steam", False] is Certainty.UNSAFE


def test_the_equivalent_value_of_electricity_has_no_constant() -> None:
    with pytest.raises(LookupError, match="electricity, equivalent"):
        coefficient(STANDARD_COAL, "electricity", "equivalent", TODAY)


def test_fresh_water_follows_its_edition() -> None:
    before, after = (coefficient(STANDARD_COAL, "fresh-water", "equivalent", day) for day in (18_717, 18_718))
    assert (before.micro_kgce, after.micro_kgce) == (85_700, 257_100)


def test_the_range_of_natural_gas_widens_the_bounds() -> None:
    row = coefficient(STANDARD_COAL, "natural-gas", "calorific", TODAY)
    got = standard_coal(exactly(10_000.0), row)
    assert (got.value, got.lower, got.upper) == (12.143, 11.0, 13.3)


def test_what_is_made_on_site_is_never_added_again() -> None:
    """1 GWh and 10 t of diesel are 122.9 + 14.571 tce; the air compressed with that electricity adds nothing."""
    air = Flow("compressed-air", exactly(1e6), made_on_site=True)
    feed = Flow("methanol", exactly(5e3), as_material=True)
    water = Flow("fresh-water", exactly(1e4))
    got = consumption(
        [Flow("electricity", GWH), Flow("diesel", exactly(1e4)), air, feed, water], STANDARD_COAL, "calorific", TODAY
    )
    assert got.coal.value == pytest.approx(137.471, abs=1e-9)
    assert [flow.carrier for flow, _, _ in got.parts] == ["electricity", "diesel"]
    assert got.left_out == ((air, LeftOut.OWN_MADE), (feed, LeftOut.MATERIAL), (water, LeftOut.MEDIUM))


def test_bought_media_count_in_the_standards_own_total() -> None:
    own = Coefficient("electricity", "kWh", "equivalent", 300_000, 0, "typed in")
    flows = [
        Flow("electricity", GWH),
        Flow("compressed-air", exactly(1e6)),
        Flow("methanol", exactly(1e4), as_material=True),
    ]
    got = consumption(flows, [*STANDARD_COAL, own], "equivalent", TODAY, media=True, materials=True)
    assert got.coal.value == pytest.approx(300 + 40 + 6.794, abs=1e-9)
    assert got.left_out == ()
    made = consumption([Flow("compressed-air", GWH, made_on_site=True)], STANDARD_COAL, "equivalent", TODAY, media=True)
    assert made.coal.value is None


def test_a_carrier_without_a_row_is_refused() -> None:
    with pytest.raises(LookupError, match="peat"):
        consumption([Flow("peat", GWH)], STANDARD_COAL, "calorific", TODAY)


OFFICIAL = ValueAdded(2_296_000.0, "current", Provenance.OFFICIAL, "统计局 2020")


def test_value_added_at_comparable_prices_follows_the_published_growth() -> None:
    """229.6 亿元 and +6.6 %, +5 %: 257.0 亿元 at prices of 2020."""
    got = at_comparable_prices(OFFICIAL, [0.066, 0.05], 2020, Provenance.OFFICIAL, "统计公报")
    assert got.wan_yuan == pytest.approx(2_569_912.8)
    assert (got.prices, got.price_year, got.provenance) == ("comparable", 2020, Provenance.OFFICIAL)
    weaker = at_comparable_prices(got, [0.01], 2020, Provenance.ESTIMATED, "本系统")
    assert weaker.provenance is Provenance.ESTIMATED
    with pytest.raises(ValueError, match="prices of 2020, not of 2021"):
        at_comparable_prices(got, [0.01], 2021, Provenance.OFFICIAL, "")
    with pytest.raises(ValueError, match="above -1"):
        at_comparable_prices(got, [-1.0], 2020, Provenance.OFFICIAL, "")
    with pytest.raises(ValueError, match="year of its prices"):
        ValueAdded(1.0, "comparable", Provenance.OFFICIAL, "")


def test_energy_and_water_per_value_added_carry_the_price_basis() -> None:
    energy = per_value_added(Amount(459_200.0, 229_600.0, None, 0.5), OFFICIAL)
    assert energy.amount == Amount(0.2, 0.1, None, 0.5)
    assert (energy.prices, energy.provenance) == ("current", Provenance.OFFICIAL)
    water = per_value_added(exactly(23_419_200.0), OFFICIAL)
    assert water.amount.value == pytest.approx(10.2)
    nothing = ValueAdded(0.0, "current", Provenance.REPORTED, "月报")
    assert per_value_added(GWH, nothing).amount == Amount(None, None, None, 1.0)


def test_the_yearly_change_and_its_bounds() -> None:
    """Energy 1000 → 926 (−7.4 %), value added +6.6 %: −13.1 %. If the second year used up to 950: −10.9 %."""
    before = ValueAdded(100.0, "comparable", Provenance.OFFICIAL, "", 2020)
    after = at_comparable_prices(before, [0.066], 2020, Provenance.OFFICIAL, "")
    got = energy_intensity_change(Amount(1000.0, 1000.0, 1000.0, 0.9), Amount(926.0, 926.0, 950.0, 0.8), before, after)
    assert got.value == got.lower == pytest.approx(-0.1313, abs=5e-5)
    assert got.upper == pytest.approx(-0.1088, abs=5e-5)
    assert got.coverage == 0.8
    assert energy_intensity_change(Amount(1.0, 1.0, None, 1.0), exactly(1.0), before, after).lower is None


def test_current_prices_cannot_show_a_change_of_efficiency() -> None:
    at_2020 = ValueAdded(1.0, "comparable", Provenance.OFFICIAL, "", 2020)
    at_2015 = ValueAdded(1.0, "comparable", Provenance.OFFICIAL, "", 2015)
    with pytest.raises(ValueError, match="comparable prices in both"):
        energy_intensity_change(GWH, GWH, OFFICIAL, at_2020)
    with pytest.raises(ValueError, match="do not compare"):
        energy_intensity_change(GWH, GWH, at_2015, at_2020)


def test_cumulative_and_yearly_changes_differ() -> None:
    """累计 −18.5 % over five years is 年均 −4.0 %."""
    assert mean_yearly_change(-0.185, 5) == pytest.approx(-0.0401, abs=5e-5)
    assert mean_yearly_change(None, 5) is mean_yearly_change(-1.0, 5) is mean_yearly_change(0.1, 0) is None
