"""Which days are computed again, and who can: sealed days and InfluxDB anyone, DuckDB's open file its owner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import duckdb
from sqlalchemy import Engine, select

from api.holes import Key, hand_overs_of, within_reach
from api.journal.port import Kept
from api.recompute.tasks import SealedTask, ServerTask, Task, chunks
from api.register.models import DeviceDay, GatewayCredential
from api.settings import Settings
from api.store.layout import duckdb_path, sealed_folder
from api.store.open import open_store
from api.store.port import StoreError
from api.store.sealed import SealedDay, read_sealed

_ROWS_A_TASK: Final = 2_000_000
_KEYS_A_TASK: Final = 16

HandOvers = Mapping[str, Sequence[int]]
"""When new hardware took over, s UTC, by gateway."""


@dataclass(frozen=True, slots=True)
class Span:
    """Local days `[from_day, to_day]` and gateways (empty: all)."""

    from_day: int
    to_day: int
    gateways: frozenset[str] = frozenset()

    def has(self, gateway: str, day: int) -> bool:
        """Whether a key lies in it."""
        return self.from_day <= day <= self.to_day and (not self.gateways or gateway in self.gateways)


@dataclass(slots=True)
class Plan:
    """What is to be done."""

    tasks: list[Task] = field(default_factory=list)
    keys: set[Key] = field(default_factory=set)
    """What the tasks compute."""
    hot: set[Key] = field(default_factory=set)
    """What only the owner of DuckDB's open file can compute, and days around a hand-over, which need others beside."""
    final: set[Key] = field(default_factory=set)
    """What stands as it is, because its records are no longer all there."""


def plan(settings: Settings, engine: Engine, kept: Kept, span: Span) -> Plan:
    """Raises StoreError, SQLAlchemyError."""
    d = DeviceDay
    with engine.connect() as connection:
        found = connection.execute(select(d.gateway, d.day).where(d.day >= span.from_day, d.day <= span.to_day)).all()
        allowed = set(connection.execute(select(GatewayCredential.gateway).distinct()).scalars())
        hand_overs = hand_overs_of(connection)
    known = {(gateway, day) for gateway, day in found if span.has(gateway, day)}
    path = duckdb_path(settings.store_address)
    if path is None:
        gateways = allowed | {gateway for gateway, _ in known}
        return _of_server(settings, known, gateways, _final(kept), span, hand_overs)
    return _of_files(path, known, kept, span, hand_overs)


def _final(kept: Kept) -> int | None:
    before = kept.final_before
    return None if before is None else before[0]


def _of_files(path: Path, known: set[Key], kept: Kept, span: Span, hand_overs: HandOvers) -> Plan:
    made = Plan()
    sealed = {day.day: day for day in _sealed_days(sealed_folder(path))}
    before = _final(kept)
    for day in sealed.values():
        asked = sorted(g for g in day.gateways if span.has(g, day.day))
        gateways = [g for g in asked if not within_reach(hand_overs.get(g, ()), day.day)]
        made.hot.update((g, day.day) for g in set(asked).difference(gateways))
        size = max(1, len(day.gateways) * _ROWS_A_TASK // max(1, day.rows))
        for some in chunks(gateways, size):
            made.tasks.append(SealedTask(day.path.absolute(), day.day, day.through, some))
        made.keys.update((gateway, day.day) for gateway in gateways)
    for key in known - made.keys - made.hot:
        if key[1] in sealed or before is None or key[1] >= before:
            made.hot.add(key)
        else:
            made.final.add(key)
    return made


def _sealed_days(folder: Path) -> Iterable[SealedDay]:
    try:
        with duckdb.connect() as db:
            for file in sorted(folder.glob("*.parquet")):
                yield read_sealed(db, file)
    except (duckdb.Error, ValueError, KeyError) as error:
        raise StoreError(f"{folder}: 封存文件无法读取 a sealed day cannot be read: {error}") from error


def _of_server(
    settings: Settings, known: set[Key], gateways: set[str], before: int | None, span: Span, hand_overs: HandOvers
) -> Plan:
    made = Plan()
    store = open_store(settings.store_address, token_file=settings.store_token_file, ca_file=settings.store_ca_file)
    try:
        there = {(g, day) for g in sorted(gateways) for day in store.gateway_days(g) if span.has(g, day)}
    finally:
        store.close()
    for key in sorted(known | there, key=lambda key: (key[1], key[0])):
        if before is not None and key[1] < before:
            made.final.add(key)
        elif within_reach(hand_overs.get(key[0], ()), key[1]):
            made.hot.add(key)
        else:
            made.keys.add(key)
    ordered = sorted(made.keys, key=lambda key: (key[1], key[0]))
    for first in range(0, len(ordered), _KEYS_A_TASK):
        made.tasks.append(
            ServerTask(
                settings.store_address,
                settings.store_token_file,
                settings.store_ca_file,
                tuple(ordered[first : first + _KEYS_A_TASK]),
            )
        )
    return made
