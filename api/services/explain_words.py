"""The words of an opened figure: a sentence in both languages, and the formula with its numbers."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np

from api.schemas import Figure
from api.services.energy import MeterResult
from api.services.figures import Result, method_of
from api.services.rates import RateResult
from api.services.shares import ProcessResult, ShareResult
from metrics.rates import AssetClass
from metrics.record import THOUSANDTHS

Counted = Literal["numerator", "denominator-only", "unobserved", "excluded"]
Words = tuple[str, str, str]
"""Chinese, English, formula."""


class Why(NamedTuple):
    """How a row counts, and why."""

    counted: Counted
    zh: str
    en: str


_EXCLUDED: Final = Why("excluded", "不属于统计范围内的生产设备", "not production equipment in scope")
_NETWORKING: Final = {
    AssetClass.EXCLUDED: _EXCLUDED,
    AssetClass.SHOWN: Why("numerator", "回溯期内已证实联网", "proven connected within the look-back"),
    AssetClass.UNOBSERVED: Why(
        "unobserved",
        "观测时间不足，不能判断是否联网",
        "watched for too little of its bound time to tell",
    ),
    AssetClass.DECLARED_UNCONNECTED: Why(
        "denominator-only", "企业确认台账：未接入设备", "listed without a device by a confirmed register"
    ),
    AssetClass.SHOWN_NOT: Why(
        "denominator-only", "观测充分，回溯期内未见联网", "watched long enough, and not seen connected"
    ),
}
UNCONFIRMED: Final = Why("unobserved", "企业台账未经确认，不能判断", "the enterprise has not confirmed its register")
_CNC: Final = {
    AssetClass.EXCLUDED: _EXCLUDED,
    AssetClass.SHOWN: Why(
        "numerator", "台账登记为数控、可编程或机器人控制", "registered as CNC, PLC or robot controlled"
    ),
    AssetClass.UNOBSERVED: Why(
        "unobserved", "控制方式不明，或企业台账未经确认", "control not known, or the register is not confirmed"
    ),
    AssetClass.SHOWN_NOT: Why("denominator-only", "台账登记为非数控", "registered as not numerically controlled"),
}
_DECLARED: Final = {
    AssetClass.EXCLUDED: _EXCLUDED,
    AssetClass.SHOWN: Why("numerator", "企业申报为联网", "declared to be networked"),
    AssetClass.UNOBSERVED: Why("unobserved", "企业未申报", "nothing is declared"),
    AssetClass.SHOWN_NOT: Why("denominator-only", "企业申报为未联网", "declared not to be networked"),
}
_WHY: Final = {"cnc-rate": _CNC, "networking-rate-declared": _DECLARED}
_NOT_DIGITAL: Final = Why("excluded", "非数控设备，不在此指标范围", "not a digital asset, outside this figure")


def why(figure: Figure, kind: AssetClass, in_scope: bool) -> Why:
    """How an asset of a class counts in a rate, and why."""
    if kind == AssetClass.EXCLUDED and in_scope:
        return _NOT_DIGITAL
    return _WHY.get(method_of(figure.definition), _NETWORKING)[kind]


def percent(share: float | None) -> str:
    """A share as people read it."""
    return "—" if share is None else f"{share * 100:.1f} %"


def words_of(figure: Figure, result: Result) -> Words:
    """Sentence and formula of an opened figure."""
    match result:
        case RateResult():
            return _rate_words(figure, result)
        case MeterResult():
            return _meter_words(figure, result)
        case ShareResult():
            return _share_words(figure, result)
        case ProcessResult():
            return _process_words(figure)
        case _:
            said = "; ".join(f"{name} {year}: {value:g} ({source})" for name, year, value, source in result.said)
            if figure.value is None:
                return "没有录入所需的官方数据。", "The official figures that it needs are not entered.", said or "—"
            energy, value = figure.numerator, figure.denominator
            return (
                f"按统计部门公布数计算为 {percent(figure.value)}。",
                f"{percent(figure.value)}, from the growths that the statistics office published.",
                f"(1 + {energy:g} %) ÷ (1 + {value:g} %) − 1 = {percent(figure.value)}; {said}",
            )


def _rate_words(figure: Figure, result: RateResult) -> Words:
    counts = figure.counts
    assert counts is not None
    name_zh, name_en = figure.definition.name_zh, figure.definition.name_en
    if not counts.in_scope:
        return (
            f"{figure.scope.name_zh}在册生产设备为 0 台，{name_zh}没有数值。",
            f"No production asset is registered in this scope: {name_en} has no value.",
            "—",
        )
    method = method_of(figure.definition)
    shown_zh, shown_en, not_zh, not_en = {
        "cnc-rate": ("为数控", "numerically controlled", "非数控", "not numerically controlled"),
        "networking-rate-declared": ("申报联网", "declared networked", "申报未联网", "declared not networked"),
    }.get(method, ("已证实联网", "proven connected", "未见联网", "not seen connected"))
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
    if method == "networking-gap" or figure.definition.measure != "pooled" or result.by_value:
        bounds = f"[{percent(figure.lower)}, {percent(figure.upper)}]"
        value = f"{name_zh} {name_en} = {percent(figure.value)}; {bounds}"
        if result.by_value:
            value = f"{figure.numerator:,.2f} 万元 ÷ {figure.denominator:,.2f} 万元; {value}"
        return zh, en, value
    formula = (
        f"{c} ÷ {n} = {percent(c / n)}; [{percent(figure.lower)}, {percent(figure.upper)}]"
        if figure.definition.options
        else f"{c} ÷ {n} = {percent(c / n)}; [{c} ÷ {n}, ({c} + {u}) ÷ {n}] = "
        f"[{percent(c / n)}, {percent((c + u) / n)}]"
    )
    return zh, en, formula


def estimated_words(estimated: float, unit: str, settled: bool) -> tuple[str, str]:
    """What a meter's row says of the part of its quantity that is estimated, and why; nothing where there is none.

    `settled`: the hole that a change of the gateway's hardware left is in it.
    """
    if not estimated:
        return "", ""
    why_zh, why_en = "断线跨零点，按时间分摊到各日", "a gap over midnight, split by time"
    if settled:
        why_zh = "更换网关硬件期间未记录，按换前换后两次表计读数之差补计"
        why_en = "not recorded while the gateway's hardware was replaced, settled by the readings before and after"
    return f"；其中估算 {estimated:,.3f} {unit}：{why_zh}", f"; {estimated:,.3f} {unit} of it estimated: {why_en}"


def _estimated_in(result: MeterResult) -> float:
    """What is estimated of the meters that are counted, in the carrier's unit."""
    found = 0
    for stretch in result.stretches:
        inside = np.array([code in stretch.codes for code in stretch.perimeter.codes], np.bool_)
        found += int(stretch.plants.estimated[inside].sum())
    return found / THOUSANDTHS


