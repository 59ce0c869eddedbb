"""A county's register and day states, written straight into the register's tables."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import zstandard
from argon2 import PasswordHasher
from sqlalchemy import Connection, insert

from api.day_rows import day_digest
from api.register import models as m
from api.register.counters import raise_counter
from api.register.database import migrate, open_register, writing
from api.services.plans import Plans
from api.settings import Settings
from metrics.days import DAY_COLUMNS, DayStates
from metrics.record import DAY_S, local_day, local_day_start_s

READER: Final = "reader"
PASSWORD: Final = "correct-horse-battery"
ENTERPRISES: Final = 1200
_VARIANTS: Final = 50
"""So many different days of a gateway: compressing each of a year's anew would take longer than what is measured."""


def fill(folder: Path, devices: int, per_gateway: int, days: int) -> list[str]:
    """Enterprises, assets bound to devices `d-0 …` of gateways `gw-0 …`, a reader, and day states up to yesterday.

    Returns the scopes that figures may be asked about.
    """
    settings = Settings(_env_file=None, data_dir=folder)
    plan = Plans(settings.plans_dir, settings.plan).current
    engine = open_register(settings.register_address)
    migrate(engine)
    gateways = devices // per_gateway
    enterprises = min(ENTERPRISES, gateways)
    areas = [z.id for z in plan.zones.values() if z.level == "area"]
    industries = list(plan.industries)
    codes = [f"9133022{i:011d}" for i in range(enterprises)]
    now = {"recorded_from_ns": 1, "recorded_to_ns": None}
    with writing(engine) as connection:
        connection.execute(
            insert(m.Enterprise),
            [
                {
                    "credit_code": code,
                    "name_zh": f"企业 {i}",
                    "industry_id": industries[i % len(industries)],
                    "zone_id": areas[i % len(areas)],
                    "register_confirmed": i % 10 != 0,
                }
                | now
                for i, code in enumerate(codes)
            ],
        )
        _assets(connection, codes, devices, per_gateway, now)
        connection.execute(
            insert(m.User).values(
                username=READER,
                role="viewer",
                credit_code=None,
                password_hash=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD),
                created_ns=0,
                failures=0,
                locked_until_ns=0,
            )
        )
        raise_counter(connection, "register")
    today = int(local_day(int(time.time())))
    for day in range(today - days, today):
        with writing(engine) as connection:
            connection.execute(insert(m.DeviceDay), _day(day, gateways, per_gateway))
    with writing(engine) as connection:
        raise_counter(connection, "device_day")
    engine.dispose()
    zones = [f"{z.level}:{z.id}" for z in plan.zones.values()]
    return ["county", *zones, *(f"industry:{i}" for i in industries), *(f"enterprise:{c}" for c in codes[:40])]


def _assets(connection: Connection, codes: list[str], devices: int, per_gateway: int, now: dict[str, Any]) -> None:
    controls = ("cnc", "plc", "robot", "manual", "none")
    valid = {"valid_from_day": 10_957, "valid_to_day": None}
    owners = [codes[i // per_gateway % len(codes)] for i in range(devices)]
    connection.execute(
        insert(m.RegisterObject),
        [{"id": i + 1, "kind": "asset", "credit_code": code, "number": f"A{i}"} for i, code in enumerate(owners)],
    )
    connection.execute(
        insert(m.Asset),
        [
            {
                "object_id": i + 1,
                "name_zh": f"机床 {i}",
                "asset_class": "cnc",
                "control": controls[i % 5],
                "in_scope": True,
                "scope_reason": "",
                "site_id": None,
                "manufacturer": "",
                "model": "",
                "serial": "",
                "original_value_wan": 1.0 + i % 90,
                "declared_networked": i % 3 != 0,
            }
            | valid
            | now
            for i in range(devices)
        ],
    )
    connection.execute(
        insert(m.Binding),
        [
            {
                "object_id": i + 1,
                "gateway": f"gw-{i // per_gateway}",
                "device": f"d-{i % per_gateway}",
                "role": "state",
            }
            | valid
            | now
            for i in range(devices)
        ],
    )


def _day(day: int, gateways: int, per_gateway: int) -> list[dict[str, Any]]:
    names = [f"d-{k}" for k in range(per_gateway)]
    devices = json.dumps(names)
    made = [_states(day, per_gateway, seed) for seed in range(_VARIANTS)]
    packed = [zstandard.ZstdCompressor(level=3).compress(states.to_bytes()) for states in made]
    return [
        {
            "gateway": f"gw-{g}",
            "day": day,
            "generation": 1,
            "digest": day_digest(f"gw-{g}", day, names, made[g % _VARIANTS]),
            "computed_ns": (day + 1) * DAY_S * 1_000_000_000,
            "devices": devices,
            "content": packed[g % _VARIANTS],
            "changed": 0,
        }
        for g in range(gateways)
    ]


def _states(day: int, devices: int, seed: int) -> DayStates:
    """One gateway's day: three devices in ten never prove a connection, one day in fifty is not watched whole."""
    rng = np.random.default_rng([day, seed])
    columns = {c.name: np.zeros(devices, c.dtype) for c in DAY_COLUMNS}
    columns["day"][:] = day
    columns["device"][:] = np.arange(devices)
    whole = DAY_S * 10
    columns["observed"][:] = whole if rng.random() > 0.02 else rng.integers(whole // 2, whole)
    alive = np.arange(devices) % 10 < 7
    columns["connected"][:] = np.where(alive, columns["observed"], 0)
    columns["running"][:] = columns["connected"] // 2
    columns["idle"][:] = columns["connected"] // 4
    start_s = local_day_start_s(day)
    columns["first_connected_s"][:] = np.where(alive, start_s, -1)
    columns["last_connected_s"][:] = np.where(alive, start_s + DAY_S, -1)
    columns["quantity"][:] = rng.integers(0, 500_000, devices)
    columns["quantity_span_s"][:] = DAY_S
    for name in ("first_reading", "first_reading_s", "last_reading", "last_reading_s"):
        columns[name][:] = -1
    columns["records"][:] = 1440
    return DayStates(**columns)
