"""What the county knew of a day before: day states that were replaced are kept, with the time they stood.

A day that was over when its states were computed keeps every version: each later one is a restatement. While a day
runs its states change every few minutes; of those versions one an hour is kept, and for 35 days only. So a figure
as known at some time is exact for every day that was over at that time, and as good as the hour for the day that ran.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Connection, Engine, cast, delete, insert, select

from api.register.database import writing
from api.register.models import DeviceDay, DeviceDayVersion
from metrics.record import local_day_start_s

_NS: Final = 1_000_000_000
_HOUR_NS: Final = 3600 * _NS
RUNNING_KEPT_DAYS: Final = 35
"""How long versions of a day that was not over are kept."""


def keep_version(connection: Connection, gateway: str, day: int, now_ns: int) -> None:
    """Keep the day states that are about to be replaced."""
    d = DeviceDay
    before = connection.execute(
        select(d.generation, d.digest, d.computed_ns, d.devices, d.content).where(d.gateway == gateway, d.day == day)
    ).one()
    if _running(day, before.computed_ns) and before.computed_ns // _HOUR_NS == now_ns // _HOUR_NS:
        return
    connection.execute(
        insert(DeviceDayVersion).values(
            gateway=gateway,
            day=day,
            generation=before.generation,
            digest=before.digest,
            computed_ns=before.computed_ns,
            superseded_ns=now_ns,
            devices=before.devices,
            content=before.content,
        )
    )


def _running(day: int, at_ns: int) -> bool:
    return at_ns < local_day_start_s(day + 1) * _NS


def drop_running(engine: Engine, now_ns: int) -> None:
    """Drop old versions of days that were not over when they were computed."""
    v = DeviceDayVersion
    day_end_ns = cast(v.day + 1, BigInteger) * (86_400 * _NS) + local_day_start_s(0) * _NS
    old_ns = now_ns - RUNNING_KEPT_DAYS * 24 * _HOUR_NS
    with writing(engine) as connection:
        connection.execute(delete(v).where(v.superseded_ns < old_ns, v.computed_ns < day_end_ns))