def _meter_words(figure: Figure, result: MeterResult) -> Words:
    """Sentence and formula; a part that is estimated is told of in the sentence."""
    zh, en, formula = _metered_words(figure, result)
    estimated = _estimated_in(result)
    if result.quantity.value is None or not estimated:
        return zh, en, formula
    return (
        f"{zh}其中 {estimated:,.3f} {result.unit} 为估算。",
        f"{en} {estimated:,.3f} {result.unit} of it is estimated.",
        formula,
    )


def _metered_words(figure: Figure, result: MeterResult) -> Words:
    quantity, unit = result.quantity.value, result.unit
    coverage = percent(figure.coverage)
    if quantity is None:
        return "没有计量数据。", "Nothing was metered.", "—"
    named = {"electricity": ("计量用电", "electricity")}.get(result.carrier, ("计量", result.carrier))
    tce = None if result.coal is None else result.coal.value
    base = f"购入 import + 自发 generation − 外送 export = {quantity:,.3f} {unit}"
    if tce is not None:
        base = f"{quantity:,.3f} {unit} × {result.kgce_per_unit} kgce/{unit} ÷ 1000 = {tce:,.6f} tce"
    if result.per is None:
        if tce is not None:
            return f"折标煤 {tce:,.4f} tce（当量值）。", f"{tce:,.4f} tce (calorific).", base
        return (
            f"{named[0]} {quantity:,.1f} {unit}，计量时间覆盖率 {coverage}。",
            f"{quantity:,.1f} {unit} metered, {coverage} of the time covered.",
            base,
        )
    per_zh, per_en = ("产值", "output") if result.per == "output" else ("增加值", "value added")
    wan = result.denominator
    if not wan or result.amount.value is None:
        return (
            f"没有企业在此期间报送{per_zh}，{figure.definition.name_zh}没有数值。",
            f"No enterprise reported {per_en} for this period: there is no value.",
            base,
        )
    enterprises = len({code for code, _, _ in result.reports})
    top = f"{tce:,.4f} tce" if tce is not None else f"{quantity:,.3f} {unit}"
    exact = f"{tce:,.6f} tce" if tce is not None else f"{quantity:,.3f} {unit}"
    return (
        (
            f"{enterprises} 家报送企业{named[0]}{'折标煤' if tce is not None else ''} {top}，"
            f"{per_zh} {wan:,.2f} 万元；监测数据，现价。"
        ),
        (
            f"{enterprises} reporting enterprises: {top} metered, {per_en} {wan:,.2f} 万元; "
            "monitoring data, current prices."
        ),
        f"{base}; {exact} ÷ {wan:,.2f} 万元 = {result.amount.value:.6f} {figure.unit}",
    )


def _share_words(figure: Figure, result: ShareResult) -> Words:
    if figure.value is None:
        return "没有状态或计量数据。", "No state or quantity is known.", "—"
    return (
        f"{figure.definition.name_zh} {percent(figure.value)}，覆盖率 {percent(figure.coverage)}。",
        f"{figure.definition.name_en}: {percent(figure.value)}, coverage {percent(figure.coverage)}.",
        f"{figure.numerator:,.2f} {result.unit} ÷ {figure.denominator:,.2f} {result.unit} = {percent(figure.value)}",
    )


def _process_words(figure: Figure) -> Words:
    if figure.value is None:
        return "没有企业提供关键工序清单。", "No enterprise has listed its key processes.", "—"
    return (
        (
            f"关键工序 {figure.denominator:.0f} 道，受控 {figure.numerator:.0f} 道；"
            f"各企业占比平均 {percent(figure.value)}。"
        ),
        (
            f"{figure.numerator:.0f} of {figure.denominator:.0f} key processes are controlled; "
            f"the mean of the enterprises' shares is {percent(figure.value)}."
        ),
        f"mean(enterprises) = {percent(figure.value)}; [{percent(figure.lower)}, {percent(figure.upper)}]",
    )
