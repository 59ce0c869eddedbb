"""A figure opened: a sentence, the formula with its numbers, and every asset or meter behind it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

from api.clock import moment
from api.schemas import EvidenceRow, Explanation, Figure
from api.services.access import Reader
from api.services.energy import MeterMonth, MeterResult
from api.services.figures import RateResult, compute, definition_named
from api.services.gaps import GapFinder
from api.services.perimeter import EVIDENCE, evidence_of
from api.services.question import Question, ask
from api.services.register_view import BindingFact
from metrics.days import NEVER
from metrics.rates import AssetClass
from metrics.record import TENTHS_PER_S, THOUSANDTHS

if TYPE_CHECKING:
    from api.runtime import County

_NS: Final = 1_000_000_000
Counted = Literal["numerator", "denominator-only", "unobserved", "excluded"]


class _Why(NamedTuple):
    counted: Counted
    zh: str
    en: str


_NETWORKING: Final = {
    AssetClass.EXCLUDED: _Why("excluded", "不属于统计范围内的生产设备", "not production equipment in scope"),
    AssetClass.SHOWN: _Why("numerator", "回溯期内已证实联网", "proven connected within the look-back"),
    AssetClass.UNOBSERVED: _Why(
        "unobserved",
        "观测时间不足，不能判断是否联网",
        "watched for too little of its bound time to tell",
    ),
    AssetClass.DECLARED_UNCONNECTED: _Why(
        "denominator-only", "企业确认台账：未接入设备", "listed without a device by a confirmed register"
    ),
    AssetClass.SHOWN_NOT: _Why(
        "denominator-only", "观测充分，回溯期内未见联网", "watched long enough, and not seen connected"
    ),
}
_UNCONFIRMED: Final = _Why("unobserved", "企业台账未经确认，不能判断", "the enterprise has not confirmed its register")
_CNC: Final = {
    AssetClass.EXCLUDED: _NETWORKING[AssetClass.EXCLUDED],
    AssetClass.SHOWN: _Why(
        "numerator", "台账登记为数控、可编程或机器人控制", "registered as CNC, PLC or robot controlled"
    ),
    AssetClass.UNOBSERVED: _Why(
        "unobserved", "控制方式不明，或企业台账未经确认", "control not known, or the register is not confirmed"
    ),
    AssetClass.SHOWN_NOT: _Why("denominator-only", "台账登记为非数控", "registered as not numerically controlled"),
}


def explain(
    county: County,
    reader: Reader,
    name: str,
    scope: str | None,
    period: str | None,
    look_back_days: int | None,
) -> Explanation:
    """Open a figure. Raises ProblemError."""
    definition = definition_named(county, name)
    question = ask(county, reader, scope, period, look_back_days)
    figure, result = compute(question, definition)
    if isinstance(result, MeterResult):
        rows = _meter_rows(question, result)
        zh, en, formula = _energy_words(figure, result)
    else:
        rows = _asset_rows(question, definition.id, result)
        zh, en, formula = _rate_words(figure)
    return Explanation(figure=figure, sentence_zh=zh, sentence_en=en, formula_with_numbers=formula, rows=rows)


def _percent(share: float | None) -> str:
    return "—" if share is None else f"{share * 100:.1f} %"


def _rate_words(figure: Figure) -> tuple[str, str, str]:
    counts = figure.counts
    assert counts is not None
    name_zh, name_en = figure.definition.name_zh, figure.definition.name_en
    if not counts.in_scope:
        return (
            f"{figure.scope.name_zh}在册生产设备为 0 台，{name_zh}没有数值。",
            f"No production asset is registered in this scope: {name_en} has no value.",
            "—",
        )
    is_network = figure.definition.id == "networking-rate"
    shown_zh, shown_en = ("已证实联网", "proven connected") if is_network else ("为数控", "numerically controlled")
    not_zh, not_en = ("未见联网", "not seen connected") if is_network else ("非数控", "not numerically controlled")
    zh = (
        f"{figure.scope.name_zh}在册生产设备 {counts.in_scope} 台，其中 {counts.shown} 台{shown_zh}，"
        f"{counts.unobserved} 台不能判断，{counts.declared_unconnected} 台台账声明未接入，"
        f"{counts.shown_not} 台{not_zh}。"
    )
    en = (
        f"Of {counts.in_scope} registered production assets {counts.shown} are {shown_en}, "
        f"{counts.unobserved} cannot be told, {counts.declared_unconnected} are declared "
        f"without a device and {counts.shown_not} are {not_en}."
    )
    c, u, n = counts.shown, counts.unobserved, counts.in_scope
    formula = (
        f"{c} ÷ {n} = {_percent(c / n)}; [{c} ÷ {n}, ({c} + {u}) ÷ {n}] = [{_percent(c / n)}, {_percent((c + u) / n)}]"
    )
    return zh, en, formula


def _energy_words(figure: Figure, result: MeterResult) -> tuple[str, str, str]:
    kwh, tce = result.energy.value, result.coal.value
    coverage = _percent(figure.coverage)
    if kwh is None or tce is None:
        return "没有计量用电数据。", "No electricity was metered.", "—"
    coal = f"{kwh:,.3f} kWh × {result.kgce_per_kwh} kgce/kWh ÷ 1000 = {tce:,.6f} tce"
    if figure.definition.id == "metered-energy":
        return (
            f"计量用电 {kwh:,.1f} kWh，计量时间覆盖率 {coverage}。",
            f"{kwh:,.1f} kWh metered, {coverage} of the time covered.",
            f"购入 import + 自发 generation − 外送 export = {kwh:,.3f} kWh",
        )
    if figure.definition.id == "metered-energy-tce":
        return f"折标煤 {tce:,.4f} tce（当量值）。", f"{tce:,.4f} tce (calorific).", coal
    wan = result.value_added_wan
    if not wan or result.intensity.value is None:
        return (
            "没有企业在此期间报送增加值，单位增加值能耗没有数值。",
            "No enterprise reported value added for this period: there is no value.",
            coal,
        )
    enterprises = len({code for code, _, _ in result.reports})
    return (
        f"{enterprises} 家报送企业计量用电折标煤 {tce:,.4f} tce，增加值 {wan:,.2f} 万元；监测数据，只含电力，现价。",
        (
            f"{enterprises} reporting enterprises: {tce:,.4f} tce metered, value added {wan:,.2f} 万元; "
            "monitoring data, electricity only, current prices."
        ),
        f"{coal}; {tce:,.6f} tce ÷ {wan:,.2f} 万元 = {result.intensity.value:.6f} tce/万元",
    )


def _proof(at_s: int) -> datetime | None:
    return None if at_s == NEVER else moment(at_s * _NS)


def _main(bindings: list[BindingFact]) -> BindingFact | None:
    """The binding that a row names: the newest of role state, else the newest."""
    found = [b for b in bindings if b.role == "state"] or bindings
    return found[-1] if found else None


def _asset_rows(question: Question, definition_id: str, result: RateResult) -> list[EvidenceRow]:
    why = _NETWORKING if definition_id == "networking-rate" else _CNC
    finder = GapFinder(question.county, result.days.states, result.window, question.now_s)
    rows: list[EvidenceRow] = []
    for i in np.flatnonzero(result.inside):
        fact = result.perimeter.facts[i]
        kind = AssetClass(int(result.classes[i]))
        words = why[kind]
        if kind == AssetClass.UNOBSERVED and not result.perimeter.assets.confirmed[i]:
            words = _UNCONFIRMED
        owned = question.view.bindings.get(fact.object_id, [])
        states = result.states
        main = _main(owned)
        rows.append(
            EvidenceRow(
                id=fact.id,
                number=fact.number,
                name_zh=fact.name_zh,
                enterprise_id=fact.credit_code,
                enterprise_zh=question.view.enterprises[fact.credit_code].name_zh,
                counted=words.counted,
                reason_zh=words.zh,
                reason_en=words.en,
                evidence=EVIDENCE[int(result.perimeter.assets.evidence[i])],
                gateway=main.gateway if main else None,
                device=main.device if main else None,
                observed_s=0.0 if states is None else int(states.observed[i]) / TENTHS_PER_S,
                connected_s=0.0 if states is None else int(states.connected[i]) / TENTHS_PER_S,
                first_proof_at=None if states is None else _proof(int(states.first_connected_s[i])),
                last_proof_at=None if states is None else _proof(int(states.last_connected_s[i])),
                quantity=None,
                unit="",
                gaps=finder.gaps(owned),
            )
        )
    return rows


def _meter_rows(question: Question, result: MeterResult) -> list[EvidenceRow]:
    """A row per meter and stretch of days; quantities of the numerator's rows add to the energy exactly."""
    rows: list[EvidenceRow] = []
    for stretch in result.stretches:
        window = (stretch.period.from_day, stretch.period.to_day)
        finder = GapFinder(question.county, stretch.days.states, window, question.now_s)
        for i, fact in enumerate(stretch.perimeter.facts):
            if fact.credit_code in stretch.codes:
                rows.append(_meter_row(question, stretch, i, finder))
    return rows


