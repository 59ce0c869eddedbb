"""A figure opened: a sentence, the formula with its numbers, and every asset or meter behind it, page by page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast, get_args

import numpy as np
from numpy.typing import NDArray

from api.clock import moment
from api.schemas import EvidenceRow, Explanation, Figure, Page
from api.services.access import Reader
from api.services.energy import MeterMonth, MeterResult
from api.services.explain_words import UNCONFIRMED, Counted, Why, estimated_words, why, words_of
from api.services.figures import Result, compute, definition_named
from api.services.gaps import GapFinder
from api.services.perimeter import EVIDENCE, evidence_of
from api.services.question import ask
from api.services.rates import RateResult
from api.services.register_view import BindingFact
from api.services.shares import ProcessResult, ShareResult
from api.services.sources import Question
from metrics.days import NEVER
from metrics.hand_over import SETTLED
from metrics.rates import AssetClass
from metrics.record import TENTHS_PER_S, THOUSANDTHS
from metrics.rollup import AssetPeriod

if TYPE_CHECKING:
    from api.runtime import County

_NS: Final = 1_000_000_000
_COUNTED: Final[tuple[Counted, ...]] = get_args(Counted)
_BY_CLASS: Final = {
    AssetClass.EXCLUDED: "excluded",
    AssetClass.SHOWN: "numerator",
    AssetClass.UNOBSERVED: "unobserved",
    AssetClass.DECLARED_UNCONNECTED: "denominator-only",
    AssetClass.SHOWN_NOT: "denominator-only",
}
_OF_CLASS: Final = np.array([_COUNTED.index(cast(Counted, _BY_CLASS[kind])) for kind in AssetClass])


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a whole perimeter, not yet made: how each counts, and how to make some of them."""

    counted: NDArray[np.int64]
    """(r,) index into _COUNTED."""
    owner: Sequence[str]
    """Credit code by enterprise index."""
    of_owner: NDArray[np.int64]
    """(r,) index into `owner`."""
    make: Callable[[NDArray[np.int64]], list[EvidenceRow]]


def explain(
    county: County,
    reader: Reader,
    name: str,
    scope: str | None,
    period: str | None,
    look_back_days: int | None,
    as_of: str | None = None,
    counted: Counted | None = None,
    offset: int = 0,
    limit: int = 100,
) -> Explanation:
    """Open a figure; `counted`: only rows that count so. Raises ProblemError."""
    question = ask(county, reader, scope, period, look_back_days, as_of)
    definition = definition_named(question, name)
    figure, result = compute(question, definition)
    rows = _rows(county, question, figure, result)
    chosen = np.arange(len(rows.counted))
    if counted is not None:
        chosen = np.flatnonzero(rows.counted == _COUNTED.index(counted))
    numbers = np.bincount(rows.counted, minlength=len(_COUNTED)).tolist()
    zh, en, formula = words_of(figure, result)
    return Explanation(
        figure=figure,
        sentence_zh=zh,
        sentence_en=en,
        formula_with_numbers=formula,
        rows=rows.make(chosen[offset : offset + limit]),
        page=Page(offset=offset, limit=limit, total=len(chosen)),
        by_counted=dict(zip(_COUNTED, numbers, strict=True)),
        enterprises=len(np.unique(rows.of_owner)),
    )


def _rows(county: County, question: Question, figure: Figure, result: Result) -> _Rows:
    match result:
        case RateResult():
            return _rate_rows(county, question, figure, result)
        case ShareResult():
            return _share_rows(county, question, result)
        case MeterResult():
            return _meter_rows(county, question, result)
        case ProcessResult():
            return _process_rows(question, result)
        case _:
            nothing = np.empty(0, np.int64)
            return _Rows(nothing, (), nothing, lambda _: [])


def _proof(at_s: int) -> datetime | None:
    return None if at_s == NEVER else moment(at_s * _NS)


def _main(bindings: list[BindingFact]) -> BindingFact | None:
    """The binding that a row names: the newest of role state, else the newest."""
    found = [b for b in bindings if b.role == "state"] or bindings
    return found[-1] if found else None


