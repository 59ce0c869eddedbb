"""Presence as pages show it: devices joined with the assets and meters that they speak for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.clock import moment
from api.schemas import DeviceLive, LiveDevice, LiveSnapshot
from api.services.access import Reader
from api.services.register_view import RegisterView
from metrics.record import local_day

if TYPE_CHECKING:
    from api.runtime import County


def device_live(county: County, gateway: str, device: str) -> DeviceLive:
    """How a device is now. While its gateway is silent, its state is not known."""
    connection, seen = county.live.device(gateway, device)
    return DeviceLive(
        connection=connection,
        state=seen.state if seen is not None and connection in ("connected", "not-connected") else "unknown",
        since=moment(seen.since_ns) if seen is not None and seen.since_ns else None,
        last_proof_at=moment(seen.last_proof_ns) if seen is not None and seen.last_proof_ns else None,
    )


NEVER_SEEN = DeviceLive(connection="never-seen", state="unknown", since=None, last_proof_at=None)


def snapshot(county: County, reader: Reader) -> LiveSnapshot:
    """Every device that gateways speak of, and every device that is bound today, in rows of their own per object."""
    now_ns = county.clock.now_ns()
    today = int(local_day(now_ns // 1_000_000_000))
    view = county.register.view()
    ids = object_ids(view)
    keys = {(gateway, device) for gateway, now in county.live.gateways().items() for device in now.devices}
    keys.update(key for key, bound in view.devices.items() if any(b.valid_on(today) for b in bound))
    devices: list[LiveDevice] = []
    for gateway, device in sorted(keys):
        if reader.enterprise is not None and view.gateway_enterprise(gateway) != reader.enterprise:
            continue
        live = device_live(county, gateway, device)
        bound = {b.object_id for b in view.devices.get((gateway, device), []) if b.valid_on(today)}
        shown: list[str | None] = [*sorted(ids[object_id] for object_id in bound if object_id in ids)]
        devices.extend(
            LiveDevice(gateway=gateway, device=device, asset_id=asset_id, live=live) for asset_id in shown or [None]
        )
    return LiveSnapshot(at=moment(now_ns), devices=devices)


def object_ids(view: RegisterView) -> dict[int, str]:
    """The id that pages use, by object."""
    return {fact.object_id: fact.id for fact in view.objects()}
