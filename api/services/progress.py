"""The plan's indicators against their targets, by the official values that were typed in."""

from __future__ import annotations

from typing import Final, Literal

from api.problems import ProblemError
from api.schemas import PlanIndicator, PlanProgress, TargetProgress
from api.services.question import read_time
from api.services.sources import Sources, known_at, known_now
from metrics.projection import project
from metrics.targets import Comparator, PathMethod, Target, completion, required, status

_COMPOUND: Final = ("level",)
"""Kinds of indicators that grow by a rate: their path is compound."""
_NO_PATH: Final = ("growth",)
"""A growth is set for each year anew: there is no path from one level to another."""
_COMPARATORS: Final[dict[str, Comparator]] = {">=": ">=", ">": ">", "<=": "<=", "<": "<", "=": "=", "~": "~"}


def target_of(indicator: PlanIndicator) -> Target:
    """The target that a row of the plan sets."""
    method: PathMethod = "linear"
    if indicator.target_value is None:
        method = "none"
    elif indicator.kind in _NO_PATH:
        year = indicator.target_year or 0
        first = (indicator.base_year or year) + 1
        return Target(
            method="yearly",
            comparator=_COMPARATORS.get(indicator.target_comparator, ">="),
            direction=indicator.direction,
            yearly=dict.fromkeys(range(first, year + 1), indicator.target_value),
        )
    elif indicator.kind in _COMPOUND:
        method = "compound"
    return Target(
        method=method,
        base_year=indicator.base_year,
        base=indicator.base_value,
        target_year=indicator.target_year,
        target=indicator.target_value,
        comparator=_COMPARATORS.get(indicator.target_comparator, ">="),
        direction=indicator.direction,
    )


def plan_progress(sources: Sources, plan_id: str, as_of: str | None) -> PlanProgress:
    """Every indicator of a plan, as known at a time. Raises the problem `not-found`."""
    plan = sources.plans.get(plan_id)
    if plan is None:
        raise ProblemError("not-found", f"plan {plan_id}")
    at_ns = read_time(as_of)
    known = known_now(sources) if at_ns is None else known_at(sources, at_ns)
    values: dict[str, list[tuple[int, float, str]]] = {}
    for (name, year), fact in sorted(known.view.statistics.items()):
        values.setdefault(name, []).append((year, fact.value, fact.source))
    return PlanProgress(
        plan_id=plan_id, items=[_progress(row, target_of(row), values.get(row.id, [])) for row in plan.indicators]
    )


def _progress(indicator: PlanIndicator, target: Target, said: list[tuple[int, float, str]]) -> TargetProgress:
    year, value, source = said[-1] if said else (None, None, "")
    scale: Literal["linear", "compound"] = "compound" if target.method == "compound" else "linear"
    series = [(indicator.base_year, indicator.base_value), *((y, v) for y, v, _ in said)]
    points = {y: v for y, v in series if y is not None and v is not None and (scale == "linear" or v > 0)}
    end = indicator.target_year
    projection = None
    if end is not None and points and max(points) < end:
        years = sorted(points)
        projection = project(
            [float(y) for y in years],
            [points[y] for y in years],
            float(end),
            scale=scale,
            goal=target.target if scale == "linear" or (target.target or 0) > 0 else None,
        )
    return TargetProgress(
        indicator=indicator,
        method=target.method,
        year=year,
        value=value,
        source=source,
        required=None if year is None else required(target, year),
        completion=None if year is None else completion(target, value, year),
        status=status(target, value, value, year if year is not None else 0).value,
        projected=None if projection is None else projection.value,
        projected_lower=None if projection is None else projection.lower,
        projected_upper=None if projection is None else projection.upper,
        chance=None if projection is None else projection.at_least,
    )