def _asset_row(
    question: Question, finder: GapFinder, result: RateResult | ShareResult, i: int, said: Why
) -> dict[str, Any]:
    states: AssetPeriod | None = result.states
    row = int(result.rows[i])
    fact = result.perimeter.facts[row]
    owned = question.view.bindings.get(fact.object_id, [])
    main = _main(owned)
    return {
        "id": fact.id,
        "number": fact.number,
        "name_zh": fact.name_zh,
        "enterprise_id": fact.credit_code,
        "enterprise_zh": question.view.enterprises[fact.credit_code].name_zh,
        "counted": said.counted,
        "reason_zh": said.zh,
        "reason_en": said.en,
        "evidence": EVIDENCE[int(result.perimeter.assets.evidence[row])],
        "gateway": main.gateway if main else None,
        "device": main.device if main else None,
        "observed_s": 0.0 if states is None else int(states.observed[i]) / TENTHS_PER_S,
        "connected_s": 0.0 if states is None else int(states.connected[i]) / TENTHS_PER_S,
        "first_proof_at": None if states is None else _proof(int(states.first_connected_s[i])),
        "last_proof_at": None if states is None else _proof(int(states.last_connected_s[i])),
        "quantity": None,
        "quantity_estimated": None,
        "unit": "",
        "gaps": finder.gaps(owned),
    }


def _look(question: Question, finder: GapFinder, result: RateResult | ShareResult, rows: NDArray[np.int64]) -> None:
    facts = [result.perimeter.facts[i] for i in result.rows[rows].tolist()]
    finder.look(b for fact in facts for b in question.view.bindings.get(fact.object_id, []))


def _rate_rows(county: County, question: Question, figure: Figure, result: RateResult) -> _Rows:
    finder = GapFinder(county, question, result.window)
    assets = result.perimeter.assets

    def make(rows: NDArray[np.int64]) -> list[EvidenceRow]:
        found: list[EvidenceRow] = []
        _look(question, finder, result, rows)
        for i in rows.tolist():
            kind, asset = AssetClass(int(result.classes[i])), int(result.rows[i])
            said = why(figure, kind, bool(assets.in_scope[asset]))
            if kind == AssetClass.UNOBSERVED and not assets.confirmed[asset]:
                said = UNCONFIRMED
            found.append(EvidenceRow(**_asset_row(question, finder, result, i, said)))
        return found

    return _Rows(_OF_CLASS[result.classes], result.perimeter.codes, assets.enterprise[result.rows], make)


def _share_rows(county: County, question: Question, result: ShareResult) -> _Rows:
    """Quantities are what each asset adds to the numerator, in its unit."""
    finder = GapFinder(county, question, result.own)
    kinds = np.where(
        ~result.inside,
        _COUNTED.index("excluded"),
        np.where(result.whole > 0, _COUNTED.index("numerator"), _COUNTED.index("unobserved")),
    )
    said = {
        "excluded": Why("excluded", "不属于统计范围内的生产设备", "not production equipment in scope"),
        "numerator": Why("numerator", "计入分子与分母", "counts in numerator and denominator"),
        "unobserved": Why("unobserved", "没有可用的状态或计量数据", "no state or quantity is known"),
    }

    def make(rows: NDArray[np.int64]) -> list[EvidenceRow]:
        found: list[EvidenceRow] = []
        _look(question, finder, result, rows)
        for i, kind in zip(rows.tolist(), kinds[rows].tolist(), strict=True):
            row = _asset_row(question, finder, result, i, said[_COUNTED[kind]])
            quantity = int(result.part[i]) / result.per_unit if result.whole[i] > 0 else None
            found.append(EvidenceRow(**(row | {"quantity": quantity, "unit": result.unit})))
        return found

    return _Rows(kinds.astype(np.int64), result.perimeter.codes, result.perimeter.assets.enterprise[result.rows], make)


def _meter_rows(county: County, question: Question, result: MeterResult) -> _Rows:
    """A row per meter and stretch of days; quantities of the numerator's rows add to the quantity exactly."""
    places = [
        (stretch, i)
        for stretch in result.stretches
        for i, fact in enumerate(stretch.perimeter.facts)
        if fact.credit_code in stretch.codes
    ]
    finders = {id(s): GapFinder(county, question, (s.period.from_day, s.period.to_day)) for s in result.stretches}
    counted = np.array(
        [_COUNTED.index("numerator" if stretch.sign[i] else "excluded") for stretch, i in places], np.int64
    )
    codes = sorted({stretch.perimeter.facts[i].credit_code for stretch, i in places})
    index = {code: k for k, code in enumerate(codes)}
    owner = np.array([index[stretch.perimeter.facts[i].credit_code] for stretch, i in places], np.int64)

    def make(rows: NDArray[np.int64]) -> list[EvidenceRow]:
        chosen = [places[row] for row in rows.tolist()]
        for stretch in result.stretches:
            facts = [s.perimeter.facts[i] for s, i in chosen if s is stretch]
            finders[id(stretch)].look(b for fact in facts for b in question.view.bindings.get(fact.object_id, []))
        return [_meter_row(question, result, stretch, i, finders[id(stretch)]) for stretch, i in chosen]

    return _Rows(counted, codes, owner, make)


