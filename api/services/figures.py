"""Figures: register and day states → `metrics` → one KPI with bounds, coverage, counts and digests of its inputs.

A definition names a method; methods are tables of functions. A figure is kept by its inputs, so that a question that
is repeated computes nothing, and a changed input is a new question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from api.clock import moment
from api.problems import ProblemError
from api.schemas import AssetCounts, Definition, Figure, FigureStatus, IndicatorList, Parameter
from api.services.access import Reader
from api.services.energy import METERED, MeterResult, meter_inputs
from api.services.perimeter import EVIDENCE, AssetPerimeter, digest_of
from api.services.periods import look_back, show_period
from api.services.question import ask
from api.services.rates import FEN_PER_WAN, RATES, RateResult, parameters_of
from api.services.scopes import scope_text
from api.services.shares import OTHERS, OfficialResult, Other, ProcessResult, ShareResult, other_inputs
from api.services.sources import Question, Sources
from metrics.energy import Amount

_TIMELESS: Final = frozenset(("cnc-rate", "networking-rate-declared", "key-process-cnc-rate", "intensity-change"))
"""Methods that look at no day states: what they give changes with the register and its day alone."""
NOT_PUBLISHED: Final = 0
"""`revision` of a figure that is computed now and was not published."""

Result = RateResult | MeterResult | Other
_METHODS: Final[dict[str, Callable[[Question, Definition], Result]]] = {**RATES, **METERED, **OTHERS}
HEADLINES: Final = ("networking-rate", "cnc-rate", "metered-energy", "metered-energy-tce", "energy-intensity-level")
"""Shown where no others are asked for."""
_NS: Final = 1_000_000_000
_Days = tuple[int, int]


def method_of(definition: Definition) -> str:
    """The method that computes a definition."""
    return definition.method or definition.id


def compute(question: Question, definition: Definition) -> tuple[Figure, Result]:
    """A figure, and what it was computed from. The figure is the one that was computed first from the same inputs."""
    method = _METHODS[method_of(definition)]
    result = question.sources.memory.once("result", _key(question, definition), lambda: method(question, definition))
    return figure_of(question, definition, lambda: result), result


def figure_of(question: Question, definition: Definition, result: Callable[[], Result] | None = None) -> Figure:
    """A figure alone: where nothing that it depends on has changed, nothing is computed."""

    def make() -> Figure:
        found = _METHODS[method_of(definition)](question, definition) if result is None else result()
        return _figure(question, definition, found)

    return question.sources.memory.once("figure", _key(question, definition), make)


def _key(question: Question, definition: Definition) -> tuple[Any, ...]:
    """Everything that a figure may depend on, as cheaply as it can be said."""
    asked = (definition.id, definition.version, scope_text(question.scope), question.period.id, question.known.key)
    if method_of(definition) in _TIMELESS:
        return (*asked, question.register_day, question.period.end_s <= question.now_s)
    days = question.look_back_days or int(parameters_of(definition).get("look_back_days", 0))
    first, last = look_back(question.period, days, question.now_s)
    token = question.days.token(min(first, question.period.from_day), max(last, question.period.from_day))
    return (*asked, days, min(question.now_s, question.period.end_s), token)


def list_figures(
    sources: Sources,
    reader: Reader,
    scope: str | None,
    period: str | None,
    look_back_days: int | None,
    as_of: str | None = None,
    ids: Sequence[str] | None = None,
) -> IndicatorList:
    """Figures of one scope and period: those asked for by id or id@version (`all`: every one), else the headlines.

    Raises ProblemError.
    """
    question = ask(sources, reader, scope, period, look_back_days, as_of)
    names: Iterable[str] = ids or HEADLINES
    if ids and "all" in ids:
        names = sorted({d.id for d in sources.definitions.all()})
    return IndicatorList(
        scope=question.scope,
        period=show_period(question.period, question.now_s),
        figures=[figure_of(question, definition_named(question, name)) for name in names],
    )


def definition_named(question: Question, name: str) -> Definition:
    """A definition by id, as in force on the period's last day, or by id@version. Raises the problem `not-found`."""
    try:
        return question.sources.definitions.get(name, question.period.to_day - 1)
    except KeyError:
        raise ProblemError("not-found", f"definition {name}") from None


def _figure(question: Question, definition: Definition, result: Result) -> Figure:
    match result:
        case RateResult():
            return _rate_figure(question, definition, result)
        case MeterResult():
            return _meter_figure(question, definition, result)
        case ShareResult():
            return _share_figure(question, definition, result)
        case _:
            return _other_figure(question, definition, result)


def _over(question: Question) -> FigureStatus:
    return "ok" if question.period.end_s <= question.now_s else "provisional"