def _meter_row(question: Question, stretch: MeterMonth, i: int, finder: GapFinder) -> EvidenceRow:
    fact, states = stretch.perimeter.facts[i], stretch.states
    sign = int(stretch.sign[i])
    if sign:
        role = {"import": "购入", "export": "外送（减）", "generation": "自发", "sub": "分表（无总表）"}[
            fact.meter_role
        ]
        words = _Why(
            "numerator", f"{role}，计入 {stretch.period.id}", f"{fact.meter_role}, counted in {stretch.period.id}"
        )
    else:
        words = _Why("excluded", "包含在上级表中，不重复计入", "contained in another meter, not added again")
    owned = [b for b in question.view.bindings.get(fact.object_id, []) if b.role == "quantity"]
    main = _main(owned)
    return EvidenceRow(
        id=fact.id,
        number=fact.number,
        name_zh=fact.name_zh,
        enterprise_id=fact.credit_code,
        enterprise_zh=question.view.enterprises[fact.credit_code].name_zh,
        counted=words.counted,
        reason_zh=words.zh,
        reason_en=words.en,
        evidence=evidence_of(question.county, owned) if owned else None,
        gateway=main.gateway if main else None,
        device=main.device if main else None,
        observed_s=int(states.observed[i]) / TENTHS_PER_S,
        connected_s=int(states.connected[i]) / TENTHS_PER_S,
        first_proof_at=_proof(int(states.first_connected_s[i])),
        last_proof_at=_proof(int(states.last_connected_s[i])),
        quantity=(sign or 1) * int(states.quantity[i]) / THOUSANDTHS,
        unit=fact.unit,
        gaps=finder.gaps(owned),
    )
