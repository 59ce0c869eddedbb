"""Rows of `device_day`: made from a day's records by `metrics`, written where they differ, marked to be made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

import zstandard
from sqlalchemy import Connection, Engine, insert, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from api.day_versions import keep_version
from api.register.database import writing
from api.register.models import DeviceDay, DirtyDay
from api.store.port import DayRecords
from metrics.days import DayStates, day_states

DayMarks = Mapping[tuple[str, int], int]
"""Generation by (gateway, local day)."""


def day_digest(gateway: str, day: int, devices: list[str], states: DayStates) -> str:
    """SHA-256 over the day's identity and content: an unchanged digest means an unchanged day."""
    head = json.dumps([gateway, day, devices], ensure_ascii=False).encode()
    return hashlib.sha256(head + bytes.fromhex(states.digest())).hexdigest()


def day_row(records: DayRecords, generation: int, now_ns: int) -> dict[str, Any]:
    """A day as its records say it."""
    states = states_of_records(records)
    return row_of_states(records.gateway, records.day, records.devices, states, generation, now_ns)


def states_of_records(records: DayRecords) -> DayStates:
    """The day states of one gateway and day."""
    return day_states(records.records, records.position, records.day, len(records.devices))


def row_of_states(
    gateway: str, day: int, devices: list[str], states: DayStates, generation: int, now_ns: int
) -> dict[str, Any]:
    """The row of `device_day` that holds day states of `devices`."""
    return {
        "gateway": gateway,
        "day": day,
        "generation": generation,
        "digest": day_digest(gateway, day, devices, states),
        "computed_ns": now_ns,
        "devices": json.dumps(devices, ensure_ascii=False),
        "content": zstandard.ZstdCompressor(level=3).compress(states.to_bytes()),
    }


def read_content(content: bytes) -> DayStates:
    """The day states in a row. Raises ValueError for anything else."""
    try:
        return DayStates.from_bytes(zstandard.ZstdDecompressor().decompress(content))
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def replace_day(connection: Connection, row: dict[str, Any]) -> int:
    """Write a day if its digest is new. Returns 1 if it was."""
    key = (DeviceDay.gateway == row["gateway"], DeviceDay.day == row["day"])
    before = connection.execute(select(DeviceDay.digest).where(*key)).scalar()
    if before == row["digest"]:
        return 0
    if before is None:
        connection.execute(insert(DeviceDay).values(**row))
    else:
        keep_version(connection, row["gateway"], row["day"], row["computed_ns"])
        connection.execute(update(DeviceDay).where(*key).values(**row))
    return 1


def stated_days(engine: Engine) -> list[int]:
    """The local days that have day states."""
    with engine.connect() as connection:
        return list(connection.scalars(select(DeviceDay.day).distinct()))


def standing(connection: Connection, keys: Collection[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, str]]:
    """Generation and digest of the days that have states, by gateway and local day."""
    d = DeviceDay
    found = connection.execute(
        select(d.gateway, d.day, d.generation, d.digest).where(tuple_(d.gateway, d.day).in_(keys))
    )
    return {(gateway, day): (generation, digest) for gateway, day, generation, digest in found}


def mark_days(engine: Engine, marks: DayMarks, *, raising: bool = True) -> None:
    """Raise the generations of days, durably: they are to be computed again. Not `raising`: a day that is marked
    already keeps its generation, which may be a later one.
    """
    rows = [{"gateway": g, "day": day, "generation": generation} for (g, day), generation in marks.items()]
    dialect = postgresql_insert if engine.dialect.name == "postgresql" else sqlite_insert
    statement = dialect(DirtyDay)
    key = [DirtyDay.gateway, DirtyDay.day]
    if raising:
        statement = statement.on_conflict_do_update(
            index_elements=key, set_={"generation": statement.excluded.generation}
        )
    else:
        statement = statement.on_conflict_do_nothing(index_elements=key)
    with writing(engine) as connection:
        connection.execute(statement, rows)
