"""Enterprises as pages show them, with their rates of the present month."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from api.problems import ProblemError
from api.schemas import Enterprise, EnterpriseList, Page
from api.services.access import Reader
from api.services.perimeter import asset_perimeter
from api.services.periods import elapsed_tenths, look_back
from api.services.question import ask
from api.services.rates import parameters_of
from api.services.register_view import EnterpriseFact
from api.services.scopes import industry_name, zone_name
from api.services.sources import Question
from api.services.states import asset_states
from metrics.rates import Rates, cnc_rate, networking_rate

if TYPE_CHECKING:
    from api.runtime import County


def list_enterprises(county: County, reader: Reader, q: str, offset: int, limit: int) -> EnterpriseList:
    """Enterprises by name; `q` is part of a name or code."""
    view = county.register.view()
    wanted = q.strip().casefold()
    found = sorted(
        (
            e
            for e in view.enterprises.values()
            if reader.may_see(e.credit_code) and (wanted in e.name_zh.casefold() or wanted in e.credit_code.casefold())
        ),
        key=lambda e: (e.name_zh, e.credit_code),
    )
    shown = found[offset : offset + limit]
    items = _with_rates(county, reader, shown)
    return EnterpriseList(page=Page(offset=offset, limit=limit, total=len(found)), items=items)


def get_enterprise(county: County, reader: Reader, credit_code: str) -> Enterprise:
    """One enterprise. Raises the problems `not-found` and `forbidden`."""
    if not reader.may_see(credit_code):
        raise ProblemError("forbidden", "this role sees its own enterprise only")
    fact = county.register.view().enterprises.get(credit_code)
    if fact is None:
        raise ProblemError("not-found", f"enterprise {credit_code}")
    return _with_rates(county, reader, [fact])[0]


@dataclass(frozen=True, slots=True)
class _AllRates:
    """Rates and numbers of assets by enterprise of the perimeter."""

    networked: Rates
    cnc: Rates
    listed: NDArray[np.int64]
    codes: list[str]


def _all_rates(question: Question) -> _AllRates:
    definition = question.sources.definitions.in_force("networking-rate", question.period.to_day - 1)
    parameters = parameters_of(definition)
    perimeter = asset_perimeter(question.sources, question.known, question.register_day)
    window = look_back(question.period, int(parameters["look_back_days"]), question.now_s)
    permille = round(parameters["watched_share"] * 1000)
    key = ("enterprises", question.known.key, window, question.now_s, question.days.token(*window), permille)

    def make() -> _AllRates:
        states = asset_states(question, perimeter, window)
        scope, count = perimeter.assets.enterprise, len(perimeter.codes)
        elapsed = elapsed_tenths(*window, question.now_s)
        return _AllRates(
            networking_rate(perimeter.assets, states, scope, count, elapsed, permille),
            cnc_rate(perimeter.assets, scope, count),
            np.bincount(scope, minlength=count),
            perimeter.codes,
        )

    return question.sources.memory.once("rates", key, make)


def _with_rates(county: County, reader: Reader, facts: list[EnterpriseFact]) -> list[Enterprise]:
    if not facts:
        return []
    rates = _all_rates(ask(county, reader, None, None, None))
    networked, cnc, listed = rates.networked, rates.cnc, rates.listed
    row = {code: i for i, code in enumerate(rates.codes)}
    return [
        Enterprise(
            id=fact.credit_code,
            credit_code=fact.credit_code,
            name_zh=fact.name_zh,
            industry_id=fact.industry_id,
            industry_zh=industry_name(county, fact.industry_id),
            zone_id=fact.zone_id,
            zone_zh=zone_name(county, fact.zone_id),
            register_confirmed=fact.confirmed,
            assets=int(listed[row[fact.credit_code]]),
            networking_rate=_value(networked, row[fact.credit_code]),
            cnc_rate=_value(cnc, row[fact.credit_code]),
        )
        for fact in facts
    ]


def _value(rates: Rates, i: int) -> float | None:
    return rates.at(i).value
