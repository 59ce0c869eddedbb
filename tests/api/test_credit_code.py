"""统一社会信用代码: published and computed vectors, and every single wrong sign."""

from __future__ import annotations

import random

import pytest

from api.register.credit_code import SIGNS, check_sign, fault


@pytest.mark.parametrize("code", ["91110108551385082Q", "91110000600037341L", "91330226MA22563400"])
def test_valid_codes_pass_the_check_sign_0_included(code: str) -> None:
    assert fault(code) is None


def test_a_published_wrong_code_is_told_its_check_sign() -> None:
    wrong = fault("91350100M000100Y4Z")
    assert wrong is not None
    assert fault("91350100M000100Y43") is None


def test_every_single_wrong_sign_is_caught() -> None:
    choose = random.Random(7)
    for _ in range(200):
        first = "".join(choose.choice(SIGNS) for _ in range(17))
        code = first + check_sign(first)
        assert fault(code) is None
        place = choose.randrange(18)
        other = choose.choice([s for s in SIGNS if s != code[place]])
        assert fault(code[:place] + other + code[place + 1 :]) is not None


@pytest.mark.parametrize("code", ["", "9133", "91330226MA2256340O", "91330226ma22563400", "91330226MA225634000"])
def test_what_is_no_code_is_refused(code: str) -> None:
    assert fault(code) is not None
