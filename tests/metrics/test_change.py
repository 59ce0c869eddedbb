"""Why a rate changed, worked by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from metrics.change import CAUSE_LABELS, Cause, Effect, Side, account, mix_effect
from metrics.rates import AssetClass

OUT, SHOWN, UNSEEN, DECLARED, NOT = (int(c) for c in AssetClass)


def side(
    *classes: int,
    scope: list[int] | None = None,
    present: list[bool] | None = None,
    candidates: list[int] | None = None,
    weight: list[int] | None = None,
) -> Side:
    n = len(classes)
    return Side(
        present=np.array(present if present is not None else [True] * n),
        classes=np.array(classes, np.int64),
        scope=np.array(scope if scope is not None else [0] * n, np.int64),
        candidates=None if candidates is None else np.array(candidates, np.int64),
        weight=None if weight is None else np.array(weight, np.int64),
    )


@pytest.mark.parametrize(
    ("was", "became", "cause", "numerator", "unobserved"),
    [
        (NOT, SHOWN, Cause.GAINED, 1, 0),
        (DECLARED, SHOWN, Cause.GAINED, 1, 0),
        (SHOWN, NOT, Cause.LOST, -1, 0),
        (SHOWN, DECLARED, Cause.LOST, -1, 0),
        (SHOWN, UNSEEN, Cause.UNOBSERVED_FROM_SHOWN, -1, 1),
        (NOT, UNSEEN, Cause.UNOBSERVED_FROM_NOT, 0, 1),
        (UNSEEN, SHOWN, Cause.OBSERVED_SHOWN, 1, -1),
        (UNSEEN, NOT, Cause.OBSERVED_NOT, 0, -1),
        (DECLARED, NOT, Cause.DEVICE_FITTED, 0, 0),
        (NOT, DECLARED, Cause.DEVICE_REMOVED, 0, 0),
    ],
)
def test_each_change_of_class_has_its_cause(
    was: int, became: int, cause: Cause, numerator: int, unobserved: int
) -> None:
    change = account(side(was, SHOWN), side(became, SHOWN), 1)
    (effect,) = change.at(0).effects
    # Of two machines one moved: half of the rate each way; the upper bound counts unobserved ones as well.
    assert effect == Effect(
        cause,
        1,
        numerator,
        0,
        Fraction(numerator, 2),
        Fraction(numerator, 2),
        Fraction(numerator + unobserved, 2),
    )
    assert change.cause_before.tolist() == change.cause_after.tolist() == [cause, Cause.UNCHANGED]


def test_a_year_worked_by_hand() -> None:
    # 2020: 5 of 10 connected = 50 %. 2021: one connects, one enters connected, one scrapped unconnected:
    # 7 of 10 = 70 %. Then r̄ = 0.6 and n̄ = 10: gained 1/10, entered (1 − 0.6)/10 = 0.04, left (0 + 0.6)/10 = 0.06.
    before = side(*[SHOWN] * 5, *[NOT] * 5, OUT, present=[True] * 10 + [False])
    after = side(*[SHOWN] * 6, *[NOT] * 3, OUT, SHOWN, present=[True] * 9 + [False, True])
    got = account(before, after, 1).at(0)
    assert (got.value_before, got.value_after, got.value) == (Fraction(1, 2), Fraction(7, 10), Fraction(1, 5))
    assert [(e.cause, e.machines, e.numerator, e.denominator, e.value) for e in got.effects] == [
        (Cause.GAINED, 1, 1, 0, Fraction(10, 100)),
        (Cause.ENTERED, 1, 1, 1, Fraction(4, 100)),
        (Cause.LEFT, 1, 0, -1, Fraction(6, 100)),
    ]


def test_a_machine_that_moves_stands_in_both_scopes_and_in_the_county_not_at_all() -> None:
    before, after = side(SHOWN, NOT, scope=[0, 1]), side(SHOWN, NOT, scope=[1, 1])
    zones = account(before, after, 2)
    assert [e[:4] for e in zones.at(0).effects] == [(Cause.MOVED_OUT, 1, -1, -1)]
    assert [e[:4] for e in zones.at(1).effects] == [(Cause.MOVED_IN, 1, 1, 1)]
    assert (zones.cause_before[0], zones.cause_after[0]) == (Cause.MOVED_OUT, Cause.MOVED_IN)
    assert account(side(SHOWN, NOT), side(SHOWN, NOT), 1).at(0).effects == ()


def test_a_machine_taken_out_of_scope_is_reclassified_not_gone() -> None:
    (effect,) = account(side(NOT, SHOWN), side(OUT, SHOWN), 1).at(0).effects
    # 1 of 2 to 1 of 1: +50 %, all by the one machine; r̄ = 3/4, n̄ = 3/2.
    assert effect[:5] == (Cause.RECLASSIFIED_OUT, 1, 0, -1, Fraction(1, 2))
    (effect,) = account(side(OUT, SHOWN), side(NOT, SHOWN), 1).at(0).effects
    assert effect[:5] == (Cause.RECLASSIFIED_IN, 1, 0, 1, Fraction(-1, 2))


def test_a_control_type_that_becomes_known_moves_value_and_bounds() -> None:
    # Of the numerically controlled: one connected; another, connected, of unknown control.
    before = side(SHOWN, OUT, NOT, candidates=[OUT, SHOWN, OUT])
    after = side(SHOWN, SHOWN, NOT, candidates=[OUT, OUT, OUT])
    got = account(before, after, 1).at(0)
    (effect,) = got.effects
    assert (effect.cause, effect.machines) == (Cause.RECLASSIFIED_IN, 1)
    assert (got.value_before, got.value_after) == (Fraction(1, 2), Fraction(2, 3))
    # The upper bound had counted it already: 2 of 3 before and after.
    assert (effect.value, effect.upper) == (Fraction(1, 6), 0)


def test_a_revised_value_is_kept_apart_from_a_gain() -> None:
    # By value: 200 of 1,000 → the second machine is connected and its value revised from 800 to 500: 700 of 700.
    before, after = side(SHOWN, NOT, weight=[200, 800]), side(SHOWN, SHOWN, weight=[200, 500])
    got = account(before, after, 1).at(0)
    assert got.value == Fraction(4, 5)
    assert [e[:4] for e in got.effects] == [(Cause.GAINED, 1, 800, 0), (Cause.REVALUED, 0, -300, -300)]
    assert sum(e.value or 0 for e in got.effects) == Fraction(4, 5)


def test_an_unknown_value_leaves_the_bounds_unaccounted() -> None:
    got = account(side(SHOWN, NOT, weight=[5, -1]), side(SHOWN, SHOWN, weight=[5, -1]), 1).at(0)
    assert got.value == 0
    assert (got.lower, got.upper) == (None, None)


def test_no_value_on_one_side_leaves_the_integers() -> None:
    got = account(side(OUT, present=[False]), side(SHOWN), 1).at(0)
    assert (got.value_before, got.value_after, got.value) == (None, 1, None)
    assert got.effects == (Effect(Cause.ENTERED, 1, 1, 1, None, None, None),)


def test_wrong_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="unequal length"):
        account(side(SHOWN), side(SHOWN, NOT), 1)
    with pytest.raises(ValueError, match="does not have it"):
        account(side(SHOWN, present=[False]), side(SHOWN), 1)
    with pytest.raises(ValueError, match="weight -2"):
        account(side(SHOWN, weight=[-2]), side(SHOWN, weight=[1]), 1)


def test_every_cause_has_words_in_both_languages() -> None:
    assert set(CAUSE_LABELS) == set(Cause)
    assert all(label.zh and label.en for label in CAUSE_LABELS.values())


def test_mix_worked_by_hand() -> None:
    # Two industries. Before: 10 of 100 and 80 of 100 → 90/200 = 45 %. After: 20 of 100 and 240 of 300 → 65 %.
    # Rates 10 → 20 % and 80 → 80 %; weights ½ → ¼ and ½ → ¾.
    # Within: ⅜ × 0.10 = 0.0375. Mix: 0.15 × (−¼) + 0.80 × ¼ = 0.1625. Together 0.20.
    got = mix_effect([10, 80], [100, 100], [20, 240], [100, 300])
    assert got is not None
    assert got.change == Fraction(1, 5)
    assert (got.within, got.mix) == (Fraction(3, 80), Fraction(13, 80))
    assert [(float(g.within), float(g.mix)) for g in got.groups] == [(0.0375, -0.0375), (0.0, 0.2)]


def test_a_new_group_is_all_mix() -> None:
    got = mix_effect([5, 0], [10, 0], [5, 9], [10, 10])
    assert got is not None
    assert got.groups[1] == (0, Fraction(9, 10) * Fraction(1, 2))
    assert got.within + got.mix == got.change == Fraction(1, 5)


def test_mix_without_machines_has_no_value_and_wrong_numbers_are_refused() -> None:
    assert mix_effect([0], [0], [1], [2]) is None
    with pytest.raises(ValueError, match="group 0: 3 of 2"):
        mix_effect([3], [2], [1], [2])
    with pytest.raises(ValueError):
        mix_effect([1], [2], [1], [2, 3])
