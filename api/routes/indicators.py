"""Figures, opened figures, and the words they are made with."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from api.routes.deps import PROBLEMS, CountyDep, DataReaderDep
from api.schemas import DefinitionList, Explanation, IndicatorList, ScopeList, Series
from api.services import explain, figures, scopes, series

router = APIRouter(prefix="/api/v1", tags=["figures"], responses=PROBLEMS)

ScopeQuery = Annotated[
    str | None,
    Query(description="`county`, `zone:ID`, `area:ID`, `industry:ID` or `enterprise:CODE`; default: all one may see"),
]
PeriodQuery = Annotated[
    str | None,
    Query(description="`2026-11-23`, `2026-11`, `2026-Q4` or `2026` in Asia/Shanghai; default: the present month"),
]
LookBackQuery = Annotated[
    int | None,
    Query(ge=1, le=366, description="days in which one proof of connection counts; default: the definition's 30"),
]


@router.get("/indicators")
def list_indicators(
    county: CountyDep,
    reader: DataReaderDep,
    scope: ScopeQuery = None,
    period: PeriodQuery = None,
    look_back_days: LookBackQuery = None,
) -> IndicatorList:
    """All figures of one scope and period, each with bounds, coverage, counts and digest."""
    return figures.list_figures(county, reader, scope, period, look_back_days)


@router.get("/indicators/{id}/explain")
def explain_indicator(
    id: str,  # noqa: A002 (the path's own word)
    county: CountyDep,
    reader: DataReaderDep,
    scope: ScopeQuery = None,
    period: PeriodQuery = None,
    look_back_days: LookBackQuery = None,
) -> Explanation:
    """A figure opened down to machines, evidence, formula and gaps. `id`: `networking-rate` (newest) or
    `networking-rate@1`."""
    return explain.explain(county, reader, id, scope, period, look_back_days)


@router.get("/indicators/{id}/series")
def indicator_series(
    id: str,  # noqa: A002 (the path's own word)
    county: CountyDep,
    reader: DataReaderDep,
    scope: ScopeQuery = None,
    kind: Literal["day", "month"] = "day",
    periods: Annotated[int, Query(ge=1, le=62)] = 30,
    end: PeriodQuery = None,
) -> Series:
    """One figure over the periods of `kind` that end with the one of `end` (default: the present one)."""
    return series.series(county, reader, id, scope, kind, periods, end)


@router.get("/definitions")
def list_definitions(county: CountyDep, reader: DataReaderDep) -> DefinitionList:
    """The definitions of all figures."""
    return DefinitionList(items=county.definitions.all())


@router.get("/scopes")
def list_scopes(county: CountyDep, reader: DataReaderDep) -> ScopeList:
    """What figures can be asked about."""
    return scopes.list_scopes(county, reader)
