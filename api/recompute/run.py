"""`plantpulse-county recompute`: days computed again from their records, here or on a Dask cluster.

What comes out is compared with what stands; a day whose digest is the same is left alone. A day that has changed since
its records were read is left to the service, which computes it anyway; nothing newer is ever replaced by what is older.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Engine, select

from api.clock import Clock
from api.day_rows import mark_days, replace_day
from api.final_days import FinalDays
from api.holes import HoleSettler, Key
from api.journal.kept import KeptFile
from api.journal.port import Kept
from api.journal.postgres_kept import PostgresKept
from api.recompute.plan import Span, plan
from api.recompute.tasks import Row, Task, work
from api.register.counters import raise_counter, read_counter
from api.register.database import migrate, open_register, require_register, writing
from api.register.models import DeviceDay, DirtyDay
from api.settings import Settings
from api.store.open import open_store
from api.store.port import EmbeddedStore, StoreLockedError

_WRITE_ROWS: Final = 200

Runner = Callable[[list[Task], int], Iterable[list[Row]]]
"""(tasks, time in ns) → the rows of each task, in any order."""


class RecomputeError(Exception):
    """What cannot be computed again; the text says why, in Chinese and English."""


@dataclass(slots=True)
class Report:
    """What came of it, as (gateway, local day)."""

    unchanged: int = 0
    changed: list[Key] = field(default_factory=list)
    left_to_service: list[Key] = field(default_factory=list)
    final: list[Key] = field(default_factory=list)
    without_records: list[Key] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there was any day at all."""
        return bool(self.unchanged or self.changed or self.left_to_service or self.final or self.without_records)


def in_process(tasks: list[Task], now_ns: int) -> Iterator[list[Row]]:
    """One task after the other, here."""
    for task in tasks:
        yield work(task, now_ns)


def recompute(settings: Settings, clock: Clock, span: Span, runner: Runner = in_process) -> Report:
    """Compute days again. Raises RecomputeError, RegisterMissingError, StoreError, SQLAlchemyError, sqlite3.Error."""
    require_register(settings.register_address)
    engine = open_register(settings.register_address)
    try:
        migrate(engine)
        with _kept(settings, engine) as kept:
            todo = plan(settings, engine, kept, span)
        report = Report(final=sorted(todo.final))
        late = set(todo.hot)
        seen: set[Key] = set()
        now_ns = clock.now_ns()
        for rows in runner(todo.tasks, now_ns):
            seen |= {(row["gateway"], row["day"]) for row in rows}
            late |= _write(engine, rows, report)
        report.without_records = sorted(todo.keys - seen)
        if late:
            with _kept(settings, engine) as kept:
                _compute_here(settings, engine, kept, span, late, now_ns, report)
        report.changed.sort()
        report.left_to_service.sort()
        return report
    finally:
        engine.dispose()


@contextmanager
def _kept(settings: Settings, engine: Engine) -> Iterator[Kept]:
    if settings.journal == "postgresql":
        yield PostgresKept(engine)
        return
    settings.journal_dir.mkdir(parents=True, exist_ok=True)
    with closing(KeptFile(settings.journal_dir / "kept.sqlite")) as kept:
        yield kept


def _compute_here(
    settings: Settings, engine: Engine, kept: Kept, span: Span, keys: set[Key], now_ns: int, report: Report
) -> None:
    """Days that stand in the open store, or around a hand-over: here where no service runs, else by the service."""
    try:
        store = open_store(settings.store_address, token_file=settings.store_token_file, ca_file=settings.store_ca_file)
    except StoreLockedError:
        _leave(engine, keys, report)
        return
    with closing(store):
        final = FinalDays(kept, store.sealed_days if isinstance(store, EmbeddedStore) else tuple)
        applied = store.applied()
        ordered = sorted(keys, key=lambda key: (key[1], key[0]))
        rows = HoleSettler(engine, store, final).rows(dict.fromkeys(ordered, applied), now_ns)
    rows = [row for row in rows if span.has(row["gateway"], row["day"])]
    report.without_records += sorted(keys - {(row["gateway"], row["day"]) for row in rows})
    left = _write(engine, rows, report)
    if left:
        _leave(engine, left, report)


def _leave(engine: Engine, keys: set[Key], report: Report) -> None:
    """Mark days for the service: it computes them as soon as it has applied what is journalled of them."""
    d = DeviceDay
    with engine.connect() as connection:
        dirty = set(map(tuple, connection.execute(select(DirtyDay.gateway, DirtyDay.day)).all()))
        generations: dict[Key, int] = {}
        for gateway, day in keys - dirty:
            found = connection.execute(select(d.generation).where(d.gateway == gateway, d.day == day)).scalar()
            generations[gateway, day] = int(found or 0)
    if generations:
        mark_days(engine, generations, raising=False)
    report.left_to_service += sorted(keys)


def _write(engine: Engine, rows: list[Row], report: Report) -> set[Key]:
    """Put new states where they differ. Returns the keys that have moved on since the records were read."""
    moved: set[Key] = set()
    for first in range(0, len(rows), _WRITE_ROWS):
        with writing(engine) as connection:
            changed: list[Row] = []
            for row in rows[first : first + _WRITE_ROWS]:
                key = (row["gateway"], row["day"])
                if _moved_on(connection, row):
                    moved.add(key)
                elif _digest(connection, key) == row["digest"]:
                    report.unchanged += 1
                else:
                    changed.append(row)
            if changed:
                # readers ask for what is above the number they have: it is raised before the rows bear it
                raise_counter(connection, "device_day")
                number = read_counter(connection, "device_day")
                for row in changed:
                    replace_day(connection, row | {"changed": number})
                    report.changed.append((row["gateway"], row["day"]))
    return moved


def _digest(connection: Any, key: Key) -> str | None:
    found = connection.execute(
        select(DeviceDay.digest).where(DeviceDay.gateway == key[0], DeviceDay.day == key[1])
    ).scalar()
    return None if found is None else str(found)


def _moved_on(connection: Any, row: Row) -> bool:
    """Whether more has come for a day than its records had when they were read."""
    d, w = DeviceDay, DirtyDay
    stands = connection.execute(select(d.generation).where(d.gateway == row["gateway"], d.day == row["day"])).scalar()
    waits = connection.execute(select(w.generation).where(w.gateway == row["gateway"], w.day == row["day"])).scalar()
    return (stands is not None and stands > row["generation"]) or waits is not None
