"""Scopes as readers name them, and what lies in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from api.problems import ProblemError
from api.schemas import Page, Scope, ScopeList
from api.services.access import Reader
from api.services.periods import day_id
from api.services.register_view import EnterpriseFact, RegisterView
from metrics.record import local_day
from metrics.scopes import LADDER_ZH, Ladder, ladder_class

if TYPE_CHECKING:
    from api.services.sources import Sources

KINDS: Final = ("county", "zone", "area", "industry", "chain", "park", "ladder", "enterprise", "asset")
LADDER: Final = {member.name.lower(): member for member in Ladder}
_NS: Final = 1_000_000_000
_MONTHS: Final = 12


def read_scope(sources: Sources, view: RegisterView, reader: Reader, text: str | None) -> Scope:
    """The scope that a reader named: `kind:id`, `county`, or all that it may see for none.

    Raises the problems `bad-request`, `not-found` and, for what the reader may not see, `forbidden`.
    """
    if text is None:
        text = "county" if reader.enterprise is None else f"enterprise:{reader.enterprise}"
    kind, _, scope_id = text.partition(":")
    if kind not in KINDS or (kind == "county") == bool(scope_id):
        raise ProblemError("bad-request", f"scope={text!r}: expected county, or one of {', '.join(KINDS[1:])} with :ID")
    if kind == "asset":
        return _asset(view, reader, scope_id)
    if reader.enterprise is not None and (kind != "enterprise" or scope_id != reader.enterprise):
        raise ProblemError("forbidden", "this role sees its own enterprise only")
    plan = sources.plans.current
    if kind == "county":
        return Scope(kind="county", id=plan.plan.id, name_zh=plan.county_zh)
    if kind == "enterprise":
        enterprise = view.enterprises.get(scope_id)
        if enterprise is None:
            raise ProblemError("not-found", f"enterprise {scope_id}")
        return Scope(kind="enterprise", id=scope_id, name_zh=enterprise.name_zh)
    if kind == "ladder":
        if scope_id not in LADDER:
            raise ProblemError("not-found", f"ladder {scope_id}: one of {', '.join(LADDER)}")
        return Scope(kind="ladder", id=scope_id, name_zh=LADDER_ZH[LADDER[scope_id]])
    if kind in ("chain", "park"):
        name = view.groups.get((kind, scope_id))
        if name is None:
            raise ProblemError("not-found", f"{kind} {scope_id}")
        return Scope(kind="chain" if kind == "chain" else "park", id=scope_id, name_zh=name)
    named = (plan.industries if kind == "industry" else plan.zones).get(scope_id)
    if named is None or named.level != kind:
        raise ProblemError("not-found", f"{kind} {scope_id}")
    return Scope(kind=named.level, id=scope_id, name_zh=named.name_zh)


def _asset(view: RegisterView, reader: Reader, asset_id: str) -> Scope:
    fact = view.object_by_id.get(asset_id)
    if fact is None:
        raise ProblemError("not-found", f"asset {asset_id}")
    if not reader.may_see(fact.credit_code):
        raise ProblemError("forbidden", "this role sees its own enterprise only")
    return Scope(kind="asset", id=asset_id, name_zh=fact.name_zh)


def object_in(scope: Scope) -> int | None:
    """The object that an asset's scope is about."""
    return int(scope.id[1:]) if scope.kind == "asset" else None


def codes_in(sources: Sources, view: RegisterView, scope: Scope, day: int) -> set[str]:
    """Credit codes of the enterprises in a scope on a local day; of an asset, its owner."""
    match scope.kind:
        case "asset":
            return {view.object_by_id[scope.id].credit_code}
        case "enterprise":
            return {scope.id} & view.enterprises.keys()
        case "chain" | "park":
            held = (m for m in view.memberships if (m.kind, m.group_id) == (scope.kind, scope.id) and m.valid_on(day))
            return {m.credit_code for m in held} & view.enterprises.keys()
        case "ladder":
            return ladder_codes(view, day)[LADDER[scope.id]]
    return {code for code, enterprise in view.enterprises.items() if _inside(sources, scope, enterprise)}


def _inside(sources: Sources, scope: Scope, enterprise: EnterpriseFact) -> bool:
    """A zone holds its areas' enterprises."""
    match scope.kind:
        case "county":
            return True
        case "industry":
            return enterprise.industry_id == scope.id
        case "area":
            return enterprise.zone_id == scope.id
    zone = sources.plans.current.zones.get(enterprise.zone_id or "")
    return zone is not None and scope.id in (zone.id, zone.parent)


def ladder_codes(view: RegisterView, day: int) -> dict[Ladder, set[str]]:
    """Enterprises by class of the 215 ladder on a local day.

    By the reported output of the last calendar year before that day; an enterprise that has not reported
    all of its twelve months is in no class.
    """
    year = int(day_id(day)[:4]) - 1
    months = [f"{year}-{month:02d}" for month in range(1, _MONTHS + 1)]
    codes = list(view.enterprises)
    outputs = np.full(len(codes), np.nan)
    for i, code in enumerate(codes):
        said = [report.output_wan for month in months if (report := view.reports.get((code, month))) is not None]
        amounts = [amount for amount in said if amount is not None]
        if len(amounts) == _MONTHS:
            outputs[i] = sum(amounts)
    found: dict[Ladder, set[str]] = {member: set() for member in Ladder}
    for code, member in zip(codes, ladder_class(outputs).tolist(), strict=True):
        if member >= 0:
            found[Ladder(member)].add(code)
    return found


def list_scopes(sources: Sources, reader: Reader, offset: int, limit: int) -> ScopeList:
    """What a reader may ask figures about: first the county and its parts that hold an enterprise, then enterprises.

    Assets are scopes too, `asset:ID`; they are listed by the register.
    """
    view = sources.register.view()
    day = int(local_day(sources.clock.now_ns() // _NS))
    items: list[Scope] = []
    plan = sources.plans.current
    if reader.enterprise is None:
        items.append(Scope(kind="county", id=plan.plan.id, name_zh=plan.county_zh))
        parts = [
            *(Scope(kind=n.level, id=n.id, name_zh=n.name_zh) for n in plan.zones.values()),
            *(Scope(kind=n.level, id=n.id, name_zh=n.name_zh) for n in plan.industries.values()),
            *(
                Scope(kind="chain" if kind == "chain" else "park", id=group_id, name_zh=name)
                for (kind, group_id), name in sorted(view.groups.items())
            ),
            *(Scope(kind="ladder", id=name, name_zh=LADDER_ZH[member]) for name, member in LADDER.items()),
        ]
        items.extend(part for part in parts if codes_in(sources, view, part, day))
    items.extend(
        Scope(kind="enterprise", id=code, name_zh=enterprise.name_zh)
        for code, enterprise in sorted(view.enterprises.items(), key=lambda e: e[1].name_zh)
        if reader.may_see(code)
    )
    return ScopeList(page=Page(offset=offset, limit=limit, total=len(items)), items=items[offset : offset + limit])


def zone_name(sources: Sources, zone_id: str | None) -> str | None:
    """Name of a zone or area."""
    named = sources.plans.current.zones.get(zone_id or "")
    return None if named is None else named.name_zh


def industry_name(sources: Sources, industry_id: str | None) -> str | None:
    """Name of an industry."""
    named = sources.plans.current.industries.get(industry_id or "")
    return None if named is None else named.name_zh


def scope_text(scope: Scope) -> str:
    """A scope as readers name it."""
    return "county" if scope.kind == "county" else f"{scope.kind}:{scope.id}"
