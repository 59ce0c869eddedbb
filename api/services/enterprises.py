"""Enterprises as pages show them, with their rates of the present month."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from api.problems import ProblemError
from api.schemas import Enterprise, EnterpriseList, Page
from api.services.access import Reader
from api.services.perimeter import asset_perimeter
from api.services.periods import elapsed_tenths, look_back, read_period
from api.services.register_view import EnterpriseFact
from api.services.scopes import industry_name, zone_name
from metrics.rates import Rates, cnc_rate, networking_rate
from metrics.record import local_day
from metrics.rollup import asset_period

if TYPE_CHECKING:
    from api.runtime import County

_NS: Final = 1_000_000_000


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
    return EnterpriseList(page=Page(offset=offset, limit=limit, total=len(found)), items=_with_rates(county, shown))


def get_enterprise(county: County, reader: Reader, credit_code: str) -> Enterprise:
    """One enterprise. Raises the problems `not-found` and `forbidden`."""
    if not reader.may_see(credit_code):
        raise ProblemError("forbidden", "this role sees its own enterprise only")
    fact = county.register.view().enterprises.get(credit_code)
    if fact is None:
        raise ProblemError("not-found", f"enterprise {credit_code}")
    return _with_rates(county, [fact])[0]


def _with_rates(county: County, facts: list[EnterpriseFact]) -> list[Enterprise]:
    if not facts:
        return []
    now_s = county.clock.now_ns() // _NS
    view = county.register.view()
    definition = county.definitions.newest("networking-rate")
    parameters = {p.name: p.value for p in definition.parameters}
    perimeter = asset_perimeter(county, view, int(local_day(now_s)))
    window = look_back(read_period(None, now_s), int(parameters["look_back_days"]), now_s)
    states = asset_period(county.days.range(*window).states, perimeter.bindings, len(perimeter.facts), *window, now_s)
    count = len(perimeter.codes)
    scope = perimeter.assets.enterprise
    permille = round(parameters["watched_share"] * 1000)
    networked = networking_rate(perimeter.assets, states, scope, count, elapsed_tenths(*window, now_s), permille)
    cnc = cnc_rate(perimeter.assets, scope, count)
    listed = np.bincount(scope, minlength=count)
    row = {code: i for i, code in enumerate(perimeter.codes)}
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