_ROLES_ZH: Final = {"import": "购入", "export": "外送（减）", "generation": "自发", "sub": "分表（无总表）"}


def _meter_row(question: Question, result: MeterResult, stretch: MeterMonth, i: int, finder: GapFinder) -> EvidenceRow:
    fact, states = stretch.perimeter.facts[i], stretch.states
    sign = int(stretch.sign[i])
    role = getattr(fact, "meter_role", "own counter")
    if sign:
        words = Why(
            "numerator",
            f"{_ROLES_ZH.get(role, '设备自身计量')}，计入 {stretch.period.id}",
            f"{role}, counted in {stretch.period.id}",
        )
    else:
        words = Why("excluded", "包含在上级表中，不重复计入", "contained in another meter, not added again")
    owned = [b for b in question.view.bindings.get(fact.object_id, []) if b.role == "quantity"]
    main = _main(owned)
    estimated = int(states.quantity_estimated[i]) / THOUSANDTHS
    more_zh, more_en = estimated_words(estimated, result.unit, bool(int(states.flags[i]) & SETTLED))
    return EvidenceRow(
        id=fact.id,
        number=fact.number,
        name_zh=fact.name_zh,
        enterprise_id=fact.credit_code,
        enterprise_zh=question.view.enterprises[fact.credit_code].name_zh,
        counted=words.counted,
        reason_zh=words.zh + more_zh,
        reason_en=words.en + more_en,
        evidence=evidence_of(question.known.announced, owned) if owned else None,
        gateway=main.gateway if main else None,
        device=main.device if main else None,
        observed_s=int(states.observed[i]) / TENTHS_PER_S,
        connected_s=int(states.connected[i]) / TENTHS_PER_S,
        first_proof_at=_proof(int(states.first_connected_s[i])),
        last_proof_at=_proof(int(states.last_connected_s[i])),
        quantity=(sign or 1) * int(states.quantity[i]) / THOUSANDTHS,
        quantity_estimated=estimated,
        unit=result.unit,
        gaps=finder.gaps(owned),
    )


def _process_rows(question: Question, result: ProcessResult) -> _Rows:
    confirmed = question.view.enterprises

    def said(i: int) -> Why:
        process = result.processes[i]
        if not process.key_process:
            return Why("excluded", "不是关键工序", "not a key process")
        if process.controlled:
            return Why("numerator", "受数控、PLC 或 DCS 等控制", "under numerical, PLC or DCS control")
        if process.controlled is None or not confirmed[process.credit_code].confirmed:
            return Why("unobserved", "控制方式不明，或企业台账未经确认", "control not known, or not confirmed")
        return Why("denominator-only", "未受控制", "not under control")

    kinds = [said(i) for i in range(len(result.processes))]
    codes = sorted({p.credit_code for p in result.processes})
    index = {code: k for k, code in enumerate(codes)}

    def make(rows: NDArray[np.int64]) -> list[EvidenceRow]:
        found: list[EvidenceRow] = []
        for i in rows.tolist():
            process, words = result.processes[i], kinds[i]
            found.append(
                EvidenceRow(
                    id=f"{process.credit_code}/{process.number}",
                    number=process.number,
                    name_zh=process.name_zh,
                    enterprise_id=process.credit_code,
                    enterprise_zh=confirmed[process.credit_code].name_zh,
                    counted=words.counted,
                    reason_zh=words.zh,
                    reason_en=words.en,
                    evidence="declared",
                    gateway=None,
                    device=None,
                    observed_s=0.0,
                    connected_s=0.0,
                    first_proof_at=None,
                    last_proof_at=None,
                    quantity=None,
                    quantity_estimated=None,
                    unit="",
                    gaps=[],
                )
            )
        return found

    return _Rows(
        np.array([_COUNTED.index(words.counted) for words in kinds], np.int64),
        codes,
        np.array([index[p.credit_code] for p in result.processes], np.int64),
        make,
    )
