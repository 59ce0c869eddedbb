"""Gateways as pages show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from api.clock import moment
from api.journal.port import Totals
from api.schemas import Gateway, GatewayList, Page
from api.services.access import Reader

if TYPE_CHECKING:
    from api.runtime import County

_BACKLOG_OLD_S: Final = 300


def list_gateways(county: County, reader: Reader, offset: int, limit: int) -> GatewayList:
    """Gateways that the reader may see, by name: those of the register, and those that were heard."""
    view = county.register.view()
    totals = county.journal.totals()
    names = set(view.gateways) | set(county.live.gateways()) | set(totals)
    found = [
        name
        for name in sorted(names)
        if reader.enterprise is None or view.gateway_enterprise(name) == reader.enterprise
    ]
    shared: dict[str, list[str]] = {}
    for (_, value), devices in county.announcements.shared_identities().items():
        for gateway in {gateway for gateway, _ in devices}:
            shared.setdefault(gateway, []).append(value)
    items = [
        _gateway(county, name, totals.get(name, Totals()), shared.get(name, []))
        for name in found[offset : offset + limit]
    ]
    return GatewayList(page=Page(offset=offset, limit=limit, total=len(found)), items=items)


def _gateway(county: County, name: str, totals: Totals, shared: list[str]) -> Gateway:
    view = county.register.view()
    site = view.sites.get(view.gateways.get(name, ""))
    now = county.live.gateway(name)
    silent = county.live.silent(name)
    alarms = _alarms(county, name, totals, silent, shared)
    held = county.credentials.of(name)
    valid = [grant for grant in held if not grant.revoked and grant.hand_over_s is None]
    handed_over = [grant.hand_over_s for grant in held if grant.hand_over_s is not None]
    return Gateway(
        id=name,
        site_zh="" if site is None else site.name_zh,
        enterprise_id="" if site is None else site.credit_code,
        last_seen_at=None if now is None else moment(now.heard_ns),
        silent=silent,
        backlog_batches=0 if now is None else now.message.backlog_batches,
        oldest_unsent_s=0 if now is None else now.message.oldest_unsent_s,
        shed={} if now is None else now.message.shed,
        devices=0 if now is None else len(now.devices),
        batches_journalled=totals.batches,
        conflicts=totals.conflicts,
        refused_rows=totals.refused_rows,
        credential="valid" if valid else "revoked" if held else "none",
        hardware=valid[0].hardware if valid else "",
        replaced_at=moment(max(handed_over) * 1_000_000_000) if handed_over else None,
        refused_after_hand_over=county.ingest.after_hand_over[name],
        alarm_zh="；".join(zh for zh, _ in alarms),
        alarm_en="; ".join(en for _, en in alarms),
    )


def _alarms(county: County, name: str, totals: Totals, silent: bool, shared: list[str]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    now = county.live.gateway(name)
    if county.ingest.epochs.alarm(name, county.clock.now_ns() // 1_000_000_000):
        found.append(
            (
                "两个纪元同时上报当前数据：存储卡可能被复制，请检查现场网关",
                "two epochs deliver present data side by side: a cloned card? check the gateway on site",
            )
        )
    if (held := county.credentials.of(name)) and all(grant.revoked for grant in held):
        found.append(
            (
                "凭证已吊销，不再接收此网关的数据：如需恢复请重新登记",
                "its credential was revoked, nothing of it is taken: to resume, enrol it again",
            )
        )
    if late := county.ingest.after_hand_over[name]:
        found.append(
            (
                f"被接替的旧硬件仍在上报新数据，已拒收 {late} 行：请关闭旧硬件",
                f"replaced hardware still sends what it records now, {late} rows refused: switch it off",
            )
        )
    if silent:
        found.append(
            ("网关失联，其设备状态未知：请检查电源与网络", "silent, its machines are unknown: check power and network")
            if now is not None
            else ("启动以来未收到此网关的消息", "not heard since the service started")
        )
    elif now is not None and now.message.oldest_unsent_s > _BACKLOG_OLD_S:
        found.append(("历史数据补传中", "sending its backlog"))
    turned_away = county.ingest.rate_limit.refused(name)
    if turned_away:
        found.append(
            (
                f"发送过于频繁，已拒绝 {turned_away} 次（网关会重发）：请检查该网关",
                f"sends more than it may, turned away {turned_away} times (it sends again): look at the gateway",
            )
        )
    if totals.held_rows:
        found.append(
            (
                f"{totals.held_rows} 行时间超前，已留存未计入：请校准网关时钟",
                f"{totals.held_rows} rows lie in the future, kept and not counted: set the gateway's clock",
            )
        )
    if shared:
        found.append(
            (
                f"同一序列号由两个网关上报：{'、'.join(shared[:3])}",
                f"two gateways announce one serial number: {', '.join(shared[:3])}",
            )
        )
    return found
