"""Questions as readers put them: scope, period, and as of when."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from api.problems import ProblemError
from api.schemas import Scope
from api.services.access import Reader
from api.services.periods import read_period
from api.services.scopes import codes_in, object_in, read_scope
from api.services.sources import Question, Sources, known_at, known_now
from metrics.rollup import Period

_NS: Final = 1_000_000_000
_LONGEST_STEP_S: Final = 300
_SHORTEST_STEP_S: Final = 10


def read_time(text: str | None) -> int | None:
    """An instant that a reader named, ns UTC: RFC 3339 with an offset. Raises the problem `bad-request`."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError("no offset from UTC")
        whole = round(at.timestamp() * 1_000_000)
    except (ValueError, OverflowError) as error:
        raise ProblemError(
            "bad-request", f"as_of={text!r}: expected 2026-11-23T08:00:00+08:00, with its offset from UTC ({error})"
        ) from error
    if not 0 <= whole * 1000 < 1 << 62:
        raise ProblemError("bad-request", f"as_of={text!r}: out of range")
    return whole * 1000


def ask(
    sources: Sources,
    reader: Reader,
    scope: str | None,
    period: str | None,
    look_back_days: int | None,
    as_of: str | None = None,
) -> Question:
    """Read a question. Raises ProblemError."""
    return ask_at(sources, reader, scope, period, look_back_days, read_time(as_of))


def ask_at(
    sources: Sources,
    reader: Reader,
    scope: str | None,
    period: str | None,
    look_back_days: int | None,
    at_ns: int | None,
) -> Question:
    """The same for an instant in ns UTC; None: now."""
    now_ns = sources.clock.now_ns()
    if at_ns is not None and at_ns > now_ns:
        raise ProblemError("bad-request", "as_of lies in the future")
    known = known_now(sources) if at_ns is None else known_at(sources, at_ns)
    # The present goes on in steps, no finer than day states are computed: between two of them nothing new is known.
    step_s = int(min(max(sources.settings.today_refresh_s, _SHORTEST_STEP_S), _LONGEST_STEP_S))
    now_s = (now_ns if at_ns is None else at_ns) // _NS // step_s * step_s
    found = read_scope(sources, known.view, reader, scope)
    question = Question(
        sources, known, found, read_period(period, now_s), now_s, look_back_days, frozenset(), object_in(found)
    )
    return about(question, found)


def about(question: Question, scope: Scope) -> Question:
    """The same about another scope."""
    codes = codes_in(question.sources, question.view, scope, question.register_day)
    return replace(question, scope=scope, codes=frozenset(codes), object_id=object_in(scope))


def in_period(question: Question, period: Period) -> Question:
    """The same about another period; who belongs to a scope may differ with its last day."""
    return about(replace(question, period=period), question.scope)
