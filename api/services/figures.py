"""Figures: register and day states → `metrics` → one KPI with bounds, coverage, counts and digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from api.clock import moment
from api.problems import ProblemError
from api.schemas import AssetCounts, Definition, Figure, FigureStatus, IndicatorList, Parameter
from api.services.access import Reader
from api.services.day_cache import DayRange
from api.services.energy import CARRIER, MeterResult, intensity_of, metered
from api.services.perimeter import EVIDENCE, AssetPerimeter, asset_perimeter, scope_rows
from api.services.periods import elapsed_tenths, look_back, show_period
from api.services.question import Question, ask
from api.services.scopes import scope_text
from metrics.energy import Amount
from metrics.rates import ScopeRate, classify_cnc, classify_networked, cnc_rate, networking_rate
from metrics.rollup import AssetPeriod, asset_period

if TYPE_CHECKING:
    from api.runtime import County

NOT_PUBLISHED: Final = 0
"""`revision` of a figure that is computed now and was not published."""


@dataclass(frozen=True, slots=True)
class RateResult:
    """A rate with what it was computed from."""

    perimeter: AssetPerimeter
    inside: NDArray[np.bool_]
    """(a,) whether an asset lies in scope."""
    classes: NDArray[np.int64]
    """(a,) AssetClass."""
    rate: ScopeRate
    window: tuple[int, int]
    """Local days `[from, to)` whose day states count."""
    states: AssetPeriod | None
    days: DayRange
    parameters: dict[str, float]
    time_weighted: float | None


def networking(question: Question, definition: Definition) -> RateResult:
    """`networking-rate/1`."""
    county, now_s = question.county, question.now_s
    defaults = {p.name: p.value for p in definition.parameters}
    days = question.look_back_days or int(defaults["look_back_days"])
    permille = round(defaults["watched_share"] * 1000)
    window = look_back(question.period, days, now_s)
    perimeter = asset_perimeter(county, question.view, question.register_day)
    scope = _scope(question, perimeter)
    counted = county.days.range(*window)
    states = asset_period(counted.states, perimeter.bindings, len(perimeter.facts), *window, now_s)
    rates = networking_rate(perimeter.assets, states, scope, 1, elapsed_tenths(*window, now_s), permille)
    own = (question.period.from_day, question.period.to_day)
    own_states = asset_period(county.days.range(*own).states, perimeter.bindings, len(perimeter.facts), *own, now_s)
    elapsed = elapsed_tenths(*own, now_s)
    weighted = networking_rate(perimeter.assets, own_states, scope, 1, elapsed, permille).at(0).time_weighted
    return RateResult(
        perimeter=perimeter,
        inside=scope == 0,
        classes=classify_networked(perimeter.assets, states, permille),
        rate=rates.at(0),
        window=window,
        states=states,
        days=counted,
        parameters={"look_back_days": float(days), "watched_share": permille / 1000},
        time_weighted=weighted if elapsed else None,
    )


def cnc(question: Question, _: Definition) -> RateResult:
    """`cnc-rate/1`."""
    perimeter = asset_perimeter(question.county, question.view, question.register_day)
    scope = _scope(question, perimeter)
    day = question.register_day
    return RateResult(
        perimeter=perimeter,
        inside=scope == 0,
        classes=classify_cnc(perimeter.assets),
        rate=cnc_rate(perimeter.assets, scope, 1).at(0),
        window=(day, day),
        states=None,
        days=question.county.days.range(day, day),
        parameters={},
        time_weighted=None,
    )


def _scope(question: Question, perimeter: AssetPerimeter) -> NDArray[np.int64]:
    facts = perimeter.facts
    return scope_rows(len(facts), lambda i: facts[i].credit_code in question.codes)


_RATES: Final[dict[str, Callable[[Question, Definition], RateResult]]] = {
    "networking-rate": networking,
    "cnc-rate": cnc,
}
_ORDER: Final = ("networking-rate", "cnc-rate", "metered-energy", "metered-energy-tce", "energy-intensity-level")


def compute(question: Question, definition: Definition) -> tuple[Figure, RateResult | MeterResult]:
    """A figure, and what it was computed from."""
    if definition.id in _RATES:
        result = _RATES[definition.id](question, definition)
        return _rate_figure(question, definition, result), result
    found = intensity_of(question) if definition.id == "energy-intensity-level" else metered(question)
    return _energy_figure(question, definition, found), found


def list_figures(
    county: County, reader: Reader, scope: str | None, period: str | None, look_back_days: int | None
) -> IndicatorList:
    """All figures of one scope and period. Raises ProblemError."""
    question = ask(county, reader, scope, period, look_back_days)
    return IndicatorList(
        scope=question.scope,
        period=show_period(question.period, question.now_s),
        figures=[compute(question, county.definitions.newest(name))[0] for name in _ORDER],
    )


def definition_named(county: County, name: str) -> Definition:
    """A definition by id or id@version. Raises the problem `not-found`."""
    try:
        return county.definitions.get(name)
    except KeyError:
        raise ProblemError("not-found", f"definition {name}") from None


def _rate_figure(question: Question, definition: Definition, result: RateResult) -> Figure:
    rate = result.rate
    status: FigureStatus = "ok" if question.period.end_s <= question.now_s else "provisional"
    value, lower, upper = rate.value, rate.lower, rate.upper
    if rate.denominator == 0:
        status = "no-denominator"
    elif result.states is not None and not rate.shown and not _any_watched(result):
        # nobody has looked yet: nothing is evidenced, and nothing is disproved
        status, value = "no-data", None
    return _figure(
        question,
        definition,
        status=status,
        amount=Amount(value, lower, upper, rate.coverage),
        numerator=float(rate.numerator),
        denominator=float(rate.denominator),
        parameters=result.parameters,
        digest=_rate_digest(question, definition, result),
        time_weighted=result.time_weighted,
        mean_of_enterprises=rate.mean_of_enterprises,
        counts=AssetCounts(
            in_scope=rate.shown + rate.unobserved + rate.declared_unconnected + rate.shown_not,
            shown=rate.shown,
            unobserved=rate.unobserved,
            declared_unconnected=rate.declared_unconnected,
            shown_not=rate.shown_not,
        ),
        by_evidence={name: count for name, count in zip(EVIDENCE, rate.by_evidence, strict=True) if count},
    )


def _any_watched(result: RateResult) -> bool:
    states = result.states
    if states is None:
        return True
    bound = result.inside & (states.bound > 0)
    return bool(states.observed[bound].any()) or not bool(bound.any())


def _energy_figure(question: Question, definition: Definition, result: MeterResult) -> Figure:
    amount = {
        "metered-energy": result.energy,
        "metered-energy-tce": result.coal,
        "energy-intensity-level": result.intensity,
    }[definition.id]
    status: FigureStatus = "ok" if question.period.end_s <= question.now_s else "provisional"
    numerator = result.energy.value if definition.id == "metered-energy" else result.coal.value
    denominator = result.value_added_wan if definition.id == "energy-intensity-level" else None
    if definition.id == "energy-intensity-level" and not denominator:
        status = "no-denominator"
    elif amount.value is None or not result.watched:
        status, amount = "no-data", Amount(None, None, None, amount.coverage)
    parameters = {} if definition.id == "metered-energy" else {"kgce_per_kwh": result.kgce_per_kwh}
    return _figure(
        question,
        definition,
        status=status,
        amount=amount,
        numerator=numerator,
        denominator=denominator,
        parameters=parameters,
        digest=_digest(question, definition, parameters, result.inputs()),
    )


def _figure(
    question: Question,
    definition: Definition,
    *,
    status: FigureStatus,
    amount: Amount,
    numerator: float | None,
    denominator: float | None,
    parameters: dict[str, float],
    digest: str,
    **more: Any,
) -> Figure:
    county = question.county
    declared = county.plans.current.declared.get(definition.id) if question.scope.kind == "county" else None
    used: list[Parameter] = [
        p.model_copy(update={"value": parameters[p.name]}) if p.name in parameters else p for p in definition.parameters
    ]
    return Figure(
        definition=definition.model_copy(update={"parameters": used}),
        scope=question.scope,
        period=show_period(question.period, question.now_s),
        status=status,
        value=amount.value,
        lower=amount.lower,
        upper=amount.upper,
        coverage=amount.coverage,
        numerator=numerator,
        denominator=denominator,
        unit=definition.unit,
        revision=NOT_PUBLISHED,
        computed_at=moment(county.clock.now_ns()),
        digest=digest,
        declared=declared,
        **more,
    )


def _rate_digest(question: Question, definition: Definition, result: RateResult) -> str:
    """Over the assets as the register lists them, their bindings, and the day states of their gateways."""
    assets: list[Any] = []
    gateways: set[str] = set()
    for i in np.flatnonzero(result.inside):
        fact = result.perimeter.facts[i]
        owned = question.view.bindings.get(fact.object_id, [])
        gateways.update(b.gateway for b in owned)
        assets.append(
            [
                fact.id,
                fact.in_scope,
                fact.control,
                bool(result.perimeter.assets.confirmed[i]),
                int(result.perimeter.assets.evidence[i]),
                [[b.gateway, b.device, b.role, b.valid_from, b.valid_to] for b in owned],
            ]
        )
    days = [[g, d, digest] for (g, d), digest in sorted(result.days.digests.items()) if g in gateways]
    return _digest(question, definition, result.parameters, [list(result.window), assets, days])


def _digest(question: Question, definition: Definition, parameters: dict[str, float], inputs: Any) -> str:
    # a period that is over has the same digest whenever it is computed from the same inputs
    as_of_s = min(question.now_s, question.period.end_s)
    what = [
        definition.id,
        definition.version,
        sorted(parameters.items()),
        scope_text(question.scope),
        question.period.id,
        as_of_s,
        inputs,
    ]
    return hashlib.sha256(json.dumps(what, ensure_ascii=False).encode()).hexdigest()


__all__ = ["CARRIER", "Question", "RateResult", "ask", "compute", "definition_named", "list_figures"]
