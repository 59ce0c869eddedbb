"""What the doctor says of one thing: how it is, and what to do next."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["ok", "warning", "failed", "unknown"]


class Finding(NamedTuple):
    """One check. `zh` and `en` say how it is, `next_zh` and `next_en` what to do: empty where there is nothing."""

    check: str
    state: State
    zh: str
    en: str
    next_zh: str = ""
    next_en: str = ""


def good(check: str, zh: str, en: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", zh, en)
