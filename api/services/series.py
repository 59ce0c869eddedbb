"""One figure over several periods."""

from __future__ import annotations

from api.schemas import Series, SeriesPoint
from api.services.access import Reader
from api.services.figures import definition_named, figure_of
from api.services.periods import day_id, ending_with, read_period
from api.services.question import ask, in_period
from api.services.sources import Sources


def series(
    sources: Sources,
    reader: Reader,
    name: str,
    scope: str | None,
    kind: str,
    periods: int,
    end: str | None,
    as_of: str | None = None,
) -> Series:
    """The figure of each of the `periods` periods of a kind up to the one of `end`. Raises ProblemError."""
    question = ask(sources, reader, scope, end, None, as_of)
    if question.period.end_s > question.now_s:  # no point lies in the future
        question = in_period(question, read_period(day_id(question.register_day), question.now_s))
    definition = definition_named(question, name)
    points: list[SeriesPoint] = []
    for period in ending_with(question.period, kind, periods):
        asked = in_period(question, period)
        figure = figure_of(asked, definition_named(asked, name))
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
