"""Figures, opened figures, and the words they are made with."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from api.routes.deps import PROBLEMS, CountyDep, DataReaderDep
from api.schemas import (
    DefinitionList,
    Explanation,
    FigureChange,
    FigureSet,
    FigureSetList,
    IndicatorList,
    Published,
    ScopeList,
    Series,
    TooLateList,
)
from api.services import changes, explain, figure_sets, figures, scopes, series, too_late
from api.services.explain_words import Counted

router = APIRouter(prefix="/api/v1", tags=["figures"], responses=PROBLEMS)

ScopeQuery = Annotated[
    str | None,
    Query(
        max_length=100,
        description="`county`, `zone:ID`, `area:ID`, `industry:ID`, `chain:ID`, `park:ID`, `ladder:CLASS`, "
        "`enterprise:CODE` or `asset:ID`; default: all one may see",
    ),
]
PeriodQuery = Annotated[
    str | None,
    Query(
        max_length=32,
        description="`2026-11-23`, `2026-11`, `2026-Q4`, `2026`, or cumulative `2026-01..2026-11`, in Asia/Shanghai; "
        "default: the present month",
    ),
]
LookBackQuery = Annotated[
    int | None,
    Query(ge=1, le=366, description="days in which one proof of connection counts; default: the definition's 30"),
]
AsOfQuery = Annotated[
    str | None,
    Query(
        max_length=40,
        description="what was known at this time, e.g. `2026-11-23T08:00:00+08:00`: register, announcements and day "
        "states as they then were; default: now",
    ),
]
Offset = Annotated[int, Query(ge=0, le=10_000_000)]


@router.get("/indicators")
def list_indicators(
    county: CountyDep,
    reader: DataReaderDep,
    scope: ScopeQuery = None,
    period: PeriodQuery = None,
    look_back_days: LookBackQuery = None,
    as_of: AsOfQuery = None,
    ids: Annotated[
        list[Annotated[str, Query(max_length=80)]] | None,
        Query(max_length=50, description="definitions by id or id@version; `all`: every one; default: the headlines"),
    ] = None,
) -> IndicatorList:
    """Figures of one scope and period, each with bounds, coverage, counts and digests of its inputs."""
    return figures.list_figures(county, reader, scope, period, look_back_days, as_of, ids)


@router.get("/indicators/{id}/explain")
def explain_indicator(
    id: str,  # noqa: A002 (the path's own word)
    county: CountyDep,
    reader: DataReaderDep,
    scope: ScopeQuery = None,
    period: PeriodQuery = None,
    look_back_days: LookBackQuery = None,
    as_of: AsOfQuery = None,
    counted: Annotated[Counted | None, Query(description="only rows that count so; default: all")] = None,
    offset: Offset = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Explanation:
    """A figure opened down to machines, evidence, formula and gaps, a page of rows at a time. `id`: `networking-rate`
    (in force in that period) or `networking-rate@1`."""
    return explain.explain(
        county, reader, id, scope, period, look_back_days, as_of, counted, offset=offset, limit=limit
    )


@router.get("/indicators/{id}/change")
def indicator_change(
    id: str,  # noqa: A002 (the path's own word)
    county: CountyDep,
    reader: DataReaderDep,
    scope: ScopeQuery = None,
    period: PeriodQuery = None,
    before: Annotated[
        str | None, Query(max_length=32, description="the period to compare with; default: the one before")
    ] = None,
    as_of: AsOfQuery = None,
    before_as_of: Annotated[
        str | None,
        Query(
            max_length=40, description="compare with what was known then, of the same period unless `before` is given"
        ),
    ] = None,
) -> FigureChange:
    """Why a figure changed: of a rate machine by machine, of metered energy by industry. Nothing is left over."""
    return changes.change_between(county, reader, id, scope, period, before, as_of, before_as_of)


@router.get("/indicators/{id}/series")
def indicator_series(
    id: str,  # noqa: A002 (the path's own word)
    county: CountyDep,
    reader: DataReaderDep,
    scope: ScopeQuery = None,
    kind: Literal["day", "month", "quarter", "year"] = "day",
    periods: Annotated[int, Query(ge=1, le=62)] = 30,
    end: PeriodQuery = None,
    as_of: AsOfQuery = None,
) -> Series:
    """One figure over the periods of `kind` that end with the one of `end` (default: the present one)."""
    return series.series(county, reader, id, scope, kind, periods, end, as_of)


@router.get("/definitions")
def list_definitions(county: CountyDep, reader: DataReaderDep) -> DefinitionList:
    """The definitions of all figures."""
    return DefinitionList(items=county.definitions.all())


@router.get("/scopes")
def list_scopes(
    county: CountyDep, reader: DataReaderDep, offset: Offset = 0, limit: Annotated[int, Query(ge=1, le=5000)] = 2000
) -> ScopeList:
    """What figures can be asked about: the county and its parts, then enterprises. Assets are scopes too."""
    return scopes.list_scopes(county, reader, offset, limit)


@router.get("/figure-sets")
def list_figure_sets(
    county: CountyDep,
    reader: DataReaderDep,
    period: PeriodQuery = None,
    offset: Offset = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> FigureSetList:
    """Sets of figures that were drafted or published, the newest first. Drafts are for statisticians and auditors."""
    return figure_sets.list_sets(county, reader, period, offset, limit)


@router.get("/figure-sets/{id}")
def get_figure_set(
    id: Annotated[int, Path(ge=1, le=1 << 53)],  # noqa: A002 (the path's own word)
    county: CountyDep,
    reader: DataReaderDep,
    scope: ScopeQuery = None,
) -> FigureSet:
    """The figures of one scope in a set, each with what changed against the one published before, and why."""
    return figure_sets.get_set(county, reader, id, scope)


@router.get("/published")
def published_figures(
    county: CountyDep,
    reader: DataReaderDep,
    scope: ScopeQuery = None,
    period: PeriodQuery = None,
    as_of: AsOfQuery = None,
) -> Published:
    """Figures of one scope and period as they stood published at a time, with their revision."""
    return figure_sets.published(county, reader, scope, period, as_of)


@router.get("/too-late")
def list_too_late(
    county: CountyDep, reader: DataReaderDep, offset: Offset = 0, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> TooLateList:
    """Records that came for days that were final: listed with what they would have added, and not counted."""
    return too_late.list_too_late(county, reader, offset, limit)
