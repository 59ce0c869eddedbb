"""Assets and meters as pages show them: register, evidence, presence and today's sums."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final, get_args

import numpy as np

from api.problems import ProblemError
from api.schemas import Asset, AssetList, Binding, Connection, Page
from api.services.access import Reader
from api.services.perimeter import evidence_of
from api.services.presence import NEVER_SEEN, device_live
from api.services.register_view import AssetFact, BindingFact, MeterFact, RegisterView
from metrics.days import DayStates
from metrics.record import TENTHS_PER_S, THOUSANDTHS, local_day

if TYPE_CHECKING:
    from api.runtime import County

_NS: Final = 1_000_000_000
_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class _Today:
    """Today's day states."""

    day: int
    states: DayStates


def list_assets(county: County, reader: Reader, enterprise: str | None, q: str, offset: int, limit: int) -> AssetList:
    """Assets, then meters, by enterprise and number; `q` is part of a name, number or serial."""
    view = county.register.view()
    today = _today(county)
    wanted = q.strip().casefold()
    found = [
        fact
        for fact in _listed(county, view, today.day)
        if reader.may_see(fact.credit_code)
        and (enterprise is None or fact.credit_code == enterprise)
        and (not wanted or any(wanted in text.casefold() for text in (fact.name_zh, fact.number, fact.serial)))
    ]
    items = [_asset(county, view, fact, today) for fact in found[offset : offset + limit]]
    second = int(county.clock.monotonic_s())
    key = ("connections", view.version, second, enterprise, reader.enterprise, wanted)
    connections = county.memory.once("rates", key, lambda: _connections(county, view, found, today.day))
    return AssetList(page=Page(offset=offset, limit=limit, total=len(found)), items=items, connections=connections)


def _listed(county: County, view: RegisterView, day: int) -> list[AssetFact | MeterFact]:
    """Everything that the register lists on a day, in the order of the list."""

    def make() -> list[AssetFact | MeterFact]:
        found = [fact for fact in view.objects() if fact.valid_on(day)]
        return sorted(found, key=lambda f: (isinstance(f, MeterFact), f.credit_code, f.number))

    return county.memory.once("rates", ("listed", view.version, day), make)


def _connections(
    county: County, view: RegisterView, found: list[AssetFact | MeterFact], day: int
) -> dict[Connection, int]:
    """How many of some machines are connected now, and how many are not, by their state device; meters apart."""
    counts: dict[Connection, int] = dict.fromkeys(get_args(Connection), 0)
    for fact in found:
        if isinstance(fact, AssetFact):
            main = _main([b for b in view.bindings.get(fact.object_id, []) if b.valid_on(day)])
            counts["never-seen" if main is None else county.live.device(main.gateway, main.device)[0]] += 1
    return counts


def _main(bindings: list[BindingFact]) -> BindingFact | None:
    return next((b for b in bindings if b.role == "state"), None) or next(iter(bindings), None)


def get_asset(county: County, reader: Reader, asset_id: str) -> Asset:
    """One asset or meter. Raises the problems `not-found` and `forbidden`."""
    view = county.register.view()
    fact = view.object_by_id.get(asset_id)
    if fact is None:
        raise ProblemError("not-found", f"asset {asset_id}")
    if not reader.may_see(fact.credit_code):
        raise ProblemError("forbidden", "this role sees its own enterprise only")
    return _asset(county, view, fact, _today(county))


def _today(county: County) -> _Today:
    day = int(local_day(county.clock.now_ns() // _NS))
    return _Today(day, county.days.day(day))


def _date(day: int) -> date:
    return datetime.fromtimestamp(day * _DAY_S, UTC).date()


def _asset(county: County, view: RegisterView, fact: AssetFact | MeterFact, today: _Today) -> Asset:
    owned = view.bindings.get(fact.object_id, [])
    now = [b for b in owned if b.valid_on(today.day)]
    state = _main(now)
    counter = next((b for b in now if b.role == "quantity"), None)
    said = None if state is None else county.announcements.latest(state.gateway, state.device)
    counted = None if counter is None else county.announcements.latest(counter.gateway, counter.device)
    row = _row(county, today, state)
    counter_row = _row(county, today, counter)
    is_meter = isinstance(fact, MeterFact)
    return Asset(
        id=fact.id,
        kind="meter" if is_meter else "asset",
        number=fact.number,
        name_zh=fact.name_zh,
        asset_class=f"meter-{fact.carrier}" if isinstance(fact, MeterFact) else fact.asset_class,
        control=None if isinstance(fact, MeterFact) else fact.control,
        in_scope=False if isinstance(fact, MeterFact) else fact.in_scope,
        enterprise_id=fact.credit_code,
        enterprise_zh=view.enterprises[fact.credit_code].name_zh,
        manufacturer=fact.manufacturer,
        model=fact.model,
        serial=fact.serial,
        evidence=evidence_of(county.announcements, now),
        bindings=[
            Binding(
                gateway=b.gateway,
                device=b.device,
                role=b.role,
                valid_from=_date(b.valid_from),
                valid_to=None if b.valid_to is None else _date(b.valid_to),
            )
            for b in owned
        ],
        live=NEVER_SEEN if state is None else device_live(county, state.gateway, state.device),
        announced_class=None if said is None else said.device_class,
        announced="" if said is None else " ".join(t for t in (said.manufacturer, said.model, said.serial) if t),
        today_connected_s=None if row is None else int(today.states.connected[row]) / TENTHS_PER_S,
        today_running_s=None if row is None or is_meter else int(today.states.running[row]) / TENTHS_PER_S,
        today_quantity=None
        if counter_row is None or not today.states.quantity_span_s[counter_row]
        else int(today.states.quantity[counter_row]) / THOUSANDTHS,
        unit=fact.unit if isinstance(fact, MeterFact) else ("" if counted is None else counted.unit),
    )


def _row(county: County, today: _Today, binding: BindingFact | None) -> int | None:
    if binding is None:
        return None
    device = county.days.number(binding.gateway, binding.device)
    at = int(np.searchsorted(today.states.device, np.uint32(device)))
    return at if at < len(today.states) and int(today.states.device[at]) == device else None
