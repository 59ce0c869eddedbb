"""One figure over several periods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.schemas import Series, SeriesPoint
from api.services.access import Reader
from api.services.figures import ask, compute, definition_named
from api.services.periods import day_id, ending_with, read_period

if TYPE_CHECKING:
    from api.runtime import County


def series(
    county: County, reader: Reader, name: str, scope: str | None, kind: str, periods: int, end: str | None
) -> Series:
    """The figure of each of the `periods` days or months up to the one of `end`. Raises ProblemError."""
    definition = definition_named(county, name)
    question = ask(county, reader, scope, end, None)
    if question.period.end_s > question.now_s:  # no point lies in the future
        question = question.with_period(read_period(day_id(question.register_day), question.now_s))
    points: list[SeriesPoint] = []
    for period in ending_with(question.period, kind, periods):
        figure, _ = compute(question.with_period(period), definition)
        points.append(
            SeriesPoint(
                period=figure.period,
                status=figure.status,
                value=figure.value,
                lower=figure.lower,
                upper=figure.upper,
                coverage=figure.coverage,
            )
        )
    return Series(definition=definition, scope=question.scope, unit=definition.unit, points=points)
