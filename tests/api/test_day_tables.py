"""Day states in memory: what a day's table holds, which stay, and that nobody waits for another's day."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from sqlalchemy import Engine, event, insert, update

from api.day_rows import day_digest
from api.register.counters import raise_counter
from api.register.database import migrate, open_register, writing
from api.register.models import DeviceDay
from api.services.day_cache import DayCache
from api.services.day_tables import RECENT_DAYS, DayTables, Entries, Numbers
from metrics.days import DAY_COLUMNS, DayStates
from tests.api.county_fixtures import TODAY, HandClock


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_register(f"sqlite:///{tmp_path / 'register.sqlite'}")
    migrate(made)
    yield made
    made.dispose()


def row(gateway: str, day: int, seed: int, devices: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng([day, seed])
    columns = {c.name: rng.integers(0, 10_000, devices).astype(c.dtype) for c in DAY_COLUMNS}
    states = DayStates(**(columns | {"day": np.full(devices, day, np.int32), "device": np.arange(devices, dtype="u4")}))
    names = [f"{gateway}-d{k}" for k in range(devices)]
    return {
        "gateway": gateway,
        "day": day,
        "generation": 1,
        "digest": day_digest(gateway, day, names, states),
        "computed_ns": 1,
        "devices": json.dumps(names),
        "content": zstandard.ZstdCompressor(level=3).compress(states.to_bytes()),
        "changed": 1,
    }


def store(engine: Engine, rows: list[dict[str, Any]]) -> None:
    with writing(engine) as connection:
        connection.execute(insert(DeviceDay), rows)
        raise_counter(connection, "device_day")


def replace(engine: Engine, new: dict[str, Any], number: int) -> None:
    with writing(engine) as connection:
        key = (DeviceDay.gateway == new["gateway"], DeviceDay.day == new["day"])
        connection.execute(update(DeviceDay).where(*key).values(**(new | {"changed": number})))
        raise_counter(connection, "device_day")


def entries(*rows: dict[str, Any]) -> Entries:
    return {one["gateway"]: (one["digest"], 0) for one in rows}


def bits(states: DayStates) -> dict[str, bytes]:
    return {name: column.tobytes() for name, column in states.columns().items()}


def test_a_table_changed_by_a_few_gateways_is_the_one_read_anew(engine: Engine) -> None:
    clock = HandClock()
    store(engine, [row(f"g{i}", TODAY, 1, devices=1 + i % 4) for i in range(9)])
    days = DayCache(engine, clock)
    before = days.token(TODAY - 3, TODAY + 1)
    days.day(TODAY)
    for seed, gateway in enumerate(("g3", "g7", "g3"), 2):
        replace(engine, row(gateway, TODAY, seed, devices=2), seed)
        days.stale()
        after = days.token(TODAY - 3, TODAY + 1)
        assert after != before
        anew = DayTables(engine, days._numbers, 1 << 30).table(TODAY, days._index[TODAY])
        assert bits(days.day(TODAY)) == bits(anew)
        assert DayCache(engine, clock).token(TODAY - 3, TODAY + 1) == after
        before = after


def test_a_token_is_the_same_whatever_days_without_states_follow(engine: Engine) -> None:
    store(engine, [row("g0", day, 1) for day in (TODAY - 2, TODAY)])
    days = DayCache(engine, HandClock())
    assert days.token(TODAY - 2, TODAY + 1) == days.token(TODAY - 2, TODAY + 40) == days.token(TODAY - 9, TODAY + 1)
    assert days.token(TODAY - 2, TODAY) == days.token(TODAY - 2, TODAY - 1) != days.token(TODAY - 2, TODAY + 1)
    assert days.token(TODAY + 1, TODAY + 5) == days.token(TODAY + 5, TODAY + 5)


def test_the_newest_days_stay_at_hand_while_a_year_is_read(engine: Engine) -> None:
    newest = [row("g0", TODAY - i, 1) for i in range(4)]
    old = [row("g0", TODAY - RECENT_DAYS - i, 1) for i in range(8)]
    store(engine, newest + old)
    one_bytes = 3 * 92  # three devices, the columns that figures read
    tables = DayTables(engine, Numbers(), 6 * one_bytes)
    for one in newest:
        tables.table(one["day"], entries(one))
    for one in old:
        tables.table(one["day"], entries(one))
    read: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *said: read.append(said[2]) if "content" in said[2] else None)
    for one in newest:
        tables.table(one["day"], entries(one))
    assert read == []
    tables.table(old[0]["day"], entries(old[0]))
    assert len(read) == 1


def test_who_asks_about_one_day_does_not_wait_for_another_that_is_read(engine: Engine) -> None:
    slow, quick = row("g0", TODAY - 40, 1), row("g0", TODAY, 1)
    store(engine, [slow, quick])
    days = DayCache(engine, HandClock())
    days.token(TODAY - 50, TODAY + 1)
    reads, go_on = threading.Event(), threading.Event()

    def hold(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if "content" in statement and parameters[0] == slow["day"]:
            reads.set()
            assert go_on.wait(10)

    event.listen(engine, "before_cursor_execute", hold)
    found: list[list[DayStates]] = []
    both = [threading.Thread(target=lambda: found.append(days.tables(TODAY - 40, TODAY - 39))) for _ in range(2)]
    for thread in both:
        thread.start()
    assert reads.wait(10)
    assert len(days.day(TODAY)) == 3
    assert days.token(TODAY - 40, TODAY + 1)
    assert found == []
    go_on.set()
    for thread in both:
        thread.join(10)
    assert found[0][0] is found[1][0]  # of the two one read it


def test_a_day_that_changed_while_it_was_read_is_kept_as_what_it_is(engine: Engine) -> None:
    asked, stands = row("g0", TODAY, 1), row("g0", TODAY, 2)
    store(engine, [stands])
    tables = DayTables(engine, Numbers(), 1 << 20)
    early = tables.table(TODAY, entries(asked))
    assert tables.table(TODAY, entries(stands)) is early
