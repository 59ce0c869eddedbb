"""Periods as readers name them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from api.clock import moment
from api.problems import ProblemError
from api.schemas import Period as ShownPeriod
from api.schemas import PeriodKind
from metrics.record import DAY_S, LOCAL_DAY_OFFSET_S, local_day, local_day_start_s
from metrics.rollup import Period, cumulative, period, same_a_year_before

_NS: Final = 1_000_000_000
_UP_TO: Final = ".."
_LOCAL: Final = timedelta(seconds=LOCAL_DAY_OFFSET_S)


def local_date(at_s: int) -> datetime:
    """The wall clock in Asia/Shanghai at a UTC time in s (as a naive UTC-labelled datetime)."""
    return moment(at_s * _NS) + _LOCAL


def day_id(day: int) -> str:
    """`2026-11-23` of a local day number."""
    return local_date(local_day_start_s(day)).strftime("%Y-%m-%d")


def read_day(text: str) -> int:
    """The local day number of `2026-11-23`. Raises ValueError."""
    try:
        found = period(text)
    except ValueError:
        found = None
    if found is None or found.kind != "day":
        raise ValueError(f"{text!r}: 应为日期 expected a day, YYYY-MM-DD")
    return found.from_day


def present_month(now_s: int) -> str:
    """The id of the local month that holds a time."""
    return local_date(now_s).strftime("%Y-%m")


def read_period(text: str | None, now_s: int) -> Period:
    """The period that a reader named; the present month for none. Raises the problem `bad-request`.

    `2026-01..2026-11` is cumulative (累计): from the first day of the year. January and February together
    (1—2月, which statistics offices publish as one) are `2026-01..2026-02`.
    """
    try:
        if text is not None and _UP_TO in text:
            found = cumulative(period(text.split(_UP_TO, 1)[1]))
            if found.id != text:
                raise ValueError(f"period {text!r}: expected {found.id}")
            return found
        return period(text or present_month(now_s))
    except ValueError as error:
        expected = "应为 expected 2026-11-23, 2026-11, 2026-Q4, 2026, 2026-01..2026-11"
        raise ProblemError("bad-request", f"period {text!r}: {expected} ({error})") from error


def kind_of(asked: Period) -> PeriodKind:
    """The kind that readers see: a cumulative period is one of its own."""
    return "cumulative" if _UP_TO in asked.id else asked.kind


def period_before(asked: Period) -> Period:
    """The period of the same kind before; for a cumulative one the same stretch of the year before."""
    if _UP_TO in asked.id:
        return same_a_year_before(asked)
    return _holding(asked.from_day - 1, asked.kind)


def _holding(day: int, kind: str) -> Period:
    """The period of a kind that holds a local day."""
    text = day_id(day)
    match kind:
        case "day":
            return period(text)
        case "month":
            return period(text[:7])
        case "quarter":
            return period(f"{text[:4]}-Q{(int(text[5:7]) + 2) // 3}")
        case _:
            return period(text[:4])


def show_period(asked: Period, now_s: int) -> ShownPeriod:
    """A period as the API shows it."""
    return ShownPeriod(
        id=asked.id,
        kind=kind_of(asked),
        start=moment(asked.start_s * _NS),
        end=moment(asked.end_s * _NS),
        complete=asked.end_s <= now_s,
    )


def months_of(asked: Period) -> list[Period]:
    """The months that a month, quarter or year consists of; none for a day."""
    if asked.kind == "day":
        return []
    found: list[Period] = []
    day = asked.from_day
    while day < asked.to_day:
        month = period(present_month(local_day_start_s(day)))
        found.append(month)
        day = month.to_day
    return found


def months_between(from_day: int, to_day: int) -> list[tuple[int, int]]:
    """Local days `[from, to)` cut at the ends of months."""
    found: list[tuple[int, int]] = []
    while from_day < to_day:
        end = min(period(day_id(from_day)[:7]).to_day, to_day)
        found.append((from_day, end))
        from_day = end
    return found


def ending_with(last: Period, kind: str, count: int) -> list[Period]:
    """The `count` periods of a kind that end with the one that holds the last day of a period, oldest first."""
    found: list[Period] = []
    day = last.to_day - 1
    for _ in range(count):
        one = _holding(day, kind)
        found.append(one)
        day = one.from_day - 1
    return found[::-1]


def look_back(asked: Period, days: int, now_s: int) -> tuple[int, int]:
    """The local days `[from, to)` of a look-back: up to the period's end, or today while it is not over."""
    to_day = min(asked.to_day, int(local_day(now_s)) + 1)
    return to_day - days, to_day


def elapsed_tenths(from_day: int, to_day: int, now_s: int) -> int:
    """How much of local days `[from, to)` is over, 0.1 s."""
    start_s = local_day_start_s(from_day)
    return max(min(local_day_start_s(0) + to_day * DAY_S, now_s) - start_s, 0) * 10
