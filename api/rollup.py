"""Keeps day states up to date: dirty (gateway, local day) → records → day states → `device_day`.

A mark's generation is the journal position that made the day dirty. A day is computed only once the store has applied
that position, and its mark is cleared only if the generation is still the one that was read. Today is computed at
most every `today_refresh_s`; a day before it as soon as nothing more has come for it for 2 s (or it has waited for
60 s: a backlog must not have one day computed over and over), in bounded chunks. An unchanged digest stops there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy import Engine, delete, func, select

from api.clock import Clock
from api.day_rows import DayMarks, mark_days, replace_day, standing
from api.holes import HoleSettler, mark_hand_overs
from api.register.counters import raise_counter, read_counter
from api.register.database import writing
from api.register.models import DeviceDay, DirtyDay
from api.shared.duty import AlwaysOnDuty, Duty
from api.store.port import IntervalStore, StoreError
from metrics.record import local_day

_CHUNK_KEYS: Final = 16
_IDLE_S: Final = 0.5
_RETRY_S: Final = 5.0
_SETTLED_S: Final = 2.0
_LONGEST_WAIT_S: Final = 60.0
_TELL_S: Final = 10.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Key:
    gateway: str
    day: int
    generation: int


@dataclass(slots=True)
class _Seen:
    """Since when a day is dirty, and since when at its generation; on the clock's monotonic line."""

    generation: int
    first_s: float
    changed_s: float

    def due(self, now_s: float) -> bool:
        return now_s - self.changed_s >= _SETTLED_S or now_s - self.first_s >= _LONGEST_WAIT_S


