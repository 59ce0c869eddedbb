"""统一社会信用代码 (GB 32100-2015): 18 signs, the last of which checks the others.

Signs are 0-9 and A-Z without I, O, S, V, Z, worth 0 to 30 in that order; sign i (from 1) weighs 3^(i-1) mod 31;
the check sign is worth (31 − sum mod 31) mod 31.
"""

from __future__ import annotations

from typing import Final

SIGNS: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_WEIGHTS: Final = tuple(pow(3, i, 31) for i in range(17))
_WORTH: Final = {sign: i for i, sign in enumerate(SIGNS)}
LENGTH: Final = 18


def check_sign(first_17: str) -> str:
    """The check sign of the first 17. Raises KeyError for a sign that is not in the alphabet."""
    total = sum(_WORTH[sign] * weight for sign, weight in zip(first_17, _WEIGHTS, strict=True))
    return SIGNS[-total % 31]


def fault(code: str) -> str | None:
    """What is wrong with a code, in Chinese and English; None for a valid one."""
    if len(code) != LENGTH:
        return f"应为 18 位，实为 {len(code)} 位 expected 18 signs, found {len(code)}"
    for place, sign in enumerate(code, 1):
        if sign not in _WORTH:
            return f"第 {place} 位 {sign!r} 不是允许的字符 sign {place} is not 0-9, A-Z without I O S V Z"
    expected = check_sign(code[:17])
    if code[17] != expected:
        return f"校验位应为 {expected}，实为 {code[17]} check sign should be {expected}, found {code[17]}"
    return None
