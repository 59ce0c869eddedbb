"""Assets and meters as pages show them: register, evidence, presence and today's sums."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

from api.problems import ProblemError
from api.schemas import Asset, AssetList, Binding, Page
from api.services.access import Reader
from api.services.perimeter import evidence_of
from api.services.presence import NEVER_SEEN, device_live
from api.services.register_view import AssetFact, BindingFact, MeterFact, RegisterView
from metrics.record import TENTHS_PER_S, THOUSANDTHS, local_day

if TYPE_CHECKING:
    from api.runtime import County

_NS: Final = 1_000_000_000
_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class _Today:
    """Today's day states by device number."""

    day: int
    rows: dict[int, int]
    connected: list[int]
    running: list[int]
    quantity: list[int]
    spans: list[int]


def list_assets(county: County, reader: Reader, enterprise: str | None, q: str, offset: int, limit: int) -> AssetList:
    """Assets, then meters, by enterprise and number; `q` is part of a name, number or serial."""
    view = county.register.view()
    today = _today(county)
    wanted = q.strip().casefold()
    found = [
        fact
        for fact in view.objects()
        if reader.may_see(fact.credit_code)
        and (enterprise is None or fact.credit_code == enterprise)
        and fact.valid_on(today.day)
        and any(wanted in text.casefold() for text in (fact.name_zh, fact.number, fact.serial))
    ]
    found.sort(key=lambda f: (isinstance(f, MeterFact), f.credit_code, f.number))
    items = [_asset(county, view, fact, today) for fact in found[offset : offset + limit]]
    return AssetList(page=Page(offset=offset, limit=limit, total=len(found)), items=items)


def get_asset(county: County, reader: Reader, asset_id: str) -> Asset:
    """One asset or meter. Raises the problems `not-found` and `forbidden`."""
    view = county.register.view()
    for fact in view.objects():
        if fact.id == asset_id:
            if not reader.may_see(fact.credit_code):
                raise ProblemError("forbidden", "this role sees its own enterprise only")
            return _asset(county, view, fact, _today(county))
    raise ProblemError("not-found", f"asset {asset_id}")


def _today(county: County) -> _Today:
    day = int(local_day(county.clock.now_ns() // _NS))
    states = county.days.range(day, day + 1).states
    return _Today(
        day,
        {device: i for i, device in enumerate(states.device.tolist())},
        states.connected.tolist(),
        states.running.tolist(),
        states.quantity.tolist(),
        states.quantity_span_s.tolist(),
    )


def _date(day: int) -> date:
    return datetime.fromtimestamp(day * _DAY_S, UTC).date()


def _asset(county: County, view: RegisterView, fact: AssetFact | MeterFact, today: _Today) -> Asset:
    owned = view.bindings.get(fact.object_id, [])
    now = [b for b in owned if b.valid_on(today.day)]
    state = next((b for b in now if b.role == "state"), None) or next(iter(now), None)
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
        evidence=evidence_of(county, now),
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
        today_connected_s=None if row is None else today.connected[row] / TENTHS_PER_S,
        today_running_s=None if row is None or is_meter else today.running[row] / TENTHS_PER_S,
        today_quantity=None
        if counter_row is None or not today.spans[counter_row]
        else today.quantity[counter_row] / THOUSANDTHS,
        unit=fact.unit if isinstance(fact, MeterFact) else ("" if counted is None else counted.unit),
    )


def _row(county: County, today: _Today, binding: BindingFact | None) -> int | None:
    return None if binding is None else today.rows.get(county.days.number(binding.gateway, binding.device))
