"""Paths and progress, worked by hand on the plan's own figures."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.targets import Status, Target, completion, fulfilment, is_reached, required, settling_width, status

OUTPUT = Target("compound", 2020, 969.48, 2025, 1360.0)
VALUE_ADDED = Target("compound", 2020, 229.6, 2025, 335.0)


def test_seven_per_cent_a_year_is_the_target_of_above_scale_output() -> None:
    in_2025 = 969.48 * 1.07**5
    assert in_2025 == pytest.approx(1359.7, abs=0.05)
    yearly = required(OUTPUT, 2021)
    assert yearly is not None
    assert yearly / 969.48 - 1 == pytest.approx(0.0700, abs=5e-5)


def test_value_added_of_335_needs_more_than_the_printed_seven_per_cent() -> None:
    after_a_year = required(VALUE_ADDED, 2021)
    assert after_a_year is not None
    assert after_a_year / 229.6 - 1 == pytest.approx(0.0785, abs=5e-5)
    at_seven_per_cent = 229.6 * 1.07**5
    assert at_seven_per_cent == pytest.approx(322.0, abs=0.05)


def test_compound_and_linear_paths_differ_half_way() -> None:
    linear = Target("linear", 2020, 969.48, 2025, 1360.0)
    assert required(OUTPUT, 2023) == pytest.approx(1187.8, abs=0.05)
    assert required(linear, 2023) == pytest.approx(1203.8, abs=0.05)


@pytest.mark.parametrize("method", ["linear", "compound"])
def test_a_value_on_the_path_is_complete_to_one(method: str) -> None:
    target = Target(method, 2020, 969.48, 2025, 1360.0)  # type: ignore[arg-type]
    assert completion(target, required(target, 2022.5), 2022.5) == pytest.approx(1.0)
    assert completion(target, 969.48, 2022.5) == 0.0


def test_the_status_follows_completion() -> None:
    share = Target("linear", 2020, 50.0, 2030, 60.0)  # due in 2025: +5
    of = {54.8: Status.ON_TRACK, 53.5: Status.SLOW, 51.0: Status.BEHIND, 49.0: Status.REVERSED, 60.0: Status.REACHED}
    assert {value: status(share, value, value, 2025) for value in of} == of


def test_both_ends_of_the_interval_must_agree() -> None:
    share = Target("linear", 2020, 50.0, 2030, 60.0)
    assert status(share, 53.1, 54.0, 2025) is Status.SLOW
    assert status(share, 53.1, 54.9, 2025) is Status.CANNOT_TELL
    assert status(share, 53.1, None, 2025) is Status.CANNOT_TELL
    assert status(share, None, None, 2025) is Status.CANNOT_TELL


def test_a_target_downwards_is_reached_from_above() -> None:
    water = Target("linear", 2020, 15.2, 2025, 10.2, comparator="<", direction="down")
    assert status(water, 10.1, 10.1, 2024) is Status.REACHED
    assert not is_reached(water, 10.2, 2025)
    assert completion(water, 12.7, 2022.5) == pytest.approx(1.0)
    assert status(water, 15.5, 15.5, 2022) is Status.REVERSED


def test_yearly_figures_are_met_year_by_year() -> None:
    energy = Target("yearly", direction="down", comparator="<=", yearly={2026: 0.40})
    assert status(energy, 0.39, 0.39, 2026.5) is Status.REACHED
    assert status(energy, 0.41, 0.41, 2026.5) is Status.ON_TRACK
    assert status(energy, 0.50, 0.50, 2026.5) is Status.SLOW
    assert status(energy, 0.39, 0.39, 2027) is Status.NO_TARGET


@pytest.mark.parametrize(
    ("comparator", "met", "missed"), [(">=", 100, 99), (">", 101, 100), ("~", 96, 94), ("=", 100, 99), ("<=", 100, 101)]
)
def test_the_comparator_is_respected(comparator: str, met: float, missed: float) -> None:
    target = Target("linear", 2020, 80.0, 2025, 100.0, comparator=comparator)  # type: ignore[arg-type]
    assert is_reached(target, met, 2025)
    assert not is_reached(target, missed, 2025)


def test_without_a_target_there_is_only_a_trend() -> None:
    """The networking rate of 54 % and the CNC rate of 72 % have no 2025 target in the plan."""
    declared = Target("none", 2020, 54.0)
    assert status(declared, 60.0, 60.0, 2023) is Status.NO_TARGET
    assert required(declared, 2023) is completion(declared, 60.0, 2023) is None
    assert status(Target("compound", 2020, 0.0, 2025, 10.0), 5.0, 5.0, 2023) is Status.NO_TARGET


def test_nothing_is_due_in_the_base_year() -> None:
    assert completion(OUTPUT, 1000.0, 2020) is None
    assert status(OUTPUT, 1000.0, 1000.0, 2020) is Status.CANNOT_TELL


def test_fulfilment_of_levels_increments_and_falling_targets() -> None:
    """Output 1100 of 1360; 150 of 300 robots added; workshops 12 → 35 at 20; water 12.7 against below 10.2."""
    assert fulfilment("level", 1100.0, 1360.0) == pytest.approx(0.8088, abs=5e-5)
    assert fulfilment("increment", 150.0, 300.0, 0.0) == 0.5
    assert fulfilment("increment", 20.0, 35.0, 12.0) == pytest.approx(8 / 23)
    assert fulfilment("level", 12.7, 10.2, direction="down") == pytest.approx(0.8031, abs=5e-5)
    assert fulfilment("increment", 12.7, 10.2, 15.2, direction="down") == pytest.approx(0.5)
    assert fulfilment("increment", 16.2, 10.2, 15.2, direction="down") == pytest.approx(-0.2)


def test_fulfilment_that_cannot_be_said() -> None:
    assert fulfilment("level", None, 10.0) is None
    assert fulfilment("increment", 5.0, 10.0) is None
    assert fulfilment("increment", 5.0, 10.0, 10.0) is None
    assert fulfilment("increment", 5.0, 8.0, 10.0) is None
    assert fulfilment("level", 0.0, 10.0, direction="down") is None
    assert fulfilment("level", 0.0, 10.0) == 0.0


def test_a_falling_target_has_its_status_from_both_ends() -> None:
    water = Target("linear", 2020, 15.2, 2025, 10.2, comparator="<", direction="down")
    assert status(water, 12.4, 12.7, 2022.5) is Status.ON_TRACK
    assert status(water, 12.4, 14.6, 2022.5) is Status.CANNOT_TELL


def test_what_would_settle_a_status() -> None:
    """50 to 60 in ten years, half-way: on track from 54.75, slow from 53. At 53.1 to 56.1 and 70 % coverage it
    settles when the interval is narrower than 1.35 (from 56.1 down to 54.75), with 86.5 % covered."""
    share = Target("linear", 2020, 50.0, 2030, 60.0)
    got = settling_width(share, 53.1, 56.1, 2025, coverage=0.7)
    assert got is not None
    assert got.width == pytest.approx(1.35)
    assert got.coverage == pytest.approx(0.865)
    assert status(share, 56.1 - got.width, 56.1, 2025) is Status.ON_TRACK
    assert status(share, 53.1, 53.1 + got.width, 2025) is Status.SLOW


def test_nothing_settles_what_is_settled_or_not_due() -> None:
    share = Target("linear", 2020, 50.0, 2030, 60.0)
    assert settling_width(share, 53.1, 54.0, 2025) is None
    assert settling_width(share, 53.1, None, 2025) is None
    assert settling_width(share, 50.0, 51.0, 2020) is None
    assert settling_width(Target("none", 2020, 54.0), 50.0, 60.0, 2023) is None


@given(st.floats(0, 100), st.floats(0, 40), st.sampled_from(["up", "down"]), st.floats(2020.1, 2030))
@settings(max_examples=150, deadline=None)
def test_a_settling_width_settles_from_either_end(lower: float, width: float, direction: str, year: float) -> None:
    base, goal, comparator = (20.0, 80.0, ">=") if direction == "up" else (80.0, 20.0, "<=")
    target = Target("linear", 2020, base, 2030, goal, comparator=comparator, direction=direction)  # type: ignore[arg-type]
    got = settling_width(target, lower, lower + width, year)
    assert (got is None) == (status(target, lower, lower + width, year) is not Status.CANNOT_TELL)
    if got is not None:
        assert 0 <= got.width < width
        assert status(target, lower, lower + got.width, year) is not Status.CANNOT_TELL
        assert status(target, lower + width - got.width, lower + width, year) is not Status.CANNOT_TELL