class Rollup:
    """Owns the thread that computes day states. `changed` is called after day states have changed; `final` says
    of a local day that its records are no longer all there, so that its states must stay."""

    def __init__(
        self,
        engine: Engine,
        store: IntervalStore,
        clock: Clock,
        today_refresh_s: float,
        applied: Callable[[], int],
        changed: Callable[[], None] = lambda: None,
        final: Callable[[int], bool] = lambda _: False,
        duty: Duty | None = None,
    ) -> None:
        self._duty = duty or AlwaysOnDuty()
        self._engine = engine
        self._clock = clock
        self._today_refresh_s = today_refresh_s
        self._applied = applied
        self._changed = changed
        self._final = final
        self._settler = HoleSettler(engine, store, final)
        self._hold_until = 0
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._last_today_s = -today_refresh_s
        self._seen: dict[tuple[str, int], _Seen] = {}
        self._running = threading.Lock()
        self.last_error = ""
        self.computed = 0
        """Days computed since the start."""
        self._thread = threading.Thread(target=self._run, name="rollup", daemon=True)

    def start(self) -> None:
        """Begin to compute."""
        self._thread.start()

    def close(self) -> None:
        """Finish the day at hand, then stop. Marks that are left stay for the next start."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def mark(self, marks: DayMarks) -> None:
        """Raise generations, durably."""
        mark_days(self._engine, marks)
        self._wake.set()

    def announced(self, gateway: str) -> None:
        """A gateway's devices have told what they are: whether new hardware reads the same counters is judged again."""
        if mark_hand_overs(self._engine, gateway):
            self._wake.set()

    def hold_until(self, position: int) -> None:
        """Compute nothing before the store has applied a position: of a store that is made again, a day is whole
        only then."""
        self._hold_until = position

    def dirty_before(self, day: int) -> bool:
        """Whether a day before `day` waits."""
        with self._engine.connect() as connection:
            return connection.execute(select(DirtyDay.day).where(DirtyDay.day < day).limit(1)).first() is not None

    def newest_day(self) -> int | None:
        """The latest local day that has a state; None where none has."""
        with self._engine.connect() as connection:
            return connection.execute(select(func.max(DeviceDay.day))).scalar()

    def dirty(self) -> int:
        """How many days wait."""
        with self._engine.connect() as connection:
            return len(connection.execute(select(DirtyDay.gateway)).all())

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(_IDLE_S)
            self._wake.clear()
            try:
                if self._duty.holds():
                    self.run_once()
                self.last_error = ""
            except Exception as error:  # noqa: BLE001 (store or register: try again later)
                if not self.last_error:
                    log.error("rollup_failed", error=str(error))
                self.last_error = f"{type(error).__name__}: {error}"
                self._stopping.wait(_RETRY_S)

    def run_once(self, *, force: bool = False) -> int:
        """Compute what is due now; with `force` everything that is dirty. Returns how many days changed.

        Raises StoreError where the records of a day cannot be read, after all others are computed: it stays dirty.
        """
        with self._running:
            today = int(local_day(self._clock.now_ns() // 1_000_000_000))
            now_s = self._clock.monotonic_s()
            due_today = force or now_s - self._last_today_s >= self._today_refresh_s
            applied = self._applied()
            if applied < self._hold_until:
                return 0
            with self._engine.connect() as connection:
                found = connection.execute(
                    select(DirtyDay.gateway, DirtyDay.day, DirtyDay.generation).order_by(DirtyDay.day, DirtyDay.gateway)
                ).all()
            self._look(found, now_s)
            keys = [
                _Key(*row)
                for row in found
                if row.generation <= applied
                and (force or (due_today if row.day >= today else self._seen[row.gateway, row.day].due(now_s)))
            ]
            if due_today and any(key.day >= today for key in keys):
                self._last_today_s = now_s
            changed = told = 0
            told_s = now_s
            failed: list[StoreError] = []
            try:
                for first in range(0, len(keys), _CHUNK_KEYS):
                    if self._stopping.is_set():
                        break
                    changed += self._chunk_or_what_can_be(keys[first : first + _CHUNK_KEYS], failed)
                    if changed > told and self._clock.monotonic_s() - told_s >= _TELL_S:
                        self._tell()
                        told, told_s = changed, self._clock.monotonic_s()
            finally:
                if changed > told:
                    self._tell()
            if failed:
                raise failed[0]
            return changed

    def _tell(self) -> None:
        """Let readers know, of many days at once: what they hold of them is made again each time."""
        with writing(self._engine) as connection:
            raise_counter(connection, "device_day")
        self._changed()

    def _look(self, found: Sequence[Any], now_s: float) -> None:
        """Note since when each dirty day is as it is."""
        seen: dict[tuple[str, int], _Seen] = {}
        for gateway, day, generation in found:
            before = self._seen.get((gateway, day))
            if before is None:
                seen[gateway, day] = _Seen(generation, now_s, now_s)
            else:
                changed_s = before.changed_s if before.generation == generation else now_s
                seen[gateway, day] = _Seen(generation, before.first_s, changed_s)
        self._seen = seen

    def _chunk_or_what_can_be(self, keys: list[_Key], failed: list[StoreError]) -> int:
        """A chunk; where the store cannot read all of it, day by day, so that one file keeps no other day waiting."""
        try:
            return self._chunk(keys)
        except StoreError as error:
            if len(keys) == 1:
                failed.append(error)
                return 0
        return sum(self._chunk_or_what_can_be([key], failed) for key in keys)

    def _chunk(self, keys: list[_Key]) -> int:
        wanted = {(key.gateway, key.day): key.generation for key in keys if not self._final(key.day)}
        with self._engine.connect() as connection:
            before = standing(connection, wanted.keys())
        rows = self._settler.rows(wanted, self._clock.now_ns())
        changed = 0
        with writing(self._engine) as connection:
            number = read_counter(connection, "device_day", lock=True) + 1  # what it will be when readers are told
            now = standing(connection, wanted.keys())
            for row in rows:
                place = (row["gateway"], row["day"])
                # another worker was faster: it read no less, and what came since has a mark of its own
                if now.get(place) == before.get(place):
                    changed += replace_day(connection, row | {"changed": number})
            for key in keys:
                connection.execute(
                    delete(DirtyDay).where(
                        DirtyDay.gateway == key.gateway,
                        DirtyDay.day == key.day,
                        DirtyDay.generation == key.generation,
                    )
                )
        for key in keys:
            self._seen.pop((key.gateway, key.day), None)
        self.computed += len(keys)
        return changed

    def wait_clean(self, timeout_s: float) -> bool:
        """Compute until nothing is dirty, today included. Returns whether that was reached in time."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            self.run_once(force=True)
            if self.dirty() == 0:
                return True
            self._stopping.wait(0.05)
        return False