def _rate_figure(question: Question, definition: Definition, result: RateResult) -> Figure:
    rate, amount = result.rate, result.amount
    status = _over(question)
    if rate.denominator == 0:
        status = "no-denominator"
    elif result.states is not None and not rate.shown and not result.watched:
        # nobody has looked yet: nothing is evidenced, and nothing is disproved
        status, amount = "no-data", Amount(None, amount.lower, amount.upper, amount.coverage)
    elif amount.value is None:
        status = "no-data"
    unit = FEN_PER_WAN if result.by_value else 1
    days = (result.window, result.own)
    inputs = _inputs(question, definition, result.parameters, _register(question, result.perimeter), days)
    evidence = {code: result.perimeter.evidence_of.get(code, "") for code in sorted(question.codes)}
    return _amount_figure(
        question,
        definition,
        status=status,
        amount=amount,
        numerator=rate.numerator / unit,
        denominator=rate.denominator / unit,
        parameters=result.parameters,
        inputs=inputs | {"evidence": digest_of(evidence)},
        by_time=result.states is not None,
        time_weighted=rate.time_weighted,
        time_weighted_lower=rate.time_weighted_lower,
        time_weighted_upper=rate.time_weighted_upper,
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


def _meter_figure(question: Question, definition: Definition, result: MeterResult) -> Figure:
    amount, status = result.amount, _over(question)
    if result.per is not None and not result.denominator:
        status = "no-denominator"
    elif amount.value is None or not result.watched:
        status, amount = "no-data", Amount(None, None, None, amount.coverage)
    parameters = {} if result.kgce_per_unit is None else {"kgce_per_kwh": result.kgce_per_unit}
    gateways: set[str] = set()
    for stretch in result.stretches:
        gateways.update(*(stretch.perimeter.gateways_of.get(code, ()) for code in stretch.codes))
    days = tuple((s.period.from_day, s.period.to_day) for s in result.stretches)
    inputs = _inputs(question, definition, parameters, None, days, gateways)
    inputs |= {kind: digest_of(what) for kind, what in meter_inputs(result).items()}
    return _amount_figure(
        question,
        definition,
        status=status,
        amount=amount,
        numerator=result.numerator,
        denominator=result.denominator,
        parameters=parameters,
        inputs=inputs,
        by_time=True,
    )


def _share_figure(question: Question, definition: Definition, result: ShareResult) -> Figure:
    status, amount = _over(question), result.amount
    if not bool(result.inside.any()):
        status = "no-denominator"
    elif amount.value is None:
        status = "no-data"
    inputs = _inputs(question, definition, {}, _register(question, result.perimeter), (result.own,))
    return _amount_figure(
        question,
        definition,
        status=status,
        amount=amount,
        numerator=result.numerator,
        denominator=result.denominator,
        parameters={},
        inputs=inputs,
        by_time=True,
    )


def _other_figure(question: Question, definition: Definition, result: ProcessResult | OfficialResult) -> Figure:
    amount = result.amount
    status: FigureStatus = "ok"
    if amount.value is None:
        status = "no-denominator" if isinstance(result, ProcessResult) else "no-data"
    register: Any = [sorted(question.codes), other_inputs(result)]
    return _amount_figure(
        question,
        definition,
        status=status,
        amount=amount,
        numerator=result.numerator,
        denominator=result.denominator,
        parameters={},
        inputs=_inputs(question, definition, {}, register, ()),
        by_time=False,
    )


def _amount_figure(
    question: Question,
    definition: Definition,
    *,
    status: FigureStatus,
    amount: Amount,
    numerator: float | None,
    denominator: float | None,
    parameters: dict[str, float],
    inputs: dict[str, str],
    by_time: bool,
    **more: Any,
) -> Figure:
    sources = question.sources
    declared = sources.plans.current.declared.get(definition.id) if question.scope.kind == "county" else None
    used: list[Parameter] = [
        p.model_copy(update={"value": parameters[p.name]}) if p.name in parameters else p for p in definition.parameters
    ]
    # a period that is over has the same digest whenever it is computed from the same inputs
    as_of_s = min(question.now_s, question.period.end_s) if by_time else 0
    whole = [scope_text(question.scope), question.period.id, as_of_s, sorted(inputs.items())]
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
        computed_at=moment(sources.clock.now_ns()),
        as_of=None if question.known.at_ns is None else moment(question.known.at_ns),
        digest=digest_of(whole),
        inputs=inputs,
        declared=declared,
        **more,
    )


def _register(question: Question, perimeter: AssetPerimeter) -> Any:
    return [question.object_id, [[code, perimeter.register_of.get(code, "")] for code in sorted(question.codes)]]


def _inputs(
    question: Question,
    definition: Definition,
    parameters: dict[str, float],
    register: Any,
    days: Sequence[_Days],
    gateways: Iterable[str] | None = None,
) -> dict[str, str]:
    """Digests by kind; None for what a method says itself."""
    if gateways is None:
        gateways = _gateways(question) if any(first < last for first, last in days) else ()
    states: list[Any] = []
    for first, last in days:
        # nothing is known of days to come
        each = question.days.by_gateway(first, max(min(last, question.register_day + 1), first))
        states.append([first, last, [[g, each[g]] for g in sorted(gateways) if g in each]])
    said = [definition.id, definition.version, definition.method, definition.measure, definition.options, parameters]
    found = {"definition": digest_of(said), "day-states": digest_of(states)}
    return found if register is None else found | {"register": digest_of(register)}


def _gateways(question: Question) -> set[str]:
    """Gateways that speak for any asset or meter of the scope's enterprises."""
    view = question.view
    if question.object_id is not None:
        return {b.gateway for b in view.bindings.get(question.object_id, [])}
    return {gateway for code in question.codes for gateway in view.gateways_of.get(code, ())}
