"""Why a figure changed: machine by machine for rates, by industry for energy.

Between two periods, or between two times at which it was known.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from api.schemas import Cause as ShownCause
from api.schemas import Definition, Figure, FigureChange, IndustryEffect, MovedMachine
from api.services.access import Reader
from api.services.energy import MeterResult
from api.services.figures import compute, definition_named
from api.services.periods import months_of, period_before, read_period
from api.services.question import ask, in_period
from api.services.rates import RateResult
from api.services.register_view import AssetFact
from api.services.sources import Question, Sources
from metrics.change import CAUSE_LABELS, UNKNOWN_WEIGHT, Cause, Change, Side, account, mix_effect
from metrics.decomposition import decompose
from metrics.rates import AssetClass

MAX_MACHINES: Final = 200


def change_between(
    sources: Sources,
    reader: Reader,
    name: str,
    scope: str | None,
    period: str | None,
    before: str | None,
    as_of: str | None,
    before_as_of: str | None,
) -> FigureChange:
    """Why a figure differs from that of an earlier period (`before`; default: the one before).

    By `before_as_of`: from what it was known to be. Raises ProblemError.
    """
    after = ask(sources, reader, scope, period, None, as_of)
    if before_as_of is not None:
        earlier = ask(sources, reader, scope, before or after.period.id, None, before_as_of)
    elif before is not None:
        earlier = in_period(after, read_period(before, after.now_s))
    else:
        earlier = in_period(after, period_before(after.period))
    return change_of(earlier, definition_named(earlier, name), after, definition_named(after, name))


def change_of(before: Question, of_before: Definition, after: Question, of_after: Definition) -> FigureChange:
    """The account of the change from one question's figure to another's."""
    old, was = compute(before, of_before)
    new, now = compute(after, of_after)
    change = None if old.value is None or new.value is None else new.value - old.value
    if isinstance(was, RateResult) and isinstance(now, RateResult) and not was.by_value and not now.by_value:
        return _rate_change(old, was, new, now, change)
    if isinstance(was, MeterResult) and isinstance(now, MeterResult) and was.per is None and now.per is None:
        return _meter_change(before, old, was, after, new, now, change)
    return FigureChange(
        before=old,
        after=new,
        change=change,
        causes=[],
        machines=[],
        machines_total=0,
        note_zh="此指标没有逐项分解，只列前后两值。",
        note_en="There is no account of this figure by cause: both values stand side by side.",
    )


@dataclass(frozen=True, slots=True)
class _Union:
    """All machines of either side, in one table."""

    facts: list[AssetFact]
    row: dict[int, int]

    @classmethod
    def of(cls, *results: RateResult) -> _Union:
        facts: dict[int, AssetFact] = {}
        for result in results:
            facts |= {result.perimeter.facts[i].object_id: result.perimeter.facts[i] for i in result.rows.tolist()}
        return cls(list(facts.values()), {object_id: i for i, object_id in enumerate(facts)})

    def side(self, result: RateResult) -> Side:
        n = len(self.facts)
        present, classes = np.zeros(n, np.bool_), np.full(n, AssetClass.EXCLUDED, np.int64)
        at = np.array([self.row[result.perimeter.facts[i].object_id] for i in result.rows.tolist()], np.int64)
        present[at], classes[at] = True, result.classes
        weight = None
        if result.by_value:
            weight = np.full(n, UNKNOWN_WEIGHT, np.int64)
            weight[at] = result.perimeter.assets.value[result.rows]
        return Side(present, classes, np.where(present, 0, -1), None, weight)


def _rate_change(old: Figure, was: RateResult, new: Figure, now: RateResult, change: float | None) -> FigureChange:
    union = _Union.of(was, now)
    told = account(union.side(was), union.side(now), 1)
    machines = _moved(union, told)
    pooled = old.definition.measure == "pooled" and new.definition.measure == "pooled"
    mix = _mix(was, now) if pooled else None
    return FigureChange(
        before=old,
        after=new,
        change=change,
        causes=[
            ShownCause(
                cause=effect.cause.name.lower().replace("_", "-"),
                zh=CAUSE_LABELS[effect.cause].zh,
                en=CAUSE_LABELS[effect.cause].en,
                machines=effect.machines,
                numerator=effect.numerator,
                denominator=effect.denominator,
                value=_share(effect.value),
                lower=_share(effect.lower),
                upper=_share(effect.upper),
            )
            for effect in told.at(0).effects
        ],
        machines=machines[:MAX_MACHINES],
        machines_total=len(machines),
        within=None if mix is None else float(mix[0]),
        mix=None if mix is None else float(mix[1]),
        note_zh="" if pooled else "分解针对合并计算的比率。",
        note_en="" if pooled else "The account is that of the pooled rate.",
    )


def _share(value: Fraction | None) -> float | None:
    return None if value is None else float(value)


def _moved(union: _Union, told: Change) -> list[MovedMachine]:
    cause = np.where(told.cause_after != Cause.UNCHANGED, told.cause_after, told.cause_before)
    return [
        MovedMachine(
            id=fact.id,
            number=fact.number,
            name_zh=fact.name_zh,
            enterprise_id=fact.credit_code,
            cause=Cause(int(cause[i])).name.lower().replace("_", "-"),
        )
        for i in np.flatnonzero(cause != Cause.UNCHANGED).tolist()
        for fact in [union.facts[i]]
    ]


def _mix(was: RateResult, now: RateResult) -> tuple[Fraction, Fraction] | None:
    """Within enterprises, and by their weights."""
    codes = sorted({*was.perimeter.codes, *now.perimeter.codes})
    index = {code: i for i, code in enumerate(codes)}

    def numbers(result: RateResult) -> tuple[list[int], list[int]]:
        place = np.array([index[code] for code in result.perimeter.codes], np.int64)
        owner = place[result.perimeter.assets.enterprise[result.rows]]

        def count(chosen: NDArray[np.bool_]) -> list[int]:
            found: list[int] = np.bincount(owner[chosen], minlength=len(codes)).tolist()
            return found

        return count(result.classes == AssetClass.SHOWN), count(result.classes != AssetClass.EXCLUDED)

    found = mix_effect(*numbers(was), *numbers(now))
    return None if found is None else (found.within, found.mix)


def _meter_change(
    before: Question,
    old: Figure,
    was: MeterResult,
    after: Question,
    new: Figure,
    now: MeterResult,
    change: float | None,
) -> FigureChange:
    """LMDI by industry, with reported output as activity: at current prices, so that a change of prices is in it."""
    industries = sorted({e.industry_id or "" for q in (before, after) for e in q.view.enterprises.values()})
    sides = [(_energy(q, r, industries), _activity(q, industries)) for q, r in ((before, was), (after, now))]
    (energy0, activity0), (energy1, activity1) = sides
    told = ((energy0 == 0) | (activity0 > 0)) & ((energy1 == 0) | (activity1 > 0))
    used = np.flatnonzero(told & (energy0 + energy1 + activity0 + activity1 > 0) & (energy0 >= 0) & (energy1 >= 0))
    left = [industries[i] for i in np.flatnonzero(energy0 + energy1 > 0).tolist() if i not in set(used.tolist())]
    effects: list[IndustryEffect] = []
    if len(used):
        parts = decompose(energy0[used], energy1[used], activity0[used], activity1[used])
        names = after.sources.plans.current.industries
        effects = [
            IndustryEffect(
                industry_id=industries[i],
                name_zh=names[industries[i]].name_zh if industries[i] in names else "未分行业",
                change=float(parts.change[k]),
                activity=float(parts.activity[k]),
                structure=float(parts.structure[k]),
                intensity=float(parts.intensity[k]),
            )
            for k, i in enumerate(used.tolist())
        ]
    return FigureChange(
        before=old,
        after=new,
        change=change,
        causes=[],
        machines=[],
        machines_total=0,
        industries=effects,
        undecomposed=left,
        note_zh="活动为报送产值（现价），价格变动计入其中；没有产值的行业不分解。",
        note_en="Activity is reported output at current prices; industries without any are not decomposed.",
    )


def _energy(question: Question, result: MeterResult, industries: list[str]) -> NDArray[np.float64]:
    found = np.zeros(len(industries))
    factor = 1.0 if result.coal is None or result.kgce_per_unit is None else result.kgce_per_unit / 1000
    for stretch in result.stretches:
        for i, code in enumerate(stretch.perimeter.codes):
            if code in stretch.codes:
                industry = question.view.enterprises[code].industry_id or ""
                found[industries.index(industry)] += int(stretch.plants.metered[i]) / 1000 * factor
    return found


def _activity(question: Question, industries: list[str]) -> NDArray[np.float64]:
    found = np.zeros(len(industries))
    months = [month.id for month in months_of(question.period)]
    for code in question.codes:
        said = [question.view.reports.get((code, month)) for month in months]
        amount = sum(report.output_wan for report in said if report is not None and report.output_wan is not None)
        found[industries.index(question.view.enterprises[code].industry_id or "")] += max(amount, 0.0)
    return found
