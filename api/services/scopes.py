"""Scopes as readers name them, and what lies in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from api.problems import ProblemError
from api.schemas import Scope, ScopeList
from api.services.access import Reader
from api.services.register_view import EnterpriseFact, RegisterView

if TYPE_CHECKING:
    from api.runtime import County

KINDS = ("county", "zone", "area", "industry", "enterprise")


def read_scope(county: County, reader: Reader, text: str | None) -> Scope:
    """The scope that a reader named: `kind:id`, `county`, or all that it may see for none.

    Raises the problems `bad-request`, `not-found` and, for what the reader may not see, `forbidden`.
    """
    if text is None:
        text = "county" if reader.enterprise is None else f"enterprise:{reader.enterprise}"
    kind, _, scope_id = text.partition(":")
    if kind not in KINDS or (kind == "county") == bool(scope_id):
        raise ProblemError("bad-request", f"scope={text!r}: expected county, or one of {', '.join(KINDS[1:])} with :ID")
    if reader.enterprise is not None and (kind != "enterprise" or scope_id != reader.enterprise):
        raise ProblemError("forbidden", "this role sees its own enterprise only")
    plan = county.plans.current
    if kind == "county":
        return Scope(kind="county", id=plan.plan.id, name_zh=plan.county_zh)
    if kind == "enterprise":
        enterprise = county.register.view().enterprises.get(scope_id)
        if enterprise is None:
            raise ProblemError("not-found", f"enterprise {scope_id}")
        return Scope(kind="enterprise", id=scope_id, name_zh=enterprise.name_zh)
    named = (plan.industries if kind == "industry" else plan.zones).get(scope_id)
    if named is None or named.level != kind:
        raise ProblemError("not-found", f"{kind} {scope_id}")
    return Scope(kind=named.level, id=scope_id, name_zh=named.name_zh)


def in_scope(county: County, scope: Scope, enterprise: EnterpriseFact) -> bool:
    """Whether an enterprise lies in a scope. A zone holds its areas' enterprises."""
    match scope.kind:
        case "county":
            return True
        case "enterprise":
            return enterprise.credit_code == scope.id
        case "industry":
            return enterprise.industry_id == scope.id
        case "area":
            return enterprise.zone_id == scope.id
        case "zone":
            zone = county.plans.current.zones.get(enterprise.zone_id or "")
            return zone is not None and scope.id in (zone.id, zone.parent)


def codes_in(county: County, view: RegisterView, scope: Scope) -> set[str]:
    """Credit codes of the enterprises in a scope."""
    return {code for code, enterprise in view.enterprises.items() if in_scope(county, scope, enterprise)}


def list_scopes(county: County, reader: Reader) -> ScopeList:
    """Everything that a reader may ask figures about; zones and industries only where an enterprise lies."""
    view = county.register.view()
    items: list[Scope] = []
    plan = county.plans.current
    if reader.enterprise is None:
        items.append(Scope(kind="county", id=plan.plan.id, name_zh=plan.county_zh))
        for named in (*plan.zones.values(), *plan.industries.values()):
            scope = Scope(kind=named.level, id=named.id, name_zh=named.name_zh)
            if codes_in(county, view, scope):
                items.append(scope)
    items.extend(
        Scope(kind="enterprise", id=code, name_zh=enterprise.name_zh)
        for code, enterprise in sorted(view.enterprises.items(), key=lambda e: e[1].name_zh)
        if reader.may_see(code)
    )
    return ScopeList(items=items)


def zone_name(county: County, zone_id: str | None) -> str | None:
    """Name of a zone or area."""
    named = county.plans.current.zones.get(zone_id or "")
    return None if named is None else named.name_zh


def industry_name(county: County, industry_id: str | None) -> str | None:
    """Name of an industry."""
    named = county.plans.current.industries.get(industry_id or "")
    return None if named is None else named.name_zh


def scope_text(scope: Scope) -> str:
    """A scope as a reader names it."""
    return "county" if scope.kind == "county" else f"{cast(str, scope.kind)}:{scope.id}"
